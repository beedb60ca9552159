"""One client, whatever it speaks: what it hears, who it is, and what it may still ask."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

from echain.edge.live.access import (
    ChannelPrivate,
    Grant,
    Identity,
    RequestMalformed,
    TokenInvalid,
    TooFast,
    TooManyChannels,
)
from echain.edge.live.past import Follower
from echain.edge.live.wire import Wire
from echain.kernel.errors import EchainError
from echain.kernel.messages import SCHEMA

if TYPE_CHECKING:
    from echain.edge.live.desk import Desk

MOST_WAITING: Final = 32
"""Questions of one connection that may wait for their turn."""

LONGEST_NAME: Final = 200

Op = Callable[[], Awaitable[None]]


class Pause(NamedTuple):
    """Since when a connection hears nothing: the hub's position, and the time."""

    position: int
    at: float


class Joined(msgspec.Struct, frozen=True):
    """A channel that was asked for, and what it is called in messages."""

    asked: str
    channel: str


class Refused(msgspec.Struct, frozen=True):
    """A channel that was asked for, and why it is not heard."""

    asked: str
    code: str
    message: str


class Subscribed(msgspec.Struct, frozen=True):
    """What came of a subscription. ``id`` is from where on messages come: keep it until the first arrives.

    ``schema`` is the version of the messages: said here, so that it costs nothing a message.
    """

    id: str
    channels: list[Joined]
    refused: list[Refused]
    schema: int = SCHEMA


