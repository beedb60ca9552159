"""Every kind of job that anybody asks for has somebody who runs it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from contextlib import AsyncExitStack
from pathlib import Path

import echain
from echain.entry.addressbook import AddressBook
from echain.entry.connections import services
from echain.entry.jobs import handlers_of, schedules
from echain.entry.settings import read

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def declared() -> dict[str, str]:
    """Return the name of every kind that a module makes, and where."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(echain.__path__, "echain."):
        source = importlib.import_module(module.name)
        for node in ast.walk(ast.parse(Path(source.__file__ or "").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "JobKind":
                name = ast.literal_eval(node.args[0])
                assert name not in found, f"{name} is made in {found[name]} and {module.name}"
                found[name] = module.name
    return found


async def test_every_kind_has_a_handler_and_every_tick_a_kind(tmp_path: Path) -> None:
    config = read({"ECHAIN_HOME": str(tmp_path), "ECHAIN_DEVNET": "true", "ECHAIN_DATABASE_URL": NOWHERE})
    async with AsyncExitStack() as stack:
        parts = await services(config, stack)
        handlers = handlers_of(config, parts, AddressBook(config, parts.database), stack)
    run = {kind.name for kind in handlers}
    assert run == set(declared())
    assert len(run) > 5
    for schedule in schedules():
        assert schedule.kind in handlers
    names = [schedule.label for schedule in schedules()]
    assert len(set(names)) == len(names)


def test_kinds_are_named_by_their_slice_and_what_they_do() -> None:
    for name, module in declared().items():
        slice_, _, verb = name.partition(".")
        assert verb
        assert slice_ == module.split(".")[1] or module == "echain.entry.jobs"
