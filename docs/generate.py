"""Write what the documentation derives from the program: settings, commands, routes, error codes, messages.

`make reference` writes `docs/reference.md` and the README's table of settings; ``--check`` only compares.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import click
import msgspec

import echain
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.service import authenticator
from echain.edge.http import Auth, Endpoint
from echain.entry.addressbook import AddressBook
from echain.entry.cli import commands
from echain.entry.connections import Services
from echain.entry.settings import read
from echain.entry.wiring import endpoints_of
from echain.infra.cache import Cache
from echain.infra.config import VARIABLES, Variable
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.kernel.errors import EchainError
from echain.kernel.messages import SCHEMA, TYPES, MessageType
from echain.kernel.time import utc_now

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference.md"
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"

WHO = {
    Auth.PUBLIC: "anyone",
    Auth.OPTIONAL: "anyone; more when signed in",
    Auth.USER: "signed in",
    Auth.ANY: "signed in, or a gate",
    Auth.GATE: "a gate",
    Auth.ADMIN: "an administrator",
}


def main() -> None:
    written = {REFERENCE: reference(), README: readme(), OPERATIONS: operations()}
    stale = [path for path, text in written.items() if path.read_text() != text]
    if "--check" in sys.argv[1:]:
        if stale:
            names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
            sys.exit(f"{names} say something else than the program; run `make reference` and commit")
        return
    for path in stale:
        path.write_text(written[path])


def reference() -> str:
    """Return the whole reference page."""
    parts = [
        "# Reference",
        "Written from the program by `make reference`; a test fails when it says something else.",
        "## Settings",
        table(("variable", "default", "meaning"), map(setting_row, VARIABLES)),
        "## Commands",
        table(("command", "what it does"), command_rows(commands)),
        "## Routes",
        "Bodies are in the OpenAPI document at `/api/v1/openapi.json` and on the page `/docs`.",
        table(("route", "for", "what it does"), map(route_row, sorted(endpoints(), key=route_order))),
        "## Error codes",
        "`error.code` in the envelope. Clients may rely on a code; the text may change.",
        table(("code", "kind", "what it means"), error_rows()),
        "## Messages",
        f"Version {SCHEMA} of the schema. `data` has these fields and no others; a `?` may be missing.",
        table(
            ("type", "what it tells", "channels", "data", "also heard as"), map(message_row, TYPES.items())
        ),
    ]
    return "\n\n".join(parts) + "\n"


def readme() -> str:
    """Return the README with its table of settings as the program has it."""
    settings = table(("variable", "default", "meaning"), map(setting_row, VARIABLES))
    return between(README.read_text(), "settings", settings)


def operations() -> str:
    """Return the operator's page with its table of metrics as the program has it."""
    metrics = table(("metric", "kind", "labels", "meaning"), map(metric_row, declared_metrics()))
    return between(OPERATIONS.read_text(), "metrics", metrics)


def between(text: str, mark: str, content: str) -> str:
    """Return ``text`` with what stands between the comments of ``mark`` replaced."""
    before, rest = text.split(f"<!-- {mark} -->")
    after = rest.split(f"<!-- /{mark} -->")[1]
    return f"{before}<!-- {mark} -->\n{content}\n<!-- /{mark} -->{after}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def setting_row(variable: Variable) -> tuple[str, str, str]:
    default = variable.default
    shown = "" if default is None or default == () else f"`{default}`"
    return f"`{variable.name}`", shown, variable.meaning


def command_rows(group: click.Group, before: str = "echain") -> Iterator[tuple[str, str]]:
    for name, command in sorted(group.commands.items()):
        words = [
            one.opts[0] if isinstance(one, click.Option) else (one.metavar or "") for one in command.params
        ]
        yield f"`{' '.join((before, name, *words))}`", command.get_short_help_str(limit=200)
        if isinstance(command, click.Group):
            yield from command_rows(command, f"{before} {name}")


