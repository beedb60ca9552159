// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IERC5192} from "../../src/interfaces/IERC5192.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Platform} from "../foundation/Platform.sol";

contract CheckInAttendeeTest is Platform {
    function setUp() public override {
        super.setUp();
        buy(alice, 0, 2);
    }

    function test_TheHolderIsAdmittedAndGetsThePoap() public {
        enableGate();
        uint256 id = (eventId << 128) | 1;
        vm.expectEmit(address(tickets));
        emit IEventTicket.TicketUsed(1);
        vm.expectEmit(address(poap));
        emit IERC5192.Locked(id);
        vm.expectEmit(address(poap));
        emit IPoap.CheckIn(alice, eventId, 1);
        vm.prank(gate);
        vm.assertEq(poap.checkInAttendee(eventId, 1), id);
        vm.assertEq(poap.ownerOf(id), alice);
        vm.assertTrue(poap.isCheckedIn(eventId, 1));
        vm.assertFalse(poap.isCheckedIn(eventId, 2));
        vm.assertTrue(poap.hasPOAP(alice, eventId));
        vm.assertFalse(poap.hasPOAP(bob, eventId));
        assertState(1, IEventTicket.TicketState.Used);
    }

    function test_AfterATransferTheNewHolderIsAdmitted() public {
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 1);
        uint256 id = admit(1);
        vm.assertEq(poap.ownerOf(id), bob);
        vm.assertFalse(poap.hasPOAP(alice, eventId));
    }

    function test_ATicketIsAdmittedOnce() public {
        admit(1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEventTicket.EventTicket_WrongState.selector, 1, IEventTicket.TicketState.Used
            )
        );
        vm.prank(gate);
        poap.checkInAttendee(eventId, 1);
    }

    function testFuzz_AGateAdmitsWithinItsTermOnly(uint40 time) public {
        time = uint40(within(time, START - 10, START + 20));
        vm.prank(organizer);
        poap.setGate(eventId, gate, START, START + 10);
        vm.warp(time);
        if (time < START || time >= START + 10) {
            vm.expectRevert(abi.encodeWithSelector(IPoap.Poap_GateNotEnabled.selector, gate));
        }
        vm.prank(gate);
        poap.checkInAttendee(eventId, 1);
    }

    function test_ADisabledGateAdmitsNobody() public {
        enableGate();
        vm.prank(organizer);
        poap.setGate(eventId, gate, uint40(NOW), 0);
        vm.expectRevert(abi.encodeWithSelector(IPoap.Poap_GateNotEnabled.selector, gate));
        vm.prank(gate);
        poap.checkInAttendee(eventId, 1);
    }

    function test_AGateIsOneEventsOnly() public {
        enableGate();
        (uint256 other, EventTicket second) = create(params());
        buyOf(second, alice, 0, 1);
        vm.expectRevert(abi.encodeWithSelector(IPoap.Poap_GateNotEnabled.selector, gate));
        vm.prank(gate);
        poap.checkInAttendee(other, 1);
    }

    function test_ATicketThatDoesNotExistIsNotAdmitted() public {
        enableGate();
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTicket.selector, 3));
        vm.prank(gate);
        poap.checkInAttendee(eventId, 3);
    }

    function test_ACancelledEventAdmitsNobody() public {
        enableGate();
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(gate);
        poap.checkInAttendee(eventId, 1);
    }

    function test_PausingDoesNotCloseTheDoor() public {
        vm.prank(admin);
        factory.pause();
        admit(1);
    }
}
