"""Pages for people: templates, languages, static files. No domain."""

from echain.edge.html.locales import LANGUAGES, Locale, chosen_language, locale_of
from echain.edge.html.site import Site

__all__ = ["LANGUAGES", "Locale", "Site", "chosen_language", "locale_of"]
