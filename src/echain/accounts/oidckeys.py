"""A provider's keys, and what tokens say that they signed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from joserfc import jwk, jws
from joserfc.errors import JoseError, SecurityWarning, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from echain.accounts.oidcrules import Unproven

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
MOST_KEYS: Final = 100
_RSA_BITS: Final = range(2_048, 8_193)
_CURVES: Final = {"ES256": "P-256", "EdDSA": "Ed25519"}


class _Registry(jws.JWSRegistry):
    """Knows our algorithms alone.

    RFC 9864 renames EdDSA with Ed25519 keys, which ours are, and joserfc warns of the old name; providers
    still write it. Header parameters that nobody knows are left alone, as RFC 7515 (4) asks; critical ones
    are not.
    """

    def get_alg(self, name: str) -> Any:
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(f"Algorithm of '{name}' is not allowed")
        return self.algorithms[name]


_REGISTRY: Final = _Registry(strict_check_header=False)


class KeyUnknown(Exception):
    """No key of this set signed the token; the provider may have newer ones."""


class Key(msgspec.Struct, frozen=True):
    """One public key; ``algorithm`` is the only one it is for, where the provider says so."""

    kid: str | None
    algorithm: str | None
    key: RSAKey | ECKey | OKPKey


class Signed(msgspec.Struct, frozen=True):
    """What a token says whose signature holds."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def keys_of(document: Mapping[str, Any]) -> tuple[Key, ...]:
    """Return the usable keys of a JWK Set (RFC 7517); of others nobody hears, as its section 5 says.

    Usable are RSA keys of 2,048 to 8,192 bits, P-256 and Ed25519 ones that are for signing; never symmetric
    ones, which would make everybody who reads the set able to sign.

    Raises:
        Unproven: it is no set of keys.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise Unproven(f"the JWK Set does not list up to {MOST_KEYS} keys")
    found = (_key(one) for one in listed if isinstance(one, dict))
    return tuple(one for one in found if one is not None)


def _key(data: Mapping[str, Any]) -> Key | None:
    kid, algorithm = data.get("kid"), data.get("alg")
    if data.get("use", "sig") != "sig" or data.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if not isinstance(kid, str | None) or (algorithm is not None and algorithm not in ALGORITHMS):
        return None
    public = {name: value for name, value in data.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    if not all(isinstance(value, str) for value in public.values()):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)
            key = jwk.import_key(public)
        if isinstance(key, RSAKey):
            fits = key.raw_value.key_size in _RSA_BITS
        else:
            fits = isinstance(key, ECKey | OKPKey) and public["crv"] in _CURVES.values()
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError):
        return None
    return Key(kid, algorithm, key) if fits and isinstance(key, RSAKey | ECKey | OKPKey) else None


def opened(token: str, keys: Sequence[Key], *, promised: Sequence[str]) -> Signed:
    """Return what a token in compact form says, once one of ``keys`` is found to have signed it.

    The key is the one that the header's ``kid`` names among the provider's own; what the header brings along
    (``jwk``, ``jku``, ``x5u``) is not looked at. ``promised`` are the algorithms that the provider says it
    signs with.

    Raises:
        Unproven: no such token, no algorithm of ours and the provider's, or the signature does not hold.
        KeyUnknown: it names a key that is not among these.
    """
    try:
        parts = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header = parts.headers()
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or algorithm not in promised or "crit" in header:
            raise Unproven("the token's algorithm is none that it may have")
        fitting = [key for key in keys if _fits(key, kid, algorithm)]
        if not fitting:
            raise KeyUnknown
        if len(fitting) > 1:
            raise Unproven("the token does not say which of several keys signed it")
        if not jws.validate_compact(parts, fitting[0].key, registry=_REGISTRY):
            raise Unproven("the token's signature does not hold")
        claims = msgspec.json.decode(parts.payload or b"")
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise Unproven("the token cannot be read") from error
    if not isinstance(claims, dict):
        raise Unproven("the token says nothing")
    return Signed(header, claims)


def _fits(key: Key, kid: object, algorithm: str) -> bool:
    if (kid is not None and key.kid != kid) or key.algorithm not in (None, algorithm):
        return False
    curve = _CURVES.get(algorithm)
    if curve is None:
        return isinstance(key.key, RSAKey)
    return not isinstance(key.key, RSAKey) and key.key.dict_value.get("crv") == curve
