"""Organizations with what they need of the configuration, and with what events keep for them."""

from __future__ import annotations

from echain.chain.contractwallet import ContractWallets
from echain.edge.http import Endpoint
from echain.entry.connections import Services
from echain.events import holdings
from echain.infra.config import Config
from echain.infra.crypto import DataKeys
from echain.organizations import auditrest, invitationrest, ownerrest, rest


def organization_endpoints(config: Config, parts: Services) -> list[Endpoint]:
    """Return the routes of organizations."""
    signatures = ownerrest.Signatures(parts.database, ContractWallets(parts.rpcs))
    surface = invitationrest.Surface(
        database=parts.database,
        keys=DataKeys(config.data_keys),
        signatures=signatures,
        public_url=config.public_url,
        email=config.smtp_url is not None,
    )
    return [
        *rest.endpoints(parts.database, holdings),
        *ownerrest.endpoints(parts.database, holdings, signatures),
        *invitationrest.endpoints(surface),
        *auditrest.endpoints(parts.database),
    ]
