// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {TicketTransfers} from "./TicketTransfers.sol";
import {IEventTicket} from "./interfaces/IEventTicket.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Tiers and how tickets of them come to be
/// @dev Token ids run from 1 upwards without gaps. What a purchase fixed for all its tickets (tier, price) is
/// written once, under its first ticket.
abstract contract TicketSales is TicketTransfers {
    /// @dev What tickets minted together share; stored under the first of at most `MAX_RUN` token ids.
    struct Run {
        uint96 priceWei;
        uint16 tierId;
        uint8 length;
    }

    /// @dev Who and by which rules; one slot.
    struct Setup {
        address organizer;
        uint40 startTime;
        uint16 feeBps;
        uint16 royaltyBps;
        GiftPolicy giftPolicy;
        uint8 maxGifts;
        bool giftsToContracts;
    }

    /// @dev One slot; its first 9 bytes are where `Initializable` keeps its version, which saves it a slot of its own.
    struct Links {
        uint72 initializable;
        address checkIn;
        uint16 resaleCapBps;
    }

    /// @dev Everything that each purchase reads or writes beside its tier; one slot, never empty. 2^104 wei are 2e13
    /// coins, beyond the whole supply of any chain.
    struct Sale {
        uint104 paidInWei;
        uint32 eventId;
        uint32 minted;
        uint32 maxTickets;
        uint40 endTime;
        uint8 tierCount;
        bool cancelled;
    }

    /// @dev Bounds how far `_runOf` looks back, and with it the gas of a refund.
    uint256 private constant MAX_RUN = 50;
    uint256 private constant MAX_BATCH = 200;
    uint256 private constant MAX_TIERS = 20;
    /// @dev Set in a stored tier's `maxPerPurchase`, of which MAX_RUN needs six bits, when the tier has an allow
    /// list; so that an open tier's purchase does not read the list's slot.
    uint8 private constant LISTED = 0x80;

    Setup internal _setup;
    Links internal _links;
    Sale internal _sale;
    mapping(uint256 tierId => Tier) private _tiers;
    mapping(uint256 tierId => bytes32) private _allowListRoots;
    mapping(uint256 tierId => mapping(address recipient => uint256)) private _bought;
    mapping(uint256 firstTokenId => Run) private _runs;

    modifier onlyOrganizer() {
        if (msg.sender != _setup.organizer) revert EventTicket_OnlyOrganizer();
        _;
    }

    /// @inheritdoc IEventTicket
    function purchaseTickets(address recipient, uint256 quantity) external payable returns (uint256) {
        return _purchase(recipient, 0, quantity, new bytes32[](0));
    }

    /// @inheritdoc IEventTicket
    function purchaseTickets(address recipient, uint256 tierId, uint256 quantity, bytes32[] calldata proof)
        external
        payable
        returns (uint256)
    {
        return _purchase(recipient, tierId, quantity, proof);
    }

    /// @inheritdoc IEventTicket
    function batchMintTickets(address[] calldata recipients, uint256[] calldata tokenIds)
        external
        onlyOrganizer
    {
        uint256 quantity = recipients.length;
        if (quantity == 0 || quantity > MAX_BATCH || quantity != tokenIds.length) {
            revert EventTicket_BadQuantity(quantity, MAX_BATCH);
        }
        Sale memory sale = _sale;
        _checkIssuing(sale);
        _checkStock(0, quantity, _tiers[0], sale);

        uint256 next = _issue(0, quantity, 0, sale);
        for (uint256 i = 0; i < quantity; ++i) {
            if (tokenIds[i] != next + i) revert EventTicket_UnexpectedTokenId(next + i, tokenIds[i]);
            if (i % MAX_RUN == 0) _runs[next + i] = Run(0, 0, uint8(Math.min(MAX_RUN, quantity - i)));
            _mint(recipients[i], next + i);
        }
        emit BatchMinted(sale.eventId, 0, recipients, tokenIds);
    }

    /// @inheritdoc IEventTicket
    function setPrice(uint256 tierId, uint256 newPriceWei) external onlyOrganizer {
        if (_sale.cancelled) revert EventTicket_Cancelled();
        _requireTier(tierId);
        if (newPriceWei > type(uint96).max) revert EventTicket_BadTier();

        uint256 oldPriceWei = _tiers[tierId].priceWei;
        _tiers[tierId].priceWei = uint96(newPriceWei);
        emit PriceUpdated(tierId, oldPriceWei, newPriceWei);
    }

    /// @inheritdoc IEventTicket
    function addTier(TierParams calldata params) external onlyOrganizer returns (uint256 tierId) {
        Sale memory sale = _sale;
        if (sale.cancelled) revert EventTicket_Cancelled();
        tierId = sale.tierCount;
        if (tierId == MAX_TIERS) revert EventTicket_BadTier();

        _sale.tierCount = uint8(tierId + 1);
        _setTier(tierId, params, sale.endTime);
    }

    /// @inheritdoc IEventTicket
    function tier(uint256 tierId) external view returns (Tier memory) {
        _requireTier(tierId);
        Tier memory t = _tiers[tierId];
        t.maxPerPurchase &= ~LISTED;
        return t;
    }

    /// @inheritdoc IEventTicket
    function available(uint256 tierId) external view returns (uint256) {
        _requireTier(tierId);
        return _remaining(_tiers[tierId], _sale);
    }

    function _setTier(uint256 tierId, TierParams calldata params, uint40 endTime) internal {
        bool windowHolds = params.saleStart < endTime && params.saleEnd <= endTime
            && (params.saleEnd == 0 || params.saleStart < params.saleEnd);
        bool limitsHold = params.supply != 0 && params.maxPerPurchase != 0 && params.maxPerPurchase <= MAX_RUN;
        if (!windowHolds || !limitsHold) revert EventTicket_BadTier();

        bool listed = params.allowListRoot != 0;
        if (listed) _allowListRoots[tierId] = params.allowListRoot;
        _tiers[tierId] = Tier({
            priceWei: params.priceWei,
            supply: params.supply,
            sold: 0,
            saleStart: params.saleStart,
            saleEnd: params.saleEnd,
            maxPerPurchase: listed ? params.maxPerPurchase | LISTED : params.maxPerPurchase,
            maxPerWallet: params.maxPerWallet
        });
        emit TierAdded(tierId, params);
    }

    /// @dev What the tickets minted together with `tokenId` share; the token must exist. At most `MAX_RUN` reads.
    function _runOf(uint256 tokenId) internal view returns (Run memory run) {
        while (run.length == 0) {
            run = _runs[tokenId--];
        }
    }

    function _isCancelled() internal view override returns (bool) {
        return _sale.cancelled;
    }

    function _giftRules()
        internal
        view
        override
        returns (GiftPolicy policy, uint8 maxGifts, bool toContracts)
    {
        Setup memory setup = _setup;
        return (setup.giftPolicy, setup.maxGifts, setup.giftsToContracts);
    }

    /// @dev No callback to the recipient: one that reverts could hold up a sale, and one that re-enters gains a
    /// foothold in it. A contract that cannot use a ticket is the payer's mistake to make.
    function _purchase(address recipient, uint256 tierId, uint256 quantity, bytes32[] memory proof)
        private
        returns (uint256 first)
    {
        Sale memory sale = _sale;
        _checkIssuing(sale);
        if (tierId >= sale.tierCount) revert EventTicket_NoSuchTier(tierId);
        Tier memory t = _tiers[tierId];
        if (block.timestamp < t.saleStart) revert EventTicket_SaleNotOpen(t.saleStart);
        if (t.saleEnd != 0 && block.timestamp >= t.saleEnd) revert EventTicket_SaleClosed(t.saleEnd);
        uint256 maximum = t.maxPerPurchase & ~LISTED;
        if (quantity == 0 || quantity > maximum) revert EventTicket_BadQuantity(quantity, maximum);
        _checkStock(tierId, quantity, t, sale);
        if (t.maxPerPurchase & LISTED != 0) _checkAllowList(tierId, recipient, proof);
        uint256 totalWei = t.priceWei * quantity;
        if (msg.value != totalWei) revert EventTicket_WrongPayment(totalWei, msg.value);

        if (t.maxPerWallet != 0) _countBought(tierId, recipient, quantity, t.maxPerWallet);
        first = _issue(tierId, quantity, totalWei, sale);
        // `quantity` is at most MAX_RUN and `tierId` below MAX_TIERS.
        _runs[first] = Run(t.priceWei, uint16(tierId), uint8(quantity));
        uint256[] memory tokenIds = new uint256[](quantity);
        for (uint256 i = 0; i < quantity; ++i) {
            tokenIds[i] = first + i;
            _mint(recipient, first + i);
        }
        emit TicketsPurchased(msg.sender, sale.eventId, quantity, tokenIds, tierId, t.priceWei);
    }

    function _countBought(uint256 tierId, address recipient, uint256 quantity, uint256 maximum) private {
        uint256 bought = _bought[tierId][recipient] + quantity;
        if (bought > maximum) revert EventTicket_WalletLimit(recipient, maximum);
        _bought[tierId][recipient] = bought;
    }

    /// @dev Takes `quantity` tickets out of the stock that `_checkStock` found, and books their payment.
    function _issue(uint256 tierId, uint256 quantity, uint256 paidWei, Sale memory sale)
        private
        returns (uint256 firstTokenId)
    {
        // Both counters stay within `supply` and `maxTickets`, which are uint32. A payment is at most 50 x 2^96 wei;
        // the checked sum refuses what no chain has.
        _tiers[tierId].sold += uint32(quantity);
        firstTokenId = uint256(sale.minted) + 1;
        sale.minted += uint32(quantity);
        sale.paidInWei += uint104(paidWei);
        _sale = sale;
    }

    function _checkIssuing(Sale memory sale) private view {
        if (sale.cancelled) revert EventTicket_Cancelled();
        if (Pausable(address(FACTORY)).paused()) revert EventTicket_Paused();
        if (block.timestamp >= sale.endTime) revert EventTicket_SaleClosed(sale.endTime);
    }

    function _checkStock(uint256 tierId, uint256 quantity, Tier memory t, Sale memory sale) private pure {
        uint256 remaining = _remaining(t, sale);
        if (quantity > remaining) revert EventTicket_SoldOut(tierId, remaining);
    }

    function _checkAllowList(uint256 tierId, address recipient, bytes32[] memory proof) private view {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(recipient))));
        if (!MerkleProof.verify(proof, _allowListRoots[tierId], leaf)) {
            revert EventTicket_NotOnAllowList(recipient);
        }
    }

    function _remaining(Tier memory t, Sale memory sale) private pure returns (uint256) {
        return Math.min(t.supply - t.sold, sale.maxTickets - sale.minted);
    }

    function _requireTier(uint256 tierId) private view {
        if (tierId >= _sale.tierCount) revert EventTicket_NoSuchTier(tierId);
    }
}
