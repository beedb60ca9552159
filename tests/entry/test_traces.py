"""A real API process tells a real collector of its requests, and its log line names the same trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.infra.collector import Collector, collecting

from echain.infra.embedded.child import free_port

START_SECONDS = 90


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


def fetched(url: str) -> str:
    """Return the request id of a successful answer."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.headers["x-request-id"]


def until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            fetched(f"{url}/health/ready")
        except OSError:
            time.sleep(0.05)
        else:
            return


def test_a_request_of_a_real_process_reaches_the_collector_and_its_line_names_the_trace(
    database_url: str, collector: Collector, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    others = {name: text for name, text in os.environ.items() if not name.startswith("ECHAIN_")}
    environment = others | {
        "ECHAIN_HOME": str(tmp_path / "home"),
        "ECHAIN_PORT": str(port),
        "ECHAIN_DATABASE_URL": database_url,
        "ECHAIN_CHAINS": "84532",
        "ECHAIN_RPC_URL_84532": "http://127.0.0.1:9",
        "ECHAIN_LOG_FORMAT": "json",
        "ECHAIN_TRACES_URL": collector.url,
        "ECHAIN_TRACES_SHARE": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "echain.entry.cli", "api"], env=environment, stderr=output
        )
    try:
        until_ready(url, process, log)
        request_id = fetched(f"{url}/api/v1/events?perPage=7")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    span = collector.one("GET /api/v1/events")
    assert span.facts["echain.request_id"] == request_id
    assert span.resource["echain.role"] == "api"
    parts = [one for one in collector.spans if one.parent == span.span_id]
    assert any(one.name.startswith("SELECT ") for one in parts)
    lines = [json.loads(line) for line in log.read_text().splitlines() if '"http.answered"' in line]
    (line,) = (one for one in lines if one["request_id"] == request_id)
    assert line["trace_id"] == span.trace_id
    assert "perPage" not in log.read_text()
