"""What is told of and what not: decided once, by chance or by who asks, within bounds; never values."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.infra.relaying import running, said, say, until
from tests.infra.spans import Memory
from tests.infra.test_jobs import QUICK, Note, working

from echain.infra.database import Database, Tx
from echain.infra.jobs import Queue, Run, enqueue
from echain.infra.relay import Relay
from echain.infra.statements import statement_summary
from echain.infra.traces import (
    FACTS,
    FOLLOWED,
    MOST_SPANS,
    Place,
    Traces,
    current,
    here,
    part,
    place_of,
)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def always(memory: Memory) -> Traces:
    return Traces(memory, share=1)


def asked(number: int = 1, flags: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flags}"


# --- who is told of ---


def test_a_share_is_told_of_and_nothing_is_made_for_the_others(memory: Memory) -> None:
    chances = iter([0.0099, 0.01, 0.5, 0.0, 0.99])
    traces = Traces(memory, chance=lambda: next(chances))
    spans = [traces.begin("work", "internal") for _ in range(5)]
    assert [span is not None for span in spans] == [True, False, False, True, False]
    assert len(memory.spans) == 2


@pytest.mark.parametrize(("share", "told"), [(0.0, 0), (1.0, 1000)])
def test_none_and_all_mean_what_they_say(memory: Memory, share: float, told: int) -> None:
    traces = Traces(memory, share=share)
    assert sum(traces.begin("work", "internal") is not None for _ in range(1000)) == told


def test_a_parent_that_is_told_of_is_joined_and_one_that_is_not_is_not(memory: Memory) -> None:
    traces = Traces(memory, share=0.5, chance=lambda: 0.0)
    joined = traces.begin("work", "server", asked(7))
    assert joined is not None
    assert (joined.place.trace_id, memory.spans[0].parent) == (7, Place(7, 7))
    assert traces.begin("work", "server", asked(8, "00")) is None


def test_callers_cannot_have_more_told_of_than_a_few_a_second(memory: Memory) -> None:
    now = [100.0]
    traces = Traces(memory, share=0, monotonic=lambda: now[0])
    flood = [traces.begin("work", "server", asked(number)) for number in range(1, 1001)]
    assert sum(span is not None for span in flood) == FOLLOWED
    now[0] += 1
    assert traces.begin("work", "server", asked(5)) is not None


def test_beyond_that_a_caller_is_told_of_by_chance_as_anyone(memory: Memory) -> None:
    traces = Traces(memory, share=0.01, monotonic=lambda: 5.0, chance=lambda: 0.005)
    assert all(traces.begin("work", "server", asked(number)) for number in range(1, 101))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        asked()[:-1],
        asked() + "0",
        asked().upper().replace("0", "A"),
        f"00-{0:032x}-{1:016x}-01",
        f"00-{1:032x}-{0:016x}-01",
        f"ff-{1:032x}-{1:016x}-01",
        f"00-{1:032x}-{1:016x}-01-more",
        asked() + "\n",
        "\N{ARABIC-INDIC DIGIT ZERO}" * 2 + asked()[2:],
        "01-" + asked()[3:] + "-" + "x" * 1_000_000,
    ],
)
def test_a_malformed_traceparent_counts_as_none(memory: Memory, text: str) -> None:
    assert place_of(text) is None
    assert Traces(memory, share=0).begin("work", "server", text) is None
    told = Traces(memory, share=1).begin("work", "server", text)
    assert told is not None
    assert memory.spans[-1].parent is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_place_is_read_as_it_is_written(trace: int, span: int, told: bool) -> None:
    place = Place(trace, span, told)
    assert place_of(place.traceparent) == place
    assert place_of("cc" + place.traceparent[2:] + "-later-versions-may-say-more") == place


# --- where a task is ---


def test_parts_belong_to_what_they_are_in_and_errors_are_told_by_their_class(
    memory: Memory, always: Traces
) -> None:
    with pytest.raises(ZeroDivisionError), always.told("outer"), part("middle"), part("inner"):
        raise ZeroDivisionError("a secret")
    outer, middle, inner = memory.spans
    assert (inner.parent, middle.parent, outer.parent) == (middle.place, outer.place, None)
    assert all(one.ended and one.failed for one in memory.spans)
    assert inner.facts == {"error.type": "ZeroDivisionError"}
    assert current() is None


def test_outside_of_a_trace_a_part_is_nothing(memory: Memory) -> None:
    with part("lonely") as span:
        assert span is None
    assert (memory.spans, here()) == ([], None)


async def test_a_task_that_outlives_its_trace_adds_nothing_to_it(memory: Memory, always: Traces) -> None:
    ended = asyncio.Event()

    async def linger() -> None:
        with part("early"):
            pass
        await ended.wait()
        with part("late") as span:
            assert span is None
        assert here() is None

    with always.told("request"):
        lingering = asyncio.create_task(linger())
        await asyncio.sleep(0)
    ended.set()
    await lingering
    assert [one.name for one in memory.spans] == ["request", "early"]


def test_a_trace_has_a_bounded_number_of_parts_and_says_how_many_it_left_out(
    memory: Memory, always: Traces
) -> None:
    with always.told("long"):
        for _ in range(MOST_SPANS + 30):
            with part("step"):
                pass
    assert len(memory.spans) == MOST_SPANS + 1
    assert memory.spans[0].facts == {"echain.spans_left_out": 30}


def test_only_facts_of_the_list_can_be_told(memory: Memory, always: Traces) -> None:
    with pytest.raises(KeyError), always.told("work", email="ada@example.org"):
        pass
    assert not {"user", "address", "path", "query", "body", "token", "client", "email"} & set(FACTS)


def test_lines_of_the_log_carry_the_trace_while_it_lasts(always: Traces) -> None:
    merge = structlog.contextvars.merge_contextvars
    with always.told("work") as span:
        assert span is not None
        assert merge(None, "", {}) == {"trace_id": span.trace_id}
    assert merge(None, "", {}) == {}


# --- statements ---


async def test_each_statement_is_a_part_by_its_tables_and_never_by_its_values(
    memory: Memory, always: Traces, database: Database
) -> None:
    await database.execute("CREATE TABLE secrets (word TEXT UNIQUE)")
    with always.told("request"):
        await database.execute("INSERT INTO secrets (word) VALUES ($1)", "hunter2")
        async with database.transaction() as tx:
            await tx.fetch("SELECT word FROM secrets WHERE word = $1", "hunter2")
        with pytest.raises(Exception, match="secrets_word_key"):
            await database.execute("INSERT INTO secrets (word) VALUES ($1)", "hunter2")
    await database.fetch("SELECT 1 FROM secrets")
    await asyncio.sleep(0)
    request, *statements = memory.spans
    assert [one.name for one in statements] == [
        "INSERT secrets",
        "BEGIN",
        "SELECT secrets",
        "COMMIT",
        "INSERT secrets",
    ]
    assert all(one.parent == request.place and one.ended for one in statements)
    assert [one.failed for one in statements] == [False] * 4 + [True]
    assert statements[-1].facts["error.type"] == "UniqueViolationError"
    assert "hunter2" not in str(memory.spans)


async def test_a_connection_given_back_tells_nothing_more(
    memory: Memory, always: Traces, database: Database
) -> None:
    with always.told("request"):
        await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.01)") for _ in range(12)))
    await asyncio.sleep(0)
    before = len(memory.spans)
    assert before == 13
    await asyncio.gather(*(database.fetch("SELECT 2") for _ in range(12)))
    await asyncio.sleep(0)
    assert len(memory.spans) == before
    assert not database._told


@pytest.mark.parametrize(
    ("query", "summary"),
    [
        ("SELECT a FROM events e JOIN tiers t ON true", "SELECT events, tiers"),
        ("  WITH gone AS (DELETE FROM outbox RETURNING 1) SELECT * FROM gone", "DELETE outbox"),
        ("SELECT extract(epoch FROM created_at) FROM jobs.queue", "SELECT jobs.queue"),
        ("SELECT * FROM unnest($1::text[]) AS x", "SELECT"),
        ("SELECT 'FROM ada' FROM events", "SELECT events"),
        ("UPDATE users SET name = 'INSERT INTO diary' WHERE id = $1", "UPDATE users"),
        ("BEGIN;", "BEGIN"),
        ("", "STATEMENT"),
    ],
)
def test_a_statement_is_named_by_verbs_and_tables(query: str, summary: str) -> None:
    assert statement_summary(query)[0] == summary


@given(st.text(max_size=300) | st.builds("JOIN {} UPDATE {}".format, st.text("abc'"), st.text("abc_.")))
def test_no_literal_ever_gets_into_a_name(word: str) -> None:
    quoted = word.replace("'", "''")
    assert statement_summary(f"SELECT * FROM events WHERE title = '{quoted}' AND x = 1")[0] == "SELECT events"


# --- across the queue and the relay ---


async def test_a_job_goes_on_in_the_trace_of_who_asked_for_it(
    memory: Memory, always: Traces, database: Database, database_url: str
) -> None:
    inside: list[str | None] = []

    async def run(run: Run[Note]) -> None:
        async with run.effect() as tx:
            await tx.execute("SELECT 1 FROM pg_class")
        inside.append(here())

    with always.told("request"):
        async with database.transaction() as tx:
            await enqueue(tx, QUICK, [Note(1)])
    async with database.transaction() as tx:
        await enqueue(tx, QUICK, [Note(2)])
    never = Traces(memory, share=0)
    async with working(database, database_url, {QUICK: run}, traces=never, places={Queue.SYNC: 1}):
        await until(lambda: len(inside) == 2)
    (job,) = memory.named("job test.quick")
    assert job.parent is not None
    assert job.place.trace_id == memory.spans[0].place.trace_id
    assert (job.facts["echain.job_kind"], job.facts["echain.attempt"]) == ("test.quick", 1)
    assert "SELECT pg_class" in memory.below(job)
    assert inside[1] is None


async def test_a_relayed_batch_is_told_of_with_what_its_handler_did(
    memory: Memory, always: Traces, database: Database
) -> None:
    asked_for: list[int] = []

    async def handler(tx: Tx, messages: object) -> None:
        await tx.execute("SELECT 1 FROM pg_class")
        asked_for.extend(await enqueue(tx, QUICK, [Note(1)]))

    async with running(Relay(database, None, {"test": handler}, traces=always).run()):
        await until(lambda: database.fetchval("SELECT count(*) > 0 FROM relay_handlers"))
        await say(database, said(1), said(2))
        await until(lambda: asked_for)
    moved, handed = memory.named("relay move"), memory.named("relay hand")
    assert sum(int(one.facts["echain.messages"]) for one in moved) == 2
    assert handed[0].facts["echain.handler"] == "test"
    assert memory.below(handed[0])[0] == "SELECT pg_class"
    payload = await database.fetchval("SELECT payload FROM jobs.queue WHERE id = $1", asked_for[0])
    assert f'"trace":"{handed[0].place.traceparent}"'.encode() in payload
