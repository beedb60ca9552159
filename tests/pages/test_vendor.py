"""What others wrote stands in the web app as they published it."""

from __future__ import annotations

from pathlib import Path

from echain.edge.html.files import web

PACKAGE = Path(__file__).parents[2] / "node_modules" / "lean-qr"


def test_the_library_that_draws_codes_is_the_published_one_with_its_licence() -> None:
    kept = (web() / "static" / "vendor" / "lean-qr.js").read_text()
    licence, _, code = kept.partition("*/\n")
    assert code == (PACKAGE / "index.mjs").read_text()
    assert (PACKAGE / "LICENSE").read_text() in licence
