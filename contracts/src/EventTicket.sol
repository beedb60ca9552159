// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {TicketSales} from "./TicketSales.sol";
import {TicketTransfers} from "./TicketTransfers.sol";
import {IEventFactory} from "./interfaces/IEventFactory.sol";
import {IEventTicket} from "./interfaces/IEventTicket.sol";
import {IEventTicketSetup} from "./interfaces/IEventTicketSetup.sol";
import {IERC2981} from "@openzeppelin/contracts/interfaces/IERC2981.sol";
import {IERC4906} from "@openzeppelin/contracts/interfaces/IERC4906.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title The tickets of one event
/// @dev An EIP-1167 clone per event; the implementation can never be initialized.
contract EventTicket is
    TicketSales,
    IEventTicketSetup,
    IERC2981,
    IERC4906,
    Initializable,
    ReentrancyGuardTransient
{
    uint256 private constant FULL_BPS = 10_000;
    bytes4 private constant ERC4906_ID = 0x49064906;

    uint128 private _refundedWei;
    uint128 private _withdrawnWei;
    uint128 private _feesWei;
    bytes32 public metadataHash;
    string public metadataURI;
    string private _eventName;

    modifier onlyFactory() {
        if (msg.sender != address(FACTORY)) revert EventTicket_OnlyFactory();
        _;
    }

    constructor(address factory) TicketTransfers(factory) {
        _disableInitializers();
    }

    // --- set up by the factory ---

    /// @inheritdoc IEventTicketSetup
    function initialize(Terms calldata terms, IEventFactory.EventParams calldata params)
        external
        onlyFactory
        initializer
    {
        Rules calldata r = params.rules;
        _setup = Setup({
            organizer: terms.organizer,
            startTime: params.startTime,
            feeBps: terms.feeBps,
            royaltyBps: r.royaltyBps,
            giftPolicy: r.giftPolicy,
            maxGifts: r.maxGifts,
            giftsToContracts: r.giftsToContracts
        });
        // Field by field: the rest of the slot is in `Initializable`'s hands.
        _links.checkIn = terms.checkIn;
        _links.resaleCapBps = r.resaleCapBps;
        _sale =
            Sale(0, terms.eventId, 0, params.maxTickets, params.endTime, uint8(params.tiers.length), false);
        _eventName = params.name;
        metadataURI = params.metadataURI;
        metadataHash = params.metadataHash;
        for (uint256 id = 0; id < params.tiers.length; ++id) {
            _setTier(id, params.tiers[id], params.endTime);
        }
    }

    /// @inheritdoc IEventTicketSetup
    function update(string calldata newURI, bytes32 newHash, uint40 newStart, uint40 newEnd)
        external
        onlyFactory
    {
        if (_sale.cancelled) revert EventTicket_Cancelled();

        metadataURI = newURI;
        metadataHash = newHash;
        _setup.startTime = newStart;
        _sale.endTime = newEnd;
        emit BatchMetadataUpdate(0, type(uint256).max);
    }

    // --- the money ---

    /// @inheritdoc IEventTicket
    function cancelEvent() external onlyOrganizer {
        if (_sale.cancelled) revert EventTicket_Cancelled();
        if (_withdrawnWei != 0) revert EventTicket_AlreadyWithdrawn();

        _sale.cancelled = true;
        FACTORY.noteCancelled(_sale.eventId);
    }

    /// @inheritdoc IEventTicket
    function refund(uint256 tokenId) external nonReentrant {
        if (!_sale.cancelled) revert EventTicket_NotCancelled();
        address holder = _requireHolder(tokenId);
        if (msg.sender != holder) revert EventTicket_NotHolder(msg.sender);
        TicketState state = _stateOf(tokenId);
        if (state != TicketState.Valid && state != TicketState.Used) {
            revert EventTicket_WrongState(tokenId, state);
        }

        uint256 amountWei = _runOf(tokenId).priceWei;
        _spend(tokenId, TicketState.Refunded);
        _refundedWei += uint128(amountWei);
        emit Refunded(tokenId, holder, amountWei);
        _pay(holder, amountWei);
    }

    /// @inheritdoc IEventTicket
    function withdraw() external onlyOrganizer nonReentrant {
        Sale memory sale = _sale;
        if (sale.cancelled) revert EventTicket_Cancelled();
        if (block.timestamp < sale.endTime) revert EventTicket_NotEnded(sale.endTime);
        if (_withdrawnWei != 0) revert EventTicket_AlreadyWithdrawn();
        if (sale.paidInWei == 0) revert EventTicket_NothingToWithdraw();

        uint256 amountWei = sale.paidInWei - (uint256(sale.paidInWei) * _setup.feeBps) / FULL_BPS;
        // At most `paidInWei`, a uint128.
        _withdrawnWei = uint128(amountWei);
        emit Withdrawn(msg.sender, amountWei);
        _pay(msg.sender, amountWei);
    }

    /// @inheritdoc IEventTicket
    function withdrawFees() external nonReentrant {
        // Nothing is sold after the end and nothing refunded after a withdrawal: what is left of it is the fee.
        uint128 withdrawnWei = _withdrawnWei;
        uint128 amountWei = withdrawnWei == 0 ? 0 : _sale.paidInWei - withdrawnWei - _feesWei;
        if (amountWei == 0) revert EventTicket_NothingToWithdraw();

        address treasury = FACTORY.treasury();
        _feesWei += amountWei;
        emit FeesWithdrawn(treasury, amountWei);
        _pay(treasury, amountWei);
    }

    // --- the door ---

    /// @inheritdoc IEventTicket
    function markUsed(uint256 tokenId) external returns (address holder) {
        if (msg.sender != _links.checkIn) revert EventTicket_OnlyCheckIn();
        if (_sale.cancelled) revert EventTicket_Cancelled();
        holder = _requireHolder(tokenId);
        _requireState(tokenId, TicketState.Valid);

        _spend(tokenId, TicketState.Used);
        emit TicketUsed(tokenId);
    }

    /// @inheritdoc IEventTicket
    function verifyTicket(uint256 tokenId, address holder) external view returns (bool) {
        return _stateOf(tokenId) == TicketState.Valid && _ownerOf(tokenId) == holder && !_sale.cancelled;
    }

    // --- reading ---

    /// @inheritdoc IEventTicket
    function ticket(uint256 tokenId) external view returns (Ticket memory) {
        address owner = _requireHolder(tokenId);
        Run memory run = _runOf(tokenId);
        return Ticket(owner, _stateOf(tokenId), run.tierId, _giftsOf(tokenId), run.priceWei);
    }

    /// @inheritdoc IEventTicket
    function escrow() external view returns (Escrow memory) {
        return Escrow(_sale.paidInWei, _refundedWei, _withdrawnWei, _feesWei);
    }

    /// @inheritdoc IEventTicket
    function rules() external view returns (Rules memory) {
        Setup memory s = _setup;
        return Rules(s.giftPolicy, s.maxGifts, s.giftsToContracts, _links.resaleCapBps, s.royaltyBps);
    }

    /// @inheritdoc IEventTicket
    function resaleCeiling(uint256 tokenId) external view returns (uint256) {
        _requireHolder(tokenId);
        uint256 capBps = _links.resaleCapBps;
        return capBps == 0 ? type(uint256).max : (uint256(_runOf(tokenId).priceWei) * capBps) / FULL_BPS;
    }

    /// @inheritdoc IERC2981
    function royaltyInfo(uint256, uint256 salePriceWei) external view returns (address, uint256) {
        return (_setup.organizer, Math.mulDiv(salePriceWei, _setup.royaltyBps, FULL_BPS));
    }

    /// @inheritdoc IEventTicket
    function tierCount() external view returns (uint256) {
        return _sale.tierCount;
    }

    /// @inheritdoc IEventTicket
    function eventId() external view returns (uint256) {
        return _sale.eventId;
    }

    /// @inheritdoc IEventTicket
    function organizer() external view returns (address) {
        return _setup.organizer;
    }

    /// @inheritdoc IEventTicket
    function maxTickets() external view returns (uint256) {
        return _sale.maxTickets;
    }

    /// @inheritdoc IEventTicket
    function ticketsMinted() external view returns (uint256) {
        return _sale.minted;
    }

    /// @inheritdoc IEventTicket
    function startTime() external view returns (uint256) {
        return _setup.startTime;
    }

    /// @inheritdoc IEventTicket
    function endTime() external view returns (uint256) {
        return _sale.endTime;
    }

    /// @inheritdoc IEventTicket
    function cancelled() external view returns (bool) {
        return _sale.cancelled;
    }

    /// @notice The event's name.
    function name() public view override returns (string memory) {
        return _eventName;
    }

    /// @notice The same for every event.
    function symbol() public pure override returns (string memory) {
        return "TICKET";
    }

    /// @notice The event's metadata document, the same for all its tickets.
    function tokenURI(uint256 tokenId) public view override returns (string memory) {
        _requireOwned(tokenId);
        return metadataURI;
    }

    /// @notice ERC-165, ERC-721 with metadata, ERC-2981 and ERC-4906.
    function supportsInterface(bytes4 id) public view override(ERC721, IERC165) returns (bool) {
        return id == type(IERC2981).interfaceId || id == ERC4906_ID || super.supportsInterface(id);
    }

    function _initializableStorageSlot() internal pure override returns (bytes32 slot) {
        assembly ("memory-safe") {
            slot := _links.slot
        }
    }

    /// @dev Forwards all gas: every caller has booked the payment and holds the reentrancy guard. What the receiver
    /// returns is not copied.
    function _pay(address to, uint256 amountWei) private {
        if (amountWei == 0) return;
        if (!LowLevelCall.callNoReturn(to, amountWei, "")) revert EventTicket_PaymentFailed(to, amountWei);
    }
}
