"""Secrets are planted wherever they can be, whatever can go wrong does, and then all output is searched."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from tests.conftest import psql
from tests.entry.conftest import Installation

from echain.infra.embedded.child import free_port

DRAFT = {
    "chainId": 84532,
    "title": "Opening night",
    "startTime": "2030-01-01T19:00:00Z",
    "endTime": "2030-01-01T23:00:00Z",
    "tiers": [{"name": "Floor", "priceWei": "1", "supply": 100}],
}


class Plants:
    """What must not be seen anywhere, by what it is."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {}

    def word(self, name: str) -> str:
        """Return a text with characters that are escaped wherever something is."""
        return self.keep(name, f"pl4nt-{secrets.token_hex(12)}+/=Z")

    def plain(self, name: str) -> str:
        """Return a text of letters and digits."""
        return self.keep(name, f"pl4nt{secrets.token_hex(16)}")

    def key(self, name: str) -> str:
        return self.keep(name, secrets.token_hex(32))

    def keep(self, name: str, text: str) -> str:
        self.all[name] = text
        return text

    def seen_in(self, output: str) -> Iterator[str]:
        """Yield what stands in a text, in any of the ways in which texts are written."""
        for name, text in self.all.items():
            for how, spelled in spellings(text):
                at = output.find(spelled)
                if at >= 0:
                    yield f"{name} ({how}): …{output[max(0, at - 150) : at + 20]}…"


def spellings(text: str) -> Iterator[tuple[str, str]]:
    raw = text.encode()
    yield "plain", text
    yield "escaped for an address", quote(text, safe="")
    yield "hexadecimal", raw.hex()
    yield "JSON", json.dumps(text)[1:-1]
    # The characters before shift the groups of three; the first and last digits depend on neighbours.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        yield "base64", encoded[4:-4]
        yield "base64 for addresses", encoded[4:-4].replace("+", "-").replace("/", "_")
    if len(text) == 64 and not set(text) - set("0123456789abcdef"):
        yield "its bytes as base64", base64.b64encode(bytes.fromhex(text)).decode()[:-4]


