// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Rejecter} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

contract WithdrawFeesTest is Platform {
    uint256 private constant FEE = (uint256(PRICE) * 10 * FEE_BPS) / 10_000;

    function test_AnyoneSendsTheFeeToTheTreasury() public {
        _withdraw();
        vm.expectEmit(address(tickets));
        emit IEventTicket.FeesWithdrawn(treasury, FEE);
        vm.prank(bob);
        tickets.withdrawFees();
        vm.assertEq(treasury.balance, FEE);
        vm.assertEq(tickets.escrow().feesWei, FEE);
        vm.assertEq(address(tickets).balance, 0);
    }

    function test_ThereIsNoFeeBeforeTheOrganizersWithdrawal() public {
        buy(alice, 0, 10);
        vm.warp(END);
        vm.expectRevert(IEventTicket.EventTicket_NothingToWithdraw.selector);
        tickets.withdrawFees();
    }

    function test_TheFeeIsPaidOnce() public {
        _withdraw();
        tickets.withdrawFees();
        vm.expectRevert(IEventTicket.EventTicket_NothingToWithdraw.selector);
        tickets.withdrawFees();
    }

    function test_ACancelledEventPaysNoFee() public {
        buy(alice, 0, 10);
        cancel();
        vm.warp(END);
        vm.expectRevert(IEventTicket.EventTicket_NothingToWithdraw.selector);
        tickets.withdrawFees();
    }

    function test_ATreasuryThatRefusesEtherHoldsUpNoOrganizer() public {
        Rejecter rejecter = new Rejecter();
        vm.prank(admin);
        factory.setTreasury(address(rejecter));
        _withdraw();
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_PaymentFailed.selector, address(rejecter), FEE)
        );
        tickets.withdrawFees();
        vm.prank(admin);
        factory.setTreasury(treasury);
        tickets.withdrawFees();
        vm.assertEq(treasury.balance, FEE);
    }

    function _withdraw() private {
        buy(alice, 0, 10);
        vm.warp(END);
        vm.prank(organizer);
        tickets.withdraw();
    }
}
