// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventTicket} from "./IEventTicket.sol";

/// @title The registry of events
/// @notice Deploys a ticket contract per event as a minimal-proxy clone and initializes it in the same call.
interface IEventFactory {
    /// @notice What an organizer says of a new event.
    /// @param name at most 128 bytes
    /// @param metadataURI at most 512 bytes
    /// @param metadataHash keccak256 of the metadata document; joins the event to its draft
    /// @param maxTickets holds for all tiers together, 1 to 2^32 - 2
    /// @param startTime in the future
    /// @param endTime after the start and at most ten years from now
    struct EventParams {
        string name;
        string metadataURI;
        bytes32 metadataHash;
        uint32 maxTickets;
        uint40 startTime;
        uint40 endTime;
        IEventTicket.TierParams[] tiers;
        IEventTicket.Rules rules;
    }

    struct EventInfo {
        address ticketContract;
        address organizer;
    }

    /// @dev The first fields are what clients of the existing platform know. `ticketPrice` is tier 0's.
    event EventCreated(
        uint256 indexed eventId,
        address indexed organizer,
        address indexed ticketContract,
        string name,
        string metadataURI,
        uint256 ticketPrice,
        uint256 maxTickets,
        uint256 startTime,
        uint256 endTime,
        bytes32 metadataHash,
        uint16 feeBps,
        IEventTicket.Rules rules
    );
    event EventUpdated(
        uint256 indexed eventId, string metadataURI, bytes32 metadataHash, uint256 startTime, uint256 endTime
    );
    event EventCancelled(uint256 indexed eventId);
    event ModuleTrusted(address indexed module, bool trusted);
    event FeeUpdated(uint16 oldFeeBps, uint16 newFeeBps, uint40 effectiveAt);
    event TreasuryUpdated(address oldTreasury, address newTreasury);
    event OpenCreationUpdated(bool open);
    event ContractsSet(address implementation, address checkIn);

    error EventFactory_NotOrganizer(address caller);
    error EventFactory_NotReady();
    error EventFactory_AlreadySet();
    error EventFactory_BadName();
    error EventFactory_BadMetadata();
    error EventFactory_BadSupply();
    error EventFactory_BadSchedule();
    error EventFactory_BadTiers();
    error EventFactory_BadRules();
    error EventFactory_BadFee(uint256 maximumBps);
    error EventFactory_ZeroAddress();
    error EventFactory_OnlyTicketContract();
    error EventFactory_NoSuchEvent(uint256 eventId);

    /// @notice Create an event with one tier at `ticketPrice`, gifts free, no cap, no royalty.
    function createEvent(
        string calldata name,
        string calldata metadataURI,
        uint256 ticketPrice,
        uint256 maxTickets,
        uint256 startTime,
        uint256 endTime
    ) external returns (uint256 eventId, address ticketContract);

    /// @notice Create an event with tiers and rules.
    function createEvent(EventParams calldata params)
        external
        returns (uint256 eventId, address ticketContract);

    /// @notice Replace the metadata; the schedule may move, but the end never earlier than it was, because
    /// withdrawing waits for it. Only the organizer, before the end and not after a cancel.
    function updateEvent(
        uint256 eventId,
        string calldata metadataURI,
        bytes32 metadataHash,
        uint40 startTime,
        uint40 endTime
    ) external;

    /// @notice Set the ticket implementation and the check-in contract, once, right after deployment.
    function setContracts(address implementation, address checkIn) external;

    /// @notice Trust or distrust a module (market, recovery, bridge). A module still needs each holder's ERC-721
    /// approval, so trust alone moves nothing.
    function setModule(address module, bool trusted) external;

    /// @notice The fee of events created from now on, at most 1_000 bps; a rise counts only after a day's notice,
    /// so that none can be slipped in before an organizer's transaction. Existing events keep theirs.
    function setFee(uint16 newFeeBps) external;
    /// @notice Where fees go from now on, those already set aside included.
    function setTreasury(address newTreasury) external;
    /// @notice Let everyone create events, or holders of `ORGANIZER_ROLE` only.
    function setOpenCreation(bool open) external;

    /// @notice Stop new events and new sales; refunds, withdrawals and transfers go on.
    function pause() external;
    /// @notice Allow new events and new sales again.
    function unpause() external;

    /// @dev Called by an event's ticket contract when it is cancelled.
    function noteCancelled(uint256 eventId) external;

    /// @notice An event's contract and organizer; reverts for one that does not exist.
    function getEvent(uint256 eventId) external view returns (EventInfo memory);
    /// @notice Events `offset + 1` to at most `offset + limit`, limit at most 100.
    function getEvents(uint256 offset, uint256 limit) external view returns (EventInfo[] memory);
    /// @notice How many events there are; they are numbered from 1.
    function eventCount() external view returns (uint256);
    /// @notice Whether a module is trusted.
    function isModule(address module) external view returns (bool);
    /// @notice Whether an address is the ticket contract of one of this factory's events.
    function isTicketContract(address ticketContract) external view returns (bool);
    /// @notice The contract behind every ticket contract.
    function implementation() external view returns (address);
    /// @notice The check-in contract of new events.
    function checkIn() external view returns (address);
    /// @notice The fee of an event created now.
    function feeBps() external view returns (uint16);
    /// @notice Where fees go.
    function treasury() external view returns (address);
    /// @notice Whether everyone may create events.
    function openCreation() external view returns (bool);
    /// @notice Where event `eventId` of `organizer` lives or would live.
    function predictTicketContract(address organizer, uint256 eventId) external view returns (address);
}
