// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";

/// @notice A market that the factory does not trust tries to trade tickets past the cap and the royalty.
contract TransferBypassTest is Platform {
    function setUp() public override {
        super.setUp();
        tickets = createWith(IEventTicket.Rules(IEventTicket.GiftPolicy.Limited, 1, false, 11_000, 500));
        buy(alice, 0, 1);
    }

    function testFuzz_NoOperatorPathMovesATicketForAStranger(uint8 path) public {
        Module market = new Module();
        vm.startPrank(alice);
        tickets.approve(address(market), 1);
        tickets.setApprovalForAll(address(market), true);
        vm.stopPrank();
        bytes4[4] memory calls = [
            bytes4(keccak256("transferFrom(address,address,uint256)")),
            bytes4(keccak256("safeTransferFrom(address,address,uint256)")),
            bytes4(keccak256("recover(uint256,address)")),
            bytes4(keccak256("lock(uint256)"))
        ];
        uint256 kind = path % 4;
        bytes memory data = kind < 2
            ? abi.encodeWithSelector(calls[kind], alice, bob, 1)
            : kind == 2 ? abi.encodeWithSelector(calls[2], 1, bob) : abi.encodeWithSelector(calls[3], 1);
        vm.prank(address(market));
        (bool moved,) = address(tickets).call(data);
        vm.assertFalse(moved);
        vm.assertEq(tickets.ownerOf(1), alice);
        assertState(1, IEventTicket.TicketState.Valid);
    }

    function test_ATicketIsNotWrappedByAContract() public {
        Module wrapper = new Module();
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_GiftToContract.selector, address(wrapper))
        );
        vm.prank(alice);
        tickets.safeTransferFrom(alice, address(wrapper), 1, "");
    }

    function test_ATrustedModuleOfAnotherFactoryIsAStrangerHere() public {
        Module market = new Module();
        trust(address(market));
        vm.prank(alice);
        tickets.approve(address(market), 1);
        vm.prank(admin);
        factory.setModule(address(market), false);
        vm.expectRevert(
            abi.encodeWithSelector(IEventTicket.EventTicket_OperatorNotTrusted.selector, address(market))
        );
        market.move(tickets, alice, bob, 1);
    }
}
