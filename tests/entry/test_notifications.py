"""The whole installation writes mail: from a request through outbox, relay and worker to a mail server."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from tests.entry.conftest import Installation
from tests.infra.postoffice import PostOffice, post_office

from echain.kernel.time import utc_now


class Person:
    """Somebody who talks to an installation over HTTP."""

    def __init__(self, one: Installation) -> None:
        self._url = one.url
        self._account = Account.create()
        self.tokens: dict[str, str] = {}

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[Any, Any]:
        return await asyncio.to_thread(self._ask, method, path, body, headers)

    def _ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[Any, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/api/v1{path}", data=data, method=method)
        request.add_header("user-agent", headers.pop("agent", "Firefox/140.0 Linux"))
        for name, value in headers.items():
            request.add_header(name, value)
        if data is not None:
            request.add_header("content-type", "application/json")
        if self.tokens:
            request.add_header("authorization", f"Bearer {self.tokens['accessToken']}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer, json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return error, json.load(error)

    async def sign_in(self) -> None:
        answer, nonce = await self.ask("GET", "/auth/nonce")
        message = (
            f"{nonce['domain']} wants you to sign in with your Ethereum account:\n{self._account.address}\n\n"
            f"Hello.\n\nURI: {nonce['uri']}\nVersion: 1\nChain ID: 84532\nNonce: {nonce['nonce']}\n"
            f"Issued At: {utc_now():%Y-%m-%dT%H:%M:%SZ}"
        )
        signature = self._account.sign_message(encode_defunct(text=message)).signature.hex()
        _, self.tokens = await self.ask(
            "POST",
            "/auth/verify",
            {"message": message, "signature": "0x" + signature.removeprefix("0x")},
            cookie=answer.headers["set-cookie"].partition(";")[0],
        )


async def test_an_address_is_confirmed_and_a_stolen_session_is_mailed(
    install: Callable[..., Installation],
) -> None:
    async with post_office() as office:
        one = install(
            ECHAIN_SMTP_URL=f"smtp://127.0.0.1:{office.port}",
            ECHAIN_MAIL_FROM="Tickets <tickets@x.example>",
        )
        one.start()
        await asyncio.to_thread(one.until_ready)
        ada = Person(one)
        await ada.sign_in()
        await ada.ask("PUT", "/me/email", {"email": "ada@secret.example"})
        await confirm(ada, office)
        _, shown = await ada.ask("GET", "/me/email")
        assert shown["email"] == "ada@secret.example"
        await steal(ada)
        letters = await office.until(2)
        assert letters[1].parsed["Subject"] == "A session was ended"
        assert letters[1].recipient == "ada@secret.example"
        assert "Firefox" in letters[1].part("text/plain")
        ada.tokens = {}
        await ada.sign_in()
        _, listed = await ada.ask("GET", "/notifications")
        assert {note["title"] for note in listed} >= {
            "A session was ended",
            "Your e-mail address is confirmed",
        }
        assert await asyncio.to_thread(one.stop) == 0
        log = one.log.read_text(errors="replace")
        assert "secret.example" not in log
        assert "ecv_" not in log


async def confirm(person: Person, office: PostOffice) -> None:
    (asked,) = await office.until(1)
    found = re.search(r"token=(\S+)", asked.part("text/plain"))
    assert found is not None
    _, done = await person.ask("POST", "/email/verify", {"token": found[1]})
    assert done == {"verified": True}


async def steal(person: Person) -> None:
    """Use a refresh token twice, from two places."""
    used = person.tokens["refreshToken"]
    await person.ask("POST", "/auth/refresh", {"refreshToken": used})
    answer, _ = await person.ask("POST", "/auth/refresh", {"refreshToken": used}, agent="Thief/1")
    assert answer.status == 401
