// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEventFactory} from "./interfaces/IEventFactory.sol";
import {IEventTicket} from "./interfaces/IEventTicket.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// @title Where a ticket stands and how it may move
/// @dev The one place that changes a ticket's state or lets it change hands. Every ERC-721 path ends in `_update`.
abstract contract TicketTransfers is ERC721, IEventTicket {
    /// @dev What happened to one ticket; all zero while it is valid and was never counted as a gift.
    struct Mark {
        TicketState state;
        uint8 gifts;
        address locker;
    }

    /// @dev Contracts that are wallets by EIP-7702 have exactly this code: 0xef0100 and the delegate's address.
    uint256 private constant DELEGATION_LENGTH = 23;
    bytes3 private constant DELEGATION_PREFIX = 0xef0100;

    IEventFactory internal immutable FACTORY;

    mapping(uint256 tokenId => Mark) private _marks;

    constructor(address factory) ERC721("", "") {
        FACTORY = IEventFactory(factory);
    }

    /// @inheritdoc IEventTicket
    function lock(uint256 tokenId) external {
        address holder = _requireHolder(tokenId);
        _requireModule(msg.sender);
        _checkAuthorized(holder, msg.sender, tokenId);
        _requireState(tokenId, TicketState.Valid);
        if (_isCancelled()) revert EventTicket_Cancelled();

        Mark storage mark = _marks[tokenId];
        mark.state = TicketState.Locked;
        mark.locker = msg.sender;
        emit TicketLocked(tokenId, msg.sender);
    }

    /// @inheritdoc IEventTicket
    /// @dev A module that is no longer trusted may still let go of what it holds.
    function unlock(uint256 tokenId) external {
        Mark storage mark = _marks[tokenId];
        if (mark.locker != msg.sender) revert EventTicket_OnlyModule();

        mark.state = TicketState.None;
        mark.locker = address(0);
        emit TicketUnlocked(tokenId, msg.sender);
    }

    /// @inheritdoc IEventTicket
    function recover(uint256 tokenId, address to) external {
        _requireModule(msg.sender);
        if (to == address(0)) revert ERC721InvalidReceiver(to);
        _requireHolder(tokenId);

        _update(to, tokenId, msg.sender);
    }

    /// @dev Ends a ticket's life as a way in or as a claim: `Used` or `Refunded`.
    function _spend(uint256 tokenId, TicketState state) internal {
        _marks[tokenId].state = state;
    }

    function _stateOf(uint256 tokenId) internal view returns (TicketState) {
        if (_ownerOf(tokenId) == address(0)) return TicketState.None;
        TicketState state = _marks[tokenId].state;
        return state == TicketState.None ? TicketState.Valid : state;
    }

    function _giftsOf(uint256 tokenId) internal view returns (uint8) {
        return _marks[tokenId].gifts;
    }

    function _requireHolder(uint256 tokenId) internal view returns (address holder) {
        holder = _ownerOf(tokenId);
        if (holder == address(0)) revert EventTicket_NoSuchTicket(tokenId);
    }

    function _requireState(uint256 tokenId, TicketState expected) internal view {
        TicketState state = _stateOf(tokenId);
        if (state != expected) revert EventTicket_WrongState(tokenId, state);
    }

    function _giftRules() internal view virtual returns (GiftPolicy policy, uint8 maxGifts, bool toContracts);

    function _isCancelled() internal view virtual returns (bool);

    /// @dev `auth` is the caller of a transfer, or zero for a mint.
    function _update(address to, uint256 tokenId, address auth) internal override returns (address from) {
        from = _ownerOf(tokenId);
        if (from != address(0)) {
            // A module that holds a ticket itself, such as a bridge with a ticket in its custody, acts as a module.
            bool gift = auth == from && (auth.code.length == 0 || !FACTORY.isModule(auth));
            if (gift) _countGift(to, tokenId);
            else _checkModuleMove(tokenId, auth);
        }
        super._update(to, tokenId, auth);
    }

    function _countGift(address to, uint256 tokenId) private {
        _requireState(tokenId, TicketState.Valid);
        (GiftPolicy policy, uint8 maxGifts, bool toContracts) = _giftRules();
        if (policy == GiftPolicy.Forbidden) revert EventTicket_GiftForbidden();
        if (!toContracts && _isContract(to)) revert EventTicket_GiftToContract(to);
        if (policy == GiftPolicy.Free) return;

        Mark storage mark = _marks[tokenId];
        if (mark.gifts >= maxGifts) revert EventTicket_GiftsUsedUp(maxGifts);
        mark.gifts++;
        emit TicketGifted(tokenId, mark.gifts);
    }

    /// @dev The holder's approval is checked by ERC-721 right after.
    function _checkModuleMove(uint256 tokenId, address operator) private view {
        if (!FACTORY.isModule(operator)) revert EventTicket_OperatorNotTrusted(operator);
        Mark storage mark = _marks[tokenId];
        if (mark.state == TicketState.None || mark.locker == operator) return;
        revert EventTicket_WrongState(tokenId, mark.state);
    }

    function _requireModule(address caller) private view {
        if (!FACTORY.isModule(caller)) revert EventTicket_OnlyModule();
    }

    function _isContract(address account) private view returns (bool) {
        uint256 length = account.code.length;
        if (length == 0) return false;
        return length != DELEGATION_LENGTH || bytes3(account.code) != DELEGATION_PREFIX;
    }
}
