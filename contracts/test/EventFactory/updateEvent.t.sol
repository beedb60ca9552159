// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";

contract UpdateEventTest is Platform {
    function test_TheOrganizerReplacesMetadataAndMovesTheSchedule() public {
        vm.expectEmit(address(factory));
        emit IEventFactory.EventUpdated(eventId, "ipfs://new", keccak256("new"), START + 1 days, END + 2 days);
        _update("ipfs://new", keccak256("new"), START + 1 days, END + 2 days);
        vm.assertEq(tickets.metadataURI(), "ipfs://new");
        vm.assertEq(tickets.metadataHash(), keccak256("new"));
        vm.assertEq(tickets.startTime(), START + 1 days);
        vm.assertEq(tickets.endTime(), END + 2 days);
    }

    function test_OnlyTheOrganizerUpdates() public {
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_NotOrganizer.selector, alice));
        vm.prank(alice);
        factory.updateEvent(eventId, "", 0, START, END);
    }

    function test_AnEventThatDoesNotExistIsNotUpdated() public {
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_NoSuchEvent.selector, 9));
        vm.prank(organizer);
        factory.updateEvent(9, "", 0, START, END);
    }

    function test_TheEndNeverMovesEarlier() public {
        _refuses(START, END - 1);
    }

    function test_TheEndStaysWithinTenYears() public {
        _refuses(START, uint40(NOW + 3650 days) + 1);
        _update("", 0, START, uint40(NOW + 3650 days));
    }

    function test_TheStartLiesAheadAndBeforeTheEnd() public {
        _refuses(uint40(NOW), END);
        _refuses(END, END);
        _update("", 0, uint40(NOW + 1), END);
    }

    function test_ARunningEventKeepsItsStart() public {
        vm.warp(START);
        _refuses(START - 1, END);
        _update("ipfs://room-change", 0, START, END + 1 hours);
        vm.assertEq(tickets.endTime(), END + 1 hours);
    }

    function test_AnEventThatIsOverStaysAsItWas() public {
        vm.warp(END);
        _refuses(START, END + 1 days);
    }

    function test_ACancelledEventStaysAsItWas() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(organizer);
        factory.updateEvent(eventId, "", 0, START, END);
    }

    function test_AMetadataAddressHasAtMost512Bytes() public {
        vm.expectRevert(IEventFactory.EventFactory_BadMetadata.selector);
        _update(string(new bytes(513)), 0, START, END);
    }

    function _update(string memory uri, bytes32 hash, uint40 start, uint40 end) private {
        vm.prank(organizer);
        factory.updateEvent(eventId, uri, hash, start, end);
    }

    function _refuses(uint40 start, uint40 end) private {
        vm.expectRevert(IEventFactory.EventFactory_BadSchedule.selector);
        vm.prank(organizer);
        factory.updateEvent(eventId, "", 0, start, end);
    }
}
