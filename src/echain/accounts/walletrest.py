"""The route by which who signed in without a wallet takes one into their account."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from echain.accounts import erasing, oidcstore, service, siwe
from echain.accounts.erasing import SignInNotFresh
from echain.accounts.rest import SIGN_IN_ERRORS, BrowserCookie, SignIn
from echain.accounts.types import AccessTokenInvalid, WalletNeeded, WalletPresent, WalletTaken
from echain.chain.contractwallet import ContractWallets
from echain.edge.http import SESSIONS_ONLY, Auth, Call, Endpoint, Nothing, post
from echain.infra.database import Database
from echain.kernel.evm import checksum

TAG: Final = SESSIONS_ONLY


class OwnWallet(msgspec.Struct, frozen=True):
    """A wallet that signs in as the account from now on."""

    address: str


def endpoints(
    database: Database, *, public_url: str, chain_ids: Iterable[int], wallets: ContractWallets | None
) -> list[Endpoint]:
    """Return the route; messages must be meant for the same party as those that one signs in with."""
    party = siwe.relying_party(public_url, chain_ids)
    cookie = BrowserCookie(https=party.scheme == "https")

    @post(
        "/api/v1/auth/wallets",
        summary="Take a wallet into my account",
        tag=TAG,
        answer=OwnWallet,
        body=SignIn,
        auth=Auth.USER,
        errors=(*SIGN_IN_ERRORS, SignInNotFresh, WalletPresent, WalletTaken, AccessTokenInvalid),
        description="For accounts that began at a provider and have no wallet: the signed message is that of "
        "signing in, at most five minutes after that. Sign in with the wallet then to act with it.",
    )
    async def take(call: Call[Nothing, Nothing, SignIn]) -> OwnWallet:
        user = call.user
        assert user.session is not None, "no key opens this"
        # A stolen session must not give itself a way in of its own.
        try:
            await erasing.require_fresh(database, user, now=call.now)
        except WalletNeeded:
            raise WalletPresent from None
        browser = cookie.read(call.cookies)
        proof = await service.verify(
            database, wallets, call.body.message, call.body.signature, party, browser=browser, now=call.now
        )
        async with database.transaction() as tx:
            await service.require_no_wallet(tx, user.id)
            if not await oidcstore.hold_session(tx, user.session, user.id, now=call.now):
                raise AccessTokenInvalid
            await service.add_wallet(tx, proof, user.id, browser=browser, now=call.now)
            address = checksum(proof.address)
            await call.audit(tx, "wallet.added", resource=f"user:{user.id}", diff={"wallet": [None, address]})
        return OwnWallet(address)

    return [take]
