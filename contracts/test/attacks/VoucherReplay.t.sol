// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {Poap} from "../../src/Poap.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice A gate's signature is used again, elsewhere, or bent into another form.
contract VoucherReplayTest is Platform {
    /// @dev The order of secp256k1.
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    IPoap.Voucher private voucher;
    bytes private signature;

    function setUp() public override {
        super.setUp();
        buy(alice, 0, 2);
        enableGate();
        voucher = IPoap.Voucher(eventId, 1, alice, uint40(NOW));
        signature = signed(voucher, "gate");
    }

    function test_AVoucherWorksOnce() public {
        vm.assertEq(_redeem(poap, voucher, signature), 1);
        vm.assertEq(_redeem(poap, voucher, signature), 0);
        vm.assertEq(poap.balanceOf(alice), 1);
    }

    function test_TheSameVoucherTwiceInABatchWorksOnce() public {
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](2);
        bytes[] memory signatures = new bytes[](2);
        (vouchers[0], vouchers[1]) = (voucher, voucher);
        (signatures[0], signatures[1]) = (signature, signature);
        vm.assertEq(poap.checkInBatch(vouchers, signatures), 1);
    }

    function test_ABentSignatureIsNoSignature() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("gate"), digestOf(voucher));
        bytes memory bent = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.assertEq(_redeem(poap, voucher, bent), 0);
        bytes32 compact = bytes32(uint256(s) | (uint256(v - 27) << 255));
        vm.assertEq(_redeem(poap, voucher, abi.encodePacked(r, compact)), 0);
        vm.assertEq(_redeem(poap, voucher, signature), 1);
    }

    function test_AVoucherOfAnotherContractIsNoVoucher() public {
        Poap other = new Poap(address(factory));
        vm.prank(organizer);
        other.setGate(eventId, gate, uint40(NOW), END);
        vm.assertEq(_redeem(other, voucher, signature), 0);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(keyOf("gate"), digestFor(voucher, address(other), block.chainid));
        vm.assertEq(_redeem(poap, voucher, abi.encodePacked(r, s, v)), 0);
    }

    function test_AVoucherOfAnotherChainIsNoVoucher() public {
        vm.chainId(block.chainid + 1);
        vm.assertEq(_redeem(poap, voucher, signature), 0);
    }

    function testFuzz_NoFieldOfAVoucherCanBeChanged(uint8 field, uint256 value) public {
        (uint256 other, EventTicket second) = create(params());
        buyOf(second, alice, 0, 1);
        vm.prank(organizer);
        poap.setGate(other, gate, uint40(NOW), END);
        IPoap.Voucher memory changed = voucher;
        field = field % 4;
        if (field == 0) changed.eventId = other;
        if (field == 1) changed.tokenId = 2;
        if (field == 2) changed.holder = address(uint160(within(value, 1, type(uint128).max)));
        if (field == 3) changed.admittedAt = uint40(within(value, NOW + 1, END - 1));
        vm.assertEq(_redeem(poap, changed, signature), 0);
    }

    function _redeem(Poap at, IPoap.Voucher memory v, bytes memory sig) private returns (uint256) {
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](1);
        bytes[] memory signatures = new bytes[](1);
        (vouchers[0], signatures[0]) = (v, sig);
        return at.checkInBatch(vouchers, signatures);
    }
}
