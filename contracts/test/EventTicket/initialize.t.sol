// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {IEventTicketSetup} from "../../src/interfaces/IEventTicketSetup.sol";
import {Platform} from "../foundation/Platform.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";

contract InitializeTest is Platform {
    function test_ACloneIsWhatItsCreationSaid() public {
        IEventFactory.EventParams memory p = params();
        p.rules = IEventTicket.Rules(IEventTicket.GiftPolicy.Limited, 2, true, 11_000, 500);
        p.tiers[1].saleStart = 5;
        p.tiers[1].saleEnd = END;
        p.tiers[1].maxPerWallet = 4;
        (uint256 id, EventTicket clone) = create(p);
        vm.assertEq(clone.eventId(), id);
        vm.assertEq(clone.organizer(), organizer);
        vm.assertEq(clone.name(), "Summer Night");
        vm.assertEq(clone.symbol(), "TICKET");
        vm.assertEq(clone.metadataURI(), p.metadataURI);
        vm.assertEq(clone.metadataHash(), p.metadataHash);
        vm.assertEq(clone.maxTickets(), 100);
        vm.assertEq(clone.startTime(), START);
        vm.assertEq(clone.endTime(), END);
        vm.assertEq(clone.tierCount(), 2);
        vm.assertEq(clone.ticketsMinted(), 0);
        vm.assertFalse(clone.cancelled());
        vm.assertEq(keccak256(abi.encode(clone.rules())), keccak256(abi.encode(p.rules)));
        IEventTicket.Tier memory expected = IEventTicket.Tier(VIP_PRICE, 40, 0, 5, END, 10, 4);
        vm.assertEq(keccak256(abi.encode(clone.tier(1))), keccak256(abi.encode(expected)));
    }

    function test_ACloneAnnouncesItsTiers() public {
        IEventFactory.EventParams memory p = params();
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectEmit(factory.predictTicketContract(organizer, 2));
            emit IEventTicket.TierAdded(i, p.tiers[i]);
        }
        create(p);
    }

    function test_ABadTierStopsTheCreation() public {
        IEventFactory.EventParams memory p = params();
        p.tiers[1].supply = 0;
        vm.expectRevert(IEventTicket.EventTicket_BadTier.selector);
        vm.prank(organizer);
        factory.createEvent(p);
    }

    function test_ACloneIsInitializedOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        vm.prank(address(factory));
        tickets.initialize(_terms(), params());
    }

    function test_TheImplementationIsNeverInitialized() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        vm.prank(address(factory));
        implementation.initialize(_terms(), params());
    }

    function testFuzz_OnlyTheFactoryInitializes(address caller) public {
        vm.assume(caller != address(factory));
        EventTicket fresh = new EventTicket(address(factory));
        vm.expectRevert(IEventTicket.EventTicket_OnlyFactory.selector);
        vm.prank(caller);
        fresh.initialize(_terms(), params());
    }

    function _terms() private view returns (IEventTicketSetup.Terms memory) {
        return IEventTicketSetup.Terms(7, alice, alice, 0);
    }
}
