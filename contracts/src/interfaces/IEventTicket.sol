// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The tickets of one event: tiers, sales, escrow and the transfer rules
/// @notice An ERC-721 clone per event. Proceeds stay in this contract until the organizer may withdraw them;
/// cancelling opens pull refunds of the price that was first paid. No role can move a ticket or its money without
/// the holder.
interface IEventTicket {
    /// @notice Where a ticket stands. A ticket is in exactly one state.
    enum TicketState {
        None,
        Valid,
        Used,
        Refunded,
        Locked
    }

    /// @notice What the event's rules say of a transfer that the holder starts.
    enum GiftPolicy {
        Free,
        Limited,
        Forbidden
    }

    /// @notice The transfer and resale rules of an event, fixed when it is created.
    /// @param giftPolicy whether the holder may give a ticket away
    /// @param maxGifts how often one ticket may be given away under `GiftPolicy.Limited`
    /// @param giftsToContracts whether a gift may go to an address with code
    /// @param resaleCapBps the market's ceiling relative to the price first paid; 11_000 is 10 % above, 0 is no cap
    /// @param royaltyBps the organizer's share of a resale (ERC-2981), at most 2_000
    struct Rules {
        GiftPolicy giftPolicy;
        uint8 maxGifts;
        bool giftsToContracts;
        uint16 resaleCapBps;
        uint16 royaltyBps;
    }

    /// @notice What the organizer says of a tier.
    /// @param priceWei the price of one ticket
    /// @param supply how many tickets the tier holds
    /// @param saleStart first second of the sale; 0 is at once
    /// @param saleEnd first second after the sale; 0 is the event's end
    /// @param maxPerPurchase at most this many in one purchase, 1 to 50
    /// @param maxPerWallet at most this many bought for one recipient; 0 is no limit
    /// @param allowListRoot Merkle root over keccak256(bytes.concat(keccak256(abi.encode(recipient)))); 0 is open to all
    struct TierParams {
        uint96 priceWei;
        uint32 supply;
        uint40 saleStart;
        uint40 saleEnd;
        uint8 maxPerPurchase;
        uint8 maxPerWallet;
        bytes32 allowListRoot;
    }

    /// @notice A tier as it stands.
    struct Tier {
        uint96 priceWei;
        uint32 supply;
        uint32 sold;
        uint40 saleStart;
        uint40 saleEnd;
        uint8 maxPerPurchase;
        uint8 maxPerWallet;
    }

    /// @notice A ticket as it stands.
    struct Ticket {
        address owner;
        TicketState state;
        uint16 tierId;
        uint8 gifts;
        uint96 pricePaidWei;
    }

    /// @notice The money of this contract; paidIn == refunded + withdrawn + fees + what it still owes.
    /// `feesWei` counts fees that reached the treasury; those only set aside are still owed.
    struct Escrow {
        uint128 paidInWei;
        uint128 refundedWei;
        uint128 withdrawnWei;
        uint128 feesWei;
    }

    event TierAdded(uint256 indexed tierId, TierParams tier);
    event PriceUpdated(uint256 indexed tierId, uint256 oldPriceWei, uint256 newPriceWei);
    /// @dev The first four fields are what clients of the existing platform know; token ids are consecutive.
    event TicketsPurchased(
        address indexed buyer,
        uint256 indexed eventId,
        uint256 quantity,
        uint256[] tokenIds,
        uint256 tierId,
        uint256 unitPriceWei
    );
    event BatchMinted(uint256 indexed eventId, uint256 tierId, address[] recipients, uint256[] tokenIds);
    event TicketUsed(uint256 indexed tokenId);
    /// @dev Only under `GiftPolicy.Limited`, beside the `Transfer` that it counts.
    event TicketGifted(uint256 indexed tokenId, uint256 gifts);
    event TicketLocked(uint256 indexed tokenId, address indexed module);
    event TicketUnlocked(uint256 indexed tokenId, address indexed module);
    event Refunded(uint256 indexed tokenId, address indexed holder, uint256 amountWei);
    event Withdrawn(address indexed to, uint256 amountWei);
    event FeesWithdrawn(address indexed to, uint256 amountWei);

    error EventTicket_OnlyFactory();
    error EventTicket_OnlyOrganizer();
    error EventTicket_OnlyModule();
    error EventTicket_OnlyCheckIn();
    error EventTicket_NoSuchTier(uint256 tierId);
    error EventTicket_BadTier();
    error EventTicket_BadQuantity(uint256 quantity, uint256 maximum);
    error EventTicket_SaleNotOpen(uint256 opensAt);
    error EventTicket_SaleClosed(uint256 closedAt);
    error EventTicket_SoldOut(uint256 tierId, uint256 remaining);
    error EventTicket_WalletLimit(address recipient, uint256 maximum);
    error EventTicket_NotOnAllowList(address recipient);
    error EventTicket_WrongPayment(uint256 expectedWei, uint256 sentWei);
    error EventTicket_UnexpectedTokenId(uint256 expected, uint256 given);
    error EventTicket_Cancelled();
    error EventTicket_NotCancelled();
    error EventTicket_Paused();
    error EventTicket_NotEnded(uint256 endsAt);
    error EventTicket_AlreadyWithdrawn();
    error EventTicket_NothingToWithdraw();
    error EventTicket_NoSuchTicket(uint256 tokenId);
    error EventTicket_NotHolder(address caller);
    error EventTicket_WrongState(uint256 tokenId, TicketState state);
    error EventTicket_GiftForbidden();
    error EventTicket_GiftsUsedUp(uint256 maxGifts);
    error EventTicket_GiftToContract(address to);
    error EventTicket_OperatorNotTrusted(address operator);
    error EventTicket_PaymentFailed(address to, uint256 amountWei);

