// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC4906} from "@openzeppelin/contracts/interfaces/IERC4906.sol";

contract UpdateTest is Platform {
    function test_TheFactoryReplacesMetadataAndSchedule() public {
        vm.expectEmit(address(tickets));
        emit IERC4906.BatchMetadataUpdate(0, type(uint256).max);
        vm.prank(address(factory));
        tickets.update("ipfs://new", keccak256("new"), START + 1, END + 1);
        vm.assertEq(tickets.metadataURI(), "ipfs://new");
        vm.assertEq(tickets.metadataHash(), keccak256("new"));
        vm.assertEq(tickets.startTime(), START + 1);
        vm.assertEq(tickets.endTime(), END + 1);
    }

    function test_OnlyTheFactoryUpdates() public {
        vm.expectRevert(IEventTicket.EventTicket_OnlyFactory.selector);
        vm.prank(organizer);
        tickets.update("", 0, START, END);
    }

    function test_ACancelledEventStaysAsItWas() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(address(factory));
        tickets.update("", 0, START, END);
    }
}
