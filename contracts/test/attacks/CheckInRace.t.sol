// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice A check-in, a transfer, a lock and a refund meet in any order.
contract CheckInRaceTest is Platform {
    Module private module;

    function setUp() public override {
        super.setUp();
        module = new Module();
        trust(address(module));
        buy(alice, 0, 1);
        vm.prank(alice);
        tickets.setApprovalForAll(address(module), true);
        enableGate();
    }

    function testFuzz_WhateverTheOrderATicketLetsOneIn(uint8[8] memory moves) public {
        uint256 admissions;
        for (uint256 i = 0; i < moves.length; ++i) {
            uint256 kind = moves[i] % 6;
            address holder = tickets.ownerOf(1);
            bool wasUsed = stateOf(1) == IEventTicket.TicketState.Used;
            if (kind == 0) admissions += _gate();
            if (kind == 1) admissions += _voucher(holder);
            if (kind == 2) _try(holder, abi.encodeCall(tickets.transferFrom, (holder, bob, 1)));
            if (kind == 3) _try(address(module), abi.encodeCall(tickets.lock, (1)));
            if (kind == 4) _try(address(module), abi.encodeCall(tickets.unlock, (1)));
            if (kind == 5) _try(address(module), abi.encodeCall(tickets.recover, (1, carol)));
            if (wasUsed) {
                vm.assertEq(tickets.ownerOf(1), holder);
                assertState(1, IEventTicket.TicketState.Used);
            }
        }
        vm.assertLe(admissions, 1);
        vm.assertEq(admissions == 1, poap.isCheckedIn(eventId, 1));
        vm.assertEq(admissions == 1, stateOf(1) == IEventTicket.TicketState.Used);
    }

    function test_ATransferThatLosesTheRaceIsRefused() public {
        vm.prank(gate);
        poap.checkInAttendee(eventId, 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEventTicket.EventTicket_WrongState.selector, 1, IEventTicket.TicketState.Used
            )
        );
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 1);
    }

    function _gate() private returns (uint256) {
        vm.prank(gate);
        try poap.checkInAttendee(eventId, 1) {
            return 1;
        } catch {
            return 0;
        }
    }

    function _voucher(address holder) private returns (uint256) {
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](1);
        bytes[] memory signatures = new bytes[](1);
        vouchers[0] = IPoap.Voucher(eventId, 1, holder, uint40(NOW));
        signatures[0] = signed(vouchers[0], "gate");
        return poap.checkInBatch(vouchers, signatures);
    }

    function _try(address caller, bytes memory data) private {
        vm.prank(caller);
        (bool ok,) = address(tickets).call(data);
        ok;
    }
}
