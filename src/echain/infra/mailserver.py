"""Where e-mail is handed over: what an ``smtp://`` URL says."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from echain.infra.secret import Secret

_SUBMISSION_PORT: Final = 587
_SUBMISSIONS_PORT: Final = 465


class MailServer(msgspec.Struct, frozen=True):
    """A submission server (RFC 6409, RFC 8314).

    ``tls`` is ``implicit`` from the first byte, ``starttls`` (required, never "if offered": whoever stands
    between could take the offer away) or ``none``, which is the default on this machine alone.
    ``authority`` is a file of certificates to trust instead of the system's.
    """

    host: str
    port: int
    tls: Literal["implicit", "starttls", "none"]
    user: str | None = None
    password: Secret | None = None
    authority: Path | None = None

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the server of ``smtp[s]://[user:password@]host[:port][?tls=none|starttls][&ca=file]``.

        Raises:
            ValueError: the URL says something else; its text has no secret.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/"):
            raise ValueError("must be a URL like smtp://user:password@host:587 or smtps://host")
        if set(options) - {"tls", "ca"} or options.get("tls", "none") not in ("none", "starttls"):
            raise ValueError("takes the options tls=none, tls=starttls and ca=file")
        if (parts.username is None) != (parts.password is None):
            raise ValueError("names a user and a password, or neither")
        if parts.scheme == "smtps":
            if "tls" in options:
                raise ValueError("smtps:// is encrypted from its first byte; tls= belongs to smtp://")
            tls = "implicit"
        else:
            tls = options.get("tls", "none" if _is_this_machine(parts.hostname) else "starttls")
        port = parts.port or (_SUBMISSIONS_PORT if tls == "implicit" else _SUBMISSION_PORT)
        return cls(
            parts.hostname,
            port,
            tls,  # pyright: ignore[reportArgumentType] -- one of the two that were checked above
            unquote(parts.username) if parts.username else None,
            Secret(unquote(parts.password)) if parts.password else None,
            Path(options["ca"]).expanduser() if "ca" in options else None,
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
