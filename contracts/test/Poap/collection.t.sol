// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EventTicket} from "../../src/EventTicket.sol";
import {IERC5192} from "../../src/interfaces/IERC5192.sol";
import {IPoap} from "../../src/interfaces/IPoap.sol";
import {Module} from "../foundation/Actors.sol";
import {Platform} from "../foundation/Platform.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

contract CollectionTest is Platform {
    function setUp() public override {
        super.setUp();
        buy(alice, 0, 10);
        enableGate();
    }

    function test_AnAttendeesPoapsAreListedOldestFirst() public {
        uint256[] memory expected = new uint256[](3);
        expected[0] = admit(7);
        expected[1] = admit(2);
        expected[2] = admit(9);
        vm.assertEq(poap.getUserPOAPs(alice), expected);
        vm.assertEq(poap.getUserPOAPs(bob).length, 0);
        vm.assertEq(poap.getUserPOAPs(address(0x1234), 0, 10).length, 0);
    }

    function testFuzz_PagesAreCutFromTheWholeList(uint256 offset, uint256 limit) public {
        uint256[] memory all = new uint256[](10);
        for (uint256 i = 0; i < 10; ++i) {
            all[i] = admit(i + 1);
        }
        if (offset > 20 && offset % 2 == 0) offset = offset % 12;
        uint256[] memory page = poap.getUserPOAPs(alice, offset, limit);
        uint256 left = offset < 10 ? 10 - offset : 0;
        vm.assertEq(page.length, limit < left ? limit : left);
        for (uint256 i = 0; i < page.length; ++i) {
            vm.assertEq(page[i], all[offset + i]);
        }
    }

    function test_APoapNeverMoves() public {
        uint256 id = admit(1);
        Module module = new Module();
        trust(address(module));
        vm.startPrank(alice);
        vm.expectRevert(IPoap.Poap_Soulbound.selector);
        poap.transferFrom(alice, bob, id);
        vm.expectRevert(IPoap.Poap_Soulbound.selector);
        poap.safeTransferFrom(alice, bob, id);
        vm.expectRevert(IPoap.Poap_Soulbound.selector);
        poap.safeTransferFrom(alice, bob, id, "");
        vm.expectRevert(IPoap.Poap_Soulbound.selector);
        poap.transferFrom(alice, alice, id);
        vm.expectRevert(IPoap.Poap_Soulbound.selector);
        poap.approve(bob, id);
        vm.expectRevert(IPoap.Poap_Soulbound.selector);
        poap.setApprovalForAll(address(module), true);
        vm.assertEq(poap.ownerOf(id), alice);
        vm.assertTrue(poap.locked(id));
    }

    function test_ATransferOfNothingMintsNothing() public {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        vm.prank(alice);
        poap.transferFrom(address(0), alice, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        poap.locked(1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        poap.tokenURI(1);
    }

    function test_APoapsDocumentIsTheEvents() public {
        vm.assertEq(poap.tokenURI(admit(1)), params().metadataURI);
    }

    function test_TheInterfacesAreNamed() public view {
        vm.assertTrue(poap.supportsInterface(0xb45a3c0e)); // ERC-5192
        vm.assertTrue(poap.supportsInterface(0x80ac58cd)); // ERC-721
        vm.assertTrue(poap.supportsInterface(0x5b5e139f)); // ERC-721 metadata
        vm.assertTrue(poap.supportsInterface(0x01ffc9a7)); // ERC-165
        vm.assertFalse(poap.supportsInterface(0xffffffff));
    }
}
