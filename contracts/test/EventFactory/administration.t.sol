// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventFactory} from "../../src/EventFactory.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {Platform} from "../foundation/Platform.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

contract AdministrationTest is Platform {
    function test_ADeploymentHasATreasuryAndABoundedFee() public {
        vm.expectRevert(IEventFactory.EventFactory_ZeroAddress.selector);
        new EventFactory(admin, address(0), 0);
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_BadFee.selector, 1000));
        new EventFactory(admin, treasury, 1001);
        EventFactory fresh = new EventFactory(admin, treasury, 1000);
        vm.assertEq(fresh.feeBps(), 1000);
        vm.assertEq(fresh.treasury(), treasury);
        vm.assertTrue(fresh.openCreation());
        vm.assertEq(fresh.defaultAdmin(), admin);
    }

    function test_TheContractsAreSetOnce() public {
        vm.expectRevert(IEventFactory.EventFactory_AlreadySet.selector);
        vm.prank(admin);
        factory.setContracts(address(poap), address(poap));
    }

    function test_TheContractsAreContracts() public {
        EventFactory fresh = new EventFactory(admin, treasury, 0);
        vm.startPrank(admin);
        vm.expectRevert(IEventFactory.EventFactory_ZeroAddress.selector);
        fresh.setContracts(alice, address(poap));
        vm.expectRevert(IEventFactory.EventFactory_ZeroAddress.selector);
        fresh.setContracts(address(implementation), alice);
        vm.expectEmit(address(fresh));
        emit IEventFactory.ContractsSet(address(implementation), address(poap));
        fresh.setContracts(address(implementation), address(poap));
        vm.assertEq(fresh.implementation(), address(implementation));
        vm.assertEq(fresh.checkIn(), address(poap));
    }

    function test_AModuleIsTrustedAndDistrusted() public {
        vm.startPrank(admin);
        vm.expectEmit(address(factory));
        emit IEventFactory.ModuleTrusted(bob, true);
        factory.setModule(bob, true);
        vm.assertTrue(factory.isModule(bob));
        factory.setModule(bob, false);
        vm.assertFalse(factory.isModule(bob));
        vm.expectRevert(IEventFactory.EventFactory_ZeroAddress.selector);
        factory.setModule(address(0), true);
    }

    function test_AFeeFallsAtOnceAndRisesAfterADay() public {
        vm.startPrank(admin);
        vm.expectEmit(address(factory));
        emit IEventFactory.FeeUpdated(FEE_BPS, 100, uint40(NOW));
        factory.setFee(100);
        vm.assertEq(factory.feeBps(), 100);
        vm.expectEmit(address(factory));
        emit IEventFactory.FeeUpdated(100, 900, uint40(NOW + 1 days));
        factory.setFee(900);
        vm.warp(NOW + 1 days - 1);
        vm.assertEq(factory.feeBps(), 100);
        vm.warp(NOW + 1 days);
        vm.assertEq(factory.feeBps(), 900);
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_BadFee.selector, 1000));
        factory.setFee(1001);
    }

    function testFuzz_NoSequenceOfFeesRaisesOneWithoutADaysNotice(
        uint16[5] memory fees,
        uint32[5] memory waits
    ) public {
        uint256 since = NOW;
        uint256 lowest = FEE_BPS;
        uint256 time = NOW;
        for (uint256 i = 0; i < 5; ++i) {
            uint16 fee = uint16(within(fees[i], 0, 1000));
            vm.prank(admin);
            factory.setFee(fee);
            time += within(waits[i], 0, 1 days / 6);
            vm.warp(time);
            // All of this takes less than a day, so whatever was announced, the fee only fell.
            vm.assertLe(factory.feeBps(), lowest);
            lowest = factory.feeBps();
        }
        vm.assertLe(time - since, 1 days);
    }

    function test_TheTreasuryMoves() public {
        vm.startPrank(admin);
        vm.expectEmit(address(factory));
        emit IEventFactory.TreasuryUpdated(treasury, bob);
        factory.setTreasury(bob);
        vm.assertEq(factory.treasury(), bob);
        vm.expectRevert(IEventFactory.EventFactory_ZeroAddress.selector);
        factory.setTreasury(address(0));
    }

    function test_CreationMayBeKeptToOrganizers() public {
        vm.startPrank(admin);
        vm.expectEmit(address(factory));
        emit IEventFactory.OpenCreationUpdated(false);
        factory.setOpenCreation(false);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_NotOrganizer.selector, organizer));
        vm.prank(organizer);
        factory.createEvent(params());
        bytes32 role = factory.ORGANIZER_ROLE();
        vm.prank(admin);
        factory.grantRole(role, organizer);
        create(params());
    }

    function testFuzz_AStrangerAdministersNothing(address stranger) public {
        vm.assume(stranger != admin);
        bytes32 role = factory.DEFAULT_ADMIN_ROLE();
        bytes memory refusal =
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, stranger, role);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        factory.setContracts(address(implementation), address(poap));
        vm.expectRevert(refusal);
        factory.setModule(stranger, true);
        vm.expectRevert(refusal);
        factory.setFee(0);
        vm.expectRevert(refusal);
        factory.setTreasury(stranger);
        vm.expectRevert(refusal);
        factory.setOpenCreation(false);
        refusal = abi.encodeWithSelector(
            IAccessControl.AccessControlUnauthorizedAccount.selector, stranger, factory.PAUSER_ROLE()
        );
        vm.expectRevert(refusal);
        factory.pause();
        vm.expectRevert(refusal);
        factory.unpause();
    }
}
