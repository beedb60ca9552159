// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {Platform} from "../foundation/Platform.sol";

/// @dev Claims to be an event that it is not.
contract Impostor {
    uint256 public eventId = 1;
}

/// @dev Answers anything with nothing.
contract Mute {
    fallback() external {}
}

contract RegistryTest is Platform {
    function test_AnEventThatDoesNotExistHasNoEntry() public {
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_NoSuchEvent.selector, 0));
        factory.getEvent(0);
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_NoSuchEvent.selector, 2));
        factory.getEvent(2);
    }

    function testFuzz_PagesAreCutFromTheWholeList(uint256 offset, uint256 limit) public {
        for (uint256 i = 0; i < 4; ++i) {
            create(params());
        }
        if (offset > 10 && offset % 2 == 0) offset = offset % 7;
        IEventFactory.EventInfo[] memory page = factory.getEvents(offset, limit);
        uint256 left = offset < 5 ? 5 - offset : 0;
        vm.assertEq(page.length, limit < left ? limit : left);
        for (uint256 i = 0; i < page.length; ++i) {
            vm.assertEq(page[i].ticketContract, factory.getEvent(offset + i + 1).ticketContract);
            vm.assertEq(page[i].organizer, organizer);
        }
    }

    function test_APageHoldsAtMostAHundred() public {
        for (uint256 i = 0; i < 100; ++i) {
            create(params());
        }
        vm.assertEq(factory.eventCount(), 101);
        vm.assertEq(factory.getEvents(0, 200).length, 100);
    }

    function test_OnlyTheRegistrysOwnContractsAreTicketContracts() public {
        vm.assertTrue(factory.isTicketContract(address(tickets)));
        vm.assertFalse(factory.isTicketContract(address(implementation)));
        vm.assertFalse(factory.isTicketContract(address(new Impostor())));
        vm.assertFalse(factory.isTicketContract(address(new Mute())));
        vm.assertFalse(factory.isTicketContract(address(poap)));
        vm.assertFalse(factory.isTicketContract(alice));
        vm.assertFalse(factory.isTicketContract(factory.predictTicketContract(organizer, 2)));
    }

    function test_OnlyAnEventsOwnContractNotesItsCancel() public {
        (, EventTicket second) = create(params());
        vm.expectRevert(IEventFactory.EventFactory_OnlyTicketContract.selector);
        vm.prank(address(second));
        factory.noteCancelled(eventId);
        vm.expectRevert(IEventFactory.EventFactory_OnlyTicketContract.selector);
        vm.prank(organizer);
        factory.noteCancelled(eventId);
        vm.expectRevert(abi.encodeWithSelector(IEventFactory.EventFactory_NoSuchEvent.selector, 9));
        factory.noteCancelled(9);
    }
}
