"""Templates: one per kind and language, from which text, HTML and the short form all come."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from echain.notify.wording import language_of

_FOLDER: Final = Path(__file__).parent / "templates"
_LAYOUTS: Final = {"text": "layout.txt.j2", "html": "layout.html.j2"}


class Short(msgspec.Struct, frozen=True):
    """A notification in two lines: in the app, in a push, in a digest."""

    title: str
    text: str


class Page(msgspec.Struct, frozen=True):
    """A mail's subject and its two forms."""

    subject: str
    text: str
    html: str


class Templates:
    """Renders in a language, in English where there is no template for it.

    HTML escapes everything that is put in; the text form and subjects are plain text, which has nothing to
    escape. A name that a template uses and nobody gives is an error.
    """

    def __init__(self) -> None:
        loader = FileSystemLoader(_FOLDER)
        shared: dict[str, Any] = {
            "loader": loader,
            "undefined": StrictUndefined,
            "auto_reload": False,
            "trim_blocks": True,
            "lstrip_blocks": True,
        }
        self._html = Environment(autoescape=True, **shared)
        self._text = Environment(autoescape=False, **shared)  # noqa: S701 -- text/plain and subjects

    def short(self, kind: str, language: str, values: Mapping[str, object]) -> Short:
        """Return heading and lead as plain text."""
        template = self._text.get_template(f"{language_of(language)}/{kind}.j2")
        return Short(_block(template, "heading", values), _block(template, "lead", values))

    def page(self, kind: str, language: str, values: Mapping[str, object]) -> Page:
        """Return a whole mail; ``values`` also has what the layouts ask for."""
        name = f"{language_of(language)}/{kind}.j2"
        plain = self._text.get_template(name)
        subject = _block(plain, "subject", values)
        given = {**values, "subject": subject, "language": language_of(language)}
        return Page(
            subject,
            plain.render(**given, layout=_LAYOUTS["text"]),
            self._html.get_template(name).render(**given, layout=_LAYOUTS["html"]),
        )


@cache
def words(language: str) -> Mapping[str, str]:
    """Return the words that layouts and lists use."""
    text = (_FOLDER / language_of(language) / "words.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, str])


def _block(template: Template, name: str, values: Mapping[str, object]) -> str:
    """Return one block of a template as one line."""
    context = template.new_context({**values, "layout": _LAYOUTS["text"]})
    return " ".join("".join(template.blocks[name](context)).split())
