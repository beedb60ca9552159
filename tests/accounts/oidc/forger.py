"""What a lying provider says: its real ID tokens with other claims, signed by a key that it shows as its."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import msgspec
from joserfc import jwk, jws
from tests.accounts.oidc.world import Answered, Front

KID = "forger"


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return msgspec.json.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def text64(value: object) -> str:
    return base64(msgspec.json.encode(value))


def base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class Forger:
    """Signs what it is told; with `join` its key stands among the provider's."""

    def __init__(self) -> None:
        self.key = jwk.RSAKey.generate_key(2048, {"kid": KID, "use": "sig"})

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        header = {"alg": "RS256", "kid": KID} | header
        registry = jws.JWSRegistry(algorithms=["RS256", "HS256"], strict_check_header=False)
        return jws.serialize_compact(header, msgspec.json.encode(claims), self.key, registry=registry)

    def resign(self, token: str, **header: Any) -> str:
        """Sign a token's claims under exactly this header, also one that joserfc would not write."""
        signed = f"{text64({'alg': 'RS256'} | header)}.{token.split('.')[1]}"
        return f"{signed}.{base64(jws.JWSRegistry.algorithms['RS256'].sign(signed.encode(), self.key))}"

    def join(self, front: Front) -> None:
        def add(answer: Answered) -> None:
            answer.json = {"keys": [*answer.json["keys"], self.key.as_dict(private=False)]}

        front.alter["/jwks"] = add

    def rewrite(self, front: Front, change: Callable[[dict[str, Any]], object]) -> None:
        """Let ``change`` alter the claims of each ID token, signed anew with a key that we believe."""
        self.join(front)

        def alter(answer: Answered) -> None:
            given = answer.json
            claims = claims_of(given["id_token"])
            change(claims)
            answer.json = given | {"id_token": self.sign(claims)}

        front.alter["/token"] = alter


def swap(front: Front, change: Callable[[str], str]) -> None:
    """Let ``change`` replace the text of each ID token."""

    def alter(answer: Answered) -> None:
        given = answer.json
        answer.json = given | {"id_token": change(given["id_token"])}

    front.alter["/token"] = alter
