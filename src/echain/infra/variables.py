"""The environment variables: what each is called, how its text is read, what it means."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parseaddr
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from echain.infra.mailserver import MailServer
from echain.infra.secret import Secret, without_credentials
from echain.infra.traces import SHARE
from echain.kernel.errors import Invalid
from echain.kernel.evm import Address, parse_address


class ServiceUrl(str):
    """A URL that shows its credentials where it is used as text, not where a configuration is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_credentials(self))


PROVIDER_MARK: Final = "<NAME>"


class Variable(msgspec.Struct, frozen=True):
    """One environment variable.

    A name that ends in ``_<id>`` stands once per chain id, one with ``<NAME>`` once per sign-in provider.
    """

    name: str
    field: str
    parse: Callable[[str], Any]
    default: Any
    meaning: str

    @property
    def per_chain(self) -> bool:
        return self.name.endswith("_<id>")

    @property
    def per_provider(self) -> bool:
        return PROVIDER_MARK in self.name


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


def _share(text: str) -> float:
    if not re.fullmatch(r"0|1|[01]?\.[0-9]{1,4}", text) or float(text) > 1:
        raise ValueError("must be a share from 0 to 1, like 0.01")
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


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(_public_url(part.strip()) for part in text.split(","))
    if any(urlsplit(origin).path for origin in origins):
        raise ValueError("must be origins like https://tickets.example, without a path")
    return origins


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(part.strip())) for part in text.split(","))
    except ValueError:
        raise ValueError("must be networks like 10.0.0.0/8, with commas") from None


def boolean(text: str) -> bool:
    """Return what true or false say.

    Raises:
        ValueError: the text is neither.
    """
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


def _secrets(text: str) -> tuple[Secret, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ValueError("must be secrets with commas between; what was given is not shown")
    return tuple(Secret(part) for part in dict.fromkeys(parts))


def _keys(text: str) -> tuple[Secret, ...]:
    return tuple(_key(part.strip()) for part in text.split(","))


def _mailbox(text: str) -> str:
    name, address = parseaddr(text)
    if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", address) or not name.isprintable() or not text.isprintable():
        raise ValueError("must be an address, or a name and an address like Tickets <tickets@example.org>")
    return text


def _mail_server(text: str) -> ServiceUrl:
    MailServer.of(text)
    return ServiceUrl(text)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except Invalid as error:
        raise ValueError(error.message) from error


def _addresses(text: str) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(_address(part.strip()) for part in text.split(",")))


def _chain_ids(text: str) -> tuple[int, ...]:
    one = _integer(1, 2**53)
    return tuple(dict.fromkeys(one(part.strip()) for part in text.split(",")))


_ETHER: Final = 10**18

