// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC5192} from "./interfaces/IERC5192.sol";
import {IEventFactory} from "./interfaces/IEventFactory.sol";
import {IEventTicket} from "./interfaces/IEventTicket.sol";
import {IPoap} from "./interfaces/IPoap.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Proof of attendance
/// @dev The one check-in contract of the events of a factory: a ticket becomes used and its POAP appears in one call.
contract Poap is IPoap, IERC5192, ERC721, EIP712 {
    struct Term {
        uint40 validFrom;
        uint40 validUntil;
    }

    bytes32 private constant VOUCHER_TYPE =
        keccak256("Voucher(uint256 eventId,uint256 tokenId,address holder,uint40 admittedAt)");
    uint256 private constant MAX_BATCH = 200;
    uint256 private constant MAX_PAGE = 200;
    uint256 private constant TOKEN_BITS = 128;

    IEventFactory private immutable FACTORY;

    mapping(uint256 eventId => mapping(address gate => Term)) private _terms;
    mapping(address attendee => mapping(uint256 eventId => bool)) public hasPOAP;
    /// @dev A POAP never moves, so its place in its holder's row is its holder's balance when it appeared.
    mapping(address attendee => mapping(uint256 index => uint256 poapId)) private _collected;

    constructor(address factory) ERC721("Proof of attendance", "POAP") EIP712("echain Poap", "1") {
        FACTORY = IEventFactory(factory);
    }

    /// @inheritdoc IPoap
    function setGate(uint256 eventId, address gate, uint40 validFrom, uint40 validUntil) external {
        if (msg.sender != FACTORY.getEvent(eventId).organizer) revert Poap_OnlyOrganizer();
        if (gate == address(0) || (validUntil != 0 && validUntil <= validFrom)) revert Poap_BadTerm();

        _terms[eventId][gate] = Term(validFrom, validUntil);
        emit GateSet(eventId, gate, validFrom, validUntil);
    }

    /// @inheritdoc IPoap
    function checkInAttendee(uint256 eventId, uint256 tokenId) external returns (uint256 poapId) {
        if (!_isEnabled(eventId, msg.sender, block.timestamp)) revert Poap_GateNotEnabled(msg.sender);

        address holder = IEventTicket(FACTORY.getEvent(eventId).ticketContract).markUsed(tokenId);
        return _attest(holder, eventId, tokenId);
    }

    /// @inheritdoc IPoap
    function checkInBatch(Voucher[] calldata vouchers, bytes[] calldata signatures)
        external
        returns (uint256 minted)
    {
        if (vouchers.length == 0 || vouchers.length > MAX_BATCH || vouchers.length != signatures.length) {
            revert Poap_BadBatch();
        }
        for (uint256 i = 0; i < vouchers.length; ++i) {
            SkipReason reason = _redeem(vouchers[i], signatures[i]);
            if (reason == SkipReason.None) ++minted;
            else emit VoucherSkipped(vouchers[i].eventId, vouchers[i].tokenId, reason);
        }
    }

    /// @inheritdoc IPoap
    function gateTerm(uint256 eventId, address gate) external view returns (uint40, uint40) {
        Term memory term = _terms[eventId][gate];
        return (term.validFrom, term.validUntil);
    }

    /// @inheritdoc IPoap
    function isCheckedIn(uint256 eventId, uint256 tokenId) external view returns (bool) {
        return _isAttested(eventId, tokenId);
    }

    /// @inheritdoc IPoap
    function getUserPOAPs(address attendee) external view returns (uint256[] memory) {
        return _page(attendee, 0, MAX_PAGE);
    }

    /// @inheritdoc IPoap
    function getUserPOAPs(address attendee, uint256 offset, uint256 limit)
        external
        view
        returns (uint256[] memory)
    {
        return _page(attendee, offset, Math.min(limit, MAX_PAGE));
    }

    /// @inheritdoc IPoap
    function locked(uint256 poapId) external view override(IPoap, IERC5192) returns (bool) {
        _requireOwned(poapId);
        return true;
    }

    /// @notice The metadata document of the event that was attended.
    function tokenURI(uint256 poapId) public view override returns (string memory) {
        _requireOwned(poapId);
        return IEventTicket(FACTORY.getEvent(poapId >> TOKEN_BITS).ticketContract).metadataURI();
    }

    /// @notice Refused: a POAP never moves, so there is nothing to approve.
    function approve(address, uint256) public pure override {
        revert Poap_Soulbound();
    }

    /// @notice Refused: a POAP never moves, so there is nothing to approve.
    function setApprovalForAll(address, bool) public pure override {
        revert Poap_Soulbound();
    }

    /// @notice ERC-165, ERC-721 with metadata and ERC-5192.
    function supportsInterface(bytes4 id) public view override returns (bool) {
        return id == type(IERC5192).interfaceId || super.supportsInterface(id);
    }

    /// @dev Every ERC-721 path ends here; only the one from nobody, a mint, goes on.
    function _update(address to, uint256 poapId, address auth) internal override returns (address from) {
        if (_ownerOf(poapId) != address(0)) revert Poap_Soulbound();
        return super._update(to, poapId, auth);
    }

    function _redeem(Voucher calldata voucher, bytes calldata signature) private returns (SkipReason) {
        if (voucher.eventId == 0 || voucher.eventId > FACTORY.eventCount()) return SkipReason.UnknownEvent;
        (address gate, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(_digest(voucher), signature);
        if (failure != ECDSA.RecoverError.NoError) return SkipReason.BadSignature;
        if (!_isEnabled(voucher.eventId, gate, voucher.admittedAt)) return SkipReason.GateNotEnabled;
        if (_isAttested(voucher.eventId, voucher.tokenId)) return SkipReason.AlreadyCheckedIn;
        if (voucher.holder == address(0)) return SkipReason.NotAdmissible;

        address ticketContract = FACTORY.getEvent(voucher.eventId).ticketContract;
        try IEventTicket(ticketContract).markUsed(voucher.tokenId) returns (address) {
            _attest(voucher.holder, voucher.eventId, voucher.tokenId);
            return SkipReason.None;
        } catch {
            return SkipReason.NotAdmissible;
        }
    }

    /// @dev The ticket contract has just marked the ticket used, which it does once and for ids below 2^32 only, so
    /// the id is new and its halves do not overlap. No callback to the holder: it could hold up a batch.
    function _attest(address holder, uint256 eventId, uint256 tokenId) private returns (uint256 poapId) {
        poapId = (eventId << TOKEN_BITS) | tokenId;
        _collected[holder][balanceOf(holder)] = poapId;
        if (!hasPOAP[holder][eventId]) hasPOAP[holder][eventId] = true;
        _mint(holder, poapId);
        emit Locked(poapId);
        emit CheckIn(holder, eventId, tokenId);
    }

    function _isEnabled(uint256 eventId, address gate, uint256 time) private view returns (bool) {
        Term memory term = _terms[eventId][gate];
        return term.validFrom <= time && time < term.validUntil;
    }

    function _isAttested(uint256 eventId, uint256 tokenId) private view returns (bool) {
        if (eventId >> TOKEN_BITS != 0 || tokenId >> TOKEN_BITS != 0) return false;
        return _ownerOf((eventId << TOKEN_BITS) | tokenId) != address(0);
    }

    function _page(address attendee, uint256 offset, uint256 limit)
        private
        view
        returns (uint256[] memory poapIds)
    {
        uint256 count = balanceOf(attendee);
        uint256 length = offset < count ? Math.min(limit, count - offset) : 0;
        poapIds = new uint256[](length);
        for (uint256 i = 0; i < length; ++i) {
            poapIds[i] = _collected[attendee][offset + i];
        }
    }

    function _digest(Voucher calldata voucher) private view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(VOUCHER_TYPE, voucher.eventId, voucher.tokenId, voucher.holder, voucher.admittedAt)
            )
        );
    }
}
