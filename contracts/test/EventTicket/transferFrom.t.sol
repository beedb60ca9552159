// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module, Wallet} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";

contract TransferFromTest is Platform {
    Module private module;

    function setUp() public override {
        super.setUp();
        module = new Module();
        buy(alice, 0, 2);
    }

    function test_AFreeGiftIsNotCounted() public {
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 1);
        vm.prank(bob);
        tickets.safeTransferFrom(bob, carol, 1);
        vm.assertEq(tickets.ownerOf(1), carol);
        vm.assertEq(tickets.ticket(1).gifts, 0);
        vm.assertEq(tickets.ticket(1).pricePaidWei, PRICE);
    }

    function testFuzz_ALimitedTicketIsGivenAwaySoManyTimes(uint8 limit) public {
        limit = uint8(within(limit, 1, 12));
        EventTicket limited = _withPolicy(IEventTicket.GiftPolicy.Limited, limit, true);
        address[2] memory pair = [alice, bob];
        for (uint256 i = 0; i < limit; ++i) {
            vm.expectEmit(address(limited));
            emit IEventTicket.TicketGifted(1, i + 1);
            vm.expectEmit(address(limited));
            emit IERC721.Transfer(pair[i % 2], pair[(i + 1) % 2], 1);
            vm.prank(pair[i % 2]);
            limited.transferFrom(pair[i % 2], pair[(i + 1) % 2], 1);
            vm.assertEq(limited.ticket(1).gifts, i + 1);
        }
        address holder = limited.ownerOf(1);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_GiftsUsedUp.selector, limit));
        vm.prank(holder);
        limited.transferFrom(holder, carol, 1);
        vm.assertEq(limited.ticket(2).gifts, 0);
    }

    function test_AForbiddenGiftIsRefused() public {
        EventTicket strict = _withPolicy(IEventTicket.GiftPolicy.Forbidden, 0, true);
        vm.expectRevert(IEventTicket.EventTicket_GiftForbidden.selector);
        vm.prank(alice);
        strict.transferFrom(alice, bob, 1);
        vm.expectRevert(IEventTicket.EventTicket_GiftForbidden.selector);
        vm.prank(alice);
        strict.safeTransferFrom(alice, bob, 1, "");
    }

    function test_AGiftToAContractNeedsTheRulesLeave() public {
        EventTicket shy = _withPolicy(IEventTicket.GiftPolicy.Free, 0, false);
        Wallet wallet = new Wallet();
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_GiftToContract.selector, address(wallet))
        );
        vm.prank(alice);
        shy.transferFrom(alice, address(wallet), 1);
        vm.prank(alice);
        shy.transferFrom(alice, bob, 1);
    }

    function test_AnAccountWithADelegationIsAWalletAndNoContract() public {
        EventTicket shy = _withPolicy(IEventTicket.GiftPolicy.Free, 0, false);
        vm.etch(bob, abi.encodePacked(hex"ef0100", address(module)));
        vm.prank(alice);
        shy.transferFrom(alice, bob, 1);
        vm.etch(carol, abi.encodePacked(hex"ef0200", address(module)));
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_GiftToContract.selector, carol));
        vm.prank(alice);
        shy.transferFrom(alice, carol, 2);
    }

    function testFuzz_AStrangersApprovalMovesNothing(bool forAll) public {
        vm.prank(alice);
        if (forAll) tickets.setApprovalForAll(bob, true);
        else tickets.approve(bob, 1);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_OperatorNotTrusted.selector, bob));
        vm.prank(bob);
        tickets.transferFrom(alice, carol, 1);
    }

    function test_ATrustedModuleWithoutTheHoldersApprovalMovesNothing() public {
        trust(address(module));
        vm.expectRevert(
            abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, address(module), 1)
        );
        module.move(tickets, alice, bob, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, address(module), 1)
        );
        module.recover(tickets, 1, bob);
    }

    function test_AnApprovedModuleMovesATicketThatItsHolderMayNotGive() public {
        EventTicket strict = _withPolicy(IEventTicket.GiftPolicy.Forbidden, 0, false);
        trust(address(module));
        vm.prank(alice);
        strict.approve(address(module), 1);
        module.move(strict, alice, bob, 1);
        vm.assertEq(strict.ownerOf(1), bob);
        vm.expectRevert(
            abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, address(module), 1)
        );
        module.move(strict, bob, alice, 1);
    }

    function test_AModuleThatIsNoLongerTrustedMovesNothing() public {
        trust(address(module));
        vm.prank(alice);
        tickets.setApprovalForAll(address(module), true);
        vm.prank(admin);
        factory.setModule(address(module), false);
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_OperatorNotTrusted.selector, address(module))
        );
        module.move(tickets, alice, bob, 1);
    }

    function test_ATicketInAModulesCustodyMovesWithoutBeingAGift() public {
        EventTicket strict = _withPolicy(IEventTicket.GiftPolicy.Forbidden, 0, false);
        trust(address(module));
        vm.prank(alice);
        strict.approve(address(module), 1);
        module.move(strict, alice, address(module), 1);
        module.move(strict, address(module), bob, 1);
        vm.assertEq(strict.ownerOf(1), bob);
    }

    function test_ATicketThatDoesNotExistDoesNotMove() public {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 9));
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 9);
    }

    function test_UsedAndRefundedTicketsStay() public {
        admit(1);
        _refusesFor(1, IEventTicket.TicketState.Used);
        cancel();
        vm.prank(alice);
        tickets.refund(2);
        _refusesFor(2, IEventTicket.TicketState.Refunded);
    }

    function _refusesFor(uint256 tokenId, IEventTicket.TicketState state) private {
        bytes memory refusal =
            abi.encodeWithSelector(IEventTicket.EventTicket_WrongState.selector, tokenId, state);
        vm.expectRevert(refusal);
        vm.prank(alice);
        tickets.transferFrom(alice, bob, tokenId);
        trust(address(module));
        vm.prank(alice);
        tickets.setApprovalForAll(address(module), true);
        vm.expectRevert(refusal);
        module.move(tickets, alice, bob, tokenId);
        vm.expectRevert(refusal);
        module.recover(tickets, tokenId, bob);
        vm.expectRevert(refusal);
        module.lock(tickets, tokenId);
    }

    function _withPolicy(IEventTicket.GiftPolicy policy, uint8 maxGifts, bool toContracts)
        private
        returns (EventTicket clone)
    {
        clone = createWith(IEventTicket.Rules(policy, maxGifts, toContracts, 0, 0));
        buyOf(clone, alice, 0, 2);
    }
}
