"""The whole installation hears webhooks and posts its own, each role in its own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import aiohttp
from eth_account.messages import encode_defunct
from tests.entry.conftest import Installation
from tests.infra.receivers import Receiver, answering, receiving
from tests.webhooks import signing

from echain.entry.wallet import Client, Wallet

ROOT = "/api/v1/webhook-subscriptions"


async def heard(receiver: Receiver, kind: str) -> dict[str, object]:
    """Return the first message of a type that the receiver gets."""
    async with asyncio.timeout(20):
        while True:
            for request in receiver.requests:
                body = json.loads(request.body)
                if body["type"] == kind:
                    return body
            await asyncio.sleep(0.02)


async def signed_in(wallet: Wallet) -> str:
    """Sign in and return the refresh token."""
    nonce = (await wallet.client.get(f"/auth/nonce/{wallet.address}"))["nonce"]
    message = wallet._sign_in_message(nonce)
    signature = wallet.account.sign_message(encode_defunct(text=message)).signature.hex()
    answer = {"message": message, "signature": f"0x{signature.removeprefix('0x')}"}
    session = await wallet.client.post("/auth/verify", answer)
    wallet.client.token = session["accessToken"]
    return session["refreshToken"]


async def steal(http: aiohttp.ClientSession, url: str, refresh_token: str) -> None:
    """Use a refresh token twice, from two places; its owner is told."""
    for agent in ("Firefox/140.0 Linux", "Thief/1"):
        body = {"refreshToken": refresh_token}
        async with http.post(
            f"{url}/api/v1/auth/refresh", json=body, headers={"user-agent": agent}
        ) as answer:
            assert answer.status in {200, 401}


async def test_messages_go_out_and_coinbases_events_come_in(install: Callable[..., Installation]) -> None:
    one = install(
        ECHAIN_WEBHOOK_HTTP="true",
        ECHAIN_WEBHOOK_PRIVATE_TARGETS="true",
        ECHAIN_COINBASE_COMMERCE_SECRETS=f"older,{signing.COMMERCE_SECRET}",
        ECHAIN_LOG_LEVEL="debug",
    )
    one.start()
    await asyncio.to_thread(one.until_ready)
    async with (
        receiving(answering(200)) as receiver,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        ada = Wallet("ada", None, Client(http, one.url), 84532)
        refresh_token = await signed_in(ada)
        headers = {"authorization": f"Bearer {ada.client.token}"}
        wanted = {"url": receiver.url, "channels": [f"user:{ada.address}"]}
        async with http.post(one.url + ROOT, json=wanted, headers=headers) as answer:
            made = (await answer.json())["data"]
            assert answer.status == 201
        async with http.post(f"{one.url}{ROOT}/{made['id']}/ping", headers=headers) as answer:
            assert answer.status == 202
        assert (await heard(receiver, "ping"))["id"] is None
        await steal(http, one.url, refresh_token)
        told = await heard(receiver, "notification")
        assert (told["channel"], told["id"].isdecimal()) == (f"user:{ada.address}", True)
        event = signing.charge_event("charge:confirmed")
        for duplicate in (False, True):
            async with http.post(
                f"{one.url}/webhooks/coinbase", data=event, headers=signing.commerce(event)
            ) as answer:
                assert (await answer.json())["data"] == {"duplicate": duplicate}
    assert await asyncio.to_thread(one.stop) == 0
    log = one.log.read_text(errors="replace")
    assert signing.COMMERCE_SECRET not in log
    assert made["secret"] not in log
