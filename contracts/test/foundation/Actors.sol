// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IERC721Receiver} from "@openzeppelin/contracts/token/ERC721/IERC721Receiver.sol";

/// @title A wallet that does what it is told and takes what it is sent
contract Wallet is IERC721Receiver {
    receive() external payable virtual {}

    function run(address target, uint256 value, bytes memory data) public returns (bytes memory) {
        (bool ok, bytes memory answer) = target.call{value: value}(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return answer;
    }

    function onERC721Received(address, address, uint256, bytes calldata) external virtual returns (bytes4) {
        return IERC721Receiver.onERC721Received.selector;
    }
}

/// @title A wallet that refuses ether
contract Rejecter is Wallet {
    receive() external payable override {
        revert("no ether here");
    }
}

/// @title A wallet that burns all the gas it is given
contract GasBurner is Wallet {
    receive() external payable override {
        while (true) {}
    }
}

/// @title A wallet that answers ether with a prepared call, once
contract Reenterer is Wallet {
    address private target;
    bytes private data;
    bool public tried;
    bool public succeeded;

    receive() external payable override {
        _again();
    }

    function prepare(address target_, bytes memory data_) external {
        target = target_;
        data = data_;
    }

    function onERC721Received(address, address, uint256, bytes calldata) external override returns (bytes4) {
        _again();
        return IERC721Receiver.onERC721Received.selector;
    }

    function _again() private {
        if (tried || target == address(0)) return;
        tried = true;
        (succeeded,) = target.call(data);
    }
}

/// @title Pushes ether into a contract that has no way to take it
contract Forcer {
    constructor(address payable target) payable {
        selfdestruct(target);
    }
}

/// @title A module, such as a market, that uses what holders approved
contract Module {
    function move(EventTicket tickets, address from, address to, uint256 tokenId) external {
        tickets.transferFrom(from, to, tokenId);
    }

    function recover(EventTicket tickets, uint256 tokenId, address to) external {
        tickets.recover(tokenId, to);
    }

    function lock(EventTicket tickets, uint256 tokenId) external {
        tickets.lock(tokenId);
    }

    function unlock(EventTicket tickets, uint256 tokenId) external {
        tickets.unlock(tokenId);
    }
}
