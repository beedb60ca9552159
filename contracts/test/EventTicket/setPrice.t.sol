// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";

contract SetPriceTest is Platform {
    function testFuzz_LaterPurchasesCostTheNewPrice(uint96 newPrice) public {
        vm.assume(newPrice < 10 ether);
        buy(alice, 1, 1);
        vm.expectEmit(address(tickets));
        emit IEventTicket.PriceUpdated(1, VIP_PRICE, newPrice);
        vm.prank(organizer);
        tickets.setPrice(1, newPrice);
        buy(bob, 1, 1);
        vm.assertEq(tickets.ticket(1).pricePaidWei, VIP_PRICE);
        vm.assertEq(tickets.ticket(2).pricePaidWei, newPrice);
        vm.assertEq(tickets.tier(0).priceWei, PRICE);
        vm.assertEq(tickets.tier(1).sold, 2);
    }

    function test_OnlyTheOrganizerSetsPrices() public {
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        vm.prank(admin);
        tickets.setPrice(0, 1);
    }

    function test_APriceFitsItsBounds() public {
        vm.startPrank(organizer);
        tickets.setPrice(0, type(uint96).max);
        vm.expectRevert(IEventTicket.EventTicket_BadTier.selector);
        tickets.setPrice(0, uint256(type(uint96).max) + 1);
    }

    function test_ATierThatDoesNotExistHasNoPrice() public {
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTier.selector, 2));
        vm.prank(organizer);
        tickets.setPrice(2, 1);
    }

    function test_ACancelledEventHasNoPricesToSet() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(organizer);
        tickets.setPrice(0, 1);
    }
}
