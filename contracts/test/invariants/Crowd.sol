// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventFactory} from "../../src/EventFactory.sol";
import {EventTicket} from "../../src/EventTicket.sol";
import {Poap} from "../../src/Poap.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IEventTicketSetup} from "../../src/interfaces/IEventTicketSetup.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Forcer} from "../foundation/Actors.sol";
import {Check} from "../foundation/Check.sol";
import {Witness} from "./Witness.sol";

/// @title Everybody at once: buyers, organizers, gates, modules and thieves do random things in random order
/// @dev A call that the contracts refuse is part of the game. What went through is told to the witness.
contract Crowd is Check {
    EventFactory private immutable factory;
    Poap private immutable poap;
    Witness private immutable witness;
    address private immutable admin;
    address private immutable gate;
    EventTicket[] private events;
    address[] private people;
    address[] private modules;

    constructor(
        Witness witness_,
        address admin_,
        address gate_,
        address[] memory people_,
        address[] memory modules_
    ) {
        witness = witness_;
        factory = witness_.factory();
        poap = witness_.poap();
        admin = admin_;
        gate = gate_;
        people = people_;
        modules = modules_;
        events = witness_.events();
    }

    // --- buyers ---

    function buy(uint256 where, uint256 who, uint256 tierId, uint256 quantity, uint256 slip) external {
        EventTicket at = _event(where);
        (tierId, quantity) = (within(tierId, 0, at.tierCount()), within(quantity, 0, 5));
        uint256 price = tierId < at.tierCount() ? at.tier(tierId).priceWei : 0;
        uint256 value = price * quantity;
        // Now and then someone sends the wrong amount.
        if (slip % 8 == 0) value = within(slip, 0, value * 2);
        _purchase(at, _person(who), tierId, quantity, value);
    }

    /// @dev The organizer's price change is mined between the buyer's signature and the buyer's transaction.
    function buyAsPriceMoves(uint256 where, uint256 who, uint256 quantity, uint256 newPrice) external {
        EventTicket at = _event(where);
        quantity = within(quantity, 1, 5);
        uint256 value = at.tier(0).priceWei * quantity;
        setPrice(where, 0, newPrice);
        _purchase(at, _person(who), 0, quantity, value);
    }

    /// @dev The organizer's cancel is mined between the buyer's signature and the buyer's transaction.
    function buyAsItIsCancelled(uint256 where, uint256 who, uint256 mood) external {
        EventTicket at = _event(where);
        uint256 value = at.tier(0).priceWei;
        cancel(where, mood);
        _purchase(at, _person(who), 0, 1, value);
    }

    function give(uint256 where, uint256 what, uint256 to) external {
        EventTicket at = _event(where);
        uint256 id = _ticket(at, what);
        if (id == 0) return;
        address holder = at.ownerOf(id);
        bytes memory data = to % 2 == 0
            ? abi.encodeWithSignature("transferFrom(address,address,uint256)", holder, _person(to), id)
            : abi.encodeWithSignature("safeTransferFrom(address,address,uint256)", holder, _person(to), id);
        _do(at, holder, data);
    }

    function refund(uint256 where, uint256 what, uint256 who) external {
        EventTicket at = _event(where);
        uint256 id = _ticket(at, what);
        if (id == 0) return;
        // Mostly the holder, sometimes anyone.
        address caller = who % 4 == 0 ? _person(who) : at.ownerOf(id);
        _do(at, caller, abi.encodeCall(at.refund, (id)));
    }

    // --- organizers ---

    function setPrice(uint256 where, uint256 tierId, uint256 price) public {
        EventTicket at = _event(where);
        tierId = within(tierId, 0, at.tierCount());
        _do(at, at.organizer(), abi.encodeCall(at.setPrice, (tierId, within(price, 0, 3 ether))));
    }

    function addTier(uint256 where, uint256 price, uint256 supply) external {
        EventTicket at = _event(where);
        IEventTicket.TierParams memory t;
        t.priceWei = uint96(within(price, 0, 1 ether));
        t.supply = uint32(within(supply, 0, 9));
        t.maxPerPurchase = 5;
        t.maxPerWallet = uint8(supply % 3);
        if (at.tierCount() < 4) _do(at, at.organizer(), abi.encodeCall(at.addTier, (t)));
    }

    function handOut(uint256 where, uint256 who, uint256 count) external {
        EventTicket at = _event(where);
        count = within(count, 1, 4);
        address[] memory to = new address[](count);
        uint256[] memory ids = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            (to[i], ids[i]) = (people[(who % people.length + i) % people.length], at.ticketsMinted() + 1 + i);
        }
        _do(at, at.organizer(), abi.encodeCall(at.batchMintTickets, (to, ids)));
    }

    /// @dev Rare, or no event would live to see its end.
    function cancel(uint256 where, uint256 mood) public {
        EventTicket at = _event(where);
        if (mood % 6 == 0) _do(at, at.organizer(), abi.encodeCall(at.cancelEvent, ()));
    }

    function withdraw(uint256 where) external {
        EventTicket at = _event(where);
        _do(at, at.organizer(), abi.encodeCall(at.withdraw, ()));
    }

    /// @dev The proceeds and the refunds are not both to be had, in neither order.
    function withdrawAndCancel(uint256 where, uint256 order) external {
        EventTicket at = _event(where);
        if (block.timestamp < at.endTime()) return;
        bytes memory first =
            order % 4 == 0 ? abi.encodeCall(at.cancelEvent, ()) : abi.encodeCall(at.withdraw, ());
        bytes memory second =
            order % 4 == 0 ? abi.encodeCall(at.withdraw, ()) : abi.encodeCall(at.cancelEvent, ());
        _do(at, at.organizer(), first);
        _do(at, at.organizer(), second);
    }

    function withdrawFees(uint256 where, uint256 who) external {
        EventTicket at = _event(where);
        _do(at, _person(who), abi.encodeCall(at.withdrawFees, ()));
    }

    function postpone(uint256 where, uint256 by) external {
        EventTicket at = _event(where);
        uint40 end = uint40(at.endTime() + within(by, 0, 4 hours));
        vm.prank(at.organizer());
        (bool ok,) = address(factory)
            .call(
                abi.encodeCall(
                    factory.updateEvent, (at.eventId(), "ipfs://new", 0, uint40(at.startTime()), end)
                )
            );
        ok;
    }

    // --- the door ---

    function admit(uint256 where, uint256 what) external {
        EventTicket at = _event(where);
        uint256 id = within(what, 0, at.ticketsMinted() + 1);
        vm.prank(gate);
        try poap.checkInAttendee(at.eventId(), id) {
            witness.admitted(at, id);
        } catch {}
        witness.look(at);
    }

    function relay(uint256 where, uint256 what, uint256 who) external {
        EventTicket at = _event(where);
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](2);
        bytes[] memory signatures = new bytes[](2);
        // The same voucher twice, so that a batch doubles what it can.
        for (uint256 i = 0; i < 2; ++i) {
            vouchers[i] = IPoap.Voucher(
                at.eventId(), within(what, 0, at.ticketsMinted() + 1), _person(who), uint40(block.timestamp)
            );
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("gate"), witness.digest(vouchers[i]));
            signatures[i] = abi.encodePacked(r, s, v);
        }
        uint256 minted = poap.checkInBatch(vouchers, signatures);
        for (uint256 i = 0; i < minted; ++i) {
            witness.admitted(at, vouchers[0].tokenId);
        }
        witness.look(at);
    }

    function movePoap(uint256 where, uint256 what, uint256 to) external {
        EventTicket at = _event(where);
        uint256 id = _ticket(at, what);
        if (id == 0 || !poap.isCheckedIn(at.eventId(), id)) return;
        uint256 poapId = (at.eventId() << 128) | id;
        address holder = poap.ownerOf(poapId);
        vm.prank(holder);
        (bool ok,) = address(poap).call(abi.encodeCall(poap.transferFrom, (holder, _person(to), poapId)));
        ok;
        witness.look(at);
    }

    // --- modules ---

    function approve(uint256 where, uint256 what, uint256 which) external {
        EventTicket at = _event(where);
        uint256 id = _ticket(at, what);
        if (id == 0) return;
        address operator = which % 3 == 0 ? _person(which) : modules[which % modules.length];
        _do(at, at.ownerOf(id), abi.encodeCall(at.approve, (operator, id)));
    }

    function useModule(uint256 where, uint256 what, uint256 which, uint256 kind, uint256 to) public {
        EventTicket at = _event(where);
        uint256 id = within(what, 0, at.ticketsMinted() + 1);
        address operator = which % 4 == 0 ? _person(which) : modules[which % modules.length];
        kind = kind % 4;
        bytes memory data = abi.encodeCall(at.lock, (id));
        if (kind == 1) data = abi.encodeCall(at.unlock, (id));
        if (kind == 2) data = abi.encodeCall(at.recover, (id, _person(to)));
        if (kind == 3) {
            (bool exists, bytes memory answer) = address(at).call(abi.encodeCall(at.ownerOf, (id)));
            address holder = exists ? abi.decode(answer, (address)) : address(0);
            data = abi.encodeCall(at.transferFrom, (holder, _person(to), id));
        }
        _do(at, operator, data);
    }

    function approveAndUseModule(uint256 where, uint256 what, uint256 which, uint256 kind, uint256 to)
        external
    {
        EventTicket at = _event(where);
        uint256 id = _ticket(at, what);
        if (id == 0) return;
        which = which % 2 == 0 ? 2 : 1; // a module, and not one of the people
        _do(at, at.ownerOf(id), abi.encodeCall(at.setApprovalForAll, (modules[which % modules.length], true)));
        // The same ticket again: `within` maps an id to itself.
        useModule(where, id, which, kind, to);
    }

    function trust(uint256 which, bool trusted) external {
        vm.prank(admin);
        factory.setModule(modules[which % modules.length], trusted);
    }

    // --- the world ---

    function pass(uint256 time) external {
        vm.warp(block.timestamp + within(time, 1, 8 hours));
    }

    function pause(uint256 mood) external {
        bool on = mood % 4 == 0;
        if (on == factory.paused()) return;
        vm.prank(admin);
        if (on) factory.pause();
        else factory.unpause();
    }

    function forceEther(uint256 where, uint256 amount) external {
        EventTicket at = _event(where);
        amount = within(amount, 1, 1 ether);
        vm.deal(address(this), amount);
        new Forcer{value: amount}(payable(address(at)));
        witness.forced(at, amount);
        witness.look(at);
    }

    function hijack(uint256 where, uint256 who) external {
        EventTicket at = where % 3 == 0 ? EventTicket(factory.implementation()) : _event(where);
        IEventFactory.EventParams memory p;
        p.maxTickets = 1000;
        p.endTime = type(uint40).max;
        address caller = who % 2 == 0 ? address(factory) : _person(who);
        vm.prank(caller);
        try at.initialize(IEventTicketSetup.Terms(1, caller, caller, 0), p) {
            witness.hijacked();
        } catch {}
    }

    function _purchase(EventTicket at, address buyer, uint256 tierId, uint256 quantity, uint256 value)
        private
    {
        vm.deal(buyer, value);
        uint256 balance = buyer.balance;
        vm.prank(buyer);
        try at.purchaseTickets{value: value}(buyer, tierId, quantity, new bytes32[](0)) returns (
            uint256 first
        ) {
            witness.bought(at, first, quantity, balance - buyer.balance, value);
        } catch {}
        witness.look(at);
    }

    function _do(EventTicket at, address caller, bytes memory data) private {
        vm.prank(caller);
        (bool ok,) = address(at).call(data);
        ok;
        witness.look(at);
    }

    function _event(uint256 seed) private view returns (EventTicket) {
        return events[seed % events.length];
    }

    function _person(uint256 seed) private view returns (address) {
        return people[(seed / 7) % people.length];
    }

    /// @dev Zero when nothing was sold yet.
    function _ticket(EventTicket at, uint256 seed) private view returns (uint256) {
        uint256 minted = at.ticketsMinted();
        return minted == 0 ? 0 : within(seed, 1, minted);
    }
}
