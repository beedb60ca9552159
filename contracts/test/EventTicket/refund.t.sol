// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Rejecter, Wallet} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

contract RefundTest is Platform {
    function testFuzz_AHolderGetsBackWhatWasFirstPaid(uint96 oldPrice, uint96 newPrice, uint256 pick) public {
        oldPrice = uint96(within(oldPrice, 0, 5 ether));
        newPrice = uint96(within(newPrice, 0, 5 ether));
        vm.prank(organizer);
        tickets.setPrice(0, oldPrice);
        buy(alice, 0, 10);
        vm.prank(organizer);
        tickets.setPrice(0, newPrice);
        buy(alice, 0, 10);
        cancel();
        uint256 id = within(pick, 1, 20);
        uint256 due = id <= 10 ? oldPrice : newPrice;
        uint256 before = alice.balance;
        vm.expectEmit(address(tickets));
        emit IEventTicket.Refunded(id, alice, due);
        vm.prank(alice);
        tickets.refund(id);
        vm.assertEq(alice.balance - before, due);
        vm.assertEq(tickets.escrow().refundedWei, due);
        assertState(id, IEventTicket.TicketState.Refunded);
    }

    function test_TheRefundGoesToWhoHoldsTheTicketNow() public {
        buy(alice, 0, 1);
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 1);
        cancel();
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NotHolder.selector, alice));
        vm.prank(alice);
        tickets.refund(1);
        uint256 before = bob.balance;
        vm.prank(bob);
        tickets.refund(1);
        vm.assertEq(bob.balance - before, PRICE);
    }

    function test_ATicketIsRefundedOnce() public {
        buy(alice, 0, 2);
        cancel();
        vm.startPrank(alice);
        tickets.refund(1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEventTicket.EventTicket_WrongState.selector, 1, IEventTicket.TicketState.Refunded
            )
        );
        tickets.refund(1);
    }

    function test_NothingIsRefundedWhileTheEventStands() public {
        buy(alice, 0, 1);
        vm.expectRevert(IEventTicket.EventTicket_NotCancelled.selector);
        vm.prank(alice);
        tickets.refund(1);
    }

    function test_ATicketThatDoesNotExistIsNotRefunded() public {
        buy(alice, 0, 1);
        cancel();
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTicket.selector, 2));
        vm.prank(alice);
        tickets.refund(2);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTicket.selector, 0));
        vm.prank(alice);
        tickets.refund(0);
    }

    function test_AUsedTicketIsRefundedToo() public {
        buy(alice, 0, 1);
        admit(1);
        cancel();
        vm.prank(alice);
        tickets.refund(1);
        assertState(1, IEventTicket.TicketState.Refunded);
    }

    function test_AHandedOutTicketIsRefundedNothing() public {
        address[] memory to = new address[](1);
        uint256[] memory ids = new uint256[](1);
        (to[0], ids[0]) = (alice, 1);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        buy(bob, 0, 1);
        cancel();
        uint256 before = alice.balance;
        vm.prank(alice);
        tickets.refund(1);
        vm.assertEq(alice.balance, before);
        assertState(1, IEventTicket.TicketState.Refunded);
    }

    function test_PausingDoesNotBlockARefund() public {
        buy(alice, 0, 1);
        cancel();
        vm.prank(admin);
        factory.pause();
        vm.prank(alice);
        tickets.refund(1);
    }

    function test_AHolderThatRefusesEtherLosesNothingAndHoldsUpNobody() public {
        Rejecter rejecter = new Rejecter();
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE}(address(rejecter), 1);
        buy(bob, 0, 1);
        cancel();
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_PaymentFailed.selector, address(rejecter), PRICE)
        );
        vm.prank(address(rejecter));
        tickets.refund(1);
        assertState(1, IEventTicket.TicketState.Valid);
        vm.prank(bob);
        tickets.refund(2);
        Wallet wallet = new Wallet();
        vm.prank(address(rejecter));
        tickets.transferFrom(address(rejecter), address(wallet), 1);
        vm.prank(address(wallet));
        tickets.refund(1);
        vm.assertEq(address(wallet).balance, PRICE);
    }
}
