"""One web app: renders its templates in any of its languages, and serves its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from echain.edge.html.files import web
from echain.edge.html.locales import LANGUAGES, Locale, chosen_language, locale_of
from echain.edge.http import Call, Endpoint, Nothing, Raw, get
from echain.kernel.errors import EchainError, Kind

HTML: Final = "text/html; charset=utf-8"
_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
_FOREVER: Final = (("cache-control", "public, max-age=31536000, immutable"),)
_ONCE: Final = (("cache-control", "no-store"),)
_OURS: Final = (("cross-origin-resource-policy", "same-origin"),)
_VERSION_LETTERS: Final = 12


class FileUnknown(EchainError):
    """The web app has no file of this name."""

    kind = Kind.NOT_FOUND
    code = "pages.file_unknown"


class FilePath(msgspec.Struct, frozen=True):
    """A file of the web app in a path."""

    version: str
    name: str


class FolderPath(msgspec.Struct, frozen=True):
    """A file in one of its folders."""

    version: str
    folder: str
    name: str


_FILE: Final[Any] = {
    "summary": "A file of the web app",
    "tag": "pages",
    "answer": Raw,
    "media_type": "*/*",
    "errors": (FileUnknown,),
    "listed": False,
    "limited": False,
}


class Site:
    """The pages of one installation.

    Files are served under the hash of all of them, so that a page never meets another version's script, and
    scripts import each other by relative paths. Pages may load nothing but those, speak to ``public_url`` and
    ``live_url`` alone, and cannot be framed.
    """

    def __init__(self, *, brand: str, public_url: str, live_url: str) -> None:
        folder = web()
        self._brand = brand
        self._public_url = public_url
        self._live_url = _socket_url(live_url)
        self._files = _read(folder / "static")
        digest = sha256()
        for name, content in sorted(self._files.items()):
            digest.update(name.encode() + b"\0" + sha256(content).digest())
        self.version = digest.hexdigest()[:_VERSION_LETTERS]
        self._environments = {code: _environment(folder, locale_of(code)) for code in LANGUAGES}
        self._headers = (
            ("content-security-policy", _policy(self._live_url)),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("permissions-policy", "camera=(self), geolocation=(), microphone=(), payment=(), usb=()"),
            ("cross-origin-opener-policy", "same-origin-allow-popups"),
            ("vary", "Accept-Language, Cookie"),
        )

    def asset(self, name: str) -> str:
        """Return the path of a static file.

        Raises:
            KeyError: there is none of that name.
        """
        if name not in self._files:
            raise KeyError(name)
        return f"/static/{self.version}/{name}"

    def page(
        self,
        template: str,
        locale: Locale,
        path: str,
        *,
        private: bool = False,
        **values: Any,
    ) -> Raw:
        """Return a page; ``path`` is where it stands in the language of the templates.

        One that is ``private`` shows what only its reader may see: nobody keeps it.
        """
        text = (
            self._environments[locale.code]
            .get_template(template)
            .render(
                alternates=[
                    (code, name, f"{locale_of(code).prefix}{path}") for code, name in LANGUAGES.items()
                ],
                asset=self.asset,
                brand=self._brand,
                canonical=f"{self._public_url}{locale.prefix}{path}",
                live_url=self._live_url,
                locale=locale,
                path=path,
                prefix=locale.prefix,
                public_url=self._public_url,
                **values,
            )
        )
        headers = (*self._headers, *_ONCE) if private else self._headers
        return Raw(text.encode(), content_type=HTML, headers=headers)

    def refusal(self, status: int, path: str, request_id: str, accept_language: str) -> Raw:
        """Return what a person reads who opened an address that cannot be shown."""
        first = path.split("/")[1]
        code = first if first in LANGUAGES else chosen_language(accept_language)
        page = self.page("refusal.html.j2", locale_of(code), "/events", code=status, request_id=request_id)
        return msgspec.structs.replace(page, status=status)

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the static files' endpoints."""

        @get("/static/{version}/{name}", path_params=FilePath, **_FILE)
        async def file(call: Call[FilePath, Nothing, Nothing]) -> Raw:
            return self._served(call.path.version, call.path.name)

        @get("/static/{version}/{folder}/{name}", path_params=FolderPath, **_FILE)
        async def file_in_folder(call: Call[FolderPath, Nothing, Nothing]) -> Raw:
            return self._served(call.path.version, f"{call.path.folder}/{call.path.name}")

        return [file, file_in_folder]

    def _served(self, version: str, name: str) -> Raw:
        """Return a file. A page of another version, as in a rolling update, gets ours and keeps nothing."""
        content = self._files.get(name)
        if content is None:
            raise FileUnknown
        kept = _FOREVER if version == self.version else _ONCE
        return Raw(content, content_type=_TYPES[Path(name).suffix], headers=(*kept, *_OURS))


def _environment(folder: Path, locale: Locale) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(locale.translations, newstyle=True)  # type: ignore[attr-defined]
    return environment


def _read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _socket_url(url: str) -> str:
    """Return where WebSockets of a live server are."""
    return "ws" + url.removeprefix("http")


def _policy(live_url: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            f"connect-src 'self' {live_url}",
            "manifest-src 'self'",
            "worker-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
