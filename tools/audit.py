"""Whether a locked dependency has a known hole: asks OSV (osv.dev) for each name and version in the locks.

What it answers is kept, so that `make audit` also tells something without a network: what was known then, and
how long ago that was. `make check` does not run it: whether a build passes must not depend on a service.

Exit codes: 0 nothing known, 1 something known, 2 nobody could be asked and nothing is kept for these locks.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
SERVICE: Final = "https://api.osv.dev"
KEPT: Final = ROOT / ".venv" / "advisories.json"
BATCH: Final = 500
SECONDS: Final = 20
_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", re.MULTILINE)


class Package(NamedTuple):
    """One locked dependency, as OSV names it."""

    ecosystem: str
    name: str
    version: str


def locked(root: Path = ROOT) -> list[Package]:
    """Return everything that both locks name, each once, in order."""
    python = _PINNED.findall((root / "requirements.lock").read_text())
    node = json.loads((root / "package-lock.json").read_text())["packages"]
    return sorted(
        {
            *(Package("PyPI", name.lower(), version) for name, version in python),
            *(
                Package("npm", entry.get("name") or path.rpartition("node_modules/")[2], entry["version"])
                for path, entry in node.items()
                if path and not entry.get("link")
            ),
        }
    )


def known(packages: Sequence[Package], service: str) -> dict[str, list[str]]:
    """Return the ids of advisories by the package that they are about; retracted ones are left out.

    Raises:
        OSError: the service does not answer, or answers what it should not.
    """
    found: dict[str, list[str]] = {}
    for start in range(0, len(packages), BATCH):
        batch = packages[start : start + BATCH]
        for package, ids in zip(batch, _ask(batch, service), strict=True):
            live = [each for each in ids if not _read(f"{service}/v1/vulns/{each}").get("withdrawn")]
            if live:
                found[f"{package.ecosystem} {package.name} {package.version}"] = sorted(live)
    return found


def _ask(batch: Sequence[Package], service: str) -> Iterator[list[str]]:
    queries: list[dict[str, Any]] = [
        {"package": {"name": each.name, "ecosystem": each.ecosystem}, "version": each.version}
        for each in batch
    ]
    ids: list[list[str]] = [[] for _ in batch]
    waiting = list(range(len(batch)))
    while waiting:
        answer = _read(f"{service}/v1/querybatch", {"queries": [queries[index] for index in waiting]})
        results = answer["results"]
        if len(results) != len(waiting):
            raise OSError(f"{len(results)} answers to {len(waiting)} questions")
        following = []
        for index, result in zip(waiting, results, strict=True):
            ids[index] += [each["id"] for each in result.get("vulns", [])]
            if token := result.get("next_page_token"):
                queries[index]["page_token"] = token
                following.append(index)
        waiting = following
    yield from ids


def _read(url: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - https, ours
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - the same
        return json.load(answer)


def main(service: str = SERVICE, kept: Path = KEPT, root: Path = ROOT) -> int:
    """Say what is known, now or when it was asked last; return the exit code."""
    packages = locked(root)
    digest = hashlib.sha256(repr(packages).encode()).hexdigest()
    try:
        found = known(packages, service)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not kept.exists() or (before := json.loads(kept.read_text()))["locks"] != digest:
            sys.stderr.write(f"{service} cannot be asked ({error}), and nothing is kept for these locks.\n")
            return 2
        hours = (time.time() - before["at"]) / 3600
        found = before["found"]
        sys.stdout.write(f"{service} cannot be asked; this was known {hours:.0f} h ago:\n")
    else:
        kept.write_text(json.dumps({"locks": digest, "at": time.time(), "found": found}))
    for package, ids in found.items():
        sys.stdout.write(f"{package}: {', '.join(ids)}\n")
    sys.stdout.write(f"{len(packages)} locked dependencies, {len(found)} with known holes.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
