"""Signing in at the OpenID providers that the configuration names."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from echain.accounts import oidcrest, walletrest
from echain.accounts.authentication import Authenticator
from echain.accounts.oidcprovider import Provider, rules_of
from echain.chain.contractwallet import ContractWallets
from echain.edge.http import Endpoint
from echain.entry.connections import Services
from echain.infra.config import Config
from echain.infra.crypto import DataKeys
from echain.infra.outbound import Outbound


def oidc_endpoints(config: Config, parts: Services, users: Authenticator) -> list[Endpoint]:
    """Return the routes of signing in at providers, and of taking a wallet in after that.

    They are there also where no provider is named.
    """
    agent = f"echain/{version('echain')}"
    providers = [
        Provider(
            one,
            partial(Outbound, rules_of(one), user_agent=agent),
            redirect_uri=oidcrest.redirect_uri(config.public_url, one.name),
        )
        for one in config.oidc
    ]

    wallets = ContractWallets(parts.rpcs)
    own = walletrest.endpoints(
        parts.database,
        public_url=config.public_url,
        chain_ids=[one.chain_id for one in config.chains],
        wallets=wallets,
    )
    return own + oidcrest.endpoints(
        parts.database,
        users,
        DataKeys(config.data_keys),
        providers,
        wallets=wallets,
        public_url=config.public_url,
    )
