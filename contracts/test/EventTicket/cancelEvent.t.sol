// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";

contract CancelEventTest is Platform {
    function test_ACancelIsAnnouncedByTheFactory() public {
        vm.expectEmit(address(factory));
        emit IEventFactory.EventCancelled(eventId);
        cancel();
        vm.assertTrue(tickets.cancelled());
    }

    function test_OnlyTheOrganizerCancels() public {
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        vm.prank(admin);
        tickets.cancelEvent();
    }

    function test_AnEventIsCancelledOnce() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        cancel();
    }

    function test_AfterTheEndAnEventMayStillBeCancelled() public {
        buy(alice, 0, 1);
        vm.warp(END + 1 days);
        cancel();
        vm.prank(alice);
        tickets.refund(1);
    }

    function test_AfterAWithdrawalNothingIsCancelled() public {
        buy(alice, 0, 1);
        vm.warp(END);
        vm.prank(organizer);
        tickets.withdraw();
        vm.expectRevert(IEventTicket.EventTicket_AlreadyWithdrawn.selector);
        cancel();
    }

    function test_PausingDoesNotBlockACancel() public {
        vm.prank(admin);
        factory.pause();
        cancel();
    }
}
