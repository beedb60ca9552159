// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {GasBurner, Rejecter} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice Receivers that revert or burn gas try to hold up the others.
contract PushPaymentTest is Platform {
    function test_AnotherHoldersBehaviourNeverHoldsUpARefund() public {
        address burner = address(new GasBurner());
        address rejecter = address(new Rejecter());
        vm.startPrank(alice);
        tickets.purchaseTickets{value: PRICE}(burner, 1);
        tickets.purchaseTickets{value: PRICE}(rejecter, 1);
        tickets.purchaseTickets{value: PRICE}(alice, 1);
        vm.stopPrank();
        cancel();
        vm.prank(burner);
        try tickets.refund{gas: 1_000_000}(1) {
            vm.assertTrue(false);
        } catch {}
        vm.prank(rejecter);
        try tickets.refund(2) {
            vm.assertTrue(false);
        } catch {}
        uint256 before = alice.balance;
        vm.prank(alice);
        tickets.refund(3);
        vm.assertEq(alice.balance - before, PRICE);
    }

    function test_AHandOutToContractsThatRefuseTicketsGoesThrough() public {
        address[] memory to = new address[](2);
        uint256[] memory ids = new uint256[](2);
        (to[0], to[1], ids[0], ids[1]) = (address(factory), alice, 1, 2);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        vm.assertEq(tickets.ownerOf(2), alice);
    }

    function test_AnOrganizerThatRefusesEtherLeavesTheProceedsWhereTheyAre() public {
        address rejecter = address(new Rejecter());
        vm.prank(rejecter);
        (, address at) = factory.createEvent("Odd", "", PRICE, 10, START, END);
        vm.prank(alice);
        IEventTicket(at).purchaseTickets{value: PRICE}(alice, 1);
        vm.warp(END);
        vm.expectRevert();
        vm.prank(rejecter);
        IEventTicket(at).withdraw();
        vm.assertEq(at.balance, PRICE);
        vm.prank(rejecter);
        IEventTicket(at).cancelEvent();
        vm.prank(alice);
        IEventTicket(at).refund(1);
    }
}
