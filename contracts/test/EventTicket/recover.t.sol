// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IEventTicket} from "../../src/interfaces/IEventTicket.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

contract RecoverTest is Platform {
    Module private module;

    function setUp() public override {
        super.setUp();
        module = new Module();
        trust(address(module));
    }

    function test_AnApprovedModuleMovesATicketWithoutCountingAGift() public {
        EventTicket limited = createWith(IEventTicket.Rules(IEventTicket.GiftPolicy.Limited, 1, false, 0, 0));
        buyOf(limited, alice, 0, 1);
        vm.prank(alice);
        limited.setApprovalForAll(address(module), true);
        module.recover(limited, 1, bob);
        vm.assertEq(limited.ownerOf(1), bob);
        vm.assertEq(limited.ticket(1).gifts, 0);
    }

    function test_OnlyATrustedModuleRecovers() public {
        buy(alice, 0, 1);
        vm.expectRevert(IEventTicket.EventTicket_OnlyModule.selector);
        vm.prank(alice);
        tickets.recover(1, bob);
    }

    function test_NothingIsRecoveredToNobody() public {
        buy(alice, 0, 1);
        vm.prank(alice);
        tickets.setApprovalForAll(address(module), true);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        module.recover(tickets, 1, address(0));
    }

    function test_ATicketThatDoesNotExistIsNotRecovered() public {
        vm.expectRevert(abi.encodeWithSelector(IEventTicket.EventTicket_NoSuchTicket.selector, 1));
        module.recover(tickets, 1, bob);
    }
}
