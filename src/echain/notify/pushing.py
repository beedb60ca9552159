"""Web Push: sealed for one browser (RFC 8291), signed by us (RFC 8292), handed to its push service."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from echain.infra.outbound import Outbound, TargetRefused, TargetUnreachable
from echain.infra.secret import Secret
from echain.kernel.errors import EchainError, Kind
from echain.kernel.retryafter import retry_after_seconds
from echain.kernel.time import to_unix
from echain.notify.pushstore import Subscription

_TOKEN_LIFE: Final = timedelta(hours=12)
"""RFC 8292 2 allows 24; clocks differ."""

_GONE: Final = frozenset({404, 410})
_TAKEN: Final = range(200, 300)
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_LONGEST_DEFERRAL_SECONDS: Final = 3_600.0

Urgency = Literal["low", "normal", "high"]


class PushGone(EchainError):
    """The browser has ended its subscription."""

    kind = Kind.NOT_FOUND
    code = "push.gone"


class PushDeferred(EchainError):
    """The push service does not take the message now; try again later."""

    kind = Kind.UNAVAILABLE
    code = "push.deferred"

    def __init__(self, message: str, *, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class PushRefused(EchainError):
    """The push service refuses the message for good."""

    kind = Kind.CONFLICT
    code = "push.refused"


class Pusher:
    """Sends pushes that only the browser can read; each says by its signature who sends it.

    A push service takes 4096 bytes at least (RFC 8030 7.2); sealing adds about a hundred.

    ``contact`` is where a push service may complain: a mailto: or https: URL.
    """

    def __init__(self, key: Secret, outbound: Outbound, *, contact: str) -> None:
        self._key = _private(key)
        self._outbound = outbound
        self._contact = contact

    async def push(
        self,
        to: Subscription,
        payload: bytes,
        *,
        topic: UUID,
        life: timedelta,
        now: datetime,
        urgency: Urgency = "normal",
    ) -> None:
        """Hand one message over; when this returns the push service has it.

        It waits there for the browser as long as ``life``. Of messages of one ``topic`` the browser gets the
        last, so that one that is sent again after a crash is shown once.

        Raises:
            PushGone: the subscription has ended; forget it.
            PushDeferred: the service is away or busy.
            PushRefused: it, or the address it has now, is not one to send to.
        """
        headers = {
            **self._signature(to, now),
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
            "ttl": str(max(0, int(life.total_seconds()))),
            "urgency": urgency,
            "topic": _base64url(topic.bytes),
        }
        body = _sealed(to, payload)
        try:
            answer = await self._outbound.post(to.endpoint, body, headers)
        except TargetRefused as error:
            raise PushRefused(error.message) from None
        except TargetUnreachable as error:
            raise PushDeferred(error.message) from None
        _judge(answer.status, answer.retry_after, now)

    def _signature(self, to: Subscription, now: datetime) -> dict[str, str]:
        """Return the header that says who sends, to this push service, today."""
        from py_vapid import Vapid02

        parts = urlsplit(to.endpoint)
        claims = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": to_unix(now + _TOKEN_LIFE),
            "sub": self._contact,
        }
        return Vapid02(self._key).sign(claims)


def _sealed(to: Subscription, payload: bytes) -> bytes:
    from pywebpush import WebPusher  # brings requests along, which only senders need

    keys = {"p256dh": to.p256dh, "auth": to.auth}
    try:
        return WebPusher({"endpoint": to.endpoint, "keys": keys}).encode(payload, "aes128gcm")["body"]
    except Exception as error:  # noqa: BLE001 -- a browser's keys are a stranger's; what is raised varies
        raise PushRefused(f"the browser's keys are unusable ({type(error).__name__})") from None


def public_key(key: Secret) -> str:
    """Return the key that browsers subscribe with: an uncompressed point in base64url."""
    point = _private(key).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _base64url(point)


def _private(key: Secret) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(key.reveal(), 16), ec.SECP256R1())


def _judge(status: int, retry_after: str | None, now: datetime) -> None:
    if status in _TAKEN:
        return
    if status in _GONE:
        raise PushGone
    if status >= _SERVER_ERROR or status in _TRY_AGAIN:
        raise PushDeferred(f"the push service answers {status}", after_seconds=_seconds(retry_after, now))
    raise PushRefused(f"the push service answers {status}")


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """Return what Retry-After says, at most an hour; None when it says nothing."""
    seconds = retry_after_seconds(retry_after, now)
    return None if seconds is None else min(seconds, _LONGEST_DEFERRAL_SECONDS)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
