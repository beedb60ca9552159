"""The whole application, as `echain up` runs it, against its own document: with and without credentials."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.edge.serving import fuzz
from tests.entry.conftest import Installation, plain_environment

from echain.entry.wallet import Client, Wallet

SETTINGS = """
[checks.positive_data_acceptance]
# Rules between fields (a sale ends after it starts) are no part of a schema; they are refused with 422.
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412", "422", "429"]
"""

OWN_EVENT = """
[[operations]]
include-path-regex = "^/api/v1/events/\\\\{{id\\\\}}"
exclude-method = "DELETE"
parameters = {{ id = "{id}" }}
"""

ENDS_SESSIONS = "/auth/(logout|refresh|sessions|account)"
"""These would sign the fuzzer itself out; they are fuzzed without credentials."""

MAKES = "^/api/v1/(organizations|api-keys|webhook-subscriptions)"
"""What a fuzzer can make from the schema alone, and then do everything with."""

DRAFT = {
    "chainId": 84532,
    "title": "Opening night",
    "startTime": "2030-01-01T19:00:00Z",
    "endTime": "2030-01-01T23:00:00Z",
    "tiers": [{"name": "Floor", "priceWei": "25000000000000000", "supply": 100}],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation with all roles; it must not have logged a bug when all is over."""
    home = tmp_path_factory.mktemp("fuzzed")
    variables = {"ECHAIN_LOG_FORMAT": "json", "ECHAIN_LIMITS": "false"}
    installation = Installation(home, plain_environment(home, variables))
    installation.start()
    installation.until_ready()
    yield installation
    installation.stop()
    broken = [line for line in installation.log.read_text().splitlines() if '"http.broken"' in line]
    assert not broken, "\n".join(broken)


@pytest.fixture
async def token(running: Installation) -> str:
    """A signed-in user's access token."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        wallet = Wallet(
            "fuzzer", None, Client(http, running.url), 84532
        )  # a wallet that only signs in needs no node
        await wallet.sign_in()
        assert wallet.client.token
        return wallet.client.token


@pytest.fixture
def draft_id(running: Installation, token: str) -> str:
    """A draft of that user."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps(DRAFT).encode()
    request = urllib.request.Request(f"{running.url}/api/v1/events", body, headers)
    with urllib.request.urlopen(request) as answer:
        made: Any = json.load(answer)
    return made["data"]["id"]


@pytest.mark.timeout(400)
def test_a_fuzzer_without_credentials_finds_nothing(running: Installation, tmp_path: Path):
    """Half a minute: every operation, every boundary of every parameter, some two thousand requests."""
    fuzz(running.url, tmp_path, examples=2, settings=SETTINGS, seconds=350)


@pytest.mark.timeout(400)
def test_a_fuzzer_with_a_users_token_finds_nothing(
    running: Installation, tmp_path: Path, token: str, draft_id: str
):
    """Half a minute: the same from the inside, with a draft of its own to read and change."""
    settings = SETTINGS + OWN_EVENT.format(id=draft_id)
    fuzz(running.url, tmp_path, token=token, examples=2, but=ENDS_SESSIONS, settings=settings, seconds=350)


@pytest.mark.timeout(400)
def test_a_fuzzer_that_follows_links_finds_nothing(running: Installation, tmp_path: Path, token: str):
    """It makes drafts, keys, organizations and webhooks, and does with them whatever there is to do."""
    report = fuzz(
        running.url,
        tmp_path,
        token=token,
        only=MAKES,
        examples=25,
        but=ENDS_SESSIONS,
        settings=SETTINGS,
        seconds=350,
        phases="stateful",
    )
    followed = re.search(r"API Links:\s+(\d+) covered", report)
    assert followed is not None, report
    assert int(followed[1]) >= 2, report


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_fuzzer_that_follows_links_for_long_finds_nothing(
    running: Installation, tmp_path: Path, token: str
):
    fuzz(
        running.url,
        tmp_path,
        token=token,
        only=MAKES,
        examples=300,
        but=ENDS_SESSIONS,
        settings=SETTINGS,
        seconds=1500,
        phases="stateful",
    )


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_fuzzer_with_much_time_finds_nothing(
    running: Installation, tmp_path: Path, token: str, draft_id: str
):
    settings = SETTINGS + OWN_EVENT.format(id=draft_id)
    fuzz(running.url, tmp_path, token=token, examples=20, but=ENDS_SESSIONS, settings=settings, seconds=900)
