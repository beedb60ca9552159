// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventFactory} from "../../src/EventFactory.sol";
import {EventTicket} from "../../src/EventTicket.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

contract CreateEventTest is Platform {
    function test_AnEventGetsTheNextIdAndItsOwnContract() public {
        (uint256 id, EventTicket clone) = create(params());
        vm.assertEq(id, 2);
        vm.assertEq(factory.eventCount(), 2);
        vm.assertEq(factory.getEvent(2).ticketContract, address(clone));
        vm.assertEq(factory.getEvent(2).organizer, organizer);
        vm.assertNotEq(address(clone), address(tickets));
    }

    function test_TheContractIsAMinimalProxyAtThePredictedAddress() public {
        address predicted = factory.predictTicketContract(organizer, 2);
        (, EventTicket clone) = create(params());
        vm.assertEq(address(clone), predicted);
        bytes32 salt = keccak256(abi.encode(organizer, uint256(2)));
        vm.assertEq(
            predicted, Clones.predictDeterministicAddress(address(implementation), salt, address(factory))
        );
        bytes memory expected = abi.encodePacked(
            hex"363d3d373d3d3d363d73", address(implementation), hex"5af43d82803e903d91602b57fd5bf3"
        );
        vm.assertEq(keccak256(address(clone).code), keccak256(expected));
    }

    function test_AnEventIsAnnouncedBeforeItsTiers() public {
        IEventFactory.EventParams memory p = params();
        p.rules = IEventTicket.Rules(IEventTicket.GiftPolicy.Limited, 1, true, 12_000, 300);
        address at = factory.predictTicketContract(organizer, 2);
        vm.expectEmit(address(factory));
        emit IEventFactory.EventCreated(
            2, organizer, at, p.name, p.metadataURI, PRICE, 100, START, END, p.metadataHash, FEE_BPS, p.rules
        );
        vm.expectEmit(at);
        emit IEventTicket.TierAdded(0, p.tiers[0]);
        create(p);
    }

    function test_TheShortFormMakesOneOpenTier() public {
        vm.prank(organizer);
        (uint256 id, address at) = factory.createEvent("Gala", "ipfs://gala", PRICE, 7, START, END);
        EventTicket gala = EventTicket(at);
        vm.assertEq(id, 2);
        vm.assertEq(gala.name(), "Gala");
        vm.assertEq(gala.maxTickets(), 7);
        vm.assertEq(gala.tierCount(), 1);
        IEventTicket.Tier memory expected = IEventTicket.Tier(PRICE, 7, 0, 0, 0, 50, 0);
        vm.assertEq(keccak256(abi.encode(gala.tier(0))), keccak256(abi.encode(expected)));
        vm.assertTrue(gala.rules().giftsToContracts);
        buyOf(gala, alice, 0, 7);
    }

    function test_TheShortFormRefusesWhatDoesNotFit() public {
        vm.expectRevert(IEventFactory.EventFactory_BadSupply.selector);
        factory.createEvent("Gala", "", PRICE, uint256(type(uint32).max) + 8, START, END);
        vm.expectRevert(IEventFactory.EventFactory_BadTiers.selector);
        factory.createEvent("Gala", "", uint256(type(uint96).max) + 1, 7, START, END);
        vm.expectRevert(IEventFactory.EventFactory_BadSchedule.selector);
        factory.createEvent("Gala", "", PRICE, 7, uint256(1 << 40) + START, uint256(1 << 40) + END);
        vm.expectRevert(IEventFactory.EventFactory_BadSchedule.selector);
        factory.createEvent("Gala", "", PRICE, 7, START, uint256(1 << 40) + END);
    }

    function test_ANameHasBetween1And128Bytes() public {
        IEventFactory.EventParams memory p = params();
        p.name = "";
        _refuses(p, IEventFactory.EventFactory_BadName.selector);
        p.name = string(new bytes(129));
        _refuses(p, IEventFactory.EventFactory_BadName.selector);
        p.name = string(new bytes(128));
        create(p);
    }

    function test_AMetadataAddressHasAtMost512Bytes() public {
        IEventFactory.EventParams memory p = params();
        p.metadataURI = string(new bytes(513));
        _refuses(p, IEventFactory.EventFactory_BadMetadata.selector);
        p.metadataURI = string(new bytes(512));
        create(p);
    }

    function test_AnEventHoldsAtLeastOneTicketAndItsIdsFit32Bits() public {
        IEventFactory.EventParams memory p = params();
        p.maxTickets = 0;
        _refuses(p, IEventFactory.EventFactory_BadSupply.selector);
        p.maxTickets = type(uint32).max;
        _refuses(p, IEventFactory.EventFactory_BadSupply.selector);
        p.maxTickets = type(uint32).max - 1;
        create(p);
    }

    function testFuzz_AScheduleLiesAheadAndWithinTenYears(uint40 start, uint40 end) public {
        uint256 latest = NOW + 3650 days;
        (start, end) = (uint40(within(start, NOW - 5, latest + 5)), uint40(within(end, NOW - 5, latest + 5)));
        IEventFactory.EventParams memory p = params();
        (p.startTime, p.endTime) = (start, end);
        if (start > NOW && end > start && end <= latest) create(p);
        else _refuses(p, IEventFactory.EventFactory_BadSchedule.selector);
    }

    function test_AScheduleMayEndExactlyTenYearsAheadAndNoLater() public {
        IEventFactory.EventParams memory p = params();
        p.endTime = uint40(NOW + 3650 days);
        create(p);
        p.endTime += 1;
        _refuses(p, IEventFactory.EventFactory_BadSchedule.selector);
        (p.startTime, p.endTime) = (uint40(NOW), END);
        _refuses(p, IEventFactory.EventFactory_BadSchedule.selector);
        (p.startTime, p.endTime) = (END, END);
        _refuses(p, IEventFactory.EventFactory_BadSchedule.selector);
    }

    function test_AnEventHasBetween1And20Tiers() public {
        IEventFactory.EventParams memory p = params();
        p.tiers = new IEventTicket.TierParams[](0);
        _refuses(p, IEventFactory.EventFactory_BadTiers.selector);
        p.tiers = _tiers(21);
        _refuses(p, IEventFactory.EventFactory_BadTiers.selector);
        p.tiers = _tiers(20);
        create(p);
    }

    function testFuzz_RulesLetASellerRecoverTheFaceValue(
        uint16 cap,
        uint16 royalty,
        uint8 policy,
        uint8 gifts
    ) public {
        policy = uint8(within(policy, 0, 2));
        IEventFactory.EventParams memory p = params();
        p.rules = IEventTicket.Rules(IEventTicket.GiftPolicy(policy), gifts, true, cap, royalty);
        bool holds = (cap == 0 || cap >= 10_000) && royalty <= 2000 && (policy != 1 || gifts != 0);
        if (holds) create(p);
        else _refuses(p, IEventFactory.EventFactory_BadRules.selector);
    }

    function test_RulesAtTheirBounds() public {
        IEventFactory.EventParams memory p = params();
        p.rules = IEventTicket.Rules(IEventTicket.GiftPolicy.Limited, 1, true, 10_000, 2000);
        create(p);
        p.rules.resaleCapBps = 9999;
        _refuses(p, IEventFactory.EventFactory_BadRules.selector);
        p.rules.resaleCapBps = 0;
        p.rules.royaltyBps = 2001;
        _refuses(p, IEventFactory.EventFactory_BadRules.selector);
        p.rules.royaltyBps = 0;
        p.rules.maxGifts = 0;
        _refuses(p, IEventFactory.EventFactory_BadRules.selector);
    }

    function test_APausedPlatformCreatesNothing() public {
        vm.prank(admin);
        factory.pause();
        _refuses(params(), Pausable.EnforcedPause.selector);
    }

    function test_AFactoryWithoutItsContractsCreatesNothing() public {
        EventFactory bare = new EventFactory(admin, treasury, 0);
        vm.expectRevert(IEventFactory.EventFactory_NotReady.selector);
        bare.createEvent(params());
    }

    function _tiers(uint256 count) private pure returns (IEventTicket.TierParams[] memory tiers) {
        tiers = new IEventTicket.TierParams[](count);
        for (uint256 i = 0; i < count; ++i) {
            tiers[i] = tierParams(PRICE, 1);
        }
    }

    function _refuses(IEventFactory.EventParams memory p, bytes4 reason) private {
        vm.expectRevert(reason);
        vm.prank(organizer);
        factory.createEvent(p);
    }
}
