// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Reenterer} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice Whoever is paid or handed a ticket calls back in the middle of it.
contract ReentrancyTest is Platform {
    Reenterer private thief;

    function setUp() public override {
        super.setUp();
        thief = new Reenterer();
        vm.deal(address(thief), 10 ether);
        buy(bob, 0, 3);
    }

    function test_ARefundCannotBeTakenTwice() public {
        _buyForThief(2);
        cancel();
        thief.prepare(address(tickets), abi.encodeCall(tickets.refund, (4)));
        _runThief(abi.encodeCall(tickets.refund, (4)));
        _triedInVain();
        vm.assertEq(tickets.escrow().refundedWei, PRICE);
        vm.assertEq(address(tickets).balance, PRICE * 4);
    }

    function test_ARefundCannotStartAnotherTicketsRefund() public {
        _buyForThief(2);
        cancel();
        thief.prepare(address(tickets), abi.encodeCall(tickets.refund, (5)));
        _runThief(abi.encodeCall(tickets.refund, (4)));
        _triedInVain();
    }

    function test_ARefundedTicketCannotBeGivenAwayInItsOwnRefund() public {
        _buyForThief(1);
        cancel();
        thief.prepare(address(tickets), abi.encodeCall(tickets.transferFrom, (address(thief), alice, 4)));
        _runThief(abi.encodeCall(tickets.refund, (4)));
        _triedInVain();
        vm.assertEq(tickets.ownerOf(4), address(thief));
    }

    function test_AnOrganizerCannotWithdrawTwice() public {
        bytes memory data = abi.encodeWithSignature(
            "createEvent(string,string,uint256,uint256,uint256,uint256)", "Trap", "", PRICE, 10, START, END
        );
        (, address at) = abi.decode(thief.run(address(factory), 0, data), (uint256, address));
        tickets = EventTicket(at);
        buy(bob, 0, 5);
        vm.warp(END);
        thief.prepare(at, abi.encodeCall(tickets.withdraw, ()));
        _runThief(abi.encodeCall(tickets.withdraw, ()));
        _triedInVain();
        vm.assertEq(at.balance, (uint256(PRICE) * 5 * FEE_BPS) / 10_000);
    }

    function test_AnOrganizerCannotCancelWhileItIsPaid() public {
        bytes memory data = abi.encodeWithSignature(
            "createEvent(string,string,uint256,uint256,uint256,uint256)", "Trap", "", PRICE, 10, START, END
        );
        (, address at) = abi.decode(thief.run(address(factory), 0, data), (uint256, address));
        tickets = EventTicket(at);
        buy(bob, 0, 5);
        vm.warp(END);
        thief.prepare(at, abi.encodeCall(tickets.cancelEvent, ()));
        _runThief(abi.encodeCall(tickets.withdraw, ()));
        _triedInVain();
        vm.assertFalse(tickets.cancelled());
    }

    function test_ATreasuryCannotTakeItsFeeTwice() public {
        vm.prank(admin);
        factory.setTreasury(address(thief));
        vm.warp(END);
        vm.prank(organizer);
        tickets.withdraw();
        thief.prepare(address(tickets), abi.encodeCall(tickets.withdrawFees, ()));
        tickets.withdrawFees();
        _triedInVain();
        vm.assertEq(address(tickets).balance, 0);
    }

    function test_AReceiverThatPassesAGiftOnInItsCallbackIsCountedTwice() public {
        tickets = createWith(IEventTicket.Rules(IEventTicket.GiftPolicy.Limited, 1, true, 0, 0));
        buy(bob, 0, 1);
        thief.prepare(address(tickets), abi.encodeCall(tickets.transferFrom, (address(thief), alice, 1)));
        vm.prank(bob);
        tickets.safeTransferFrom(bob, address(thief), 1);
        _triedInVain();
        vm.assertEq(tickets.ownerOf(1), address(thief));
    }

    function test_ARecipientOfAPurchaseIsNotCalled() public {
        thief.prepare(address(tickets), abi.encodeCall(tickets.transferFrom, (address(thief), alice, 4)));
        _buyForThief(1);
        vm.assertFalse(thief.tried());
        vm.assertEq(tickets.ownerOf(4), address(thief));
    }

    function _buyForThief(uint256 quantity) private {
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE * quantity}(address(thief), quantity);
    }

    function _runThief(bytes memory data) private {
        thief.run(address(tickets), 0, data);
    }

    function _triedInVain() private view {
        vm.assertTrue(thief.tried());
        vm.assertFalse(thief.succeeded());
    }
}
