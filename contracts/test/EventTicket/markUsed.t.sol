// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

contract MarkUsedTest is Platform {
    function setUp() public override {
        super.setUp();
        buy(alice, 0, 2);
    }

    function test_TheCheckInContractMarksATicketUsedAndLearnsItsHolder() public {
        vm.expectEmit(address(tickets));
        emit IEventTicket.TicketUsed(1);
        vm.prank(address(poap));
        vm.assertEq(tickets.markUsed(1), alice);
        assertState(1, IEventTicket.TicketState.Used);
        assertState(2, IEventTicket.TicketState.Valid);
        vm.assertEq(tickets.ticket(1).pricePaidWei, PRICE);
        vm.assertEq(tickets.ticket(2).pricePaidWei, PRICE);
    }

    function testFuzz_NobodyElseMarksTicketsUsed(address caller) public {
        vm.assume(caller != address(poap));
        vm.expectRevert(IEventTicket.EventTicket_OnlyCheckIn.selector);
        vm.prank(caller);
        tickets.markUsed(1);
    }

    function test_ATicketIsUsedOnce() public {
        vm.startPrank(address(poap));
        tickets.markUsed(1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEventTicket.EventTicket_WrongState.selector, 1, IEventTicket.TicketState.Used
            )
        );
        tickets.markUsed(1);
    }

    function test_ATicketThatDoesNotExistIsNotUsed() public {
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTicket.selector, 3));
        vm.prank(address(poap));
        tickets.markUsed(3);
    }

    function test_ACancelledEventAdmitsNobody() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(address(poap));
        tickets.markUsed(1);
    }

    function test_ALockedTicketAdmitsNobody() public {
        Module module = new Module();
        trust(address(module));
        vm.prank(alice);
        tickets.approve(address(module), 1);
        module.lock(tickets, 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEventTicket.EventTicket_WrongState.selector, 1, IEventTicket.TicketState.Locked
            )
        );
        vm.prank(address(poap));
        tickets.markUsed(1);
    }
}
