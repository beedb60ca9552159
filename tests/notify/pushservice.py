"""A push service and a browser, as the standards describe them: it checks who sends, the browser decrypts."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

import http_ece
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    """A browser's push subscription: it alone can read what is sent."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.secret = os.urandom(16)

    @property
    def subscription(self) -> dict[str, Any]:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "endpoint": self.endpoint,
            "expirationTime": None,
            "keys": {"p256dh": base64url(point), "auth": base64url(self.secret)},
        }

    def read(self, body: bytes) -> dict[str, Any]:
        plain = http_ece.decrypt(body, private_key=self.key, auth_secret=self.secret, version="aes128gcm")
        return json.loads(plain)


@dataclass
class Arrived:
    path: str
    headers: dict[str, str]
    body: bytes
    claims: dict[str, Any]


@dataclass
class PushService:
    """Takes messages signed by the key that it was told of; ``answers`` are used up one a message."""

    url: str = ""
    key: str = ""
    arrived: list[Arrived] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            claims = self._checked(request)
        except (InvalidSignature, KeyError, ValueError, AssertionError) as error:
            return web.Response(status=403, text=repr(error))
        if self.answers:
            status, headers = self.answers.pop(0)
            if status >= 300:
                return web.Response(status=status, headers=headers)
        lowered = {name.lower(): value for name, value in request.headers.items()}
        self.arrived.append(Arrived(request.path, lowered, body, claims))
        return web.Response(status=201)

    def _checked(self, request: web.Request) -> dict[str, Any]:
        """Return the claims of the sender's token (RFC 8292), checked by hand."""
        scheme, _, rest = request.headers["authorization"].partition(" ")
        assert scheme == "vapid"
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        assert parts["k"] == self.key, "another key than the browser subscribed with"
        signed, _, signature = parts["t"].rpartition(".")
        head, claims = (json.loads(unbase64url(part)) for part in signed.split("."))
        assert head == {"typ": "JWT", "alg": "ES256"}
        raw = unbase64url(signature)
        assert len(raw) == 64
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unbase64url(parts["k"]))
        signature_der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        point.verify(signature_der, signed.encode(), ec.ECDSA(SHA256()))
        assert claims["aud"] == self.url
        assert claims["sub"].startswith(("mailto:", "https:"))
        assert request.headers["content-encoding"] == "aes128gcm"
        assert int(request.headers["ttl"]) >= 0
        return claims


@asynccontextmanager
async def push_service(key: str, tls: SSLContext | None = None) -> AsyncGenerator[PushService]:
    service = PushService(key=key)
    application = web.Application()
    application.router.add_post("/{browser}", service.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    service.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield service
    finally:
        await runner.cleanup()
