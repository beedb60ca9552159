// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventFactory} from "../../src/EventFactory.sol";
import {EventTicket} from "../../src/EventTicket.sol";
import {Poap} from "../../src/Poap.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";

/// @title Who watches the crowd and keeps books of its own
/// @dev Derives what must hold from what was seen to happen, not from the contracts' own sums.
contract Witness {
    struct Seen {
        IEventTicket.TicketState state;
        address owner;
        uint96 pricePaidWei;
        uint16 tierId;
        uint8 admissions;
        address poapOwner;
    }

    EventFactory public immutable factory;
    Poap public immutable poap;
    EventTicket[] private _events;
    mapping(EventTicket => mapping(uint256 tokenId => Seen)) private _seen;
    mapping(EventTicket => uint256) public paidWei;
    mapping(EventTicket => uint256) public forcedWei;
    mapping(EventTicket => mapping(uint256 tierId => uint256)) public minted;
    mapping(EventTicket => uint256) public mintedInAll;

    bool public overpaid;
    bool public wasHijacked;
    bool public movedWhenItMustNot;
    bool public stateBroke;
    bool public factsChanged;
    bool public poapMoved;
    bool public admittedTwice;

    constructor(EventFactory factory_, Poap poap_, EventTicket[] memory events_) {
        factory = factory_;
        poap = poap_;
        _events = events_;
    }

    function events() external view returns (EventTicket[] memory) {
        return _events;
    }

    /// @param spentWei what left the buyer's account
    /// @param agreedWei what the buyer signed
    function bought(EventTicket at, uint256 first, uint256 quantity, uint256 spentWei, uint256 agreedWei)
        external
    {
        paidWei[at] += spentWei;
        uint256 prices;
        for (uint256 id = first; id < first + quantity; ++id) {
            prices += at.ticket(id).pricePaidWei;
        }
        if (spentWei > agreedWei || spentWei != prices || quantity == 0) overpaid = true;
    }

    function forced(EventTicket at, uint256 amountWei) external {
        forcedWei[at] += amountWei;
    }

    function hijacked() external {
        wasHijacked = true;
    }

    function admitted(EventTicket at, uint256 tokenId) external {
        if (++_seen[at][tokenId].admissions > 1) admittedTwice = true;
    }

    /// @dev Compares every ticket of the event with what it was at the last look.
    function look(EventTicket at) external {
        uint256 count = at.ticketsMinted();
        for (uint256 id = 1; id <= count; ++id) {
            _compare(at, id, _seen[at][id], at.ticket(id));
        }
        mintedInAll[at] = count;
    }

    function digest(IPoap.Voucher memory v) external view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("echain Poap"),
                keccak256("1"),
                block.chainid,
                address(poap)
            )
        );
        bytes32 typed = keccak256("Voucher(uint256 eventId,uint256 tokenId,address holder,uint40 admittedAt)");
        bytes32 voucher = keccak256(abi.encode(typed, v.eventId, v.tokenId, v.holder, v.admittedAt));
        return keccak256(abi.encodePacked(hex"1901", domain, voucher));
    }

    function _compare(EventTicket at, uint256 id, Seen storage was, IEventTicket.Ticket memory now_) private {
        bool isNew = was.state == IEventTicket.TicketState.None;
        if (isNew) {
            ++minted[at][now_.tierId];
            (was.pricePaidWei, was.tierId) = (now_.pricePaidWei, now_.tierId);
        }
        if (was.pricePaidWei != now_.pricePaidWei || was.tierId != now_.tierId) factsChanged = true;
        if (!_mayBecome(was.state, now_.state)) stateBroke = true;
        bool still =
            was.state == IEventTicket.TicketState.Used || was.state == IEventTicket.TicketState.Refunded;
        if (still && was.owner != now_.owner) movedWhenItMustNot = true;
        _comparePoap(at, id, was, now_.state);
        (was.state, was.owner) = (now_.state, now_.owner);
    }

    /// @dev A POAP stands for each ticket that was ever used, with its first holder for good.
    function _comparePoap(EventTicket at, uint256 id, Seen storage was, IEventTicket.TicketState state)
        private
    {
        uint256 eventId = at.eventId();
        bool attested = poap.isCheckedIn(eventId, id);
        address owner = attested ? poap.ownerOf((eventId << 128) | id) : address(0);
        if (was.poapOwner != address(0) && owner != was.poapOwner) poapMoved = true;
        if (attested != (was.admissions == 1)) admittedTwice = true;
        if (state == IEventTicket.TicketState.Used && !attested) stateBroke = true;
        bool open = state == IEventTicket.TicketState.Valid || state == IEventTicket.TicketState.Locked;
        if (attested && open) stateBroke = true;
        was.poapOwner = owner;
    }

    function _mayBecome(IEventTicket.TicketState a, IEventTicket.TicketState b) private pure returns (bool) {
        if (a == b) return true;
        if (a == IEventTicket.TicketState.None) return b == IEventTicket.TicketState.Valid;
        if (a == IEventTicket.TicketState.Valid) return b != IEventTicket.TicketState.None;
        if (a == IEventTicket.TicketState.Locked) return b == IEventTicket.TicketState.Valid;
        return a == IEventTicket.TicketState.Used && b == IEventTicket.TicketState.Refunded;
    }
}
