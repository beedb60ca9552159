"""The newest messages in memory, so that thousands who come back at once ask the database nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from echain.edge.live.wire import Entry, Wire

_SEQUENCE: Final = attrgetter("sequence")
_BLOBS: Final = 64
_COMPACT: Final = 1024


class _Track:
    """One channel's messages in order; those before ``start`` are forgotten."""

    __slots__ = ("entries", "start")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.start = 0

    def since(self, after: int, limit: int) -> list[Entry]:
        first = bisect_right(self.entries, after, lo=self.start, key=_SEQUENCE)
        return self.entries[first : first + limit]

    def forget_first(self) -> bool:
        """Forget the oldest; return whether none is left."""
        self.start += 1
        if self.start == len(self.entries):
            return True
        if self.start >= _COMPACT and self.start * 2 >= len(self.entries):
            del self.entries[: self.start]
            self.start = 0
        return False


class Recent:
    """All messages after ``floor``, up to ``most`` of them and about ``most_bytes`` of memory."""

    def __init__(self, *, most: int = 20_000, most_bytes: int = 48 * 1024 * 1024) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._order: deque[Entry] = deque()
        self._tracks: dict[str, _Track] = {}
        self._blobs: OrderedDict[tuple[Wire, tuple[str, ...], int, int], bytes] = OrderedDict()
        self.floor = 0

    def begin(self, position: int) -> None:
        """Start anew: nothing up to ``position`` is here."""
        self._order.clear()
        self._tracks.clear()
        self._blobs.clear()
        self._bytes = 0
        self.floor = position

    def add(self, entry: Entry) -> None:
        """Keep a message, whose sequence is above all others'; forget the oldest where there are too many."""
        self._order.append(entry)
        self._bytes += entry.size
        track = self._tracks.get(entry.channel)
        if track is None:
            track = self._tracks[entry.channel] = _Track()
        track.entries.append(entry)
        while len(self._order) > self._most or self._bytes > self._most_bytes:
            self._forget()

    def _forget(self) -> None:
        oldest = self._order.popleft()
        self._bytes -= oldest.size
        self.floor = oldest.sequence
        if self._tracks[oldest.channel].forget_first():
            del self._tracks[oldest.channel]

    def since(self, channels: Sequence[str], after: int, limit: int) -> list[Entry]:
        """Return up to ``limit`` messages of these channels after a sequence, in order.

        They are all there are only when ``after`` is not below `floor`.
        """
        found = [
            track.since(after, limit)
            for track in (self._tracks.get(channel) for channel in channels)
            if track is not None
        ]
        if len(found) == 1:
            return found[0]
        return sorted((entry for part in found for entry in part), key=_SEQUENCE)[:limit]

    def told_since(self, channel: str, after: int) -> bool:
        """Return whether a channel told anything after a sequence that is not below `floor`."""
        track = self._tracks.get(channel)
        return track is not None and track.entries[-1].sequence > after

    def joined(self, channels: tuple[str, ...], page: Sequence[Entry], wire: Wire) -> bytes:
        """Return a page of `since` as one piece; those who missed the same are given the same bytes."""
        key = (wire, channels, page[0].sequence, page[-1].sequence)
        blob = self._blobs.get(key)
        if blob is None:
            blob = joined(page, wire)
            self._blobs[key] = blob
            if len(self._blobs) > _BLOBS:
                self._blobs.popitem(last=False)
        return blob


def joined(page: Sequence[Entry], wire: Wire) -> bytes:
    """Return messages one after the other as ``wire`` carries them."""
    separator = b"\x1e" if wire is Wire.SOCKETIO_POLLING else b""
    return separator.join(entry.on(wire) for entry in page)
