// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";

contract AddTierTest is Platform {
    function test_AnAddedTierSellsAtOnce() public {
        IEventTicket.TierParams memory t = tierParams(1 ether, 5);
        vm.expectEmit(address(tickets));
        emit IEventTicket.TierAdded(2, t);
        vm.prank(organizer);
        vm.assertEq(tickets.addTier(t), 2);
        vm.assertEq(tickets.tierCount(), 3);
        buy(alice, 2, 5);
        vm.assertEq(tickets.ticket(1).tierId, 2);
        vm.assertEq(tickets.available(2), 0);
    }

    function test_OnlyTheOrganizerAddsTiers() public {
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        vm.prank(alice);
        tickets.addTier(tierParams(1, 1));
    }

    function test_AnEventHasAtMostTwentyTiers() public {
        vm.startPrank(organizer);
        for (uint256 i = 2; i < 20; ++i) {
            tickets.addTier(tierParams(1, 1));
        }
        vm.expectRevert(IEventTicket.EventTicket_BadTier.selector);
        tickets.addTier(tierParams(1, 1));
    }

    function test_ACancelledEventGetsNoTier() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(organizer);
        tickets.addTier(tierParams(1, 1));
    }

    function test_ATierNeedsASupply() public {
        _refuses(tierParams(PRICE, 0));
    }

    function testFuzz_APurchaseLimitIsBetweenOneAndFifty(uint8 limit) public {
        IEventTicket.TierParams memory t = tierParams(PRICE, 10);
        t.maxPerPurchase = limit;
        if (limit == 0 || limit > 50) {
            _refuses(t);
        } else {
            vm.prank(organizer);
            tickets.addTier(t);
            vm.assertEq(tickets.tier(2).maxPerPurchase, limit);
        }
    }

    function testFuzz_ASaleWindowIsNotEmptyAndWithinTheEvent(uint40 start, uint40 end) public {
        (start, end) = (uint40(within(start, 0, END + 10)), uint40(within(end, 0, END + 10)));
        IEventTicket.TierParams memory t = tierParams(PRICE, 10);
        (t.saleStart, t.saleEnd) = (start, end);
        bool holds = start < END && end <= END && (end == 0 || start < end);
        if (!holds) {
            _refuses(t);
        } else {
            vm.prank(organizer);
            tickets.addTier(t);
            vm.assertEq(tickets.tier(2).saleStart, start);
            vm.assertEq(tickets.tier(2).saleEnd, end);
        }
    }

    function test_ASaleThatOpensWithTheEventsEndIsEmpty() public {
        IEventTicket.TierParams memory t = tierParams(PRICE, 10);
        t.saleStart = END;
        _refuses(t);
        (t.saleStart, t.saleEnd) = (END - 1, END - 1);
        _refuses(t);
        t.saleEnd = END + 1;
        _refuses(t);
        t.saleEnd = END;
        vm.prank(organizer);
        tickets.addTier(t);
    }

    function _refuses(IEventTicket.TierParams memory t) private {
        vm.expectRevert(IEventTicket.EventTicket_BadTier.selector);
        vm.prank(organizer);
        tickets.addTier(t);
    }
}
