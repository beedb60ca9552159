// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title ERC-5192: minimal soulbound tokens
interface IERC5192 {
    /// @notice Emitted when a token becomes bound to its holder.
    event Locked(uint256 tokenId);
    /// @notice Emitted when a token becomes free to move.
    event Unlocked(uint256 tokenId);

    /// @notice Whether a token is bound to its holder; reverts for one that does not exist.
    function locked(uint256 tokenId) external view returns (bool);
}
