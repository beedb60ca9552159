// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Platform} from "../foundation/Platform.sol";

contract SetGateTest is Platform {
    function test_TheOrganizerEnablesAGateForATerm() public {
        vm.expectEmit(address(poap));
        emit IPoap.GateSet(eventId, gate, 5, 9);
        vm.prank(organizer);
        poap.setGate(eventId, gate, 5, 9);
        (uint40 from, uint40 until) = poap.gateTerm(eventId, gate);
        vm.assertEq(from, 5);
        vm.assertEq(until, 9);
    }

    function test_OnlyTheEventsOrganizerEnablesGates() public {
        vm.expectRevert(IPoap.Poap_OnlyOrganizer.selector);
        vm.prank(admin);
        poap.setGate(eventId, gate, 0, END);
        vm.prank(bob);
        (uint256 other,) = factory.createEvent("Other", "", 0, 1, START, END);
        vm.expectRevert(IPoap.Poap_OnlyOrganizer.selector);
        vm.prank(organizer);
        poap.setGate(other, gate, 0, END);
    }

    function test_AnEventThatDoesNotExistHasNoGates() public {
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_NoSuchEvent.selector, 9));
        vm.prank(organizer);
        poap.setGate(9, gate, 0, END);
    }

    function testFuzz_ATermIsNotEmpty(uint40 from, uint40 until) public {
        if (until != 0 && until <= from) vm.expectRevert(IPoap.Poap_BadTerm.selector);
        vm.prank(organizer);
        poap.setGate(eventId, gate, from, until);
    }

    function test_NobodyIsAGate() public {
        vm.expectRevert(IPoap.Poap_BadTerm.selector);
        vm.prank(organizer);
        poap.setGate(eventId, address(0), 0, END);
    }
}
