// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventFactory} from "./interfaces/IEventFactory.sol";
import {IEventTicket} from "./interfaces/IEventTicket.sol";
import {IEventTicketSetup} from "./interfaces/IEventTicketSetup.sol";
import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title The registry of events
/// @dev A ticket contract's address follows from its organizer and event id, so the registry stores only the
/// organizer. Nobody can take the address beforehand: only this contract deploys from it.
contract EventFactory is IEventFactory, AccessControlDefaultAdminRules, Pausable {
    bytes32 public constant ORGANIZER_ROLE = keccak256("ORGANIZER_ROLE");
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    uint48 private constant ADMIN_DELAY = 1 days;
    uint40 private constant FEE_NOTICE = 1 days;
    uint256 private constant MAX_FEE_BPS = 1000;
    uint256 private constant MAX_NAME_BYTES = 128;
    uint256 private constant MAX_URI_BYTES = 512;
    uint256 private constant MAX_TICKETS = type(uint32).max - 1;
    uint256 private constant MAX_TIERS = 20;
    uint256 private constant MAX_AHEAD = 10 * 365 days;
    uint256 private constant MAX_ROYALTY_BPS = 2000;
    uint256 private constant FULL_BPS = 10_000;
    uint256 private constant MAX_PAGE = 100;
    /// @dev The most that one purchase of a ticket contract may take.
    uint8 private constant MAX_PER_PURCHASE = 50;

    // One slot, written by each creation.
    uint32 private _eventCount;
    uint16 private _oldFeeBps;
    uint16 private _newFeeBps;
    uint40 private _feeChangesAt;
    bool public openCreation = true;

    address public treasury;
    address public implementation;
    address public checkIn;
    mapping(uint256 eventId => address) private _organizers;
    mapping(address module => bool) public isModule;

    /// @param admin holds every role at first; hands over in two steps with a day between
    constructor(address admin, address treasury_, uint16 feeBps_)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
    {
        if (treasury_ == address(0)) revert EventFactory_ZeroAddress();
        if (feeBps_ > MAX_FEE_BPS) revert EventFactory_BadFee(MAX_FEE_BPS);

        _grantRole(PAUSER_ROLE, admin);
        treasury = treasury_;
        _newFeeBps = feeBps_;
        emit TreasuryUpdated(address(0), treasury_);
        emit FeeUpdated(0, feeBps_, uint40(block.timestamp));
        emit OpenCreationUpdated(true);
    }

    // --- events ---

    /// @inheritdoc IEventFactory
    function createEvent(
        string calldata name,
        string calldata metadataURI,
        uint256 ticketPrice,
        uint256 maxTickets,
        uint256 startTime,
        uint256 endTime
    ) external returns (uint256, address) {
        if (maxTickets > MAX_TICKETS) revert EventFactory_BadSupply();
        if (ticketPrice > type(uint96).max) revert EventFactory_BadTiers();
        if (startTime > type(uint40).max || endTime > type(uint40).max) revert EventFactory_BadSchedule();

        EventParams memory params;
        params.name = name;
        params.metadataURI = metadataURI;
        params.maxTickets = uint32(maxTickets);
        params.startTime = uint40(startTime);
        params.endTime = uint40(endTime);
        params.tiers = new IEventTicket.TierParams[](1);
        params.tiers[0].priceWei = uint96(ticketPrice);
        params.tiers[0].supply = uint32(maxTickets);
        params.tiers[0].maxPerPurchase = MAX_PER_PURCHASE;
        params.rules.giftsToContracts = true;
        return _create(params);
    }

    /// @inheritdoc IEventFactory
    function createEvent(EventParams calldata params) external returns (uint256, address) {
        return _create(params);
    }

    /// @inheritdoc IEventFactory
    function updateEvent(
        uint256 eventId,
        string calldata metadataURI,
        bytes32 metadataHash,
        uint40 startTime,
        uint40 endTime
    ) external {
        address organizer = _requireEvent(eventId);
        if (msg.sender != organizer) revert EventFactory_NotOrganizer(msg.sender);
        if (bytes(metadataURI).length > MAX_URI_BYTES) revert EventFactory_BadMetadata();
        address ticketContract = predictTicketContract(organizer, eventId);
        uint256 oldStart = IEventTicket(ticketContract).startTime();
        uint256 oldEnd = IEventTicket(ticketContract).endTime();
        bool startHolds = startTime == oldStart || startTime > block.timestamp;
        bool endHolds = endTime == oldEnd || (endTime > oldEnd && endTime <= block.timestamp + MAX_AHEAD);
        bool over = block.timestamp >= oldEnd;
        if (over || !startHolds || !endHolds || startTime >= endTime) revert EventFactory_BadSchedule();

        emit EventUpdated(eventId, metadataURI, metadataHash, startTime, endTime);
        IEventTicketSetup(ticketContract).update(metadataURI, metadataHash, startTime, endTime);
    }

    /// @inheritdoc IEventFactory
    function noteCancelled(uint256 eventId) external {
        if (msg.sender != predictTicketContract(_requireEvent(eventId), eventId)) {
            revert EventFactory_OnlyTicketContract();
        }
        emit EventCancelled(eventId);
    }

    // --- the platform's part ---

    /// @inheritdoc IEventFactory
    function setContracts(address implementation_, address checkIn_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (implementation != address(0)) revert EventFactory_AlreadySet();
        if (implementation_.code.length == 0 || checkIn_.code.length == 0) revert EventFactory_ZeroAddress();

        implementation = implementation_;
        checkIn = checkIn_;
        emit ContractsSet(implementation_, checkIn_);
    }

    /// @inheritdoc IEventFactory
    function setModule(address module, bool trusted) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (module == address(0)) revert EventFactory_ZeroAddress();

        isModule[module] = trusted;
        emit ModuleTrusted(module, trusted);
    }

    /// @inheritdoc IEventFactory
    function setFee(uint16 newFeeBps) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (newFeeBps > MAX_FEE_BPS) revert EventFactory_BadFee(MAX_FEE_BPS);

        uint16 oldFeeBps = feeBps();
        uint40 effectiveAt = uint40(block.timestamp) + (newFeeBps > oldFeeBps ? FEE_NOTICE : 0);
        _oldFeeBps = oldFeeBps;
        _newFeeBps = newFeeBps;
        _feeChangesAt = effectiveAt;
        emit FeeUpdated(oldFeeBps, newFeeBps, effectiveAt);
    }

    /// @inheritdoc IEventFactory
    function setTreasury(address newTreasury) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (newTreasury == address(0)) revert EventFactory_ZeroAddress();

        emit TreasuryUpdated(treasury, newTreasury);
        treasury = newTreasury;
    }

    /// @inheritdoc IEventFactory
    function setOpenCreation(bool open) external onlyRole(DEFAULT_ADMIN_ROLE) {
        openCreation = open;
        emit OpenCreationUpdated(open);
    }

    /// @inheritdoc IEventFactory
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @inheritdoc IEventFactory
    function unpause() external onlyRole(PAUSER_ROLE) {
        _unpause();
    }

    // --- reading ---

    /// @inheritdoc IEventFactory
    function getEvent(uint256 eventId) external view returns (EventInfo memory) {
        address organizer = _requireEvent(eventId);
        return EventInfo(predictTicketContract(organizer, eventId), organizer);
    }

    /// @inheritdoc IEventFactory
    function getEvents(uint256 offset, uint256 limit) external view returns (EventInfo[] memory page) {
        uint256 count = _eventCount;
        uint256 length = offset < count ? Math.min(Math.min(limit, MAX_PAGE), count - offset) : 0;
        page = new EventInfo[](length);
        for (uint256 i = 0; i < length; ++i) {
            uint256 eventId = offset + i + 1;
            address organizer = _organizers[eventId];
            page[i] = EventInfo(predictTicketContract(organizer, eventId), organizer);
        }
    }

    /// @inheritdoc IEventFactory
    function eventCount() external view returns (uint256) {
        return _eventCount;
    }

    /// @inheritdoc IEventFactory
    /// @dev Asks the address which event it claims to be and believes only its own registry.
    function isTicketContract(address ticketContract) external view returns (bool) {
        (bool answered, bytes memory answer) =
            ticketContract.staticcall(abi.encodeCall(IEventTicket.eventId, ()));
        if (!answered || answer.length != 32) return false;
        uint256 eventId = abi.decode(answer, (uint256));
        address organizer = _organizers[eventId];
        return organizer != address(0) && predictTicketContract(organizer, eventId) == ticketContract;
    }

    /// @inheritdoc IEventFactory
    function feeBps() public view returns (uint16) {
        return block.timestamp < _feeChangesAt ? _oldFeeBps : _newFeeBps;
    }

    /// @inheritdoc IEventFactory
    function predictTicketContract(address organizer, uint256 eventId) public view returns (address) {
        return Clones.predictDeterministicAddress(implementation, _salt(organizer, eventId));
    }

    function _create(EventParams memory params)
        private
        whenNotPaused
        returns (uint256 eventId, address ticketContract)
    {
        if (!openCreation && !hasRole(ORGANIZER_ROLE, msg.sender)) {
            revert EventFactory_NotOrganizer(msg.sender);
        }
        if (implementation == address(0)) revert EventFactory_NotReady();
        _checkParams(params);

        eventId = ++_eventCount;
        _organizers[eventId] = msg.sender;
        ticketContract = Clones.cloneDeterministic(implementation, _salt(msg.sender, eventId));
        uint16 fee = feeBps();
        _announce(eventId, ticketContract, fee, params);
        IEventTicketSetup(ticketContract)
            .initialize(IEventTicketSetup.Terms(uint32(eventId), msg.sender, checkIn, fee), params);
    }

    /// @dev Before the ticket contract's own first logs, so that who follows the chain knows it by then.
    function _announce(uint256 eventId, address ticketContract, uint16 fee, EventParams memory params)
        private
    {
        emit EventCreated(
            eventId,
            msg.sender,
            ticketContract,
            params.name,
            params.metadataURI,
            params.tiers[0].priceWei,
            params.maxTickets,
            params.startTime,
            params.endTime,
            params.metadataHash,
            fee,
            params.rules
        );
    }

    function _checkParams(EventParams memory params) private view {
        uint256 nameBytes = bytes(params.name).length;
        if (nameBytes == 0 || nameBytes > MAX_NAME_BYTES) revert EventFactory_BadName();
        if (bytes(params.metadataURI).length > MAX_URI_BYTES) revert EventFactory_BadMetadata();
        if (params.maxTickets == 0 || params.maxTickets > MAX_TICKETS) revert EventFactory_BadSupply();
        if (params.tiers.length == 0 || params.tiers.length > MAX_TIERS) revert EventFactory_BadTiers();
        bool ahead = params.startTime > block.timestamp && params.endTime <= block.timestamp + MAX_AHEAD;
        if (!ahead || params.endTime <= params.startTime) revert EventFactory_BadSchedule();
        IEventTicket.Rules memory rules = params.rules;
        // A seller may always recover the face value.
        bool capHolds = rules.resaleCapBps == 0 || rules.resaleCapBps >= FULL_BPS;
        bool giftsHold = rules.giftPolicy != IEventTicket.GiftPolicy.Limited || rules.maxGifts != 0;
        if (!capHolds || !giftsHold || rules.royaltyBps > MAX_ROYALTY_BPS) revert EventFactory_BadRules();
    }

    function _requireEvent(uint256 eventId) private view returns (address organizer) {
        organizer = _organizers[eventId];
        if (organizer == address(0)) revert EventFactory_NoSuchEvent(eventId);
    }

    function _salt(address organizer, uint256 eventId) private pure returns (bytes32) {
        return keccak256(abi.encode(organizer, eventId));
    }
}
