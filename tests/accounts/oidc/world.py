"""A real OpenID provider, a proxy that can make it lie, our API over TCP, and people with browsers."""

from __future__ import annotations

import asyncio
import json
import re
import select
import socket
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
import uvicorn
from aiohttp import web
from tests.accounts.people import Wallet

from echain.accounts import service as accounts
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.authentication import Authenticator
from echain.edge.http.server import BoundedProtocol
from echain.entry.addressbook import AddressBook
from echain.entry.connections import services
from echain.entry.settings import read
from echain.entry.wiring import application_of
from echain.infra.config import Config
from echain.infra.database import Database
from echain.kernel.time import utc_now

ROOT = Path(__file__).parents[3]
NODE = ROOT / ".venv" / "bin" / "node"
PROGRAM = Path(__file__).parent / "server.mjs"
SECRET = "planted secret+:%/=&\u007e"
"""Of characters that mean something in forms, headers and addresses."""
START_SECONDS = 60
UA = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class RealProvider:
    """The process of npm's oidc-provider; ``configure`` changes what it is, also while it runs."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [NODE, PROGRAM],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self.port = 0

    def configure(self, settings: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(settings) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], START_SECONDS)[0], "the provider does not start"
        self.port = int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(START_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Answered:
    """A real answer of the provider, on its way to us."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @json.setter
    def json(self, value: Any) -> None:
        self.body = json.dumps(value).encode()


Altering = Callable[[Answered], Awaitable[None] | None]


@dataclass
class Front:
    """The address of a provider: a proxy that passes everything on as it is, but for what a test alters."""

    name: str
    real: RealProvider
    issuer: str = ""
    alter: dict[str, Altering] = field(default_factory=dict)
    refuse: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def configure(self, **changes: Any) -> None:
        self.settings |= changes
        self.real.configure(self.settings)

    def count(self, path: str) -> int:
        return sum(1 for _, one in self.asked if one == path)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        if request.path in self.refuse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        url = f"http://127.0.0.1:{self.real.port}{request.raw_path}"
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as client,
            client.request(
                request.method, url, headers=headers, data=await request.read(), allow_redirects=False
            ) as got,
        ):
            answer = Answered(
                got.status, {"content-type": got.headers.get("content-type", "")}, await got.read()
            )
            if "location" in got.headers:
                answer.headers["location"] = got.headers["location"]
            cookies = got.headers.getall("set-cookie", [])
        altering = self.alter.get(request.path)
        if altering is not None:
            waiting = altering(answer)
            if waiting is not None:
                await waiting
        response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        for cookie in cookies:
            response.headers.add("set-cookie", cookie)
        return response


@asynccontextmanager
async def fronting(name: str, real: RealProvider) -> AsyncGenerator[Front]:
    front = Front(name, real)
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", front.pass_on)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    front.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield front
    finally:
        await runner.cleanup()


def client_of(site: str, name: str, client_id: str, **more: Any) -> dict[str, Any]:
    """Return how our application is registered at a provider."""
    path = f"{site}/api/v1/auth/oauth/{name}"
    return {
        "client_id": client_id,
        "client_secret": SECRET,
        "redirect_uris": [f"{path}/callback"],
        "backchannel_logout_uri": f"{path}/logout",
        "backchannel_logout_session_required": True,
        **more,
    }


@dataclass
class Site:
    """Our application over TCP."""

    url: str
    config: Config
    database: Database
    users: Authenticator

    def visitor(self) -> Visitor:
        return Visitor(self)

    async def rows(self) -> dict[str, int]:
        """Return how many rows signing in has written, by table."""
        tables = ("users", "identities", "sessions", "identity_sessions", "oidc_starts", "wallets")
        return {name: await self.database.fetchval(f"SELECT count(*) FROM {name}") for name in tables}