class Session(Follower):
    """A connection as a receiver of channels; `Desk` gives it what it shares with all others.

    Questions are answered one after the other, in a task that lives only while there are any.
    """

    __slots__ = (
        "_allowance",
        "_allowed_at",
        "_drained",
        "_ops",
        "_working",
        "channels",
        "closed",
        "desk",
        "expiry_at",
        "identity",
        "paused",
        "private",
    )

    def __init__(self, desk: Desk, wire: Wire, write: Callable[[bytes], object]) -> None:
        self.desk = desk
        super().__init__(wire, write)
        self.identity: Identity | None = None
        self.expiry_at: float | None = None
        self.channels: dict[str, bool] = {}
        """Whether each channel is heard live by now."""
        self.private: set[str] = set()
        self.closed = False
        self._ops: deque[Op] | None = None
        self._working = False
        self._allowance = float(desk.limits.ops_burst)
        self._allowed_at = desk.monotonic()
        self.paused: Pause | None = None
        self._drained: asyncio.Future[None] | None = None
        desk.sessions.add(self)

    # What each protocol says in its own way.

    @abstractmethod
    def tell(self, kind: str, channel: str | None, position: int | None, data: Mapping[str, object]) -> None:
        """Send a message of the realtime role itself."""

    @abstractmethod
    def end(self, code: int, reason: str) -> None:
        """Close the connection; the code is WebSocket's, other transports close in their way."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection at once; nothing more is sent."""

    # Asking.

    def ask(self, op: Op) -> None:
        """Do ``op`` after those asked before.

        Raises:
            TooFast: more than one may ask.
        """
        self._take_allowance()
        if self._ops is None:
            self._ops = deque()
        if len(self._ops) >= MOST_WAITING:
            raise TooFast
        self._ops.append(op)
        if not self._working:
            self._working = True
            self.desk.spawn(self._work())

    def _take_allowance(self) -> None:
        limits = self.desk.limits
        now = self.desk.monotonic()
        allowance = min(
            float(limits.ops_burst), self._allowance + (now - self._allowed_at) * limits.ops_per_second
        )
        self._allowed_at = now
        if allowance < 1:
            self._allowance = allowance
            raise TooFast
        self._allowance = allowance - 1

    async def _work(self) -> None:
        try:
            while self._ops and not self.closed:
                await self._ops.popleft()()
        finally:
            self._working = False
            self._ops = None

    # Channels.

    async def subscribe(
        self,
        asked: Mapping[str, int | None],
        reply: Callable[[Subscribed], None],
    ) -> None:
        """Hear channels, each from after a sequence or from now on; ``reply`` comes before any message."""
        await self.desk.present()
        grants, refused = await self._granted(list(asked))
        fresh = {name: grant for name, grant in grants.items() if grant.channel not in self.channels}
        for grant in fresh.values():
            self.channels[grant.channel] = False
            if grant.private:
                self.private.add(grant.channel)
        position = self.desk.hub.position
        starts: dict[int, list[str]] = {}
        for name, grant in fresh.items():
            after = asked[name]
            if after is None:
                self.hear(grant.channel)
            elif grant.channel not in starts.setdefault(after, []):
                starts[after].append(grant.channel)
        first = min([position, *starts])
        joined = [Joined(name, grant.channel) for name, grant in grants.items()]
        reply(Subscribed(str(first), joined, refused))
        for after, channels in sorted(starts.items()):
            await self.desk.past.follow(self, channels, after)

    async def _granted(self, names: Sequence[str]) -> tuple[dict[str, Grant], list[Refused]]:
        identity = self.identity
        grants: dict[str, Grant] = {}
        refusals: dict[str, EchainError] = {}
        asked: Sequence[str] = names
        while asked:
            changes = self.desk.changes
            for name in asked:
                try:
                    grants[name] = await self.desk.policy(name[:LONGEST_NAME], identity)
                except EchainError as error:
                    grants.pop(name, None)
                    refusals[name] = error
            # Whose standing has changed meanwhile may have been granted what is theirs no more.
            changed = self.desk.changes != changes
            asked = [name for name, grant in grants.items() if changed and grant.private]
        new: set[str] = set()
        for name, grant in list(grants.items()):
            if grant.private and self.identity is not identity:
                refusals[name] = ChannelPrivate()  # who it was granted to left while others were looked up
            elif grant.channel not in self.channels:
                new.add(grant.channel)
                if len(self.channels) + len(new) > self.desk.limits.channels:
                    refusals[name] = TooManyChannels()
        refused: list[Refused] = []
        for name, error in refusals.items():
            grants.pop(name, None)
            self.desk.count_refusal(error.code)
            refused.append(Refused(name[:LONGEST_NAME], error.code, error.message))
        return grants, refused

    async def unsubscribe(self, names: Sequence[str]) -> list[str]:
        """Leave channels, by any of their names; return the canonical ones that were left."""
        left: list[str] = []
        for name in names:
            channel = name if name in self.channels else await self._canonical(name)
            if channel is not None and channel in self.channels:
                self.leave(channel)
                left.append(channel)
        return left

    async def _canonical(self, name: str) -> str | None:
        try:
            return (await self.desk.policy(name[:LONGEST_NAME], self.identity)).channel
        except EchainError:
            return None

    def leave(self, channel: str) -> None:
        del self.channels[channel]
        self.private.discard(channel)
        self.desk.hub.detach(self, channel)

    def wants(self, channel: str) -> bool:
        """Return whether the client is there and has not left this channel, or lost it, meanwhile."""
        return not self.closed and channel in self.channels

    def hear(self, channel: str) -> None:
        """Hear a channel live from the hub's position on."""
        self.channels[channel] = True
        if self.paused is None:
            self.desk.hub.attach(self, channel)

    def resync(self, channel: str, reason: str) -> None:
        """Say that messages of a channel are lost to this client: it must read the state anew."""
        self.desk.count_resync(reason)
        self.tell("resync", channel, self.desk.hub.position, {"reason": reason})

    # Identity.

    async def authenticate(self, token: str) -> Identity:
        """Take on whom a token stands for, in place of whom the connection stood for.

        Raises:
            TokenInvalid: nobody; what was before stays, and is dropped if it was somebody else.
        """
        identity = await self.desk.identify(token)
        if identity is None:
            raise TokenInvalid
        if self.closed:
            return identity
        if self.identity is not None and self.identity.user != identity.user:
            self.lose_identity("replaced")
        self.desk.known_as(self, identity)
        return identity

    async def recheck(self) -> None:
        """Leave the private channels that this identity may hear no more, as when a membership has ended.

        Where nobody can tell now they are left too: the client joins again, and is told then.
        """
        identity = self.identity
        lost: list[str] = []
        for channel in sorted(self.private):
            try:
                await self.desk.policy(channel, identity)
            except EchainError:
                lost.append(channel)
        if self.identity is not identity:
            return  # and left them all
        lost = [channel for channel in lost if channel in self.private]
        for channel in lost:
            self.leave(channel)
        if lost and not self.closed:
            self.tell("unauthorized", None, None, {"reason": "standing", "channels": lost})

    def lose_identity(self, reason: str) -> None:
        """Leave private channels because the token expired, was revoked, or gave way to another's."""
        self.desk.unknown(self)
        gone = sorted(self.private)
        for channel in gone:
            self.leave(channel)
        self.tell("unauthorized", None, None, {"reason": reason, "channels": gone})

    # Backlog.

    def pause(self) -> None:
        """Stop hearing: more waits for this connection than may. Called by its transport."""
        if self.paused is None and not self.closed:
            self.desk.hub.afterwards(self._pause)

    def _pause(self) -> None:
        if self.paused is not None or self.closed:
            return
        self.paused = Pause(self.desk.hub.position, self.desk.monotonic())
        for channel in self.channels:
            self.desk.hub.detach(self, channel)
        self.desk.watch_stuck(self)

    def resume(self) -> None:
        """Hear on: what waited has been taken. What was told meanwhile is lost to it, and it is told so."""
        pause, self.paused = self.paused, None
        if pause is None or self.closed:
            return
        recent = self.desk.hub.recent
        for channel, live in list(self.channels.items()):
            if live:
                if pause.position < recent.floor or recent.told_since(channel, pause.position):
                    self.resync(channel, "slow")
                self.desk.hub.attach(self, channel)
        self._wake()

    async def drained(self) -> None:
        """Return once the connection takes more, or is gone."""
        while self.paused is not None and not self.closed:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def _wake(self) -> None:
        waiting, self._drained = self._drained, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def gone(self) -> None:
        """Forget everything: the connection has ended. Further calls do nothing."""
        if self.closed:
            return
        self.closed = True
        self.desk.hub.afterwards(self._forget)

    def _forget(self) -> None:
        for channel in self.channels:
            self.desk.hub.detach(self, channel)
        self.channels = {}
        self.private = set()
        self.desk.unknown(self)
        self.desk.sessions.discard(self)
        self._wake()


def nowhere(_: bytes) -> None:
    """Take what is written to a connection that has ended."""


def position_of(value: object) -> int | None:
    """Return the sequence that a client's ``after`` says; None when it says nothing.

    Raises:
        RequestMalformed: it is no id of a message.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:  # noqa: PLR2004
        return int(value)
    raise RequestMalformed("after: the id of a message is a decimal number in a string")


def asked_of(names: Sequence[str], after: object) -> dict[str, int | None]:
    """Return where each channel is to begin; ``after`` is one id for all, or an id a channel.

    Raises:
        RequestMalformed: an id is none.
    """
    if isinstance(after, Mapping):
        starts = cast("Mapping[str, object]", after)
        return {name: position_of(starts.get(name)) for name in names}
    return dict.fromkeys(names, position_of(after))
