"""What providers really say, and what it means."""

from __future__ import annotations

import pytest

from echain.chain.refusals import Meaning, meaning

SAID = [
    (-32005, "daily request count exceeded, request rate limited", Meaning.TOO_OFTEN),
    (-32005, "limit exceeded", Meaning.TOO_OFTEN),
    (-32605, "IP Rate limit exceeded on eth_getLogs", Meaning.TOO_OFTEN),
    (-32606, "HBAR Rate limit exceeded", Meaning.TOO_OFTEN),
    (429, "Your app has exceeded its compute units per second capacity.", Meaning.TOO_OFTEN),
    (-32000, "Too Many Requests", Meaning.TOO_OFTEN),
    (-32007, "25/second request limit reached - reduce calls per second", Meaning.TOO_OFTEN),
    # Too much asked for at once: the caller cuts the range, whoever it asks.
    (-32005, "query returned more than 10000 results", Meaning.FINAL),
    (-32602, "Log response size exceeded. this block range should work: [0x1, 0x2]", Meaning.FINAL),
    (-32000, "Exceeded maximum block range: 1000", Meaning.FINAL),
    (-32005, "Transaction gas limit '16000000' exceeds max gas per sec limit '15000000'", Meaning.FINAL),
    (-32600, "eth_getLogs is limited to a 10,000 range", Meaning.FINAL),
    (-32203, "Batch request amount 101 exceeds max 100", Meaning.BATCH_TOO_LARGE),
    (-32600, "batch too large", Meaning.BATCH_TOO_LARGE),
    (-32000, "batch requests are not supported", Meaning.BATCH_TOO_LARGE),
    (-32600, "Maximum batch size of 10 exceeded", Meaning.BATCH_TOO_LARGE),
    (-32000, "unknown block", Meaning.ELSEWHERE),
    (-32001, "block not found: 0xff", Meaning.ELSEWHERE),
    (-32000, "header not found", Meaning.ELSEWHERE),
    (-32000, "missing trie node 5f3a (path ) state 0x5f3a is not available", Meaning.ELSEWHERE),
    (-32601, "the method eth_getBlockReceipts does not exist/is not available", Meaning.ELSEWHERE),
    (-32603, "internal error", Meaning.ELSEWHERE),
    (-32000, "request timed out", Meaning.ELSEWHERE),
    # What every honest node says alike.
    (3, "execution reverted: SoldOut", Meaning.FINAL),
    (-32603, "execution reverted", Meaning.FINAL),
    (-32000, "nonce too low", Meaning.FINAL),
    (-32000, "insufficient funds for gas * price + value", Meaning.FINAL),
    (-32000, "already known", Meaning.FINAL),
    (-32602, "invalid argument 0: hex string without 0x prefix", Meaning.FINAL),
]


@pytest.mark.parametrize(("code", "message", "meant"), SAID)
def test_what_providers_say_is_understood(code: int, message: str, meant: Meaning) -> None:
    assert meaning(code, message) is meant


def test_a_chain_says_which_codes_pass_by_themselves() -> None:
    assert meaning(-32015, "Dependent service returned immature records") is Meaning.FINAL
    assert meaning(-32015, "Dependent service returned immature records", later={-32015}) is Meaning.LATER


def test_a_contracts_answer_is_no_nodes_failure() -> None:
    assert meaning(-32603, "internal error", reverted=True) is Meaning.FINAL
