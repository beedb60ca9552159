// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";

contract WithdrawTest is Platform {
    function testFuzz_TheOrganizerGetsTheProceedsLessTheFee(uint96 price, uint256 quantity) public {
        price = uint96(within(price, 1, 5 ether));
        quantity = within(quantity, 1, 10);
        vm.prank(organizer);
        tickets.setPrice(0, price);
        buy(alice, 0, quantity);
        vm.warp(END);
        uint256 paid = price * quantity;
        uint256 fee = (paid * FEE_BPS) / 10_000;
        uint256 before = organizer.balance;
        vm.expectEmit(address(tickets));
        emit IEventTicket.Withdrawn(organizer, paid - fee);
        vm.prank(organizer);
        tickets.withdraw();
        vm.assertEq(organizer.balance - before, paid - fee);
        vm.assertEq(address(tickets).balance, fee);
        vm.assertEq(tickets.escrow().withdrawnWei, paid - fee);
    }

    function test_NothingIsWithdrawnBeforeTheEnd() public {
        buy(alice, 0, 1);
        vm.warp(END - 1);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NotEnded.selector, END));
        vm.prank(organizer);
        tickets.withdraw();
    }

    function test_AMovedEndMovesTheWithdrawal() public {
        buy(alice, 0, 1);
        vm.prank(organizer);
        factory.updateEvent(eventId, "", 0, START, END + 7 days);
        vm.warp(END);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NotEnded.selector, END + 7 days));
        vm.prank(organizer);
        tickets.withdraw();
    }

    function test_OnlyTheOrganizerWithdraws() public {
        buy(alice, 0, 1);
        vm.warp(END);
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        vm.prank(admin);
        tickets.withdraw();
    }

    function test_ACancelledEventsProceedsBelongToItsHolders() public {
        buy(alice, 0, 1);
        cancel();
        vm.warp(END);
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(organizer);
        tickets.withdraw();
    }

    function test_ProceedsAreWithdrawnOnce() public {
        buy(alice, 0, 1);
        vm.warp(END);
        vm.startPrank(organizer);
        tickets.withdraw();
        vm.expectRevert(IEventTicket.EventTicket_AlreadyWithdrawn.selector);
        tickets.withdraw();
    }

    function test_AnEventThatTookNothingHasNothingToWithdraw() public {
        vm.warp(END);
        vm.expectRevert(IEventTicket.EventTicket_NothingToWithdraw.selector);
        vm.prank(organizer);
        tickets.withdraw();
    }

    function test_TheFeeIsTheOneOfTheEventsCreation() public {
        buy(alice, 0, 10);
        vm.prank(admin);
        factory.setFee(1000);
        vm.warp(END);
        vm.prank(organizer);
        tickets.withdraw();
        vm.assertEq(tickets.escrow().withdrawnWei, PRICE * 10 - (PRICE * 10 * uint256(FEE_BPS)) / 10_000);
    }

    function test_PausingDoesNotBlockAWithdrawal() public {
        buy(alice, 0, 1);
        vm.warp(END);
        vm.prank(admin);
        factory.pause();
        vm.prank(organizer);
        tickets.withdraw();
    }
}
