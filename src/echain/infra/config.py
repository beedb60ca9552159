"""One frozen configuration, read from the environment and checked once, all of its faults told together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from echain.infra import oidcsettings, variables
from echain.infra.oidcsettings import OidcSettings
from echain.infra.secret import Secret
from echain.infra.variables import Variable
from echain.kernel.errors import EchainError, Invalid, Kind
from echain.kernel.evm import Address

__all__ = [
    "VARIABLES",
    "ChainConfig",
    "ChainFacts",
    "Config",
    "ConfigError",
    "OidcSettings",
    "Secret",
    "Variable",
    "environment_of",
    "load",
]

VARIABLES: Final = (*variables.VARIABLES, *oidcsettings.VARIABLES)

DEVNET_CHAIN_ID: Final = 84532
"""The local node answers as Base Sepolia, so that what worked here works there."""


class ConfigError(EchainError):
    """The environment does not say what is needed."""

    kind = Kind.INVALID
    code = "config.invalid"

    def __init__(self, problems: list[str]) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"the configuration is wrong:\n{lines}", problems=problems)
        self.problems = problems


class ChainFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a chain without asking it."""

    name: str
    native_symbol: str = "ETH"
    explorer_url: str | None = None
    confirmations: int = 12
    finalized_tag: bool = False
    block_seconds: float = 2.0
    unit_scale: int = 1
    max_log_span: int = 2000


Facts: TypeAlias = Callable[[int, bool], ChainFacts | None]
"""What is known of a chain by its id, and whether a devnet takes that id; None when nothing is."""


class ChainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A chain that this installation follows.

    ``unit_scale`` is how many units of a transaction's value make one unit inside contracts. So many
    blocks as ``confirmations`` must follow before a fact is settled, and where ``finalized_tag`` holds the
    node's ``finalized`` block must have reached it; ``max_log_span`` is how many blocks
    one log query may cover. Addresses are None until the contracts are deployed there.
    """

    chain_id: int
    name: str
    rpc_urls: tuple[str, ...]
    ws_urls: tuple[str, ...] = ()
    explorer_url: str | None = None
    confirmations: int = 12
    finalized_tag: bool = False
    header_hashes: bool | None = None
    block_seconds: float = 2.0
    native_symbol: str = "ETH"
    unit_scale: int = 1
    max_log_span: int = 2000
    factory: Address | None = None
    poap: Address | None = None
    implementation: Address | None = None
    from_block: int = 0
    alarm_value_wei: int = 5 * 10**18
    alarm_balance_wei: int = 10**18 // 20


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the environment decides. None for a service means: run an embedded one."""

    home: Path
    host: str
    port: int
    realtime_port: int
    realtime_url: str
    realtime_connections: int
    realtime_per_address: int
    origins: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    limits: bool
    limit_anonymous_writes: int
    limit_writes: int
    limit_reads: int
    public_url: str
    database_url: str | None
    database_connections: int
    redis_url: str | None
    metrics_host: str
    metrics_port: int
    traces_url: str | None
    traces_share: float
    access_log: bool
    chains: tuple[ChainConfig, ...]
    devnet: bool
    devnet_block_seconds: int
    devnet_port: int
    devnet_chains: tuple[int, ...]
    platform_key: Secret | None
    keystore: Path | None
    keystore_password: Secret | None
    admins: tuple[Address, ...]
    code_key: Secret | None
    data_keys: tuple[Secret, ...]
    audit_keys: tuple[Secret, ...]
    token_keys: tuple[Secret, ...]
    vapid_key: Secret | None
    smtp_url: str | None
    mail_from: str | None
    treasury: Address | None
    fee_bps: int
    spend_cap_per_transaction_wei: int
    spend_cap_per_hour_wei: int
    coinbase_commerce_secrets: tuple[Secret, ...]
    coinbase_cdp_secrets: tuple[Secret, ...]
    webhook_http: bool
    webhook_private_targets: bool
    oidc: tuple[OidcSettings, ...]
    log_format: Literal["json", "console", "auto"]
    log_level: Literal["debug", "info", "warning", "error"]

    def chain(self, chain_id: int) -> ChainConfig:
        """Return one of the chains.

        Raises:
            Invalid: this installation does not follow it.
        """
        for chain in self.chains:
            if chain.chain_id == chain_id:
                return chain
        raise Invalid(f"chain {chain_id} is not configured; set ECHAIN_RPC_URL_{chain_id}")


_SINGLE: Final = {one.name: one for one in VARIABLES if not one.per_chain and not one.per_provider}
_PER_CHAIN: Final = {
    variable.name.removesuffix("<id>"): variable for variable in VARIABLES if variable.per_chain
}