@asynccontextmanager
async def serving(
    database_url: str, home: Path, *fronts: Front, host: str = "127.0.0.1", **variables: str
) -> AsyncGenerator[Site]:
    """Serve the whole API, with the providers registered on both sides; an empty variable takes one away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://{host}:{listener.getsockname()[1]}"
        config = read(_environment(url, database_url, home, fronts) | variables)
        for front in fronts:
            front.configure(
                issuer=front.issuer,
                name=front.name,
                generation=0,
                idTokenClaims=False,
                challenges=True,
                clients=[client_of(url, front.name, "echain")],
            )
        async with _running(config, listener) as site:
            yield site


def _environment(url: str, database_url: str, home: Path, fronts: Sequence[Front]) -> dict[str, str]:
    environment = {
        "ECHAIN_HOME": str(home),
        "ECHAIN_DEVNET": "true",
        "ECHAIN_PUBLIC_URL": url,
        "ECHAIN_DATABASE_URL": database_url,
        "ECHAIN_DATA_KEYS": "11" * 32,
        "ECHAIN_LOG_FORMAT": "json",
    }
    for front in fronts:
        name = f"ECHAIN_OIDC_{front.name.upper()}"
        environment |= {
            f"{name}_ISSUER": front.issuer,
            f"{name}_CLIENT_ID": "echain",
            f"{name}_CLIENT_SECRET": SECRET,
            f"{name}_PRIVATE": "true",
        }
    return environment


@asynccontextmanager
async def _running(config: Config, listener: socket.socket) -> AsyncGenerator[Site]:
    async with AsyncExitStack() as stack:
        parts = await services(config, stack)
        users = accounts.authenticator(
            parts.database, utc_now, AccessTokens(config.token_keys, issuer=config.public_url)
        )
        app = application_of(config, parts, AddressBook(config, parts.database), {}, users, warm=lambda: True)
        server = uvicorn.Server(
            uvicorn.Config(app, http=BoundedProtocol, lifespan="off", access_log=False, log_config=None)
        )
        running = asyncio.create_task(server._serve([listener]))
        try:
            while not server.started:
                assert not running.done(), "the server did not start"
                await asyncio.sleep(0.01)
            yield Site(config.public_url, config, parts.database, users)
        finally:
            server.should_exit = True
            await running


@dataclass
class Answer:
    """What a browser got, without following it."""

    url: str
    status: int
    headers: Mapping[str, str]
    text: str
    set_cookies: list[str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]

    @property
    def location(self) -> str:
        assert self.status in (302, 303), (self.status, self.text)
        return urljoin(self.url, self.headers["location"])


class Visitor:
    """A person with a browser of their own: it keeps cookies and follows as told."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.token: str | None = None
        self.wallet: Wallet | None = None
        self.session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"user-agent": UA}, auto_decompress=True
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def send(self, method: str, url: str, **options: Any) -> Answer:
        full = url if "://" in url else f"{self.site.url}/api/v1{url}"
        headers = dict(options.pop("headers", {}))
        if self.token is not None and full.startswith(self.site.url):
            headers["authorization"] = f"Bearer {self.token}"
        async with self.session.request(
            method, full, allow_redirects=False, headers=headers, **options
        ) as got:
            return Answer(
                full, got.status, got.headers, await got.text(), got.headers.getall("set-cookie", [])
            )

    async def get(self, url: str, **options: Any) -> Answer:
        return await self.send("GET", url, **options)

    def cookie(self, name: str) -> str:
        found = {one.key: one.value for one in self.session.cookie_jar}
        return found.get(name, "")

    def take_session(self) -> None:
        """Go on with the session's token as a bearer, and without cookies that would come along."""
        self.token = self.cookie("echain_token")
        assert self.token

    async def start(self, provider: str = "corp", **query: str) -> str:
        """Begin to sign in and return where the provider is to be visited."""
        answer = await self.get(f"/auth/oauth/{provider}/start?{urlencode(query)}")
        return answer.location

    async def ask_link(self, provider: str = "corp", *, confirmed: bool = True, **body: str) -> Answer:
        """Ask to link an identity, confirmed by the wallet that signed in here, if one did."""
        headers = {}
        if self.wallet is not None and confirmed:
            asked = {"action": "identity.link", "target": provider}
            answer = await self.send("POST", "/auth/confirmations", json=asked)
            confirmation = answer.json["data"]
            signature = self.wallet.sign(confirmation["message"])
            headers = {"echain-confirmation": f"{confirmation['id']}:{signature}"}
        return await self.send("POST", f"/auth/oauth/{provider}/link", json=body, headers=headers)

    async def link(self, provider: str = "corp", **body: str) -> str:
        """Begin to link an identity and return where the provider is to be visited."""
        answer = await self.ask_link(provider, **body)
        assert answer.status == 200, answer.text
        return answer.json["data"]["url"]

    async def sign_in_by_wallet(self, wallet: Wallet) -> None:
        """Sign in with a wallet, whose access token is shown from then on."""
        nonce = (await self.get("/auth/nonce")).json["data"]["nonce"]
        message = wallet.message(nonce, domain=urlsplit(self.site.url).netloc, uri=self.site.url)
        body = {"message": message, "signature": wallet.sign(message)}
        answer = await self.send("POST", "/auth/verify", json=body)
        assert answer.status == 200, answer.text
        self.wallet, self.token = wallet, answer.json["data"]["accessToken"]

    async def me(self) -> Any:
        answer = await self.get("/auth/me")
        return answer.json["data"] if answer.status == 200 else None

    async def agree(self, url: str, login: str) -> str:
        """Go through the provider's own pages as ``login``; return where it then sends the browser."""
        answer = await self.get(url)
        for _ in range(12):
            if answer.status in (302, 303):
                url = answer.location
                if url.startswith(self.site.url):
                    return url
                answer = await self.get(url)
                continue
            assert answer.status == 200, answer.text
            action = re.search(r'action="([^"]+)"', answer.text)
            assert action is not None, answer.text
            prompt = re.search(r'name="prompt" value="([a-z]+)"', answer.text)
            assert prompt is not None
            form = {"prompt": prompt[1]} | ({"login": login, "password": "x"} if prompt[1] == "login" else {})
            answer = await self.send("POST", urljoin(answer.url, unescape(action[1])), data=form)
        raise AssertionError("the provider never ends")

    async def sign_in(self, login: str = "ada", provider: str = "corp", **query: str) -> Answer:
        """Do the whole dance; return the callback's answer."""
        return await self.get(await self.agree(await self.start(provider, **query), login))


def changed(url: str, **changes: str | None) -> str:
    """Return a URL with parameters of its query replaced, or taken away where None."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | changes
    return urlunsplit(
        parts._replace(query=urlencode({name: value for name, value in query.items() if value is not None}))
    )


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))
