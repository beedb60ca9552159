// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventFactory} from "./IEventFactory.sol";

/// @title What only the factory may ask of a ticket contract
interface IEventTicketSetup {
    /// @notice What the factory fixes for an event's whole life.
    /// @param eventId the event in the factory
    /// @param organizer who runs the event and receives its proceeds
    /// @param checkIn the only contract that may mark tickets used
    /// @param feeBps the platform's share of the proceeds
    struct Terms {
        uint32 eventId;
        address organizer;
        address checkIn;
        uint16 feeBps;
    }

    /// @notice Set a fresh clone up; once, in the transaction that deploys it.
    function initialize(Terms calldata terms, IEventFactory.EventParams calldata params) external;

    /// @notice Replace the metadata and the schedule, which the factory has checked.
    function update(string calldata metadataURI, bytes32 metadataHash, uint40 startTime, uint40 endTime)
        external;
}
