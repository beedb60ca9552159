// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

contract LockTest is Platform {
    Module private module;
    Module private other;

    function setUp() public override {
        super.setUp();
        module = new Module();
        other = new Module();
        trust(address(module));
        trust(address(other));
        buy(alice, 0, 2);
        vm.startPrank(alice);
        tickets.setApprovalForAll(address(module), true);
        tickets.setApprovalForAll(address(other), true);
        vm.stopPrank();
    }

    function test_AnApprovedModuleHoldsATicketStill() public {
        vm.expectEmit(address(tickets));
        emit IEventTicket.TicketLocked(1, address(module));
        module.lock(tickets, 1);
        assertState(1, IEventTicket.TicketState.Locked);
        assertState(2, IEventTicket.TicketState.Valid);
        vm.assertEq(tickets.ownerOf(1), alice);
        vm.assertFalse(tickets.verifyTicket(1, alice));
    }

    function test_ALockedTicketIsNotItsHoldersToGive() public {
        module.lock(tickets, 1);
        vm.expectRevert(_locked());
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 1);
    }

    function test_OnlyTheModuleThatLockedATicketMovesIt() public {
        module.lock(tickets, 1);
        vm.expectRevert(_locked());
        other.move(tickets, alice, bob, 1);
        vm.expectRevert(_locked());
        other.recover(tickets, 1, bob);
        vm.expectRevert(_locked());
        other.lock(tickets, 1);
        module.move(tickets, alice, bob, 1);
        vm.assertEq(tickets.ownerOf(1), bob);
        assertState(1, IEventTicket.TicketState.Locked);
        module.unlock(tickets, 1);
        assertState(1, IEventTicket.TicketState.Valid);
    }

    function test_ALockedTicketIsNotRefundedUntilItIsUnlocked() public {
        module.lock(tickets, 1);
        cancel();
        vm.expectRevert(_locked());
        vm.prank(alice);
        tickets.refund(1);
        module.unlock(tickets, 1);
        vm.prank(alice);
        tickets.refund(1);
    }

    function test_NothingIsLockedAfterACancel() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        module.lock(tickets, 1);
    }

    function test_AStrangerLocksNothing() public {
        vm.expectRevert(IEventTicket.EventTicket_OnlyModule.selector);
        vm.prank(alice);
        tickets.lock(1);
    }

    function test_AModuleWithoutTheHoldersApprovalLocksNothing() public {
        buy(bob, 0, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, address(module), 3)
        );
        module.lock(tickets, 3);
    }

    function test_ATicketThatDoesNotExistIsNotLocked() public {
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTicket.selector, 9));
        module.lock(tickets, 9);
    }

    function _locked() private pure returns (bytes memory) {
        return abi.encodeWithSelector(
            IEventTicket.EventTicket_WrongState.selector, 1, IEventTicket.TicketState.Locked
        );
    }
}
