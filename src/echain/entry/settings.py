"""The environment's configuration, completed with what this installation knows by itself."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from echain.chain.chains import UnknownChain, chain
from echain.infra import log
from echain.infra.config import ChainFacts, Config, Secret, load


def read(environment: Mapping[str, str]) -> Config:
    """Return the configuration with every key that the platform can make or knows for itself.

    Raises:
        ConfigError: the environment is wrong.
    """
    config = load(environment, facts=_facts)
    if config.code_key is None:
        config = msgspec.structs.replace(config, code_key=_kept_key(config.home / "code.key"))
    if not config.data_keys:
        config = msgspec.structs.replace(config, data_keys=(_kept_key(config.home / "data.key"),))
    if not config.token_keys:
        config = msgspec.structs.replace(config, token_keys=(_kept_key(config.home / "token.key"),))
    if not config.audit_keys:
        config = msgspec.structs.replace(config, audit_keys=(_kept_key(config.home / "audit.key"),))
    if config.vapid_key is None:
        config = msgspec.structs.replace(config, vapid_key=_kept_key(config.home / "vapid.key"))
    return config


def configure_logs(config: Config, *, role: str) -> None:
    """Send this process's logs where and as the configuration says."""
    as_json = config.log_format == "json" or (config.log_format == "auto" and not os.isatty(2))
    log.configure(json=as_json, level=config.log_level, role=role)


def _facts(chain_id: int, devnet: bool) -> ChainFacts | None:
    try:
        known = chain(chain_id, devnet=devnet)
    except UnknownChain:
        return None
    return ChainFacts(
        name=known.name,
        native_symbol=known.native_symbol,
        explorer_url=known.explorer_url,
        confirmations=known.confirmations,
        finalized_tag=known.finalized_tag,
        block_seconds=known.block_seconds,
        unit_scale=known.unit_scale,
        max_log_span=known.max_log_span,
    )


def _kept_key(path: Path) -> Secret:
    """Return the key in ``path``, made there first when it is not; of several makers one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        return Secret(path.read_text().strip())
    except FileNotFoundError:
        pass
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return Secret(path.read_text().strip())
