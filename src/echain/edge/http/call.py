"""What a handler is given: decoded parts, the caller, the time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

from echain.edge.http.errors import Unauthenticated
from echain.edge.http.idempotency import Claim
from echain.infra import audit
from echain.infra.database import Tx
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address
from echain.kernel.ids import uuid7

_SEEN: Final = "echain-seen"
_LONGEST_ID: Final = 19


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields: an endpoint without path parameters, query or body."""


P = TypeVar("P", bound=msgspec.Struct)
Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)


class Auth(Enum):
    """Who may call an endpoint."""

    PUBLIC = "public"
    """Anyone; credentials are not looked at."""
    OPTIONAL = "optional"
    """Anyone; ``call.caller`` is set when valid credentials came along."""
    USER = "user"
    """A signed-in user: 401 without credentials, 403 for a gate."""
    GATE = "gate"
    """A gate with its secret: 401 without credentials, 403 for a user."""
    ANY = "any"
    """A user or a gate: 401 without credentials."""
    ADMIN = "admin"
    """An administrator of the platform who signed in: 401 without credentials, 403 for everybody else and for
    every API key, an administrator's own too."""


class Caller(msgspec.Struct, frozen=True):
    """Who sent the request: a user with the address they signed in with, or a gate.

    A user comes by a ``session``, which may do everything, or by an API ``key`` with its ``scopes``;
    ``writes`` and ``reads`` are how many of each the key may do where it may do fewer than its user.
    ``admin``: the session's wallet administers the platform.
    """

    kind: Literal["user", "gate"]
    id: UUID
    address: Address | None = None
    session: UUID | None = None
    key: UUID | None = None
    scopes: frozenset[str] | None = None
    admin: bool = False
    cookie: bool = False
    """Whether a cookie showed the session, which a browser sends along for any page (CSRF)."""
    writes: int | None = None
    reads: int | None = None


class Headers(Mapping[str, str]):
    """A read-only view of the request's headers; names in any case, values as Latin-1, the last of equals."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return self._raw[name.lower().encode("latin-1", "replace")].decode("latin-1")

    def get(self, name: str, default: Any = None, /) -> Any:  # as Mapping's, without its exception on a miss
        value = self._raw.get(name.lower().encode("latin-1", "replace"))
        return default if value is None else value.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


class Cookies(Mapping[str, str]):
    """A read-only view of the request's cookies, parsed when first asked for; the first of equals counts."""

    __slots__ = ("_header", "_pairs")

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._pairs: dict[str, str] | None = None

    def _parsed(self) -> dict[str, str]:
        if self._pairs is None:
            pairs: dict[str, str] = {}
            for part in self._header.decode("latin-1").split(";"):
                name, equals, value = part.partition("=")
                if equals:
                    pairs.setdefault(name.strip(), value.strip().strip('"'))
            self._pairs = pairs
        return self._pairs

    def __getitem__(self, name: str) -> str:
        return self._parsed()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())


class Call(msgspec.Struct, Generic[P, Q, B], frozen=True, gc=False):
    """One request, decoded and checked.

    ``now`` is the moment it was taken up; everything that the request writes uses it. ``client`` is the
    peer's address as the server sees it, empty when there is none.
    """

    path: P
    query: Q
    body: B
    caller: Caller | None
    request_id: str
    now: datetime
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    client: str
    claim: Claim | None = None
    seals: audit.ClientSeals | None = None

    @property
    def actor(self) -> audit.Actor:
        """Return who sent the request, as the audit log names them."""
        caller = self.caller
        if caller is None:
            return audit.ANONYMOUS
        if caller.key is not None:
            credential = f"key:{caller.key}"
        else:
            credential = f"session:{caller.session}" if caller.session is not None else ""
        return audit.Actor(caller.kind, str(caller.id), caller.address, credential)

    @property
    def user(self) -> Caller:
        """Return the caller.

        Raises:
            Unauthenticated: nobody signed in; cannot happen on endpoints other than PUBLIC and OPTIONAL ones.
        """
        if self.caller is None:
            raise Unauthenticated
        return self.caller

    @property
    def seen(self) -> int:
        """Return the id of a message that the client knows, as ``Echain-Seen`` says it; 0 when it says none.

        What the answer shows must not be older than that message.

        Raises:
            Invalid: the header holds something else.
        """
        text = self.headers.get(_SEEN)
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID):
            raise invalid_field(_SEEN, "the id of a message")
        return int(text)

    async def once(self, tx: Tx) -> None:
        """Bind the request's Idempotency-Key to this transaction: its effect commits once, whatever crashes.

        Without this call a process that dies between commit and answer lets a retry repeat the effect after a
        minute. Does nothing for a request without a key.

        Raises:
            ClaimLost: the request took so long that a retry took over; the transaction must roll back.
        """
        if self.claim is not None:
            await self.claim.bind(tx)

    @property
    def mark(self) -> audit.Mark:
        """Return who acts and from where, for one entry of the audit log; mostly `audit` writes it."""
        entry_id = uuid7()
        client = None if self.seals is None or not self.client else self.seals.seal(entry_id, self.client)
        return audit.Mark(self.actor, self.request_id, client, entry_id)

    async def audit(
        self,
        tx: Tx,
        action: str,
        *,
        resource: str,
        organization: UUID | None = None,
        diff: audit.Diff | None = None,
        actor: audit.Actor | None = None,
    ) -> None:
        """Write what this request changes into the audit log, in the transaction that changes it.

        ``action`` is ``thing.done``, ``resource`` is ``kind:id``, ``diff`` has the old and the new value of
        each changed field; see `audit.record`. No ``organization`` means the platform's chain. ``actor``
        stands in where the request itself shows who acts, as a sign-in does.
        """
        mark = self.mark
        await audit.record(
            tx,
            actor or mark.actor,
            action,
            resource=resource,
            now=self.now,
            organization=organization,
            diff=diff,
            request_id=mark.request_id,
            client=mark.client,
            entry_id=mark.entry_id,
        )