def route_row(endpoint: Endpoint) -> tuple[str, str, str]:
    leaving = endpoint.deprecated
    instead = f"; deprecated since {leaving.since:%Y-%m-%d}, use `{leaving.successor}`" if leaving else ""
    return f"`{endpoint.method} {endpoint.path}`", WHO[endpoint.auth], endpoint.summary + instead


def route_order(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.path, endpoint.method


def declared_metrics() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Return name, kind, meaning and labels of every metric that some module asks a registry for, by name.

    Read from the source, because no process has all of them; so their names are literals there.
    """
    found: dict[str, tuple[str, str, str, tuple[str, ...]]] = {}
    for module in pkgutil.walk_packages(echain.__path__, "echain."):
        source = importlib.import_module(module.name)
        path = Path(source.__file__ or "")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (kind := metric_kind(node)):
                values = [constant(argument, source) for argument in node.args[:3]]
                given = {
                    word.arg: constant(word.value, source) for word in node.keywords if word.arg == "labels"
                }
                name, meaning = str(values[0]), str(values[1])
                labels = given.get("labels") or (values[2:] or [()])[0]
                found[name] = (name, kind, meaning, tuple(map(str, labels)))
    return [found[name] for name in sorted(found)]


def metric_kind(node: ast.Call) -> str:
    """Return which kind of metric a call asks for, or nothing when it asks for none."""
    first = node.args[0] if node.args else None
    named = isinstance(first, ast.Constant) and str(first.value).startswith("echain_")
    kind = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return kind if named and kind in ("counter", "gauge", "histogram") else ""


def constant(node: ast.expr, module: ModuleType) -> Any:
    """Return the value of an expression of constants, a module's own among them."""
    return eval(compile(ast.Expression(node), "<metric>", "eval"), vars(module))  # noqa: S307 - our own source


def metric_row(metric: tuple[str, str, str, tuple[str, ...]]) -> tuple[str, ...]:
    name, kind, meaning, labels = metric
    return (
        f"`{name}`",
        kind,
        ", ".join(f"`{label}`" for label in labels),
        meaning[:1].upper() + meaning[1:].rstrip("."),
    )


def error_rows() -> Iterator[tuple[str, str, str]]:
    """Yield every error class below `EchainError`, by code.

    Raises:
        ValueError: two classes share a code and say different things.
    """
    for module in pkgutil.walk_packages(echain.__path__, "echain."):
        importlib.import_module(module.name)
    rows = {
        (kind.code, kind.kind.value, summary(kind))
        for kind in subclasses(EchainError)
        if "code" in vars(kind)
    }
    codes = [code for code, _, _ in rows]
    if len(set(codes)) != len(codes):
        raise ValueError(
            f"codes with two meanings: {sorted(code for code in codes if codes.count(code) > 1)}"
        )
    yield from ((f"`{code}`", kind, text) for code, kind, text in sorted(rows))


def message_row(entry: tuple[str, MessageType]) -> tuple[str, ...]:
    name, kind = entry
    return (
        f"`{name}`",
        kind.tells,
        ", ".join(kind.channels),
        ", ".join(
            f"`{field.encode_name}`{'' if field.required else '?'}"
            for field in msgspec.structs.fields(kind.data)
        ),
        ", ".join(f"`{alias}`" for alias in kind.aliases) or "none",
    )


def summary(kind: type) -> str:
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def subclasses(kind: type[EchainError]) -> Iterator[type[EchainError]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def endpoints() -> list[Endpoint]:
    """Return every endpoint of the API role; nothing is connected for it."""
    with TemporaryDirectory() as home:
        config = read({"ECHAIN_HOME": home, "ECHAIN_DEVNET": "true"})
    nowhere = Database.lazy("postgresql://nobody@127.0.0.1:1/none")
    parts = Services(nowhere, None, Cache("postgresql://nobody@127.0.0.1:1/none", None), {}, Metrics())
    users = authenticator(nowhere, utc_now, AccessTokens(config.token_keys, issuer=config.public_url))
    return endpoints_of(config, parts, AddressBook(config, nowhere), {}, users)


if __name__ == "__main__":
    main()
