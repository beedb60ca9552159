"""Dependencies are what the locks say, to the bit; none runs when it is installed; known holes are told."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tools import audit

ROOT = Path(__file__).parent.parent.parent


def test_every_python_package_is_pinned_by_hash_and_installed_so() -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text().strip())
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._\[\],-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert "--require-hashes" in recipe(".venv/.ready")
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_every_node_package_is_pinned_by_hash_and_runs_nothing_when_installed() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    for path, entry in packages.items():
        if path:
            assert entry["integrity"].startswith("sha512-"), path
    install = recipe("node_modules/.ready")
    assert "npm ci --ignore-scripts" in install


def recipe(target: str) -> str:
    """Return what `make` does for a target."""
    text = (ROOT / "Makefile").read_text()
    found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert found is not None, target
    return found[1]


class Osv(ThreadingHTTPServer):
    """Answers as OSV does (google.github.io/osv.dev/api): batches, pages, retracted advisories."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.holes: dict[tuple[str, str, str], list[str]] = {}
        self.withdrawn: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.say({"results": [self.result(query) for query in asked["queries"]]})

    def result(self, query: dict[str, Any]) -> dict[str, Any]:
        """Return one advisory a page."""
        package = query["package"]
        ids = self.server.holes.get((package["ecosystem"], package["name"], query["version"]), [])
        at = int(query.get("page_token", 0))
        if at >= len(ids):
            return {}
        more = {"next_page_token": str(at + 1)} if at + 1 < len(ids) else {}
        return {"vulns": [{"id": ids[at], "modified": "2026-01-01T00:00:00Z"}], **more}

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        gone = {"withdrawn": "2026-01-02T00:00:00Z"} if name in self.server.withdrawn else {}
        self.say({"id": name, "summary": "a hole", **gone})

    def say(self, body: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[Osv]:
    with Osv() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_all_that_is_locked_is_asked_for() -> None:
    packages = audit.locked()
    names = {(package.ecosystem, package.name) for package in packages}
    assert {("PyPI", "asyncpg"), ("PyPI", "uvicorn"), ("npm", "pyright"), ("npm", "oidc-provider")} <= names
    assert len(packages) > 200


def test_a_hole_is_told_and_remembered_without_a_network(
    osv: Osv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    assert audit.main(osv.url, kept) == 0
    bad = next(package for package in audit.locked() if package.name == "uvicorn")
    odd = next(package for package in audit.locked() if package.name == "oidc-provider")
    osv.holes = {tuple(bad): ["GHSA-1", "GHSA-2", "PYSEC-3"], tuple(odd): ["GHSA-4"]}  # type: ignore[dict-item]
    osv.withdrawn = {"GHSA-2", "GHSA-4"}
    assert audit.main(osv.url, kept) == 1
    told = capsys.readouterr().out
    assert f"PyPI uvicorn {bad.version}: GHSA-1, PYSEC-3" in told
    assert "oidc-provider" not in told
    assert audit.main("http://127.0.0.1:1", kept) == 1
    assert "this was known 0 h ago" in capsys.readouterr().out


def test_what_nobody_knows_is_no_all_clear(tmp_path: Path, osv: Osv) -> None:
    kept = tmp_path / "kept.json"
    assert audit.main("http://127.0.0.1:1", kept) == 2
    assert audit.main(osv.url, kept) == 0
    kept.write_text(kept.read_text().replace('"locks": "', '"locks": "another '))
    assert audit.main("http://127.0.0.1:1", kept) == 2
