// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventFactory} from "../../src/EventFactory.sol";
import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice Parts always sum to the whole, down to the last wei.
contract RoundingTest is Platform {
    function testFuzz_ProceedsAndFeeAreTheWhole(uint96 price, uint8 quantity, uint16 fee) public {
        price = uint96(within(price, 1, 50 ether));
        quantity = uint8(within(quantity, 1, 10));
        vm.startPrank(admin);
        factory.setFee(uint16(within(fee, 0, 1000)));
        vm.warp(NOW + 1 days);
        vm.stopPrank();
        tickets = createWithTier(tierParams(price, 10));
        buy(alice, 0, quantity);
        vm.warp(END);
        uint256 before = organizer.balance;
        vm.prank(organizer);
        tickets.withdraw();
        uint256 proceeds = organizer.balance - before;
        uint256 set = address(tickets).balance;
        vm.assertEq(proceeds + set, uint256(price) * quantity);
        vm.assertLe(set * 10_000, uint256(price) * quantity * factory.feeBps());
        if (set != 0) tickets.withdrawFees();
        vm.assertEq(treasury.balance, set);
        vm.assertEq(address(tickets).balance, 0);
    }

    function testFuzz_AllRefundsAreTheWhole(uint96[4] memory prices, uint8[4] memory quantities) public {
        uint256 minted;
        for (uint256 i = 0; i < 4; ++i) {
            vm.prank(organizer);
            tickets.setPrice(0, within(prices[i], 0, 5 ether));
            uint256 quantity = within(quantities[i], 1, 10);
            buy(alice, 0, quantity);
            minted += quantity;
        }
        cancel();
        vm.startPrank(alice);
        for (uint256 id = 1; id <= minted; ++id) {
            tickets.refund(id);
        }
        vm.assertEq(address(tickets).balance, 0);
        vm.assertEq(alice.balance, 1000 ether);
        vm.assertEq(tickets.escrow().refundedWei, tickets.escrow().paidInWei);
    }
}
