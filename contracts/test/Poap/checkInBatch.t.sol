// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

contract CheckInBatchTest is Platform {
    function setUp() public override {
        super.setUp();
        buy(alice, 0, 5);
        enableGate();
    }

    function test_AnyoneRelaysAGatesVouchers() public {
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](3);
        bytes[] memory signatures = new bytes[](3);
        for (uint256 i = 0; i < 3; ++i) {
            vouchers[i] = _voucher(i + 1, alice);
            signatures[i] = signed(vouchers[i], "gate");
        }
        vm.prank(carol);
        vm.assertEq(poap.checkInBatch(vouchers, signatures), 3);
        vm.assertEq(poap.balanceOf(alice), 3);
        for (uint256 id = 1; id <= 3; ++id) {
            assertState(id, IEventTicket.TicketState.Used);
        }
    }

    function test_ThePoapIsWhoWasAdmittedsEvenIfTheTicketHasMoved() public {
        IPoap.Voucher memory v = _voucher(1, alice);
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 1);
        vm.assertEq(_redeem(v, signed(v, "gate")), 1);
        vm.assertTrue(poap.hasPOAP(alice, eventId));
        vm.assertFalse(poap.hasPOAP(bob, eventId));
    }

    function test_ABadVoucherDoesNotHoldUpTheOthers() public {
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](7);
        bytes[] memory signatures = new bytes[](7);
        vouchers[0] = _voucher(1, alice);
        vouchers[1] = IPoap.Voucher(99, 1, alice, uint40(NOW));
        vouchers[2] = _voucher(2, alice);
        vouchers[3] = _voucher(3, alice);
        vouchers[4] = _voucher(1, alice);
        vouchers[5] = _voucher(77, alice);
        vouchers[6] = _voucher(4, alice);
        for (uint256 i = 0; i < 7; ++i) {
            signatures[i] = signed(vouchers[i], i == 3 ? "stranger" : "gate");
        }
        signatures[2] = hex"1234";
        _expectSkip(99, 1, IPoap.SkipReason.UnknownEvent);
        _expectSkip(eventId, 2, IPoap.SkipReason.BadSignature);
        _expectSkip(eventId, 3, IPoap.SkipReason.GateNotEnabled);
        _expectSkip(eventId, 1, IPoap.SkipReason.AlreadyCheckedIn);
        _expectSkip(eventId, 77, IPoap.SkipReason.NotAdmissible);
        vm.assertEq(poap.checkInBatch(vouchers, signatures), 2);
        vm.assertTrue(poap.isCheckedIn(eventId, 1));
        vm.assertTrue(poap.isCheckedIn(eventId, 4));
        vm.assertFalse(poap.isCheckedIn(eventId, 2));
        vm.assertFalse(poap.isCheckedIn(eventId, 3));
    }

    function test_NobodyIsNoHolder() public {
        IPoap.Voucher memory v = _voucher(1, address(0));
        bytes memory signature = signed(v, "gate");
        _expectSkip(eventId, 1, IPoap.SkipReason.NotAdmissible);
        vm.assertEq(_redeem(v, signature), 0);
        assertState(1, IEventTicket.TicketState.Valid);
    }

    function test_ALockedTicketIsNotAdmitted() public {
        Module module = new Module();
        trust(address(module));
        vm.prank(alice);
        tickets.approve(address(module), 1);
        module.lock(tickets, 1);
        IPoap.Voucher memory v = _voucher(1, alice);
        bytes memory signature = signed(v, "gate");
        _expectSkip(eventId, 1, IPoap.SkipReason.NotAdmissible);
        vm.assertEq(_redeem(v, signature), 0);
    }

    function testFuzz_AVoucherHoldsWithinTheGatesTermOnly(uint40 admittedAt) public {
        vm.prank(organizer);
        poap.setGate(eventId, gate, START, START + 10);
        vm.warp(END + 5 days);
        admittedAt = uint40(within(admittedAt, START - 10, START + 20));
        IPoap.Voucher memory v = IPoap.Voucher(eventId, 1, alice, admittedAt);
        bool holds = admittedAt >= START && admittedAt < START + 10;
        vm.assertEq(_redeem(v, signed(v, "gate")), holds ? 1 : 0);
    }

    function test_ATakenBackGatesVouchersAreWorthless() public {
        IPoap.Voucher memory v = _voucher(1, alice);
        bytes memory signature = signed(v, "gate");
        vm.prank(organizer);
        poap.setGate(eventId, gate, uint40(NOW), 0);
        vm.assertEq(_redeem(v, signature), 0);
    }

    function testFuzz_AForgedSignatureAdmitsNobody(bytes memory signature) public {
        IPoap.Voucher memory v = _voucher(1, alice);
        vm.assertEq(_redeem(v, signature), 0);
        assertState(1, IEventTicket.TicketState.Valid);
    }

    function testFuzz_ATokenIdOutsideItsHalfAdmitsNobody(uint256 tokenId, uint256 id) public {
        vm.assume(tokenId == 0 || tokenId > 5);
        id = id % 4;
        admit(1);
        IPoap.Voucher memory v = IPoap.Voucher(id, tokenId, alice, uint40(NOW));
        vm.assertEq(_redeem(v, signed(v, "gate")), 0);
        vm.assertFalse(poap.isCheckedIn(id, tokenId));
        vm.assertFalse(poap.isCheckedIn(0, (eventId << 128) | 1));
    }

    function test_ABatchIsNeitherEmptyNorTooLongNorUneven() public {
        vm.expectRevert(IPoap.Poap_BadBatch.selector);
        poap.checkInBatch(new IPoap.Voucher[](0), new bytes[](0));
        vm.expectRevert(IPoap.Poap_BadBatch.selector);
        poap.checkInBatch(new IPoap.Voucher[](201), new bytes[](201));
        vm.expectRevert(IPoap.Poap_BadBatch.selector);
        poap.checkInBatch(new IPoap.Voucher[](2), new bytes[](1));
        vm.assertEq(poap.checkInBatch(new IPoap.Voucher[](200), new bytes[](200)), 0);
    }

    function _voucher(uint256 tokenId, address holder) private view returns (IPoap.Voucher memory) {
        return IPoap.Voucher(eventId, tokenId, holder, uint40(NOW));
    }

    function _redeem(IPoap.Voucher memory v, bytes memory signature) private returns (uint256) {
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](1);
        bytes[] memory signatures = new bytes[](1);
        (vouchers[0], signatures[0]) = (v, signature);
        return poap.checkInBatch(vouchers, signatures);
    }

    function _expectSkip(uint256 id, uint256 tokenId, IPoap.SkipReason reason) private {
        vm.expectEmit(address(poap));
        emit IPoap.VoucherSkipped(id, tokenId, reason);
    }
}
