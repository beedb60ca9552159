"""A worker of notifications as a process of its own, to be killed: ``python mailman.py URL SMTP_PORT``."""

from __future__ import annotations

import asyncio
import sys

from tests.events.shop import CHAIN_ID
from tests.notify.town import BRAND, KEYS

from echain.infra.database import Database
from echain.infra.jobs import Workers
from echain.infra.mail import Mailer
from echain.infra.mailserver import MailServer
from echain.infra.metrics import Metrics
from echain.kernel.time import utc_now
from echain.notify import jobs
from echain.notify.composing import Composer
from echain.notify.rendering import Templates
from echain.notify.wording import Coin


async def main(url: str, port: str) -> None:
    database = Database.lazy(url, size=5, name="mailman")
    composer = Composer(Templates(), KEYS, BRAND, {CHAIN_ID: Coin("ETH")})
    mailer = Mailer(MailServer.of(f"smtp://127.0.0.1:{port}"))
    tools = jobs.Tools(composer, mailer, None, Metrics(), utc_now)
    await Workers(url, database, jobs.handlers(tools), Metrics(), stale_seconds=1).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
