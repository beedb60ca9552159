// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IEventTicketSetup} from "../../src/interfaces/IEventTicketSetup.sol";
import {Platform} from "../foundation/Platform.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";

/// @notice Someone tries to own a clone, or its address, before its organizer does.
contract CloneHijackTest is Platform {
    function test_AForeignCloneOfTheImplementationIsNobodys() public {
        EventTicket wild = EventTicket(Clones.clone(address(implementation)));
        vm.expectRevert(IEventTicket.EventTicket_OnlyFactory.selector);
        wild.initialize(IEventTicketSetup.Terms(1, alice, alice, 0), params());
        vm.assertFalse(factory.isTicketContract(address(wild)));
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SaleClosed.selector, 0));
        wild.purchaseTickets(alice, 1);
    }

    function test_NobodyTakesAnEventsAddressBeforehand() public {
        address predicted = factory.predictTicketContract(organizer, 2);
        address taken =
            Clones.cloneDeterministic(address(implementation), keccak256(abi.encode(organizer, 2)));
        vm.assertNotEq(taken, predicted);
        (, EventTicket clone) = create(params());
        vm.assertEq(address(clone), predicted);
    }

    function test_AnotherOrganizerInBetweenMovesTheAddressButTakesNothing() public {
        address foreseen = factory.predictTicketContract(organizer, 2);
        vm.prank(bob);
        (, address bobs) = factory.createEvent("Mine", "", 0, 1, START, END);
        (uint256 id, EventTicket clone) = create(params());
        vm.assertEq(id, 3);
        vm.assertNotEq(bobs, foreseen);
        vm.assertNotEq(address(clone), foreseen);
        vm.assertEq(clone.organizer(), organizer);
    }

    function test_TheImplementationSellsNothingAndObeysNobody() public {
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SaleClosed.selector, 0));
        implementation.purchaseTickets(alice, 1);
        vm.expectRevert(IEventTicket.EventTicket_OnlyOrganizer.selector);
        implementation.cancelEvent();
        vm.expectRevert(IEventTicket.EventTicket_OnlyCheckIn.selector);
        implementation.markUsed(1);
    }
}
