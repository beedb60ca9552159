"""The route by which a dangerous action is put into words for the wallet to sign."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from echain.accounts import confirmations, rules, siwe
from echain.accounts.types import Confirmation, WalletNeeded
from echain.edge.http import Auth, Call, Endpoint, Nothing, Reply, post
from echain.infra.database import Database

TAG: Final = "auth"
_NO_STORE: Final = (("Cache-Control", "no-store"),)

_DESCRIPTION: Final = (
    "Actions and what they say, with the parts of the target between colons: "
    + "; ".join(f"`{name}`: {sentence}" for name, sentence in sorted(rules.ACTIONS.items()))
    + " Send the action's own request with the header `Echain-Confirmation: <id>:<signature of the message>`."
)


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What is to be confirmed; ``chain_id`` is where a contract wallet stands, a chain of ours without it."""

    action: Annotated[str, msgspec.Meta(max_length=80)]
    target: Annotated[str, msgspec.Meta(max_length=200)]
    chain_id: Annotated[int, msgspec.Meta(ge=1)] | None = None


def endpoint(database: Database, party: siwe.RelyingParty) -> Endpoint:
    """Return ``POST /api/v1/auth/confirmations``."""

    @post(
        "/api/v1/auth/confirmations",
        summary="Ask for the text that confirms a dangerous action",
        tag=TAG,
        answer=Confirmation,
        body=Wanted,
        status=201,
        auth=Auth.USER,
        errors=(WalletNeeded,),
        description=_DESCRIPTION,
    )
    async def ask(call: Call[Nothing, Nothing, Wanted]) -> Reply:
        body = call.body
        async with database.transaction() as tx:
            confirmation = await confirmations.ask(
                tx, party, call.user, body.action, body.target, chain_id=body.chain_id, now=call.now
            )
        return Reply(confirmation, headers=_NO_STORE)

    return ask
