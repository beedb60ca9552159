// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice The admin's key is in the wrong hands.
contract AdminPowerTest is Platform {
    function setUp() public override {
        super.setUp();
        buy(alice, 0, 2);
    }

    function test_APausedPlatformStillRefundsTransfersAdmitsAndPays() public {
        vm.prank(admin);
        factory.pause();
        vm.prank(alice);
        tickets.transferFrom(alice, bob, 2);
        admit(1);
        cancel();
        vm.prank(alice);
        tickets.refund(1);
        vm.prank(bob);
        tickets.refund(2);
        vm.assertEq(address(tickets).balance, 0);
    }

    function test_TheAdminTakesNoTicketAndNoMoney() public {
        Module module = new Module();
        trust(address(module));
        vm.expectRevert();
        module.recover(tickets, 1, admin);
        vm.expectRevert();
        module.lock(tickets, 1);
        vm.warp(END);
        vm.startPrank(admin);
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        tickets.withdraw();
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        tickets.cancelEvent();
        vm.expectRevert(IEventTicket.EventTicket_NothingToWithdraw.selector);
        tickets.withdrawFees();
        vm.expectRevert(IEventTicket.EventTicket_OnlyCheckIn.selector);
        tickets.markUsed(1);
    }

    function test_TheKeyIsHandedOverInTwoStepsWithADayBetween() public {
        vm.prank(admin);
        factory.beginDefaultAdminTransfer(bob);
        vm.assertEq(factory.defaultAdmin(), admin);
        vm.expectRevert();
        vm.prank(bob);
        factory.acceptDefaultAdminTransfer();
        vm.warp(NOW + 1 days + 1);
        vm.prank(bob);
        factory.acceptDefaultAdminTransfer();
        vm.assertEq(factory.defaultAdmin(), bob);
    }

    function test_TheImplementationOfEventsThatExistCannotBeReplaced() public {
        vm.expectRevert();
        vm.prank(admin);
        factory.setContracts(address(poap), address(poap));
        vm.assertEq(factory.implementation(), address(implementation));
    }

    function test_AFeeRisesForLaterEventsOnlyAndNeverAboveTenPercent() public {
        vm.prank(admin);
        factory.setFee(1000);
        vm.expectRevert();
        vm.prank(admin);
        factory.setFee(1001);
        vm.warp(END);
        vm.prank(organizer);
        tickets.withdraw();
        vm.assertEq(address(tickets).balance, (uint256(PRICE) * 2 * FEE_BPS) / 10_000);
    }
}
