"""JSON-RPC exchanges with one endpoint: a call, a batch in as few requests as it takes, its chain's id."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from echain.chain.endpoint import BatchTooLarge, Endpoint
from echain.chain.refusals import Meaning, meaning
from echain.chain.wire import (
    ANY,
    Call,
    ChainUnreachable,
    RpcRefused,
    WrongChain,
    body,
    decoded,
    in_order,
    result_of,
)
from echain.infra.traces import current, part

_METHOD: Final = re.compile(rb'"method":"([A-Za-z0-9_]{1,64})"')


class Exchange:
    """The connections to a chain's endpoints; ``later`` are the error codes that pass by themselves."""

    def __init__(self, chain_id: int, *, later: Collection[int] = ()) -> None:
        self._chain_id = chain_id
        self._later = frozenset(later)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the kept connections; the next exchange opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, endpoint: Endpoint, request: bytes) -> bytes:
        """Return the answer to one request; raises as `Endpoint.post`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Attempts carry their own time; places at an endpoint bound the connections.
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=0),
                headers={"Content-Type": "application/json"},
                read_bufsize=1 << 20,
            )
        if current() is None:
            return await endpoint.post(self._session, request)
        method, calls = _asked(request)
        name, chain = f"rpc {method}", self._chain_id
        with part(name, "client", rpc=method, calls=calls, chain=chain, endpoint=endpoint.name):
            return await endpoint.post(self._session, request)

    async def batch(
        self, endpoint: Endpoint, calls: Sequence[Call], decoder: msgspec.json.Decoder[Any]
    ) -> list[Any]:
        """Return the results in order; learn on the way how many calls the endpoint takes at once."""
        results: list[Any] = []
        while len(results) < len(calls):
            part = calls[len(results) : len(results) + endpoint.batch_limit]
            request = b"[" + b",".join(body(id_, *call) for id_, call in enumerate(part)) + b"]"
            try:
                answers = decoded(decoder, await self.post(endpoint, request))
                if not isinstance(answers, list):
                    result_of(answers)
                    raise ChainUnreachable("the node answered a batch with a single result")
                results.extend(in_order(answers, len(part)))
            except (RpcRefused, BatchTooLarge) as refusal:
                if isinstance(refusal, RpcRefused) and not self._too_large(refusal):
                    raise
                if len(part) == 1:
                    raise
                endpoint.batch_limit = len(part) // 2
        return results

    def _too_large(self, refusal: RpcRefused) -> bool:
        told = meaning(refusal.rpc_code, str(refusal), later=self._later, reverted=refusal.data is not None)
        return told is Meaning.BATCH_TOO_LARGE

    async def check(self, endpoint: Endpoint) -> None:
        """Raise `WrongChain` unless the endpoint serves our chain."""
        answer = await self.post(endpoint, body(0, "eth_chainId", ()))
        try:
            served = int(result_of(decoded(ANY, answer)) or "0x0", 16)
        except (TypeError, ValueError) as error:
            raise ChainUnreachable("the node's chain id is not a number") from error
        if served != self._chain_id:
            raise WrongChain(
                f"the node serves chain {served}, not {self._chain_id}; correct its address",
                expected=self._chain_id,
                served=served,
            )


def _asked(request: bytes) -> tuple[str, int]:
    """Return the first method of a request and how many calls it holds; never what they are about."""
    methods = _METHOD.findall(request)
    return (methods[0].decode() if methods else "unknown"), len(methods)
