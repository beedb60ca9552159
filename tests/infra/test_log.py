"""Logs are one line each and hold no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from echain.infra import log
from echain.infra.secret import Secret, without_credentials

SECRET = "correct horse battery staple"


@pytest.fixture
def restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_do_not_reach_the_log(restored: None, as_json: bool) -> None:
    output = io.StringIO()
    log.configure(json=as_json, level="info", role="api", stream=output)
    logger = structlog.get_logger()
    logger.info(
        "one", key=Secret(SECRET), password=SECRET, headers={"Authorization": SECRET, "Set-Cookie": SECRET}
    )
    logging.getLogger("library").warning("two %s", Secret(SECRET))
    try:
        local = Secret(SECRET)
        local.reveal().index("?")
    except ValueError:
        logger.exception("three")
    assert "one" in output.getvalue()
    assert "two" in output.getvalue()
    assert "three" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_a_json_log_is_one_object_a_line_with_role_and_request(restored: None) -> None:
    output = io.StringIO()
    log.configure(json=True, level="info", role="worker", stream=output)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("first\nsecond", amount=10**30, data=b"\x00")
        structlog.get_logger().debug("not shown")
        logging.getLogger("library").error("third")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [(line["event"], line["role"], line["request_id"]) for line in lines] == [
        ("first\nsecond", "worker", "r-1"),
        ("third", "worker", "r-1"),
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:word@host:1/db", "postgresql://user:•••@host:1/db"),
        ("postgresql://user@/db?host=/tmp/x", "postgresql://user@/db?host=/tmp/x"),
        ("https://node.example/v2/key?a=b", "https://node.example/•••"),
        ("https://key@node.example", "https://•••@node.example"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("redis://:word@host/0", "redis://:•••@host/0"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
