// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

contract BatchMintTicketsTest is Platform {
    function test_TheOrganizerHandsOutTicketsOfTierZeroForNothing() public {
        buy(carol, 1, 2);
        (address[] memory to, uint256[] memory ids) = _batch(3, 3);
        vm.expectEmit(address(tickets));
        emit IEventTicket.BatchMinted(eventId, 0, to, ids);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        for (uint256 id = 3; id <= 5; ++id) {
            vm.assertEq(tickets.ownerOf(id), to[id - 3]);
            vm.assertEq(tickets.ticket(id).pricePaidWei, 0);
            vm.assertEq(tickets.ticket(id).tierId, 0);
        }
        vm.assertEq(tickets.tier(0).sold, 3);
        vm.assertEq(tickets.ticketsMinted(), 5);
        vm.assertEq(tickets.escrow().paidInWei, VIP_PRICE * 2);
    }

    function test_ALongBatchKeepsItsTierAndPriceOnEveryTicket() public {
        buy(carol, 1, 1);
        (address[] memory to, uint256[] memory ids) = _batch(2, 70);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        buy(carol, 1, 1);
        for (uint256 id = 2; id <= 71; ++id) {
            vm.assertEq(tickets.ticket(id).pricePaidWei, 0);
        }
        vm.assertEq(tickets.ticket(72).pricePaidWei, VIP_PRICE);
    }

    function test_TheLastTicketOfTheLongestBatchIsLookedUpWithin50Reads() public {
        IEventFactory.EventParams memory p = params();
        (p.maxTickets, p.tiers[0].supply) = (200, 200);
        (, tickets) = create(p);
        (address[] memory to, uint256[] memory ids) = _batch(1, 200);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        uint256 before = gasleft();
        tickets.ticket(200);
        vm.assertLe(before - gasleft(), 50 * 3000);
    }

    function test_OnlyTheOrganizerHandsOutTickets() public {
        (address[] memory to, uint256[] memory ids) = _batch(1, 1);
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        vm.prank(alice);
        tickets.batchMintTickets(to, ids);
    }

    function test_OfTwoBatchesInFlightOneFails() public {
        (address[] memory to, uint256[] memory ids) = _batch(1, 2);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_UnexpectedTokenId.selector, 3, 1));
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
    }

    function testFuzz_IdsOtherThanTheNextInOrderAreRefused(uint256 position, uint256 wrong) public {
        (address[] memory to, uint256[] memory ids) = _batch(1, 5);
        position = within(position, 0, 4);
        vm.assume(wrong != position + 1);
        ids[position] = wrong;
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_UnexpectedTokenId.selector, position + 1, wrong)
        );
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
    }

    function test_ABatchIsNeitherEmptyNorTooLongNorUneven() public {
        vm.startPrank(organizer);
        (address[] memory to, uint256[] memory ids) = _batch(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_BadQuantity.selector, 0, 200));
        tickets.batchMintTickets(to, ids);
        (to, ids) = _batch(1, 201);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_BadQuantity.selector, 201, 200));
        tickets.batchMintTickets(to, ids);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_BadQuantity.selector, 201, 200));
        tickets.batchMintTickets(to, new uint256[](3));
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_BadQuantity.selector, 2, 200));
        tickets.batchMintTickets(new address[](2), new uint256[](3));
    }

    function test_HandedOutTicketsCountAgainstTheTier() public {
        (address[] memory to, uint256[] memory ids) = _batch(1, 81);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SoldOut.selector, 0, 80));
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
    }

    function test_HandedOutTicketsCountAgainstTheEvent() public {
        for (uint256 i = 0; i < 4; ++i) {
            buy(alice, 1, 10);
        }
        (address[] memory to, uint256[] memory ids) = _batch(41, 61);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SoldOut.selector, 0, 60));
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
    }

    function test_NothingIsHandedOutAfterTheEndACancelOrWhilePaused() public {
        (address[] memory to, uint256[] memory ids) = _batch(1, 1);
        vm.prank(admin);
        factory.pause();
        vm.expectRevert(IEventTicket.EventTicket_Paused.selector);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        vm.prank(admin);
        factory.unpause();
        vm.warp(END);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SaleClosed.selector, END));
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
        vm.warp(NOW);
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
    }

    function test_NobodyIsTheZeroAddress() public {
        (address[] memory to, uint256[] memory ids) = _batch(1, 2);
        to[1] = address(0);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        vm.prank(organizer);
        tickets.batchMintTickets(to, ids);
    }

    function _batch(uint256 first, uint256 length)
        private
        view
        returns (address[] memory to, uint256[] memory ids)
    {
        to = new address[](length);
        ids = new uint256[](length);
        for (uint256 i = 0; i < length; ++i) {
            to[i] = i % 2 == 0 ? alice : bob;
            ids[i] = first + i;
        }
    }
}
