// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice The organizer changes something between a buyer's signature and its block.
contract PriceFrontRunningTest is Platform {
    function testFuzz_APriceChangedInFlightNeverTakesMoreThanTheBuyerSigned(uint96 newPrice, uint8 quantity)
        public
    {
        newPrice = uint96(within(newPrice, 0, 50 ether));
        quantity = uint8(within(quantity, 1, 10));
        uint256 agreed = uint256(PRICE) * quantity;
        vm.prank(organizer);
        tickets.setPrice(0, newPrice);
        uint256 before = alice.balance;
        vm.prank(alice);
        try tickets.purchaseTickets{value: agreed}(alice, 0, quantity, noProof()) {
            vm.assertEq(newPrice, PRICE);
            vm.assertEq(tickets.balanceOf(alice), quantity);
            vm.assertEq(before - alice.balance, agreed);
        } catch {
            vm.assertEq(tickets.balanceOf(alice), 0);
            vm.assertEq(alice.balance, before);
        }
    }

    function test_ACancelInFlightTakesNothing() public {
        cancel();
        uint256 before = alice.balance;
        vm.prank(alice);
        try tickets.purchaseTickets{value: PRICE}(alice, 1) {
            vm.assertTrue(false);
        } catch {}
        vm.assertEq(alice.balance, before);
    }

    function test_ATierAddedInFlightDoesNotChangeWhatANumberNames() public {
        vm.prank(organizer);
        tickets.addTier(tierParams(VIP_PRICE, 10));
        buy(alice, 1, 1);
        vm.assertEq(tickets.ticket(1).tierId, 1);
    }

    function test_APriceRaisedAndLoweredAgainLeavesEarlierTicketsAtTheirPrice() public {
        buy(alice, 0, 2);
        vm.startPrank(organizer);
        tickets.setPrice(0, 0);
        tickets.cancelEvent();
        vm.stopPrank();
        uint256 before = alice.balance;
        vm.prank(alice);
        tickets.refund(2);
        vm.assertEq(alice.balance - before, PRICE);
    }
}
