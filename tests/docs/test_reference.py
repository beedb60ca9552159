"""The documentation says what the program does."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from echain.kernel.messages import TYPES

ROOT = Path(__file__).parent.parent.parent


def test_settings_commands_routes_codes_and_messages_are_all_listed() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def message_types(source: str) -> Iterator[str]:
    """Yield every text constant that looks like a message type, where a `Message` is made."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_message_that_a_projector_writes_is_documented() -> None:
    told = re.compile(
        r"(event|ticket|price|checkin)_(created|updated|update|sold|transferred|refunded|complete)"
    )
    sources = [path.read_text() for path in (ROOT / "src" / "echain").glob("*/onchain.py")]
    assert len(sources) == 3
    written = {word for source in sources for word in message_types(source) if told.fullmatch(word)}
    assert written
    assert written <= set(TYPES)


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