VARIABLES: Final = (
    Variable("ECHAIN_HOME", "home", _path, Path(".echain"), "where embedded parts and own keys live"),
    Variable("ECHAIN_HOST", "host", _text, "127.0.0.1", "address that the API listens on"),
    Variable("ECHAIN_PORT", "port", _integer(1, 65_535), 8000, "port that the API listens on"),
    Variable(
        "ECHAIN_REALTIME_PORT",
        "realtime_port",
        _integer(1, 65_535),
        None,
        "port of live updates; one more than the API's without it",
    ),
    Variable("ECHAIN_REALTIME_URL", "realtime_url", _public_url, None, "how others reach live updates"),
    Variable(
        "ECHAIN_REALTIME_CONNECTIONS",
        "realtime_connections",
        _integer(1, 1_000_000),
        20_000,
        "most connections of one realtime process",
    ),
    Variable(
        "ECHAIN_REALTIME_PER_ADDRESS",
        "realtime_per_address",
        _integer(1, 1_000_000),
        512,
        "most live connections from one address; this machine's own are not counted",
    ),
    Variable(
        "ECHAIN_ORIGINS",
        "origins",
        _origins,
        (),
        "web origins, with commas, whose pages may read the API and open live connections, beside its own",
    ),
    Variable(
        "ECHAIN_TRUSTED_PROXIES",
        "trusted_proxies",
        _networks,
        (),
        "networks of your proxies, with commas, whose X-Forwarded-For names the caller's address",
    ),
    Variable("ECHAIN_LIMITS", "limits", boolean, True, "false where callers may call as often as they like"),
    Variable(
        "ECHAIN_LIMIT_ANONYMOUS_WRITES",
        "limit_anonymous_writes",
        _integer(1, 1_000_000),
        100,
        "writes in 15 minutes from one address without credentials",
    ),
    Variable(
        "ECHAIN_LIMIT_WRITES",
        "limit_writes",
        _integer(1, 1_000_000),
        1_000,
        "writes in 15 minutes by one user or API key",
    ),
    Variable(
        "ECHAIN_LIMIT_READS",
        "limit_reads",
        _integer(1, 1_000_000),
        6_000,
        "reads in a minute by one user, API key or address",
    ),
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
        "ECHAIN_METRICS_HOST",
        "metrics_host",
        _text,
        "127.0.0.1",
        "address that each role serves its metrics on",
    ),
    Variable(
        "ECHAIN_METRICS_PORT",
        "metrics_port",
        _integer(0, 65_500),
        0,
        "port of /metrics; `echain up` gives each role one more; none without it",
    ),
    Variable(
        "ECHAIN_TRACES_URL",
        "traces_url",
        _url("http", "https"),
        None,
        "collector of traces by OTLP over HTTP, like http://127.0.0.1:4318; none are made without it",
    ),
    Variable(
        "ECHAIN_TRACES_SHARE",
        "traces_share",
        _share,
        SHARE,
        "share of requests, jobs and batches that traces tell of, from 0 to 1",
    ),
    Variable(
        "ECHAIN_REDIS_URL",
        "redis_url",
        _url("redis", "rediss", "unix"),
        None,
        "Redis or Valkey; an embedded one runs without it",
    ),
    Variable("ECHAIN_CHAINS", "chain_ids", _chain_ids, None, "chain ids to follow, with commas"),
    Variable("ECHAIN_DEVNET", "devnet", boolean, None, "true where the chain is a throw-away local node"),
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
    Variable(
        "ECHAIN_DEVNET_CHAINS",
        "devnet_chains",
        _chain_ids,
        (84_532,),
        "chain ids of the local nodes that run when no endpoint is named, with commas",
    ),
    Variable("ECHAIN_PLATFORM_KEY", "platform_key", _key, None, "private key that the platform signs with"),
    Variable("ECHAIN_KEYSTORE", "keystore", _path, None, "encrypted key file instead of the plain key"),
    Variable("ECHAIN_KEYSTORE_PASSWORD", "keystore_password", Secret, None, "password of the key file"),
    Variable(
        "ECHAIN_ADMINS",
        "admins",
        _addresses,
        (),
        "wallets of the platform's administrators, with commas; these may appoint others",
    ),
    Variable(
        "ECHAIN_CODE_KEY",
        "code_key",
        _key,
        None,
        "seed of the key that signs ticket codes; made and kept in the home folder without it",
    ),
    Variable(
        "ECHAIN_DATA_KEYS",
        "data_keys",
        _keys,
        (),
        "keys of personal data, with commas: the first seals, all open; made and kept like the code key",
    ),
    Variable(
        "ECHAIN_TOKEN_KEYS",
        "token_keys",
        _keys,
        (),
        "keys of access tokens, with commas: the first signs, all check; made and kept like the code key",
    ),
    Variable(
        "ECHAIN_AUDIT_KEYS",
        "audit_keys",
        _keys,
        (),
        "keys of the audit log, with commas: the first seals, all verify; made and kept like the code key",
    ),
    Variable(
        "ECHAIN_VAPID_KEY",
        "vapid_key",
        _key,
        None,
        "private key (P-256) that signs Web Push messages; made and kept like the code key",
    ),
    Variable(
        "ECHAIN_SMTP_URL",
        "smtp_url",
        _mail_server,
        None,
        "mail server, like smtp://user:password@host:587 or smtps://host; no e-mail is sent without it",
    ),
    Variable(
        "ECHAIN_MAIL_FROM", "mail_from", _mailbox, None, "sender of e-mail: Tickets <tickets@example.org>"
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
    Variable(
        "ECHAIN_COINBASE_COMMERCE_SECRETS",
        "coinbase_commerce_secrets",
        _secrets,
        (),
        "secrets of Coinbase Commerce webhooks, with commas while one is replaced",
    ),
    Variable(
        "ECHAIN_COINBASE_CDP_SECRETS",
        "coinbase_cdp_secrets",
        _secrets,
        (),
        "secrets of Coinbase Developer Platform webhooks, with commas",
    ),
    Variable(
        "ECHAIN_WEBHOOK_HTTP",
        "webhook_http",
        boolean,
        False,
        "true lets webhooks go to http:// receivers, for development",
    ),
    Variable(
        "ECHAIN_WEBHOOK_PRIVATE_TARGETS",
        "webhook_private_targets",
        boolean,
        False,
        "true lets webhooks go to private addresses and any port, for development",
    ),
    Variable(
        "ECHAIN_ACCESS_LOG",
        "access_log",
        boolean,
        True,
        "false logs only requests that were slow or failed; the others are lines of level info",
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
    Variable(
        "ECHAIN_FINALIZED_TAG_<id>",
        "finalized_tag",
        boolean,
        None,
        "whether a fact also waits for the node's finalized block before it settles",
    ),
    Variable(
        "ECHAIN_HEADER_HASHES_<id>",
        "header_hashes",
        boolean,
        None,
        "false where a chain's new fork hashes its headers in a way that this version does not know",
    ),
    Variable(
        "ECHAIN_ALARM_VALUE_WEI_<id>",
        "alarm_value_wei",
        _integer(1, 2**256 - 1),
        None,
        "a sale or withdrawal of so much raises an alarm; 5 coins of the chain without it",
    ),
    Variable(
        "ECHAIN_ALARM_BALANCE_WEI_<id>",
        "alarm_balance_wei",
        _integer(0, 2**256 - 1),
        None,
        "less on the platform's own address raises an alarm; 1/20 of a coin without it",
    ),
    Variable("ECHAIN_BLOCK_SECONDS_<id>", "block_seconds", _seconds, None, "usual time between blocks"),
    Variable("ECHAIN_MAX_LOG_SPAN_<id>", "max_log_span", _integer(1, 1_000_000), None, "blocks a log query"),
)
