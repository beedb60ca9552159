// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @title SignatureValidator
/// @notice Answers whether a contract wallet that need not be deployed yet accepts a signature (ERC-6492).
/// It is never deployed itself: its creation code with the arguments is the data of an `eth_call` without
/// receiver, whose answer is one byte, 1 for yes and 0 for no. What it does to the wallet's factory happens in
/// that call's own state and is forgotten with it.
contract SignatureValidator {
    /// @dev Ends every wrapped signature; no plain one ends so (ERC-6492).
    bytes32 private constant WRAPPED = 0x6492649264926492649264926492649264926492649264926492649264926492;

    constructor(address wallet, bytes32 digest, bytes memory signature) {
        bool accepted = _acceptsWrapped(wallet, digest, signature);
        assembly ("memory-safe") {
            mstore8(0, accepted)
            return(0, 1)
        }
    }

    /// @dev A wallet that stands is asked first as it is. Where it is not there, or refuses because it must be
    /// prepared first, the call that the signature carries is made before it is asked.
    function _acceptsWrapped(address wallet, bytes32 digest, bytes memory signature) private returns (bool) {
        uint256 length = signature.length;
        if (length < 32) return false;
        bytes32 last;
        assembly ("memory-safe") {
            last := mload(add(signature, length))
        }
        if (last != WRAPPED) return _accepts(wallet, digest, signature);
        assembly ("memory-safe") {
            mstore(signature, sub(length, 32))
        }
        (address factory, bytes memory creation, bytes memory inner) =
            abi.decode(signature, (address, bytes, bytes));
        if (_accepts(wallet, digest, inner)) return true;
        (bool made,) = factory.call(creation);
        return made && _accepts(wallet, digest, inner);
    }

    function _accepts(address wallet, bytes32 digest, bytes memory signature) private view returns (bool) {
        (bool answered, bytes memory answer) =
            wallet.staticcall(abi.encodeCall(IERC1271.isValidSignature, (digest, signature)));
        // An account without code answers too, with nothing.
        return answered && answer.length == 32
            && abi.decode(answer, (bytes32)) == bytes32(IERC1271.isValidSignature.selector);
    }
}
