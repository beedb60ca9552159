// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

contract ReadingTest is Platform {
    function test_ATicketThatDoesNotExistHasNoFacts() public {
        bytes memory refusal = abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTicket.selector, 1);
        vm.expectRevert(refusal);
        tickets.ticket(1);
        vm.expectRevert(refusal);
        tickets.resaleCeiling(1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        tickets.tokenURI(1);
        vm.assertFalse(tickets.verifyTicket(1, address(0)));
    }

    function test_ATierThatDoesNotExistHasNoFacts() public {
        bytes memory refusal = abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTier.selector, 2);
        vm.expectRevert(refusal);
        tickets.tier(2);
        vm.expectRevert(refusal);
        tickets.available(2);
    }

    function test_AValidTicketIsVerifiedForItsHolderAlone() public {
        buy(alice, 0, 2);
        vm.assertTrue(tickets.verifyTicket(1, alice));
        vm.assertFalse(tickets.verifyTicket(1, bob));
        admit(1);
        vm.assertFalse(tickets.verifyTicket(1, alice));
        cancel();
        vm.assertFalse(tickets.verifyTicket(2, alice));
    }

    function testFuzz_TheResaleCeilingIsPinnedToThePriceFirstPaid(uint96 price, uint96 later, uint16 cap)
        public
    {
        price = uint96(within(price, 0, 90 ether));
        cap = uint16(within(cap, 10_000, type(uint16).max));
        EventTicket capped = createWith(IEventTicket.Rules(IEventTicket.GiftPolicy.Free, 0, true, cap, 0));
        vm.prank(organizer);
        capped.setPrice(0, price);
        buyOf(capped, alice, 0, 1);
        vm.prank(organizer);
        capped.setPrice(0, later);
        vm.assertEq(capped.resaleCeiling(1), (uint256(price) * cap) / 10_000);
    }

    function test_AnEventWithoutACapHasNoCeiling() public {
        buy(alice, 0, 1);
        vm.assertEq(tickets.resaleCeiling(1), type(uint256).max);
    }

    function testFuzz_TheRoyaltyGoesToTheOrganizer(uint256 price, uint16 bps) public {
        bps = uint16(within(bps, 0, 2000));
        EventTicket royal = createWith(IEventTicket.Rules(IEventTicket.GiftPolicy.Free, 0, true, 0, bps));
        (address receiver, uint256 amount) = royal.royaltyInfo(1, price);
        vm.assertEq(receiver, organizer);
        vm.assertLe(amount, price);
        if (price < type(uint256).max / 10_000) vm.assertEq(amount, (price * bps) / 10_000);
    }

    function test_ATicketsDocumentIsTheEvents() public {
        buy(alice, 0, 1);
        vm.assertEq(tickets.tokenURI(1), params().metadataURI);
    }

    function test_TheInterfacesAreNamed() public view {
        vm.assertTrue(tickets.supportsInterface(0x01ffc9a7)); // ERC-165
        vm.assertTrue(tickets.supportsInterface(0x80ac58cd)); // ERC-721
        vm.assertTrue(tickets.supportsInterface(0x5b5e139f)); // ERC-721 metadata
        vm.assertTrue(tickets.supportsInterface(0x2a55205a)); // ERC-2981
        vm.assertTrue(tickets.supportsInterface(0x49064906)); // ERC-4906
        vm.assertFalse(tickets.supportsInterface(0xffffffff));
    }
}
