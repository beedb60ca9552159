// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Proof of attendance: one soulbound token (ERC-721 + ERC-5192) per admitted ticket
interface IPoap {
    /// @notice A gate's signed word that a holder was admitted (EIP-712, domain "echain Poap" version "1").
    /// @param eventId the event in the factory
    /// @param tokenId the ticket
    /// @param holder who was admitted; the POAP is theirs even if the ticket has moved since
    /// @param admittedAt unix seconds at the gate; the gate's term must cover it
    struct Voucher {
        uint256 eventId;
        uint256 tokenId;
        address holder;
        uint40 admittedAt;
    }

    /// @notice Why a voucher of a batch changed nothing.
    enum SkipReason {
        None,
        UnknownEvent,
        BadSignature,
        GateNotEnabled,
        AlreadyCheckedIn,
        NotAdmissible
    }

    event GateSet(uint256 indexed eventId, address indexed gate, uint40 validFrom, uint40 validUntil);
    event CheckIn(address indexed attendee, uint256 indexed eventId, uint256 indexed tokenId);
    event VoucherSkipped(uint256 indexed eventId, uint256 indexed tokenId, SkipReason reason);

    error Poap_OnlyOrganizer();
    error Poap_BadTerm();
    error Poap_GateNotEnabled(address gate);
    error Poap_Soulbound();
    error Poap_BadBatch();

    /// @notice Enable a gate key for an event from `validFrom` until `validUntil`; `validUntil` 0 disables it.
    function setGate(uint256 eventId, address gate, uint40 validFrom, uint40 validUntil) external;

    /// @notice Check a ticket in: it becomes used and its holder receives the POAP. Only an enabled gate.
    /// @return poapId eventId << 128 | tokenId
    function checkInAttendee(uint256 eventId, uint256 tokenId) external returns (uint256 poapId);

    /// @notice Check in by gate vouchers, relayable by anyone. A voucher that cannot hold is skipped with its
    /// reason, so that one bad voucher does not hold up the others. At most 200 vouchers.
    function checkInBatch(Voucher[] calldata vouchers, bytes[] calldata signatures)
        external
        returns (uint256 minted);

    /// @notice From when until when a gate may admit; both 0 for one that was never enabled.
    function gateTerm(uint256 eventId, address gate)
        external
        view
        returns (uint40 validFrom, uint40 validUntil);
    /// @notice Whether a ticket was checked in.
    function isCheckedIn(uint256 eventId, uint256 tokenId) external view returns (bool);
    /// @notice Whether `attendee` has a POAP of the event.
    function hasPOAP(address attendee, uint256 eventId) external view returns (bool);
    /// @notice The first 200 POAP ids of an attendee, oldest first.
    function getUserPOAPs(address attendee) external view returns (uint256[] memory);
    /// @notice The POAP ids of an attendee from the `offset`-th on, at most `limit` and at most 200.
    function getUserPOAPs(address attendee, uint256 offset, uint256 limit)
        external
        view
        returns (uint256[] memory);
    /// @notice ERC-5192: always true for a minted token.
    function locked(uint256 poapId) external view returns (bool);
}
