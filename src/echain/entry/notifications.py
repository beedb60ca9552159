"""Notifications with what they need: this installation's keys, mail server, push service and coins."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Final

from echain.edge.http import Endpoint
from echain.entry.connections import Services
from echain.infra.config import Config, ConfigError
from echain.infra.crypto import DataKeys
from echain.infra.jobs import Handler, JobKind
from echain.infra.mail import Mailer
from echain.infra.mailserver import MailServer
from echain.infra.outbound import Outbound, Rules
from echain.infra.secret import Secret
from echain.kernel.time import utc_now
from echain.notify import jobs, pages, rest
from echain.notify.calendarpage import calendar_endpoint
from echain.notify.composing import Composer
from echain.notify.letters import Brand
from echain.notify.pushing import Pusher, public_key
from echain.notify.relaying import Listener
from echain.notify.rendering import Templates
from echain.notify.service import Reach
from echain.notify.wording import Coin

NAME: Final = "notify"
"""Under which the relay keeps its place."""

_USER_AGENT: Final = "echain-push/1"
_NOBODY: Final = "echain <nobody@localhost>"
"""Stands as the sender where no mail is sent."""

_TARGETS: Final = Rules()
"""Push services are public, whatever else this installation may reach."""

_DECIMALS: Final = 18


def notify_listener(config: Config) -> Listener:
    """Return what hears the relay's messages."""
    return Listener(Templates(), Reach(email=config.smtp_url is not None, push=True), utc_now)


def notify_endpoints(config: Config, parts: Services) -> list[Endpoint]:
    """Return the routes of notifications, and the pages behind the links in mails."""
    surface = rest.Surface(
        database=parts.database,
        composer=_composer(config),
        email=config.smtp_url is not None,
        push_key=public_key(_vapid_key(config)),
        push_rules=_TARGETS,
    )
    calendar = calendar_endpoint(parts.database, surface.composer)
    return [*rest.endpoints(surface), *pages.endpoints(surface), calendar]


def notify_handlers(
    config: Config, parts: Services, stack: AsyncExitStack
) -> dict[JobKind[Any], Handler[Any]]:
    """Return what runs the jobs of notifications; ``stack`` ends its connections."""
    mailer = None
    if config.smtp_url is not None:
        mailer = Mailer(MailServer.of(config.smtp_url))
        stack.push_async_callback(mailer.close)
    outbound = Outbound(_TARGETS, user_agent=_USER_AGENT)
    stack.push_async_callback(outbound.close)
    pusher = Pusher(_vapid_key(config), outbound, contact=_contact(config))
    return jobs.handlers(jobs.Tools(_composer(config), mailer, pusher, parts.metrics, utc_now))


def coin_of(symbol: str, unit_scale: int) -> Coin:
    """Return a chain's coin; its contracts count in units of ``unit_scale`` wei, a power of ten."""
    return Coin(symbol, _DECIMALS - (len(str(unit_scale)) - 1))


def _composer(config: Config) -> Composer:
    brand = Brand.of(config.mail_from or _NOBODY, config.public_url)
    coins = {chain.chain_id: coin_of(chain.native_symbol, chain.unit_scale) for chain in config.chains}
    return Composer(Templates(), DataKeys(config.data_keys), brand, coins)


def _contact(config: Config) -> str:
    """Return where a push service may complain (RFC 8292 2.1)."""
    if config.mail_from is not None:
        return f"mailto:{Brand.of(config.mail_from, config.public_url).sender}"
    return config.public_url if config.public_url.startswith("https:") else "mailto:nobody@localhost"


def _vapid_key(config: Config) -> Secret:
    if config.vapid_key is None:
        raise ConfigError(["ECHAIN_VAPID_KEY is missing"])
    return config.vapid_key
