// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module, Reenterer, Rejecter, Wallet} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";
import {Crowd} from "./Crowd.sol";
import {Witness} from "./Witness.sol";

/// @notice What README.md in this folder promises, checked after each of the crowd's moves.
contract InvariantsTest is Platform {
    EventTicket[] private events;
    Witness private witness;
    Crowd private crowd;

    function setUp() public override {
        super.setUp();
        IEventTicket.GiftPolicy[3] memory policies = [
            IEventTicket.GiftPolicy.Free, IEventTicket.GiftPolicy.Limited, IEventTicket.GiftPolicy.Forbidden
        ];
        for (uint256 i = 0; i < 3; ++i) {
            IEventFactory.EventParams memory p = params();
            (p.startTime, p.endTime) = (uint40(NOW + 10 hours), uint40(NOW + 20 hours));
            p.maxTickets = 8;
            (p.tiers[0].supply, p.tiers[1].supply) = (6, 5);
            p.tiers[1].maxPerWallet = 3;
            p.rules = IEventTicket.Rules(policies[i], 2, i != 2, 11_000, 500);
            vm.prank(i == 0 ? address(new Reenterer()) : organizer);
            (uint256 id, address at) = factory.createEvent(p);
            events.push(EventTicket(at));
            vm.prank(EventTicket(at).organizer());
            poap.setGate(id, gate, 0, type(uint40).max);
        }
        witness = new Witness(factory, poap, events);
        crowd = new Crowd(witness, admin, gate, _people(), _modules());
    }

    /// @dev Called by forge: whom the random calls go to.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(crowd);
    }

    function invariant_1_NoTierAndNoEventIsOversold() public view {
        for (uint256 i = 0; i < events.length; ++i) {
            EventTicket at = events[i];
            uint256 sum;
            for (uint256 t = 0; t < at.tierCount(); ++t) {
                IEventTicket.Tier memory tier = at.tier(t);
                vm.assertEq(witness.minted(at, t), tier.sold, "tier's count");
                vm.assertLe(witness.minted(at, t), tier.supply, "tier's supply");
                sum += tier.sold;
            }
            vm.assertEq(sum, at.ticketsMinted(), "event's count");
            vm.assertLe(sum, at.maxTickets(), "event's maximum");
        }
    }

    function invariant_2_EveryWeiIsAccountedFor() public view {
        for (uint256 i = 0; i < events.length; ++i) {
            EventTicket at = events[i];
            IEventTicket.Escrow memory e = at.escrow();
            uint256 owed = uint256(e.paidInWei) - e.refundedWei - e.withdrawnWei - e.feesWei;
            vm.assertEq(e.paidInWei, witness.paidWei(at), "paid in");
            vm.assertEq(owed + witness.forcedWei(at), address(at).balance, "balance");
            vm.assertEq(owed, _claims(at, e), "claims");
        }
    }

    function invariant_3_ATicketIsInOneStateAndAPoapNeverMoves() public view {
        vm.assertFalse(witness.stateBroke());
        vm.assertFalse(witness.movedWhenItMustNot());
        vm.assertFalse(witness.factsChanged());
        vm.assertFalse(witness.admittedTwice());
        vm.assertFalse(witness.poapMoved());
    }

    function invariant_4_NoCloneIsInitializedAgain() public view {
        vm.assertFalse(witness.wasHijacked());
        for (uint256 i = 0; i < events.length; ++i) {
            vm.assertEq(events[i].eventId(), i + 2);
            vm.assertEq(events[i].organizer(), factory.getEvent(i + 2).organizer);
        }
        vm.assertEq(implementation.organizer(), address(0));
    }

    function invariant_5_NobodyPaysMoreThanTheyAgreed() public view {
        vm.assertFalse(witness.overpaid());
    }

    /// @dev What the contract owes, from its tickets: refunds if cancelled, the fee after a withdrawal, else all.
    function _claims(EventTicket at, IEventTicket.Escrow memory e) private view returns (uint256 sum) {
        if (e.withdrawnWei != 0 && !at.cancelled()) {
            uint256 fee = (uint256(e.paidInWei) * FEE_BPS) / 10_000;
            vm.assertEq(e.withdrawnWei, e.paidInWei - fee, "withdrawn");
            return fee - e.feesWei;
        }
        for (uint256 id = 1; id <= at.ticketsMinted(); ++id) {
            IEventTicket.Ticket memory t = at.ticket(id);
            if (t.state != IEventTicket.TicketState.Refunded) sum += t.pricePaidWei;
        }
    }

    function _people() private returns (address[] memory people) {
        people = new address[](7);
        (people[0], people[1], people[2]) = (alice, bob, carol);
        people[3] = address(new Rejecter());
        people[4] = address(new Wallet());
        for (uint256 i = 5; i < 7; ++i) {
            Reenterer thief = new Reenterer();
            thief.prepare(
                address(events[i - 5]),
                i == 5
                    ? abi.encodeCall(events[0].refund, (1))
                    : abi.encodeCall(events[0].transferFrom, (address(thief), alice, 1))
            );
            people[i] = address(thief);
        }
    }

    function _modules() private returns (address[] memory modules) {
        modules = new address[](2);
        for (uint256 i = 0; i < 2; ++i) {
            modules[i] = address(new Module());
            trust(modules[i]);
        }
    }
}
