// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

contract UnlockTest is Platform {
    Module private module;

    function setUp() public override {
        super.setUp();
        module = new Module();
        trust(address(module));
        buy(alice, 0, 1);
        vm.prank(alice);
        tickets.approve(address(module), 1);
    }

    function test_TheModuleThatLockedATicketReleasesIt() public {
        module.lock(tickets, 1);
        vm.expectEmit(address(tickets));
        emit IEventTicket.TicketUnlocked(1, address(module));
        module.unlock(tickets, 1);
        assertState(1, IEventTicket.TicketState.Valid);
        vm.assertTrue(tickets.verifyTicket(1, alice));
    }

    function test_NobodyElseReleasesIt() public {
        module.lock(tickets, 1);
        Module other = new Module();
        trust(address(other));
        vm.expectRevert(IEventTicket.EventTicket_OnlyModule.selector);
        other.unlock(tickets, 1);
        vm.expectRevert(IEventTicket.EventTicket_OnlyModule.selector);
        vm.prank(alice);
        tickets.unlock(1);
    }

    function test_AModuleThatIsNoLongerTrustedStillLetsGo() public {
        module.lock(tickets, 1);
        vm.prank(admin);
        factory.setModule(address(module), false);
        module.unlock(tickets, 1);
        assertState(1, IEventTicket.TicketState.Valid);
    }

    function test_ATicketThatIsNotLockedIsNotReleased() public {
        vm.expectRevert(IEventTicket.EventTicket_OnlyModule.selector);
        module.unlock(tickets, 1);
        module.lock(tickets, 1);
        module.unlock(tickets, 1);
        admit(1);
        vm.expectRevert(IEventTicket.EventTicket_OnlyModule.selector);
        module.unlock(tickets, 1);
        assertState(1, IEventTicket.TicketState.Used);
    }

    function test_ReleasingKeepsTheCountOfGifts() public {
        EventTicket limited = createWith(IEventTicket.Rules(IEventTicket.GiftPolicy.Limited, 3, true, 0, 0));
        buyOf(limited, bob, 0, 1);
        vm.prank(bob);
        limited.transferFrom(bob, alice, 1);
        vm.prank(alice);
        limited.approve(address(module), 1);
        module.lock(limited, 1);
        module.unlock(limited, 1);
        vm.assertEq(limited.ticket(1).gifts, 1);
    }
}
