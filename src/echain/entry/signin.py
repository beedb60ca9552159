"""Signing in at the OpenID providers that the configuration names."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from importlib.metadata import version

from echain.accounts import oidcrest
from echain.accounts.authentication import Authenticator
from echain.accounts.oidcprovider import Provider, rules_of
from echain.accounts.types import Grant
from echain.chain.contractwallet import ContractWallets
from echain.edge.http import Cookie, Endpoint
from echain.entry.connections import Services
from echain.infra.config import Config
from echain.infra.crypto import DataKeys
from echain.infra.outbound import Outbound


def oidc_endpoints(config: Config, parts: Services, users: Authenticator) -> list[Endpoint]:
    """Return the routes of signing in at providers; they are there also where no provider is named."""
    agent = f"echain/{version('echain')}"
    providers = [
        Provider(
            one,
            partial(Outbound, rules_of(one), user_agent=agent),
            redirect_uri=oidcrest.redirect_uri(config.public_url, one.name),
        )
        for one in config.oidc
    ]

    def in_cookies(grant: Grant, now: datetime) -> tuple[Cookie, ...]:
        return users.cookies.write(grant, csrf=users.tokens.csrf.token(grant.session_id), now=now)

    return oidcrest.endpoints(
        parts.database,
        users,
        DataKeys(config.data_keys),
        providers,
        wallets=ContractWallets(parts.rpcs),
        in_cookies=in_cookies,
        public_url=config.public_url,
    )
