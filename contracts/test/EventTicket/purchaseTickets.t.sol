// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventFactory} from "../../src/interfaces/IEventFactory.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";

contract PurchaseTicketsTest is Platform {
    function test_ABuyerGetsConsecutiveTicketsOfTheNamedTier() public {
        uint256 first = buy(alice, 1, 3);
        vm.assertEq(first, 1);
        vm.assertEq(buy(bob, 0, 2), 4);
        for (uint256 id = 1; id <= 3; ++id) {
            IEventTicket.Ticket memory t = tickets.ticket(id);
            vm.assertEq(t.owner, alice);
            vm.assertEq(t.tierId, 1);
            vm.assertEq(t.pricePaidWei, VIP_PRICE);
            vm.assertEq(t.gifts, 0);
            assertState(id, IEventTicket.TicketState.Valid);
        }
        vm.assertEq(tickets.ticket(5).tierId, 0);
        vm.assertEq(tickets.ticket(5).pricePaidWei, PRICE);
        vm.assertEq(tickets.balanceOf(alice), 3);
        vm.assertEq(tickets.ticketsMinted(), 5);
    }

    function test_TheShortFormBuysOfTierZero() public {
        vm.prank(alice);
        uint256 first = tickets.purchaseTickets{value: PRICE * 2}(bob, 2);
        vm.assertEq(tickets.ownerOf(first + 1), bob);
        vm.assertEq(tickets.ticket(first).tierId, 0);
        vm.assertEq(tickets.tier(0).sold, 2);
    }

    function test_APurchaseIsAnnouncedWithItsTierAndPrice() public {
        uint256[] memory ids = new uint256[](2);
        (ids[0], ids[1]) = (1, 2);
        vm.expectEmit(address(tickets));
        emit IERC721.Transfer(address(0), bob, 1);
        vm.expectEmit(address(tickets));
        emit IERC721.Transfer(address(0), bob, 2);
        vm.expectEmit(address(tickets));
        emit IEventTicket.TicketsPurchased(alice, eventId, 2, ids, 1, VIP_PRICE);
        vm.prank(alice);
        tickets.purchaseTickets{value: VIP_PRICE * 2}(bob, 1, 2, noProof());
    }

    function test_ProceedsStayInTheContract() public {
        buy(alice, 0, 4);
        vm.assertEq(address(tickets).balance, PRICE * 4);
        vm.assertEq(tickets.escrow().paidInWei, PRICE * 4);
    }

    function testFuzz_OnlyTheExactPriceBuys(uint256 quantitySeed, uint256 sent) public {
        uint256 quantity = within(quantitySeed, 1, 10);
        sent = within(sent, 0, 100 ether);
        vm.assume(sent != PRICE * quantity);
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_WrongPayment.selector, PRICE * quantity, sent)
        );
        vm.prank(alice);
        tickets.purchaseTickets{value: sent}(alice, quantity);
    }

    function test_AFreeTicketTakesNoMoney() public {
        EventTicket free = createWithTier(tierParams(0, 10));
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_WrongPayment.selector, 0, 1));
        vm.prank(alice);
        free.purchaseTickets{value: 1}(alice, 1);
        vm.prank(alice);
        free.purchaseTickets(alice, 1);
        vm.assertEq(free.ownerOf(1), alice);
    }

    function test_ATierThatDoesNotExistSellsNothing() public {
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTier.selector, 2));
        vm.prank(alice);
        tickets.purchaseTickets(alice, 2, 1, noProof());
    }

    function test_APurchaseNamesAQuantityWithinTheTiersBounds() public {
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_BadQuantity.selector, 0, 10));
        tickets.purchaseTickets(alice, 0);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_BadQuantity.selector, 11, 10));
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE * 11}(alice, 11);
    }

    function test_NobodyBuysForTheZeroAddress() public {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE}(address(0), 1);
    }

    function test_ATierSellsNoMoreThanItsSupply() public {
        for (uint256 i = 0; i < 4; ++i) {
            buy(alice, 1, 9);
        }
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SoldOut.selector, 1, 4));
        vm.prank(alice);
        tickets.purchaseTickets{value: VIP_PRICE * 5}(alice, 1, 5, noProof());
        buy(alice, 1, 4);
        vm.assertEq(tickets.available(1), 0);
    }

    function test_AllTiersTogetherSellNoMoreThanTheEventHolds() public {
        for (uint256 i = 0; i < 8; ++i) {
            buy(alice, 0, 10);
        }
        for (uint256 i = 0; i < 2; ++i) {
            buy(bob, 1, 10);
        }
        vm.assertEq(tickets.available(1), 0);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SoldOut.selector, 1, 0));
        vm.prank(bob);
        tickets.purchaseTickets{value: VIP_PRICE}(bob, 1, 1, noProof());
    }

    function test_ASaleOpensAtItsStartAndClosesAtItsEnd() public {
        IEventTicket.TierParams memory t = tierParams(PRICE, 10);
        t.saleStart = uint40(NOW + 100);
        t.saleEnd = uint40(NOW + 200);
        EventTicket timed = createWithTier(t);
        vm.warp(NOW + 99);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SaleNotOpen.selector, NOW + 100));
        vm.prank(alice);
        timed.purchaseTickets{value: PRICE}(alice, 1);
        vm.warp(NOW + 100);
        buyOf(timed, alice, 0, 1);
        vm.warp(NOW + 199);
        buyOf(timed, alice, 0, 1);
        vm.warp(NOW + 200);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SaleClosed.selector, NOW + 200));
        vm.prank(alice);
        timed.purchaseTickets{value: PRICE}(alice, 1);
    }

    function test_NothingIsSoldFromTheEventsEndOn() public {
        vm.warp(END - 1);
        buy(alice, 0, 1);
        vm.warp(END);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_SaleClosed.selector, END));
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE}(alice, 1);
    }

    function test_NothingIsSoldAfterACancel() public {
        cancel();
        vm.expectRevert(IEventTicket.EventTicket_Cancelled.selector);
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE}(alice, 1);
    }

    function test_NothingIsSoldWhileThePlatformIsPaused() public {
        vm.prank(admin);
        factory.pause();
        vm.expectRevert(IEventTicket.EventTicket_Paused.selector);
        vm.prank(alice);
        tickets.purchaseTickets{value: PRICE}(alice, 1);
        vm.prank(admin);
        factory.unpause();
        buy(alice, 0, 1);
    }

    function testFuzz_ARecipientGetsNoMoreThanTheWalletLimit(uint8 limitSeed, uint8[6] memory quantities)
        public
    {
        IEventTicket.TierParams memory t = tierParams(PRICE, 1000);
        t.maxPerWallet = uint8(within(limitSeed, 1, 255));
        t.maxPerPurchase = 50;
        IEventFactory.EventParams memory p = params();
        p.maxTickets = 1000;
        p.tiers[0] = t;
        (, EventTicket limited) = create(p);
        uint256 bought;
        for (uint256 i = 0; i < quantities.length; ++i) {
            uint256 quantity = within(quantities[i], 1, 50);
            bool fits = bought + quantity <= t.maxPerWallet;
            if (!fits) {
                vm.expectRevert(
                    abi.encodeWithSelector(IEventTicket.EventTicket_WalletLimit.selector, bob, t.maxPerWallet)
                );
            }
            // Whoever pays, the limit is the recipient's.
            vm.prank(i % 2 == 0 ? alice : carol);
            limited.purchaseTickets{value: PRICE * quantity}(bob, 0, quantity, noProof());
            if (fits) bought += quantity;
        }
        vm.assertEq(limited.balanceOf(bob), bought);
    }

    function test_AWalletLimitIsPerTier() public {
        IEventFactory.EventParams memory p = params();
        p.tiers[0].maxPerWallet = 1;
        p.tiers[1].maxPerWallet = 1;
        (, EventTicket limited) = create(p);
        buyOf(limited, alice, 0, 1);
        buyOf(limited, alice, 1, 1);
        for (uint256 tierId = 0; tierId < 2; ++tierId) {
            uint256 price = limited.tier(tierId).priceWei;
            vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_WalletLimit.selector, alice, 1));
            vm.prank(alice);
            limited.purchaseTickets{value: price}(alice, tierId, 1, noProof());
        }
        vm.assertEq(limited.balanceOf(alice), 2);
    }

    function test_AnAllowListAdmitsOnlyWhoItNames() public {
        (bytes32 root, bytes32[] memory aliceProof, bytes32[] memory bobProof) = _allowList();
        IEventTicket.TierParams memory t = tierParams(PRICE, 10);
        t.allowListRoot = root;
        EventTicket listed = createWithTier(t);
        vm.prank(carol);
        listed.purchaseTickets{value: PRICE}(alice, 0, 1, aliceProof);
        vm.prank(bob);
        listed.purchaseTickets{value: PRICE}(bob, 0, 1, bobProof);
        vm.assertEq(listed.ownerOf(1), alice);
        vm.assertEq(listed.tier(0).maxPerPurchase, 10);
        bytes memory refusal = abi.encodeWithSelector(IEventTicket.EventTicket_NotOnAllowList.selector, carol);
        vm.expectRevert(refusal);
        vm.prank(carol);
        listed.purchaseTickets{value: PRICE}(carol, 0, 1, aliceProof);
        vm.expectRevert(refusal);
        vm.prank(carol);
        listed.purchaseTickets{value: PRICE}(carol, 1);
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_BadQuantity.selector, 11, 10));
        vm.prank(alice);
        listed.purchaseTickets{value: PRICE * 11}(alice, 0, 11, aliceProof);
    }

    function test_ALargestPurchaseKeepsItsPriceAndTierOnEveryTicket() public {
        IEventFactory.EventParams memory p = params();
        p.tiers[1].maxPerPurchase = 50;
        p.tiers[1].supply = 100;
        (, EventTicket large) = create(p);
        buyOf(large, bob, 0, 1);
        buyOf(large, alice, 1, 50);
        buyOf(large, bob, 0, 1);
        vm.assertEq(large.ticket(1).pricePaidWei, PRICE);
        for (uint256 id = 2; id <= 51; ++id) {
            vm.assertEq(large.ticket(id).pricePaidWei, VIP_PRICE);
            vm.assertEq(large.ticket(id).tierId, 1);
        }
        vm.assertEq(large.ticket(52).pricePaidWei, PRICE);
    }

    function test_TheLargestPossiblePaymentIsCounted() public {
        EventTicket dear = createWithTier(tierParams(type(uint96).max, 100));
        uint256 total = uint256(type(uint96).max) * 10;
        vm.deal(alice, total * 2);
        buyOf(dear, alice, 0, 10);
        buyOf(dear, alice, 0, 10);
        vm.assertEq(dear.escrow().paidInWei, total * 2);
    }

    /// @dev The tree of alice and bob, hashed as OpenZeppelin's JavaScript library does.
    function _allowList()
        private
        view
        returns (bytes32 root, bytes32[] memory ofAlice, bytes32[] memory ofBob)
    {
        bytes32 left = keccak256(bytes.concat(keccak256(abi.encode(alice))));
        bytes32 right = keccak256(bytes.concat(keccak256(abi.encode(bob))));
        root = left < right ? keccak256(bytes.concat(left, right)) : keccak256(bytes.concat(right, left));
        (ofAlice, ofBob) = (new bytes32[](1), new bytes32[](1));
        (ofAlice[0], ofBob[0]) = (right, left);
    }
}