    /// @notice Buy `quantity` tickets of tier 0 for `recipient`.
    /// @dev `msg.value` is the buyer's agreement: anything but price x quantity reverts, so a price change in
    /// flight never makes a buyer pay more than they signed.
    function purchaseTickets(address recipient, uint256 quantity)
        external
        payable
        returns (uint256 firstTokenId);

    /// @notice Buy `quantity` tickets of `tierId` for `recipient`, with the Merkle proof the tier's allow list asks for.
    function purchaseTickets(address recipient, uint256 tierId, uint256 quantity, bytes32[] calldata proof)
        external
        payable
        returns (uint256 firstTokenId);

    /// @notice Hand out complimentary tickets of tier 0; `tokenIds` must be the next ids in order, so that two
    /// batches in flight cannot both succeed.
    function batchMintTickets(address[] calldata recipients, uint256[] calldata tokenIds) external;

    /// @notice Change a tier's price for purchases after this call.
    function setPrice(uint256 tierId, uint256 newPriceWei) external;

    /// @notice Add a tier; its supply and those of the other tiers may together exceed the event's maximum, which
    /// holds for all of them.
    function addTier(TierParams calldata tier) external returns (uint256 tierId);

    /// @notice Cancel the event: sales stop for good and every holder may call `refund`. Refused once proceeds
    /// have been withdrawn.
    function cancelEvent() external;

    /// @notice Pay a cancelled event's ticket back to its holder: the price first paid for it.
    function refund(uint256 tokenId) external;

    /// @notice Pay the organizer what is theirs after the event's end; the platform's fee is set aside.
    function withdraw() external;

    /// @notice Send the platform's fees set aside by `withdraw` to the factory's treasury. Anyone may call.
    function withdrawFees() external;

    /// @notice Mark a ticket used; only the check-in contract that was trusted when the event was created.
    /// @return holder who held the ticket
    function markUsed(uint256 tokenId) external returns (address holder);

    /// @notice Hold a ticket still for a trusted module that its holder has approved.
    function lock(uint256 tokenId) external;

    /// @notice Release a ticket; only the module that locked it.
    function unlock(uint256 tokenId) external;

    /// @notice Move a ticket by a trusted module that its holder approved beforehand; not counted as a gift.
    function recover(uint256 tokenId, address to) external;

    /// @notice Whether `holder` holds `tokenId` and may enter with it.
    function verifyTicket(uint256 tokenId, address holder) external view returns (bool);

    /// @notice A ticket as it stands; reverts for one that does not exist.
    function ticket(uint256 tokenId) external view returns (Ticket memory);
    /// @notice A tier as it stands; reverts for one that does not exist.
    function tier(uint256 tierId) external view returns (Tier memory);
    /// @notice How many tiers there are; they are numbered from 0.
    function tierCount() external view returns (uint256);
    /// @notice How many tickets of a tier are left, by its supply and the event's maximum; says nothing of sale times.
    function available(uint256 tierId) external view returns (uint256);
    /// @notice The sums of money that came in and went out.
    function escrow() external view returns (Escrow memory);
    /// @notice The transfer and resale rules.
    function rules() external view returns (Rules memory);
    /// @notice The event's number in the factory.
    function eventId() external view returns (uint256);
    /// @notice Who runs the event and receives its proceeds.
    function organizer() external view returns (address);
    /// @notice How many tickets there can be, of all tiers together.
    function maxTickets() external view returns (uint256);
    /// @notice How many tickets there are; their ids are 1 to this number.
    function ticketsMinted() external view returns (uint256);
    /// @notice When the event starts, in unix seconds.
    function startTime() external view returns (uint256);
    /// @notice When the event ends, in unix seconds; from then on nothing is sold and proceeds may be withdrawn.
    function endTime() external view returns (uint256);
    /// @notice Whether the event was cancelled.
    function cancelled() external view returns (bool);
    /// @notice Where the event's metadata document is, which all its tickets share.
    function metadataURI() external view returns (string memory);
    /// @notice keccak256 of the event's metadata document.
    function metadataHash() external view returns (bytes32);
    /// @notice The highest price at which the market may resell `tokenId`, pinned to the price first paid; rounds down.
    /// @return ceilingWei `type(uint256).max` when the event has no cap
    function resaleCeiling(uint256 tokenId) external view returns (uint256 ceilingWei);
}
