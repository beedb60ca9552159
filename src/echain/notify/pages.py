"""The pages behind links in mails: one confirms an address, one ends mail of a kind, one shows an invitation.

Opening either changes nothing, because mail scanners and previews open links; its button does.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from echain.edge.http import Call, Endpoint, Nothing, Raw, RawBody, get, post
from echain.notify import addresses, service, store
from echain.notify.rendering import words
from echain.notify.rest import TAG, Surface
from echain.notify.types import TokenQuery, UnsubscribeUnknown, VerificationUnknown
from echain.notify.wording import clean, language_of, preferred_language
from echain.organizations import inviting
from echain.organizations.types import InvitationOver, InvitationUnknown

_FOLDER: Final = Path(__file__).parent / "templates"
_HTML: Final = "text/html; charset=utf-8"
_FORM_BYTES: Final = 1_024
"""A form of a button is empty, one click says ``List-Unsubscribe=One-Click``; neither is read."""


class Pages:
    """Renders the pages; their one style is allowed by its hash, and nothing else is."""

    def __init__(self, brand: str) -> None:
        self._brand = brand
        self._style = (_FOLDER / "page.css").read_text()
        self._template = Environment(
            loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, auto_reload=False
        ).get_template("page.html.j2")
        digest = b64encode(sha256(self._style.encode()).digest()).decode()
        self._headers = (
            (
                "content-security-policy",
                (
                    f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
                    "base-uri 'none'; frame-ancestors 'none'"
                ),
            ),
            ("x-frame-options", "DENY"),
            # The address of this page is the secret.
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        )

    def page(
        self,
        language: str,
        title: str,
        text: str,
        *,
        button: str | None = None,
        status: int = 200,
        given: Mapping[str, str] | None = None,
    ) -> Raw:
        """Return a page that says one thing, of ``given`` words too, and may ask for one."""
        word = words(language)
        body = self._template.render(
            language=language_of(language),
            brand=self._brand,
            style=self._style,
            title=word[title],
            text=word[text].format(**given or {}),
            button=None if button is None else word[button],
        )
        return Raw(body.encode(), content_type=_HTML, status=status, headers=self._headers)


def endpoints(surface: Surface) -> list[Endpoint]:
    """Return ``/email/verify``, ``/unsubscribe`` and ``/invitation``."""
    pages = Pages(surface.composer.brand.name)
    return [
        *_verify_endpoints(surface, pages),
        *_unsubscribe_endpoints(surface, pages),
        *_invitation_endpoints(surface, pages),
    ]


def _verify_endpoints(surface: Surface, pages: Pages) -> list[Endpoint]:
    composer, path = surface.composer, "/email/verify"

    @get(
        path,
        summary="The page of a verification mail's link",
        tag=TAG,
        answer=Raw,
        query=TokenQuery,
        media_type=_HTML,
    )
    async def show(call: Call[Nothing, TokenQuery, Nothing]) -> Raw:
        return pages.page(
            _language(call), "page_verify_title", "page_verify_text", button="page_verify_button"
        )

    @post(
        path,
        summary="Confirm an e-mail address by the button of that page",
        tag=TAG,
        answer=Raw,
        query=TokenQuery,
        body=RawBody,
        max_body_bytes=_FORM_BYTES,
        media_type=_HTML,
        other_statuses=(404,),
    )
    async def press(call: Call[Nothing, TokenQuery, RawBody]) -> Raw:
        try:
            async with surface.database.transaction() as tx:
                token = call.query.token
                user_id = await addresses.verify(tx, token, composer.keys, composer.templates, now=call.now)
                await call.audit(tx, "email.verified", resource=f"user:{user_id}")
        except VerificationUnknown:
            return _unknown(pages, call)
        return pages.page(_language(call), "page_verify_title", "page_verified")

    return [show, press]


def _unsubscribe_endpoints(surface: Surface, pages: Pages) -> list[Endpoint]:
    path = "/unsubscribe"

    async def language_of_reader(call: Call[Nothing, TokenQuery, Any]) -> str:
        user_id, _ = surface.composer.unsubscribed(call.query.token)
        async with surface.database.connection() as connection:
            return (await store.settings_of(connection, [user_id]))[user_id].language

    @get(
        path,
        summary="The page of a mail's unsubscribe link",
        tag=TAG,
        answer=Raw,
        query=TokenQuery,
        media_type=_HTML,
        other_statuses=(404,),
    )
    async def show(call: Call[Nothing, TokenQuery, Nothing]) -> Raw:
        try:
            language = await language_of_reader(call)
        except UnsubscribeUnknown:
            return _unknown(pages, call)
        return pages.page(
            language, "page_unsubscribe_title", "page_unsubscribe_text", button="page_unsubscribe_button"
        )

    @post(
        path,
        summary="End mail of a kind, by that page's button or a mail client's one click (RFC 8058)",
        tag=TAG,
        answer=Raw,
        query=TokenQuery,
        body=RawBody,
        max_body_bytes=_FORM_BYTES,
        media_type=_HTML,
        other_statuses=(404,),
    )
    async def press(call: Call[Nothing, TokenQuery, RawBody]) -> Raw:
        try:
            user_id, kind = surface.composer.unsubscribed(call.query.token)
        except UnsubscribeUnknown:
            return _unknown(pages, call)
        async with surface.database.transaction() as tx:
            await service.mute(tx, user_id, kind, now=call.now)
            await call.audit(
                tx, "notifications.muted", resource=f"user:{user_id}", diff={"kind": [None, kind]}
            )
            language = (await store.settings_of(tx, [user_id]))[user_id].language
        return pages.page(language, "page_unsubscribe_title", "page_unsubscribed")

    return [show, press]


def _invitation_endpoints(surface: Surface, pages: Pages) -> list[Endpoint]:
    path, title = "/invitation", "page_invitation_title"

    @get(
        path,
        summary="The page of an invitation's link",
        tag=TAG,
        answer=Raw,
        query=TokenQuery,
        media_type=_HTML,
        errors=(InvitationUnknown,),
        other_statuses=(410,),
    )
    async def show(call: Call[Nothing, TokenQuery, Nothing]) -> Raw:
        language, token = _language(call), call.query.token
        try:
            offer = await inviting.offer(surface.database, token, now=call.now)
        except InvitationOver:
            return pages.page(language, title, "page_invitation_over", status=410)
        role = words(language)[f"role_{offer.role}"]
        given = {"organization": clean(offer.organization_name), "role": role, "code": token}
        return pages.page(
            language, title, "page_invitation_text", button="page_invitation_button", given=given
        )

    @post(
        path,
        summary="Decline an invitation by the button of that page",
        tag=TAG,
        answer=Raw,
        query=TokenQuery,
        body=RawBody,
        max_body_bytes=_FORM_BYTES,
        media_type=_HTML,
        errors=(InvitationUnknown,),
        other_statuses=(410,),
    )
    async def press(call: Call[Nothing, TokenQuery, RawBody]) -> Raw:
        language = _language(call)
        try:
            async with surface.database.transaction() as tx:
                invitation, organization = await inviting.decline(tx, call.query.token, now=call.now)
                await call.audit(
                    tx, "invitation.declined", resource=f"invitation:{invitation}", organization=organization
                )
        except InvitationOver:
            return pages.page(language, title, "page_invitation_over", status=410)
        return pages.page(language, title, "page_invitation_declined")

    return [show, press]


def _language(call: Call[Nothing, TokenQuery, Any]) -> str:
    return preferred_language(call.headers.get("accept-language", ""))


def _unknown(pages: Pages, call: Call[Nothing, TokenQuery, Any]) -> Raw:
    return pages.page(_language(call), "page_unknown_title", "page_unknown", status=404)
