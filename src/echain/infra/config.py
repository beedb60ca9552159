"""One frozen configuration, read from the environment and checked once, all of its faults told together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec

from echain.infra.secret import Secret, without_credentials
from echain.kernel.errors import EchainError, Invalid, Kind
from echain.kernel.evm import Address, parse_address

__all__ = [
    "VARIABLES",
    "ChainConfig",
    "ChainFacts",
    "Config",
    "ConfigError",
    "Secret",
    "Variable",
    "environment_of",
    "load",
]

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


class ServiceUrl(str):
    """A URL that shows its credentials where it is used as text, not where a configuration is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_credentials(self))


class ChainFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a chain without asking it."""

    name: str
    native_symbol: str = "ETH"
    explorer_url: str | None = None
    confirmations: int = 12
    block_seconds: float = 2.0
    unit_scale: int = 1
    max_log_span: int = 2000


Facts: TypeAlias = Callable[[int, bool], ChainFacts | None]
"""What is known of a chain by its id, and whether a devnet takes that id; None when nothing is."""


class ChainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A chain that this installation follows.

    ``unit_scale`` is how many units of a transaction's value make one unit inside contracts. So many
    blocks as ``confirmations`` must follow before a fact is settled; ``max_log_span`` is how many blocks
    one log query may cover. Addresses are None until the contracts are deployed there.
    """

    chain_id: int
    name: str
    rpc_urls: tuple[str, ...]
    ws_urls: tuple[str, ...] = ()
    explorer_url: str | None = None
    confirmations: int = 12
    block_seconds: float = 2.0
    native_symbol: str = "ETH"
    unit_scale: int = 1
    max_log_span: int = 2000
    factory: Address | None = None
    poap: Address | None = None
    implementation: Address | None = None
    from_block: int = 0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the environment decides. None for a service means: run an embedded one."""

    home: Path
    host: str
    port: int
    public_url: str
    database_url: str | None
    database_connections: int
    redis_url: str | None
    chains: tuple[ChainConfig, ...]
    devnet: bool
    devnet_block_seconds: int
    devnet_port: int
    platform_key: Secret | None
    keystore: Path | None
    keystore_password: Secret | None
    code_key: Secret | None
    treasury: Address | None
    fee_bps: int
    spend_cap_per_transaction_wei: int
    spend_cap_per_hour_wei: int
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


class Variable(msgspec.Struct, frozen=True):
    """One environment variable; a name that ends in ``_<id>`` stands once per chain id."""

    name: str
    field: str
    parse: Callable[[str], Any]
    default: Any
    meaning: str

    @property
    def per_chain(self) -> bool:
        return self.name.endswith("_<id>")


def _text(text: str) -> str:
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,78}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or float(text) == 0:
        raise ValueError("must be a number of seconds above 0, like 0.25")
    return float(text)


def _url(*schemes: str) -> Callable[[str], ServiceUrl]:
    def parse(text: str) -> ServiceUrl:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not (parts.netloc or parts.query):
            raise ValueError(f"must be a URL that starts with {' or '.join(f'{one}://' for one in schemes)}")
        return ServiceUrl(text)

    return parse


def _urls(*schemes: str) -> Callable[[str], tuple[ServiceUrl, ...]]:
    one = _url(*schemes)
    return lambda text: tuple(one(part.strip()) for part in text.split(","))


def _public_url(text: str) -> str:
    return str(_url("http", "https")(text)).rstrip("/")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError("must be true or false")
    return text.lower() in ("true", "1")


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text.lower()

    return parse


def _key(text: str) -> Secret:
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text):
        raise ValueError("must be 64 hexadecimal digits; what was given is not shown")
    return Secret(text.removeprefix("0x").lower())


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except Invalid as error:
        raise ValueError(error.message) from error


def _chain_ids(text: str) -> tuple[int, ...]:
    one = _integer(1, 2**53)
    return tuple(dict.fromkeys(one(part.strip()) for part in text.split(",")))


_ETHER: Final = 10**18

VARIABLES: Final = (
    Variable("ECHAIN_HOME", "home", _path, Path(".echain"), "where embedded parts and own keys live"),
    Variable("ECHAIN_HOST", "host", _text, "127.0.0.1", "address that the API listens on"),
    Variable("ECHAIN_PORT", "port", _integer(1, 65_535), 8000, "port that the API listens on"),
    Variable("ECHAIN_PUBLIC_URL", "public_url", _public_url, None, "how others reach the API"),
    Variable(
        "ECHAIN_DATABASE_URL",
        "database_url",
        _url("postgresql", "postgres"),
        None,
        "PostgreSQL 16 or newer; an embedded one runs without it",
    ),
    Variable(
        "ECHAIN_DATABASE_CONNECTIONS",
        "database_connections",
        _integer(1, 500),
        10,
        "connections that each process may open",
    ),
    Variable(
        "ECHAIN_REDIS_URL",
        "redis_url",
        _url("redis", "rediss", "unix"),
        None,
        "Redis or Valkey; an embedded one runs without it",
    ),
    Variable("ECHAIN_CHAINS", "chain_ids", _chain_ids, None, "chain ids to follow, with commas"),
    Variable("ECHAIN_DEVNET", "devnet", _boolean, None, "true where the chain is a throw-away local node"),
    Variable(
        "ECHAIN_DEVNET_BLOCK_SECONDS",
        "devnet_block_seconds",
        _integer(0, 3600),
        0,
        "pace of the local node; 0 mines a block per transaction",
    ),
    Variable(
        "ECHAIN_DEVNET_PORT",
        "devnet_port",
        _integer(1, 65_535),
        8545,
        "port of the local node; another one when it is taken",
    ),
    Variable("ECHAIN_PLATFORM_KEY", "platform_key", _key, None, "private key that the platform signs with"),
    Variable("ECHAIN_KEYSTORE", "keystore", _path, None, "encrypted key file instead of the plain key"),
    Variable("ECHAIN_KEYSTORE_PASSWORD", "keystore_password", Secret, None, "password of the key file"),
    Variable(
        "ECHAIN_CODE_KEY",
        "code_key",
        _key,
        None,
        "seed of the key that signs ticket codes; made and kept in the home folder without it",
    ),
    Variable(
        "ECHAIN_TREASURY", "treasury", _address, None, "receiver of fees; the platform's address without it"
    ),
    Variable("ECHAIN_FEE_BPS", "fee_bps", _integer(0, 1000), 250, "fee of new factories in 1/100 percent"),
    Variable(
        "ECHAIN_SPEND_CAP_PER_TRANSACTION_WEI",
        "spend_cap_per_transaction_wei",
        _integer(0, 2**256 - 1),
        _ETHER // 20,
        "most that one transaction of the platform may cost",
    ),
    Variable(
        "ECHAIN_SPEND_CAP_PER_HOUR_WEI",
        "spend_cap_per_hour_wei",
        _integer(0, 2**256 - 1),
        _ETHER,
        "most that the platform may spend in an hour",
    ),
    Variable("ECHAIN_LOG_FORMAT", "log_format", _choice("json", "console", "auto"), "auto", "shape of logs"),
    Variable(
        "ECHAIN_LOG_LEVEL",
        "log_level",
        _choice("debug", "info", "warning", "error"),
        "info",
        "least that is logged",
    ),
    Variable("ECHAIN_RPC_URL_<id>", "rpc_urls", _urls("http", "https"), (), "RPC endpoints, with commas"),
    Variable("ECHAIN_WS_URL_<id>", "ws_urls", _urls("ws", "wss"), (), "WebSocket endpoints, with commas"),
    Variable("ECHAIN_FACTORY_<id>", "factory", _address, None, "EventFactory, when not deployed by us"),
    Variable("ECHAIN_POAP_<id>", "poap", _address, None, "Poap, when not deployed by us"),
    Variable("ECHAIN_IMPLEMENTATION_<id>", "implementation", _address, None, "EventTicket behind the clones"),
    Variable("ECHAIN_FROM_BLOCK_<id>", "from_block", _integer(0, 2**63 - 1), 0, "first block to read"),
    Variable(
        "ECHAIN_CONFIRMATIONS_<id>",
        "confirmations",
        _integer(0, 100_000),
        None,
        "blocks after which a fact settles",
    ),
    Variable("ECHAIN_BLOCK_SECONDS_<id>", "block_seconds", _seconds, None, "usual time between blocks"),
    Variable("ECHAIN_MAX_LOG_SPAN_<id>", "max_log_span", _integer(1, 1_000_000), None, "blocks a log query"),
)

_SINGLE: Final = {variable.name: variable for variable in VARIABLES if not variable.per_chain}
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
    single, chains = _parsed(environment, problems)
    chain_ids: tuple[int, ...] | None = single.pop("chain_ids")
    if chain_ids is None:
        chain_ids = tuple(chains)
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
    if problems:
        raise ConfigError(problems)
    if embedded:
        chain_ids = (DEVNET_CHAIN_ID,)
    if single["devnet"] is None:
        single["devnet"] = embedded
    single["home"] = single["home"].absolute()
    single["public_url"] = single["public_url"] or f"http://{single['host']}:{single['port']}"
    known = [(facts and facts(one, single["devnet"])) or ChainFacts(name=f"Chain {one}") for one in chain_ids]
    return Config(
        **single,
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
            return ",".join(map(str, cast("tuple[object, ...]", value)))
        case _:
            return str(value)


def _parsed(
    environment: Mapping[str, str], problems: list[str]
) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    single: dict[str, Any] = {variable.field: variable.default for variable in _SINGLE.values()}
    chains: dict[int, dict[str, Any]] = {}
    for name in sorted(environment):
        text = environment[name].strip()
        if not name.startswith("ECHAIN_") or not text:
            continue
        variable = _SINGLE.get(name)
        target = single
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
    return single, chains


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, [variable.name for variable in VARIABLES], n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else "; unset it"


def _chain(chain_id: int, given: Mapping[str, Any], facts: ChainFacts) -> ChainConfig:
    fields = msgspec.structs.asdict(facts)
    fields |= {"rpc_urls": ()} | {name: value for name, value in given.items() if value is not None}
    return ChainConfig(chain_id=chain_id, **fields)
