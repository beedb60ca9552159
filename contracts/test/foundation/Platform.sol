// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventFactory} from "../../src/EventFactory.sol";
import {EventTicket} from "../../src/EventTicket.sol";
import {Poap} from "../../src/Poap.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Check} from "./Check.sol";

/// @title A deployed platform with one event of two tiers
abstract contract Platform is Check {
    uint256 internal constant NOW = 1_800_000_000;
    uint40 internal constant START = uint40(NOW + 30 days);
    uint40 internal constant END = uint40(NOW + 31 days);
    uint96 internal constant PRICE = 0.05 ether;
    uint96 internal constant VIP_PRICE = 0.2 ether;
    uint16 internal constant FEE_BPS = 250;

    address internal admin = named("admin");
    address internal treasury = named("treasury");
    address internal organizer = named("organizer");
    address internal alice = named("alice");
    address internal bob = named("bob");
    address internal carol = named("carol");
    address internal gate = named("gate");

    EventFactory internal factory;
    EventTicket internal implementation;
    Poap internal poap;
    EventTicket internal tickets;
    uint256 internal eventId;

    function setUp() public virtual {
        vm.warp(NOW);
        factory = new EventFactory(admin, treasury, FEE_BPS);
        implementation = new EventTicket(address(factory));
        poap = new Poap(address(factory));
        vm.prank(admin);
        factory.setContracts(address(implementation), address(poap));
        (eventId, tickets) = create(params());
        vm.deal(alice, 1000 ether);
        vm.deal(bob, 1000 ether);
        vm.deal(carol, 1000 ether);
        vm.deal(organizer, 1 ether);
    }

    /// @dev Two tiers, 100 tickets in all, gifts free.
    function params() internal pure returns (IEventFactory.EventParams memory p) {
        p.name = "Summer Night";
        p.metadataURI = "https://tickets.example/api/v1/metadata/0x5b2e";
        p.metadataHash = keccak256("document");
        p.maxTickets = 100;
        p.startTime = START;
        p.endTime = END;
        p.tiers = new IEventTicket.TierParams[](2);
        p.tiers[0] = tierParams(PRICE, 80);
        p.tiers[1] = tierParams(VIP_PRICE, 40);
        p.rules.giftsToContracts = true;
    }

    function tierParams(uint96 priceWei, uint32 supply)
        internal
        pure
        returns (IEventTicket.TierParams memory t)
    {
        t.priceWei = priceWei;
        t.supply = supply;
        t.maxPerPurchase = 10;
    }

    function create(IEventFactory.EventParams memory p) internal returns (uint256 id, EventTicket clone) {
        vm.prank(organizer);
        (uint256 newId, address at) = factory.createEvent(p);
        return (newId, EventTicket(at));
    }

    function createWith(IEventTicket.Rules memory rules) internal returns (EventTicket clone) {
        IEventFactory.EventParams memory p = params();
        p.rules = rules;
        (, clone) = create(p);
    }

    function createWithTier(IEventTicket.TierParams memory t) internal returns (EventTicket clone) {
        IEventFactory.EventParams memory p = params();
        p.tiers = new IEventTicket.TierParams[](1);
        p.tiers[0] = t;
        (, clone) = create(p);
    }

    function buy(address buyer, uint256 tierId, uint256 quantity) internal returns (uint256 first) {
        return buyOf(tickets, buyer, tierId, quantity);
    }

    function buyOf(EventTicket from, address buyer, uint256 tierId, uint256 quantity)
        internal
        returns (uint256 first)
    {
        uint256 total = from.tier(tierId).priceWei * quantity;
        vm.prank(buyer);
        return from.purchaseTickets{value: total}(buyer, tierId, quantity, noProof());
    }

    function noProof() internal pure returns (bytes32[] memory) {
        return new bytes32[](0);
    }

    function cancel() internal {
        vm.prank(organizer);
        tickets.cancelEvent();
    }

    function trust(address module) internal {
        vm.prank(admin);
        factory.setModule(module, true);
    }

    function enableGate() internal {
        vm.prank(organizer);
        poap.setGate(eventId, gate, uint40(NOW), END);
    }

    function admit(uint256 tokenId) internal returns (uint256 poapId) {
        enableGate();
        vm.prank(gate);
        return poap.checkInAttendee(eventId, tokenId);
    }

    function stateOf(uint256 tokenId) internal view returns (IEventTicket.TicketState) {
        return tickets.ticket(tokenId).state;
    }

    function assertState(uint256 tokenId, IEventTicket.TicketState expected) internal view {
        vm.assertEq(uint256(stateOf(tokenId)), uint256(expected));
    }

    function digestOf(IPoap.Voucher memory v) internal view returns (bytes32) {
        return digestFor(v, address(poap), block.chainid);
    }

    /// @dev Written out from EIP-712, not taken from the contract.
    function digestFor(IPoap.Voucher memory v, address verifier, uint256 chain)
        internal
        pure
        returns (bytes32)
    {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("echain Poap"),
                keccak256("1"),
                chain,
                verifier
            )
        );
        bytes32 voucher = keccak256(
            abi.encode(
                keccak256("Voucher(uint256 eventId,uint256 tokenId,address holder,uint40 admittedAt)"),
                v.eventId,
                v.tokenId,
                v.holder,
                v.admittedAt
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, voucher));
    }

    function signed(IPoap.Voucher memory v, string memory signer) internal view returns (bytes memory) {
        (uint8 sigV, bytes32 r, bytes32 s) = vm.sign(keyOf(signer), digestOf(v));
        return abi.encodePacked(r, s, sigV);
    }
}