def load(environment: Mapping[str, str], *, facts: Facts | None = None) -> Config:
    """Return the configuration that the ``ECHAIN_*`` variables describe; an empty one counts as absent.

    Without chain variables the only chain is the embedded devnet. ``facts`` fills what is known of chains.

    Raises:
        ConfigError: every wrong, unknown or missing variable, each with what to do.
    """
    problems: list[str] = []
    single, chains, providers = _parsed(environment, problems)
    named: tuple[int, ...] | None = single.pop("chain_ids")
    chain_ids = tuple(chains) if named is None else named
    embedded = not chain_ids and not chains
    problems += [
        f"ECHAIN_RPC_URL_{chain_id} is missing: chain {chain_id} is to be followed"
        for chain_id in chain_ids
        if not chains.get(chain_id, {}).get("rpc_urls")
    ]
    problems += [
        f"ECHAIN_CHAINS does not name chain {chain_id}, for which other variables stand"
        for chain_id in chains
        if chain_id not in chain_ids
    ]
    if single["platform_key"] is not None and single["keystore"] is not None:
        problems.append("ECHAIN_PLATFORM_KEY and ECHAIN_KEYSTORE exclude each other; unset one")
    if (single["keystore"] is None) != (single["keystore_password"] is None):
        problems.append("ECHAIN_KEYSTORE and ECHAIN_KEYSTORE_PASSWORD need each other; set both or none")
    if (single["smtp_url"] is None) != (single["mail_from"] is None):
        problems.append("ECHAIN_SMTP_URL and ECHAIN_MAIL_FROM need each other; set both or none")
    devnet = embedded if single["devnet"] is None else bool(single["devnet"])
    oidc = oidcsettings.providers(providers, problems, devnet=devnet)
    if problems:
        raise ConfigError(problems)
    if embedded:
        chain_ids = single["devnet_chains"]
    single["devnet"] = devnet
    single["home"] = single["home"].absolute()
    single["public_url"] = single["public_url"] or f"http://{single['host']}:{single['port']}"
    single["realtime_port"] = single["realtime_port"] or single["port"] + 1
    single["realtime_url"] = single["realtime_url"] or f"http://{single['host']}:{single['realtime_port']}"
    known = [(facts and facts(one, single["devnet"])) or ChainFacts(name=f"Chain {one}") for one in chain_ids]
    return Config(
        **single,
        oidc=oidc,
        chains=tuple(
            _chain(one, chains.get(one, {}), its) for one, its in zip(chain_ids, known, strict=True)
        ),
    )


def environment_of(config: Config) -> dict[str, str]:
    """Return the variables, for a child, that make `load` return ``config`` again; secrets are plain."""
    values = msgspec.structs.asdict(config) | {"chain_ids": tuple(chain.chain_id for chain in config.chains)}
    environment = {name: _spelled(values[variable.field]) for name, variable in _SINGLE.items()}
    for chain in config.chains:
        for stem, variable in _PER_CHAIN.items():
            environment[f"{stem}{chain.chain_id}"] = _spelled(getattr(chain, variable.field))
    for provider in config.oidc:
        for variable in oidcsettings.VARIABLES:
            name = oidcsettings.name_of(variable, provider)
            environment[name] = _spelled(getattr(provider, variable.field))
    return {name: text for name, text in environment.items() if text}


def _spelled(value: object) -> str:
    match value:
        case None:
            return ""
        case Secret():
            return value.reveal()
        case bytes():
            return "0x" + value.hex()
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(_spelled, cast("tuple[object, ...]", value)))
        case _:
            return str(value)


def _parsed(
    environment: Mapping[str, str], problems: list[str]
) -> tuple[dict[str, Any], dict[int, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return what is said once, per chain, and per provider."""
    single: dict[str, Any] = {variable.field: variable.default for variable in _SINGLE.values()}
    chains: dict[int, dict[str, Any]] = {}
    providers: dict[str, dict[str, Any]] = {}
    for name in sorted(environment):
        text = environment[name].strip()
        if not name.startswith("ECHAIN_") or not text:
            continue
        variable = _SINGLE.get(name)
        target = single
        provided = oidcsettings.split(name)
        if provided is not None:
            target, variable = providers.setdefault(provided[0], {}), provided[1]
        if variable is None:
            stem, _, suffix = name.rpartition("_")
            variable = _PER_CHAIN.get(f"{stem}_")
            if variable is None or not re.fullmatch(r"[1-9][0-9]{0,15}", suffix):
                problems.append(f"{name} is not a variable of echain{_suggestion(name)}")
                continue
            target = chains.setdefault(int(suffix), {})
        try:
            target[variable.field] = variable.parse(text)
        except ValueError as error:
            problems.append(f"{name} {error}")
            if provided is not None:
                target[variable.field] = oidcsettings.MISSPELLED
    return single, chains, providers


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, [variable.name for variable in VARIABLES], n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else "; unset it"


def _chain(chain_id: int, given: Mapping[str, Any], facts: ChainFacts) -> ChainConfig:
    fields = msgspec.structs.asdict(facts)
    fields |= {"rpc_urls": ()} | {name: value for name, value in given.items() if value is not None}
    return ChainConfig(chain_id=chain_id, **fields)
