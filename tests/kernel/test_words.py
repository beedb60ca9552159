"""Ids, times, money, pages."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from echain.kernel.ids import derived_id, uuid7
from echain.kernel.money import Bps, Wei, share
from echain.kernel.paging import numbered
from echain.kernel.time import from_unix, rfc3339, to_unix


def test_new_ids_sort_by_their_millisecond_and_never_repeat() -> None:
    ids = [uuid7() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert [i.int >> 80 for i in ids] == sorted(i.int >> 80 for i in ids)
    assert {i.version for i in ids} == {7}
    assert {i.variant for i in ids} == {"specified in RFC 4122"}


@given(st.integers(0, 2**64), st.binary(min_size=20, max_size=20))
def test_a_derived_id_depends_on_every_part(chain_id: int, address: bytes) -> None:
    first = derived_id(chain_id, address)
    assert first == derived_id(chain_id, address)
    assert first != derived_id(chain_id + 1, address)
    assert first != derived_id(chain_id, bytes([address[0] ^ 1]) + address[1:])
    assert (first.version, first.variant) == (8, UUID(int=0x8000 << 64 | 2 << 62).variant)


@given(st.integers(0, 253_402_300_799))
def test_unix_seconds_survive_a_datetime(seconds: int) -> None:
    assert to_unix(from_unix(seconds)) == seconds


@given(st.integers(min_value=253_402_300_800, max_value=2**256))
def test_what_a_contract_says_of_the_far_future_is_held_to_the_year_9999(seconds: int) -> None:
    assert from_unix(seconds).year == 9999


def test_times_are_written_as_rfc_3339_with_milliseconds() -> None:
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, 6_789, tzinfo=UTC)) == "2026-01-02T03:04:05.006Z"


@given(st.integers(0, 2**96), st.integers(0, 10_000))
def test_a_share_and_its_rest_make_the_whole(amount: int, bps: int) -> None:
    part = share(Wei(amount), Bps(bps))
    assert 0 <= part <= amount
    assert part * 10_000 <= amount * bps < (part + 1) * 10_000


def test_a_page_of_nothing_is_still_one_page() -> None:
    assert numbered([], page=1, per_page=20, total=0).info.pages == 1
    assert numbered([], page=1, per_page=20, total=41).info.pages == 3
