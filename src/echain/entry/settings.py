"""The environment's configuration, completed with what this installation knows by itself."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from echain.chain.chains import FACTS
from echain.infra import log
from echain.infra.config import Config, Secret, load

DEVNET_PLATFORM_KEY: Final = Secret("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""The first account of every local node, known to all the world; it signs on a devnet only."""


def read(environment: Mapping[str, str]) -> Config:
    """Return the configuration with every key that the platform can make or knows for itself.

    Raises:
        ConfigError: the environment is wrong.
    """
    config = load(environment, facts=FACTS)
    if config.code_key is None:
        config = msgspec.structs.replace(config, code_key=_kept_key(config.home / "code.key"))
    if config.devnet and config.platform_key is None and config.keystore is None:
        config = msgspec.structs.replace(config, platform_key=DEVNET_PLATFORM_KEY)
    return config


def configure_logs(config: Config, *, role: str) -> None:
    """Send this process's logs where and as the configuration says."""
    as_json = config.log_format == "json" or (config.log_format == "auto" and not os.isatty(2))
    log.configure(json=as_json, level=config.log_level, role=role)


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
