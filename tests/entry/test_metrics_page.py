"""Each role's metrics: at a port of their own, documented, and not where strangers ask."""

from __future__ import annotations

import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.entry.conftest import Installation

from echain.entry.up import ROLES

DOCUMENTED = re.findall(
    r"^\| `(echain_\w+)` \|",
    (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text(),
    re.MULTILINE,
)
TELLING = {
    "api": {"echain_http_request_seconds"},
    # Of the jobs tells also who lives on when no worker is left.
    "indexer": {"echain_chain_indexed_block", "echain_jobs_oldest_seconds"},
    "worker": {"echain_jobs_oldest_seconds", "echain_job_runs_total"},
    "realtime": {"echain_live_connections"},
}


def page(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def first_page(port: int) -> str:
    """Return the page of a role that may still start."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return page(port)
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def several_free_ports(number: int) -> int:
    """Return the first of ``number`` ports in a row that are free now."""
    for first in range(20_000, 60_000, 37):
        try:
            for port in range(first, first + number):
                with socket.create_server(("127.0.0.1", port)):
                    pass
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def test_each_role_tells_what_is_documented_and_the_public_port_tells_nothing(
    install: Callable[..., Installation],
) -> None:
    first = several_free_ports(len(ROLES))
    one = install(ECHAIN_METRICS_PORT=str(first))
    one.start()
    one.until_ready()
    one.get("/api/health")
    for place, role in enumerate(ROLES):
        told = first_page(first + place)
        named = set(re.findall(r"^# TYPE (echain_\w+)", told, re.MULTILINE))
        assert TELLING[role] <= named
        assert named <= set(DOCUMENTED), named - set(DOCUMENTED)
        assert "process_cpu_seconds_total" in told
    api = int(one.environment["ECHAIN_PORT"])
    for path in ("/metrics", "/api/v1/metrics"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            page(api, path)
    assert re.search(r'route="/api/health",status="2xx"} \d', page(first))
    # The platform's own secrets have no business in a page that is scraped.
    everything = "".join(page(first + place) for place in range(len(ROLES)))
    assert "postgresql://" not in everything
    assert "ECHAIN_" not in everything
