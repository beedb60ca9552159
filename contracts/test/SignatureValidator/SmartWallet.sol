// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Account} from "@openzeppelin/contracts/account/Account.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignerECDSA} from "@openzeppelin/contracts/utils/cryptography/signers/SignerECDSA.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";

bytes32 constant DOMAIN =
    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
bytes32 constant MESSAGE = keccak256("CoinbaseSmartWalletMessage(bytes32 hash)");

/// @notice What an owner signs so that `wallet`, and no other of the same owner, accepts `hash`.
function replaySafe(address wallet, bytes32 hash) view returns (bytes32) {
    bytes32 domain = keccak256(
        abi.encode(DOMAIN, keccak256("Coinbase Smart Wallet"), keccak256("1"), block.chainid, wallet)
    );
    return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(MESSAGE, hash))));
}

/// @notice A wallet with the interface of Coinbase's: it hashes once more with its own domain, so that a
/// signature for one wallet is none for another of the same owner, and names the owner by an index.
contract SmartWallet is IERC1271 {
    struct Wrapper {
        uint256 ownerIndex;
        bytes signatureData;
    }

    bytes[] private _owners;

    constructor(bytes[] memory owners) {
        _owners = owners;
    }

    /// @inheritdoc IERC1271
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        Wrapper memory wrapper = abi.decode(signature, (Wrapper));
        address owner = abi.decode(_owners[wrapper.ownerIndex], (address));
        (address signer, ECDSA.RecoverError fault,) =
            ECDSA.tryRecover(replaySafe(address(this), hash), wrapper.signatureData);
        return fault == ECDSA.RecoverError.NoError && signer == owner
            ? IERC1271.isValidSignature.selector
            : bytes4(0xffffffff);
    }
}

/// @notice Makes wallets at addresses that are known before, with the interface of Coinbase's factory.
contract SmartWalletFactory {
    function createAccount(bytes[] calldata owners, uint256 nonce)
        external
        payable
        returns (address account)
    {
        account = getAddress(owners, nonce);
        if (account.code.length == 0) new SmartWallet{salt: keccak256(abi.encode(owners, nonce))}(owners);
    }

    function getAddress(bytes[] calldata owners, uint256 nonce) public view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(SmartWallet).creationCode, abi.encode(owners)));
        bytes32 salt = keccak256(abi.encode(owners, nonce));
        bytes32 place = keccak256(abi.encodePacked(hex"ff", address(this), salt, code));
        return address(uint160(uint256(place)));
    }
}

/// @notice OpenZeppelin's own account with one key: signatures are nested typed data (ERC-7739).
contract KeyAccount is Account, EIP712, ERC7739, SignerECDSA {
    constructor(address key) EIP712("KeyAccount", "1") SignerECDSA(key) {}
}