class Visitor:
    """Somebody who calls and keeps what is told of errors."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.refusals: list[str] = []

    def call(
        self, method: str, path: str, body: object = None, *, raw: bytes | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, list[str]]]:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            named.setdefault("content-type", "application/json")
        request = urllib.request.Request(self.url + path, data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                text = answer.read().decode(errors="replace")
                found: dict[str, list[str]] = {}
                for name, value in answer.headers.items():
                    found.setdefault(name.lower(), []).append(value)
                is_json = answer.headers.get_content_type() == "application/json"
                return answer.status, json.loads(text) if is_json else text, found
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            self.refusals.append(f"{method} {error.code} {error.headers} {text}")
            return error.code, text, {}

    def sign_in(self, plants: Plants, name: str, *, cookies: bool = False) -> dict[str, str]:
        """Sign in; keep the signature and the tokens, which come by cookie or in the answer."""
        account = Account.create()
        plants.keep(f"{name}'s private key", bytes(account.key).hex())
        _, nonce, headers = self.call("GET", "/api/v1/auth/nonce")
        browser = headers["set-cookie"][0].partition(";")[0]
        plants.keep(f"{name}'s browser cookie", browser.partition("=")[2])
        told = nonce["data"]
        message = (
            f"{told['domain']} wants you to sign in with your Ethereum account:\n{account.address}\n\nHi.\n\n"
            f"URI: {told['uri']}\nVersion: 1\nChain ID: 84532\nNonce: {told['nonce']}\n"
            f"Issued At: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        )
        signed = bytes(account.sign_message(encode_defunct(text=message)).signature).hex()
        plants.keep(f"{name}'s signature", signed)
        wrong = "00" * 65
        self.call("POST", "/api/v1/auth/verify", {"message": message, "signature": "0x" + wrong})
        status, grant, headers = self.call(
            "POST",
            "/api/v1/auth/verify",
            {"message": message, "signature": "0x" + signed, **({"cookies": True} if cookies else {})},
            cookie=browser,
            origin=self.url,
        )
        assert status == 200, grant
        if cookies:
            pairs = dict(cookie.partition(";")[0].split("=", 1) for cookie in headers["set-cookie"])
            for cookie, value in pairs.items():
                plants.keep(f"{name}'s cookie {cookie}", value)
            return {"cookie": "; ".join(f"{each}={value}" for each, value in pairs.items())}
        plants.keep(f"{name}'s access token", grant["data"]["accessToken"])
        plants.keep(f"{name}'s refresh token", grant["data"]["refreshToken"])
        return {"authorization": f"Bearer {grant['data']['accessToken']}"}


@pytest.fixture(scope="module")
def plants() -> Plants:
    return Plants()


def variables(plants: Plants) -> dict[str, str]:
    """Return settings with a secret in every variable that takes one."""
    return {
        "ECHAIN_LOG_FORMAT": "json",
        "ECHAIN_LOG_LEVEL": "debug",
        "ECHAIN_CODE_KEY": plants.key("code key"),
        "ECHAIN_DATA_KEYS": f"{plants.key('data key')},{plants.key('old data key')}",
        "ECHAIN_TOKEN_KEYS": plants.key("token key"),
        "ECHAIN_AUDIT_KEYS": plants.key("audit key"),
        "ECHAIN_VAPID_KEY": plants.key("push key"),
        "ECHAIN_COINBASE_COMMERCE_SECRETS": plants.plain("Commerce secret"),
        "ECHAIN_COINBASE_CDP_SECRETS": plants.plain("CDP secret"),
        "ECHAIN_SMTP_URL": f"smtp://postman:{plants.plain('mail password')}@127.0.0.1:1",
        "ECHAIN_MAIL_FROM": "Tickets <tickets@example.org>",
        "ECHAIN_OIDC_STAFF_ISSUER": "http://127.0.0.1:1",
        "ECHAIN_OIDC_STAFF_CLIENT_ID": "echain",
        "ECHAIN_OIDC_STAFF_CLIENT_SECRET": plants.plain("client secret"),
    }


@pytest.mark.timeout(240)
def test_no_output_of_a_whole_installation_holds_a_secret(
    install: Callable[..., Installation], plants: Plants
) -> None:
    metrics = free_port()
    settings = {**variables(plants), "ECHAIN_METRICS_PORT": str(metrics)}
    installation = install(**settings)
    installation.start()
    installation.until_ready()
    visitor = Visitor(installation.url)
    visit(visitor, plants, installation)
    arguments = [" ".join(process.cmdline()) for process in installation.family() if alive(process)]
    measured = measures(metrics)
    assert "echain_http_request_seconds" in measured
    broken = break_parts(install, installation, plants)
    installation.stop()
    outputs = {
        "log": installation.log.read_text(errors="replace"),
        "errors": "\n".join(visitor.refusals),
        "arguments": "\n".join(arguments),
        "metrics": measured,
        "configuration": shown(installation),
        **broken,
    }
    # What is searched has to be there: a level or a part that says nothing would hide anything.
    assert outputs["log"].count('"http.answered"') > 50
    assert '"http.broken"' in outputs["log"]
    assert len(visitor.refusals) > 30
    assert [f"{name}: {leak}" for name, text in outputs.items() for leak in plants.seen_in(text)] == []


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def measures(port: int) -> str:
    """Return the metrics of the role that has the first port."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                return page.read().decode()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def shown(installation: Installation) -> str:
    """Return what `echain config` says."""
    done = subprocess.run(
        [sys.executable, "-m", "echain.entry.cli", "config"],
        env=installation.environment,
        cwd=installation.home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ECHAIN_DATA_KEYS" in done.stdout
    return done.stdout + done.stderr


def visit(visitor: Visitor, plants: Plants, installation: Installation) -> None:
    """Do with secrets whatever goes wrong, and some of what goes right."""
    ada = visitor.sign_in(plants, "ada")
    bob = visitor.sign_in(plants, "bob", cookies=True)
    call = visitor.call
    # Credentials that do not hold, in every place where one may stand.
    for scheme in ("Bearer", "Basic", "bearer"):
        for start in ("", "eca_", "eck_", "ecg_", "eyJhbGciOiJub25lIn0."):
            word = plants.plain(f"wrong {scheme} {start}")
            call("GET", "/api/v1/auth/me", authorization=f"{scheme} {start}{word}")
            call("GET", "/api/v1/auth/me", cookie=f"echain_token={start}{word}")
    call("POST", "/api/v1/auth/refresh", {"refreshToken": plants.word("wrong refresh token")})
    call("POST", "/api/v1/auth/logout", **bob)
    # Things that are told once.
    key = call("POST", "/api/v1/api-keys", {"name": "till", "scopes": ["events:read"]}, **ada)[1]["data"]
    plants.keep("API key", key["key"])
    call("POST", "/api/v1/events", DRAFT, authorization=f"Bearer {key['key']}")
    hook = call("POST", "/api/v1/webhook-subscriptions", {"url": "https://127.0.0.1/x"}, **ada)
    hook = call("POST", "/api/v1/webhook-subscriptions", {"url": "https://hooks.example/x"}, **ada)[1]["data"]
    plants.keep("webhook secret", hook["secret"].partition("_")[2])
    call("POST", f"/api/v1/webhook-subscriptions/{hook['id']}/ping", {}, **ada)
    organization = call("POST", "/api/v1/organizations", {"name": "Hall"}, **ada)[1]["data"]["id"]
    root = f"/api/v1/organizations/{organization}/invitations"
    mail = plants.keep("invited address", f"{plants.plain('invited person')}@example.org")
    invited = call("POST", root, {"role": "gate", "email": mail}, **ada)[1]["data"]
    plants.keep("invitation", invited["token"])
    call("POST", "/api/v1/organizations/invitations/offer", {"token": invited["token"][:-1]}, **ada)
    # Addresses of e-mail, good and bad; the server is away, so that the job fails and is tried again.
    for domain in ("@example.org", "@", " @x y"):
        call("PUT", "/api/v1/me/email", {"email": plants.plain(f"address {domain}") + domain}, **ada)
    # Where it stands in paths, parameters, fields and headers.
    for path in ("/email/verify", "/unsubscribe", "/invitation"):
        for method in ("GET", "POST"):
            call(method, f"{path}?token={quote(plants.word(f'{method} {path}'), safe='')}")
    state, code = plants.plain("OIDC state"), plants.plain("OIDC code")
    call("GET", "/api/v1/auth/oauth/staff/start")
    call("GET", f"/api/v1/auth/oauth/staff/callback?state={state}&code={code}")
    call("GET", f"/api/v1/nowhere?access_token={plants.plain('token of no route')}")
    call("GET", f"/api/v1/events?access_token={plants.plain('token in a query')}")
    call("POST", "/api/v1/events", {**DRAFT, "secret": plants.word("unknown field")}, **ada)
    call("POST", "/api/v1/auth/verify", {"message": plants.word("message"), "signature": "0x"})
    call("POST", "/api/v1/auth/verify", {"message": 1, "signature": plants.word("wrong signature")})
    call("POST", "/api/v1/auth/verify", raw=plants.word("no JSON").encode())
    call("GET", "/api/v1/events", echain_confirmation=plants.word("confirmation"))
    call("DELETE", "/api/v1/auth/account", echain_confirmation=plants.word("bad confirmation"), **ada)
    call("GET", "/docs", referer=f"http://127.0.0.1/?token={plants.plain('referrer')}")
    for header in ("X-CC-Webhook-Signature", "X-Hook0-Signature"):
        signature = f"t=1,h=x,v1={plants.plain(header)},v0={plants.plain(header + ' v0')}"
        call("POST", "/webhooks/coinbase", {"a": 1}, **{header: signature})
    call(
        "POST", "/api/v1/transactions", {"raw": "0x" + plants.plain("raw transaction").encode().hex()}, **ada
    )
    live(visitor, plants, installation)
    # Faults of our own: everything about them is logged, but no value.
    psql(
        database_url(installation),
        f"""
        INSERT INTO identities (id, user_id, issuer, subject, provider, sealed, created_at, last_sign_in_at)
        SELECT gen_random_uuid(), id, 'x', '{plants.plain("subject")}' || id, 'staff', '\\x01', now(), now()
        FROM users
        """,
    )
    assert call("GET", "/api/v1/auth/identities", **ada)[0] == 500
    event = call("POST", "/api/v1/events", DRAFT, **ada)[1]["data"]["id"]
    broken = json.dumps({"title": 7, "chainId": plants.plain("draft that breaks")})
    psql(database_url(installation), f"UPDATE event_drafts SET content = '{broken}'")
    assert call("GET", f"/api/v1/events/{event}", **ada)[0] == 500


def live(visitor: Visitor, plants: Plants, installation: Installation) -> None:
    """Show tokens at the doors of live connections."""
    door = Visitor(f"http://127.0.0.1:{installation.environment['ECHAIN_REALTIME_PORT']}")
    for path in ("/sse/events?channels=market&token=", "/socket.io/?EIO=4&transport=polling&token="):
        for start in ("", "eca_", "eyJhbGciOiJub25lIn0."):
            word = plants.plain(f"live {path} {start}")
            try:
                door.call("GET", f"{path}{start}{word}", origin="https://evil.example")
                door.call("GET", f"{path}{start}{word}", authorization=f"Bearer {word}")
            except TimeoutError:
                continue
    visitor.refusals += door.refusals


def database_url(installation: Installation) -> str:
    """Return where the installation's PostgreSQL is, as its own processes are told."""
    for process in installation.family():
        if alive(process):
            url = process.environ().get("ECHAIN_DATABASE_URL")
            if url:
                return url
    raise AssertionError("no process knows a database")


def break_parts(install: Callable[..., Installation], whole: Installation, plants: Plants) -> dict[str, str]:
    """Run each role with parts that refuse what it shows them; return what they say."""
    url = database_url(whole)
    place = url.partition("@")[2] or url.partition("//")[2]
    redis = next(
        process.environ()["ECHAIN_REDIS_URL"]
        for process in whole.family()
        if alive(process) and process.environ().get("ECHAIN_REDIS_URL")
    )
    node = plants.plain("node's key")
    settings = {
        **variables(plants),
        "ECHAIN_DATABASE_URL": f"postgresql://stranger:{plants.plain('database password')}@{place}",
        "ECHAIN_REDIS_URL": f"redis://:{plants.plain('Redis password')}@{redis.partition('//')[2]}",
        "ECHAIN_CHAINS": "84532",
        "ECHAIN_DEVNET": "true",
        "ECHAIN_RPC_URL_84532": f"http://127.0.0.1:1/v2/{node}?key={node},"
        f"http://user:{plants.plain('node password')}@127.0.0.1:1/",
        "ECHAIN_WS_URL_84532": f"ws://127.0.0.1:1/{node}",
        "ECHAIN_PLATFORM_KEY": plants.key("platform key"),
    }
    outputs: dict[str, str] = {}
    started = []
    for role in ("api", "realtime", "indexer", "worker"):
        one = install(role, (sys.executable, "-m", "echain.entry.cli", role), **settings)
        one.start()
        started.append((role, one))
    api = started[0][1]
    outputs["configuration of roles"] = shown(api)
    visitor = Visitor(api.url)
    deadline = time.monotonic() + 60
    while True:
        try:
            visitor.call("GET", "/api/health")
            break
        except OSError:
            assert time.monotonic() < deadline
            assert api.process is not None
            assert api.process.poll() is None, api.log.read_text()
            time.sleep(0.1)
    token = plants.plain("token while the database is away")
    for path in ("/api/v1/events", "/api/v1/chains", "/api/v1/transactions/0x" + "ab" * 32, "/health/ready"):
        visitor.call("GET", path, authorization=f"Bearer {token}")
    visitor.call("GET", "/api/v1/auth/me", authorization=f"Bearer eck_{secrets.token_urlsafe(32)}")
    assert any(" 503 " in refusal for refusal in visitor.refusals)
    outputs["errors of parts that are away"] = "\n".join(visitor.refusals)
    for role, one in started:
        said = one.log.read_text(errors="replace")
        while len(said) < 100 and time.monotonic() < deadline:
            time.sleep(0.1)
            said = one.log.read_text(errors="replace")
        assert one.process is not None
        if one.process.poll() is None:
            outputs[f"arguments of {role}"] = "\n".join(" ".join(each.cmdline()) for each in one.family())
            one.stop()
        outputs[f"log of {role}"] = one.log.read_text(errors="replace")
        assert outputs[f"log of {role}"], role
    return outputs


def test_the_search_finds_what_is_written_in_any_way() -> None:
    plants = Plants()
    word, key = plants.word("word"), plants.key("key")
    for text in (
        word,
        quote(word, safe=""),
        word.encode().hex(),
        base64.b64encode(b"user:" + word.encode()).decode(),
        base64.urlsafe_b64encode(b"x" + word.encode()).decode(),
        base64.b64encode(bytes.fromhex(key)).decode(),
        json.dumps({"a": word}),
    ):
        assert list(plants.seen_in(f"before {text} after")), text
    assert not list(plants.seen_in("nothing of the kind"))
