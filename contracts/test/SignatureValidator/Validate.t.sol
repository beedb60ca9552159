// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SignatureValidator} from "../../src/SignatureValidator.sol";
import {Check} from "../foundation/Check.sol";
import {SmartWallet, SmartWalletFactory, replaySafe} from "./SmartWallet.sol";

/// @dev What the constructor returns would be the code of a contract, so that is where the verdict is read.
contract ValidateTest is Check {
    bytes32 private constant WRAPPED = 0x6492649264926492649264926492649264926492649264926492649264926492;
    bytes32 private constant DIGEST = keccak256("a message");
    uint256 private constant KEY = 0x5e;

    SmartWalletFactory private factory = new SmartWalletFactory();
    bytes[] private owners;
    address private wallet;

    constructor() {
        owners.push(abi.encode(vm.addr(KEY)));
        wallet = factory.getAddress(owners, 0);
    }

    function test_AWalletThatStandsIsAsked() public {
        factory.createAccount(owners, 0);
        vm.assertEq(verdict(wallet, signed(KEY)), 1);
        vm.assertEq(verdict(wallet, signed(KEY + 1)), 0);
    }

    function test_AWalletThatDoesNotStandAnswersForNothingByItself() public {
        vm.assertEq(verdict(wallet, signed(KEY)), 0);
    }

    function test_AWrappedSignatureBringsItsWalletWithIt() public {
        vm.assertEq(verdict(wallet, wrapped(signed(KEY))), 1);
    }

    function test_AWrappedSignatureOfAnotherKeyIsRefused() public {
        vm.assertEq(verdict(wallet, wrapped(signed(KEY + 1))), 0);
    }

    function test_AWrappedSignatureStaysGoodOnceTheWalletStands() public {
        factory.createAccount(owners, 0);
        vm.assertEq(verdict(wallet, wrapped(signed(KEY))), 1);
    }

    function test_AFactoryThatMakesAnotherWalletDoesNotSpeakForThisOne() public {
        vm.assertEq(verdict(address(0xA11CE), wrapped(signed(KEY))), 0);
    }

    function test_AShortSignatureIsRefused(bytes calldata signature) public {
        vm.assertEq(verdict(wallet, signature[:signature.length % 32]), 0);
    }

    function verdict(address asked, bytes memory signature) private returns (uint256) {
        bytes memory code = address(new SignatureValidator(asked, DIGEST, signature)).code;
        vm.assertEq(code.length, 1);
        return uint8(code[0]);
    }

    function signed(uint256 key) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, replaySafe(wallet, DIGEST));
        return abi.encode(SmartWallet.Wrapper(0, abi.encodePacked(r, s, v)));
    }

    function wrapped(bytes memory inner) private view returns (bytes memory) {
        bytes memory creation = abi.encodeCall(SmartWalletFactory.createAccount, (owners, 0));
        return abi.encodePacked(abi.encode(address(factory), creation, inner), WRAPPED);
    }
}
