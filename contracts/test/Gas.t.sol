// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../src/EventTicket.sol";
import {IEventFactory} from "../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../src/interfaces/IEventTicket.sol";
import {IPoap} from "../src/interfaces/IPoap.sol";
import {Platform} from "./foundation/Platform.sol";

/// @title What the main calls cost as transactions, with base cost and calldata
/// @dev Each call runs as a transaction of its own (`isolate`), with cold storage. The figures themselves are
/// committed in `contracts/gas/transactions.json` (`make gas`).
/// forge-config: default.isolate = true
contract GasTest is Platform {
    string private constant LONG_URI =
        "https://tickets.example/api/v1/metadata/0x5b2e6f7a8b9c0d1e2f3a4b5c6d7e8f901a2b3c4d5e6f708192a3b4c5d6e7f809";

    function setUp() public override {
        super.setUp();
        // Whoever measures a first sale ever measures an empty contract; this one has sold before.
        buy(carol, 0, 1);
    }

    function test_BuyingOneTicketCostsAtMost120k() public {
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE}(alice, 0, 1, noProof());
        _costsAtMost(120_000, "buy one ticket");
    }

    function test_BuyingOneTicketInTheShortFormCostsAtMost120k() public {
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE}(alice, 1);
        _costsAtMost(120_000, "buy one ticket, short form");
    }

    function test_BuyingTheFirstTicketOfAnEventCostsAtMost120k() public {
        (, EventTicket fresh) = create(params());
        vm.prank(alice);
        fresh.purchaseTickets{value: PRICE}(alice, 0, 1, noProof());
        _costsAtMost(120_000, "buy the first ticket of an event");
    }

    function test_BuyingTenTicketsCostsAtMost500k() public {
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE * 10}(alice, 0, 10, noProof());
        _costsAtMost(500_000, "buy ten tickets");
    }

    function test_BuyingUnderEveryLimitCostsAtMost155k() public {
        (bytes32 root, bytes32[] memory proof) = _listOfAThousand(alice);
        IEventTicket.TierParams memory t = tierParams(PRICE, 100);
        t.allowListRoot = root;
        t.maxPerWallet = 4;
        EventTicket limited = createWithTier(t);
        vm.prank(alice);
        limited.purchaseTickets{value: PRICE}(alice, 0, 1, proof);
        _costsAtMost(155_000, "buy one ticket of a tier with an allow list of a thousand and a limit");
    }

    function test_CreatingAnEventCostsAtMost420k() public {
        IEventFactory.EventParams memory p = params();
        p.metadataURI = LONG_URI;
        vm.prank(organizer);
        factory.createEvent(p);
        _costsAtMost(420_000, "create an event of two tiers");
    }

    function test_CreatingAnEventInTheShortFormCostsAtMost420k() public {
        vm.prank(organizer);
        factory.createEvent("Summer Night", LONG_URI, PRICE, 100, START, END);
        _costsAtMost(420_000, "create an event, short form");
    }

    function test_GivingATicketAway() public {
        vm.prank(carol);
        tickets.transferFrom(carol, bob, 1);
        _costsAtMost(70_000, "give a ticket away");
    }

    function test_CheckingATicketIn() public {
        enableGate();
        vm.prank(gate);
        poap.checkInAttendee(eventId, 1);
        _costsAtMost(200_000, "check one ticket in");
    }

    function test_CheckingTenTicketsInByVouchers() public {
        buy(alice, 0, 10);
        enableGate();
        IPoap.Voucher[] memory vouchers = new IPoap.Voucher[](10);
        bytes[] memory signatures = new bytes[](10);
        for (uint256 i = 0; i < 10; ++i) {
            vouchers[i] = IPoap.Voucher(eventId, 2 + i, alice, uint40(NOW));
            signatures[i] = signed(vouchers[i], "gate");
        }
        poap.checkInBatch(vouchers, signatures);
        _costsAtMost(1_300_000, "check ten tickets in by vouchers");
    }

    function test_RefundingATicket() public {
        cancel();
        vm.prank(carol);
        tickets.refund(1);
        _costsAtMost(110_000, "refund a ticket");
    }

    function test_Withdrawing() public {
        vm.warp(END);
        vm.prank(organizer);
        tickets.withdraw();
        _costsAtMost(80_000, "withdraw");
    }

    function test_EachContractFitsOnAChain() public view {
        vm.assertLe(address(factory).code.length, 24_576);
        vm.assertLe(address(implementation).code.length, 24_576);
        vm.assertLe(address(poap).code.length, 24_576);
    }

    /// @dev A path of ten hashes in a tree of a thousand leaves; whose leaves the others are does not matter.
    function _listOfAThousand(address who) private pure returns (bytes32 root, bytes32[] memory proof) {
        root = keccak256(bytes.concat(keccak256(abi.encode(who))));
        proof = new bytes32[](10);
        for (uint256 i = 0; i < 10; ++i) {
            proof[i] = keccak256(abi.encode("sibling", i));
            (bytes32 a, bytes32 b) = root < proof[i] ? (root, proof[i]) : (proof[i], root);
            root = keccak256(bytes.concat(a, b));
        }
    }

    function _costsAtMost(uint256 limit, string memory what) private {
        vm.assertLe(vm.lastCallGas().gasTotalUsed, limit, what);
        vm.snapshotGasLastCall("transactions", what);
    }
}
