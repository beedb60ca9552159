"""Content identifiers: a file's name is the hash of its bytes, as IPFS computes it.

Files are cut and joined as `ipfs add --cid-version=1` does it: chunks of 256 KiB, raw leaves, balanced trees
of 174 links (UnixFS 1, dag-pb), SHA-256. Source: the CID, dag-pb and UnixFS specifications of IPFS.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from echain.kernel.errors import Invalid

RAW: Final = 0x55
DAG_PB: Final = 0x70
CHUNK_BYTES: Final = 262_144
LINKS: Final = 174

_SHA2_256: Final = b"\x12\x20"
_TEXT: Final = re.compile(r"b[a-z2-7]{58}")
_FILE: Final = b"\x08\x02"


class Cid(msgspec.Struct, frozen=True):
    """A CIDv1 over SHA-256: ``codec`` is `RAW` for one chunk, `DAG_PB` for a tree of them."""

    codec: int
    digest: bytes

    def __str__(self) -> str:
        """Return its canonical text: multibase base32, lower case, without padding."""
        return "b" + base64.b32encode(bytes(self)).decode("ascii").lower().rstrip("=")

    def __bytes__(self) -> bytes:
        return b"\x01" + bytes((self.codec,)) + _SHA2_256 + self.digest


def parse_cid(text: str, *, path: str = "cid") -> Cid:
    """Return the identifier that a canonical text names.

    Raises:
        Invalid: another version, base, codec or hash, or another spelling of an identifier.
    """
    if _TEXT.fullmatch(text):
        binary = base64.b32decode(text[1:].upper() + "======")
        version, codec, hashed = binary[0], binary[1], binary[2:4]
        cid = Cid(codec, binary[4:])
        # The last letter has bits to spare: only one of its spellings is the identifier's.
        if version == 1 and codec in (RAW, DAG_PB) and hashed == _SHA2_256 and str(cid) == text:
            return cid
    reason = "a CIDv1 in base32 over SHA-256 of raw or dag-pb blocks, such as bafkrei…"
    raise Invalid(f"{path}: {reason}", fields=[{"path": path, "reason": reason}])


def cid_of(content: bytes) -> Cid:
    """Return the identifier of a file with this content."""
    view = memoryview(content)
    level = [_leaf(view[at : at + CHUNK_BYTES]) for at in range(0, len(view), CHUNK_BYTES)] or [_leaf(view)]
    while len(level) > 1:
        level = [_joined(children) for children in _groups(level)]
    return level[0].cid


class _Node(NamedTuple):
    """A block: how many bytes of the file are below it, and how many bytes of blocks with its own."""

    cid: Cid
    file_bytes: int
    block_bytes: int


def _leaf(chunk: memoryview) -> _Node:
    return _Node(Cid(RAW, sha256(chunk).digest()), len(chunk), len(chunk))


def _groups(level: Sequence[_Node]) -> Iterator[Sequence[_Node]]:
    for at in range(0, len(level), LINKS):
        yield level[at : at + LINKS]


def _joined(children: Sequence[_Node]) -> _Node:
    file_bytes = sum(child.file_bytes for child in children)
    sizes = b"".join(b"\x20" + _varint(child.file_bytes) for child in children)
    data = _FILE + b"\x18" + _varint(file_bytes) + sizes
    # dag-pb wants links before data, although their field number is the higher one.
    block = b"".join(_field(0x12, _link(child)) for child in children) + _field(0x0A, data)
    below = sum(child.block_bytes for child in children)
    return _Node(Cid(DAG_PB, sha256(block).digest()), file_bytes, len(block) + below)


def _link(child: _Node) -> bytes:
    return _field(0x0A, bytes(child.cid)) + b"\x12\x00" + b"\x18" + _varint(child.block_bytes)


def _field(tag: int, value: bytes) -> bytes:
    return bytes((tag,)) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
