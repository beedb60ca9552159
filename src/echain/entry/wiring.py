"""The application: every slice's endpoints with what they need, by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Final

import structlog

from echain.accounts import keyrest
from echain.accounts import rest as accounts_rest
from echain.accounts import service as accounts
from echain.accounts.types import KeyLimits
from echain.admission import rest as admission_rest
from echain.admission import service as admission
from echain.admission.codes import CodeKey
from echain.chain import rest as chain_rest
from echain.chain.chains import configured
from echain.chain.contractwallet import ContractWallets
from echain.chain.fees import Fees
from echain.chain.keys import KeyUnusable
from echain.edge.http import Application, Caller, Endpoint, StoredIdempotency, application, scopes_of
from echain.edge.http.limits import Allowance, Limits
from echain.entry import health
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.deployment import platform_key
from echain.entry.hints import bringing
from echain.entry.notifications import notify_endpoints
from echain.entry.organizations import organization_endpoints
from echain.entry.pages import page_endpoints, site_of
from echain.entry.privacy import personal_endpoints
from echain.entry.relays import relays
from echain.entry.security import security_endpoints
from echain.entry.signin import oidc_endpoints
from echain.entry.webhooks import webhook_endpoints
from echain.events import rest as events_rest
from echain.events.intents import ChainAccess, Intents
from echain.infra.audit import ClientSeals
from echain.infra.config import Config, ConfigError
from echain.infra.crypto import DataKeys
from echain.infra.quota import Quotas
from echain.insights import rest as insights_rest
from echain.kernel.evm import Address
from echain.kernel.time import utc_now
from echain.media import rest as media_rest
from echain.media.pressing import Presses
from echain.tickets import rest as tickets_rest

Authenticate = Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[Caller | None]]

_TITLE: Final = "echain"

_log = structlog.get_logger(__name__)


def application_of(
    config: Config,
    parts: Services,
    book: AddressBook,
    fees: Mapping[int, Fees],
    users: accounts.Authenticator,
    *,
    warm: Callable[[], bool],
    on_refused: Callable[[str], None] = lambda _: None,
) -> Application:
    """Return the ASGI application of the `api` role, which is ready once ``warm`` says so.

    ``on_refused`` is told from where credentials come that do not hold.
    """
    gates = admission.gate_authenticator(parts.database, utc_now)
    return application(
        endpoints_of(config, parts, book, fees, users, warm=warm),
        authenticate=either(users, gates),
        clock=utc_now,
        idempotency=StoredIdempotency(parts.database),
        title=_TITLE,
        version=version("echain"),
        metrics=parts.metrics,
        origins=[config.public_url, *config.origins],
        https=config.public_url.startswith("https:"),
        limits=_limits(config, parts) if config.limits else None,
        traces=parts.traces,
        access_log=config.access_log,
        csrf=users.tokens.csrf.holds,
        seals=ClientSeals(DataKeys(config.data_keys)),
        on_refused=on_refused,
        refusal_page=site_of(config).refusal,
    )


def endpoints_of(
    config: Config,
    parts: Services,
    book: AddressBook,
    fees: Mapping[int, Fees],
    users: accounts.Authenticator,
    *,
    warm: Callable[[], bool] = lambda: True,
) -> list[Endpoint]:
    """Return every slice's endpoints."""
    intents = _intents(parts, book, fees)
    chain_ids = [one.chain_id for one in config.chains]
    known = {chain_id: quote.chain for chain_id, quote in fees.items()}
    slices = [
        *accounts_rest.endpoints(
            parts.database,
            users,
            public_url=config.public_url,
            chain_ids=chain_ids,
            wallets=ContractWallets(parts.rpcs),
            origins=config.origins,
        ),
        *oidc_endpoints(config, parts, users),
        *personal_endpoints(config, parts, users),
        *organization_endpoints(config, parts),
        *events_rest.endpoints(parts.database, parts.cache, intents, public_url=config.public_url),
        *media_rest.endpoints(parts.database, Presses()),
        *page_endpoints(site_of(config), parts, known, users),
        *tickets_rest.endpoints(parts.database, intents),
        *admission_rest.endpoints(
            parts.database, intents, code_key=_code_key(config), relays=_relays(config)
        ),
        *insights_rest.endpoints(parts.database, parts.rpcs, known),
        *webhook_endpoints(config, parts),
        *notify_endpoints(config, parts),
        *chain_rest.endpoints(parts.database, parts.rpcs, fees, bringing(config, parts, book)),
        *security_endpoints(config, parts, book, users),
        *health.endpoints(
            parts.database, parts.redis, parts.rpcs, realtime_url=config.realtime_url, warm=warm
        ),
    ]
    most = KeyLimits(config.limit_writes, config.limit_reads)
    return [*slices, *keyrest.endpoints(parts.database, users, scopes=scopes_of(slices), most=most)]


def _limits(config: Config, parts: Services) -> Limits:
    allowance = Allowance(
        anonymous_writes=config.limit_anonymous_writes,
        user_writes=config.limit_writes,
        reads=config.limit_reads,
    )
    quotas = Quotas(parts.redis)
    return Limits(quotas, allowance, proxies=config.trusted_proxies, metrics=parts.metrics)


def fees_of(config: Config, parts: Services, stack: AsyncExitStack) -> dict[int, Fees]:
    """Return a fee quote a chain, which ``stack`` closes."""
    found = {
        chain_id: Fees(rpc, configured(config.chain(chain_id), devnet=config.devnet))
        for chain_id, rpc in parts.rpcs.items()
    }
    for quote in found.values():
        stack.push_async_callback(quote.close)
    return found


def either(*authenticators: Authenticate) -> Authenticate:
    """Return what asks one after the other and takes the first caller that one of them knows."""

    async def authenticate(headers: Mapping[str, str], cookies: Mapping[str, str]) -> Caller | None:
        for ask in authenticators:
            caller = await ask(headers, cookies)
            if caller is not None:
                return caller
        return None

    return authenticate


def _intents(parts: Services, book: AddressBook, fees: Mapping[int, Fees]) -> Intents:
    async def factory(chain_id: int) -> Address | None:
        deployment = book.deployments.get(chain_id)
        return None if deployment is None else deployment.factory

    return Intents(
        {chain_id: ChainAccess(parts.rpcs[chain_id], quote) for chain_id, quote in fees.items()}, factory
    )


def _relays(config: Config) -> dict[int, admission.Relay]:
    try:
        key = platform_key(config)
    except KeyUnusable as error:
        _log.warning("admission.no_relay", reason=error.message)
        return {}
    return relays(config, key)


def _code_key(config: Config) -> CodeKey:
    if config.code_key is None:
        raise ConfigError(["ECHAIN_CODE_KEY is missing"])
    return CodeKey.from_seed(config.code_key.reveal())
