"""Providers that staff sign in with (OpenID Connect): the variables of each, and what they must say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from echain.infra.secret import Secret
from echain.infra.variables import PROVIDER_MARK, Variable, boolean

PREFIX: Final = "ECHAIN_OIDC_"
MISSPELLED: Final = object()
"""What stands for a value that could not be read, which has been told already."""

_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{0,23}(?:_[A-Z0-9]{1,24})?")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_MOST_CHARACTERS: Final = 512
_LONGEST_NAME_SHOWN: Final = 60


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. ``name`` stands in paths; without ``client_secret`` we are a public client.

    Only people with a confirmed e-mail address in ``domains`` may sign in, anybody the provider knows where
    there are none. ``private`` lets the provider stand at a private address, as a company's own may.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: Secret | None = None
    name_shown: str | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    domains: tuple[str, ...] = ()
    private: bool = False

    @property
    def shown(self) -> str:
        """The provider's name for people."""
        return self.name_shown or self.name.replace("-", " ").capitalize()


def _issuer(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or not text.isascii():
        raise ValueError("must be the provider's issuer, like https://accounts.example.com")
    if parts.username is not None or "?" in text or "#" in text or len(text) > _MOST_CHARACTERS:
        raise ValueError("must be an issuer without credentials, query and fragment")
    return text


def _client_id(text: str) -> str:
    if not text.isascii() or not text.isprintable() or len(text) > _MOST_CHARACTERS:
        raise ValueError("must be the id of up to 512 ASCII characters that the provider gave this client")
    return text


def _client_secret(text: str) -> Secret:
    if not text.isascii() or not text.isprintable() or len(text) > _MOST_CHARACTERS:
        raise ValueError("must be up to 512 printable ASCII characters; what was given is not shown")
    return Secret(text)


def _shown(text: str) -> str:
    if not text.isprintable() or len(text) > _LONGEST_NAME_SHOWN:
        raise ValueError(f"must be at most {_LONGEST_NAME_SHOWN} printable characters")
    return text


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if "openid" not in scopes or not all(map(_SCOPE.fullmatch, scopes)) or len(text) > _MOST_CHARACTERS:
        raise ValueError("must be scopes with commas, openid among them")
    return scopes


def _domains(text: str) -> tuple[str, ...]:
    domains = tuple(part.strip().lower() for part in text.split(","))
    if not all(map(_DOMAIN.fullmatch, domains)):
        raise ValueError("must be domains like example.org, with commas, without @; others in punycode")
    return domains


def _variable(suffix: str, field: str, parse: Callable[[str], Any], default: Any, meaning: str) -> Variable:
    return Variable(f"{PREFIX}{PROVIDER_MARK}_{suffix}", field, parse, default, meaning)


VARIABLES: Final = (
    _variable(
        "ISSUER",
        "issuer",
        _issuer,
        None,
        "an OpenID Connect provider that staff may sign in with: its issuer",
    ),
    _variable("CLIENT_ID", "client_id", _client_id, None, "id that the provider gave this client"),
    _variable(
        "CLIENT_SECRET", "client_secret", _client_secret, None, "secret of this client; none of a public one"
    ),
    _variable("NAME_SHOWN", "name_shown", _shown, None, "what people read on the button"),
    _variable(
        "SCOPES",
        "scopes",
        _scopes,
        ("openid", "email", "profile"),
        "scopes that are asked for, with commas; openid alone where no e-mail address is wanted",
    ),
    _variable(
        "DOMAINS",
        "domains",
        _domains,
        (),
        "domains, with commas, of which people need a confirmed e-mail address; anybody without",
    ),
    _variable(
        "PRIVATE", "private", boolean, False, "true where the provider stands at a private address or port"
    ),
)

_BY_SUFFIX: Final = {one.name.removeprefix(f"{PREFIX}{PROVIDER_MARK}_"): one for one in VARIABLES}


def name_of(variable: Variable, provider: OidcSettings) -> str:
    """Return what a variable is called for one provider."""
    return variable.name.replace(PROVIDER_MARK, provider.name.upper().replace("-", "_"))


def split(name: str) -> tuple[str, Variable] | None:
    """Return which provider a variable is of, and what it says of it; None when it is none of these."""
    for suffix, variable in _BY_SUFFIX.items():
        provider = name.removeprefix(PREFIX).removesuffix(f"_{suffix}")
        if name == f"{PREFIX}{provider}_{suffix}" and _NAME.fullmatch(provider):
            return provider, variable
    return None


def providers(
    given: Mapping[str, Mapping[str, Any]], problems: list[str], *, devnet: bool
) -> tuple[OidcSettings, ...]:
    """Return the providers that are told of whole; other faults go to ``problems``.

    ``given`` has the read values by provider and field, `MISSPELLED` for one that could not be read.
    """
    found: list[OidcSettings] = []
    issuers: dict[str, str] = {}
    for provider in sorted(given):
        fields, mine = given[provider], f"{PREFIX}{provider}"
        missing = [suffix for suffix in ("ISSUER", "CLIENT_ID") if _BY_SUFFIX[suffix].field not in fields]
        problems += [
            f"{mine}_{suffix} is missing: other variables of this provider stand" for suffix in missing
        ]
        if missing or MISSPELLED in fields.values():
            continue
        one = OidcSettings(name=provider.lower().replace("_", "-"), **fields)
        if one.issuer.startswith("http:") and not devnet:
            problems.append(f"{mine}_ISSUER must start with https://; http:// is for a devnet alone")
        if one.domains and "email" not in one.scopes:
            problems.append(f"{mine}_DOMAINS needs the scope email in {mine}_SCOPES")
        if one.issuer in issuers:
            problems.append(f"{mine}_ISSUER is that of {issuers[one.issuer]}; a provider is named once")
        issuers[one.issuer] = mine
        found.append(one)
    return tuple(found)
