# ruff: noqa: INP001 - the folder holds Solidity; Python sees it as a namespace
"""Write what the Python package needs of the contracts: `python -m contracts.artifacts [--check]`.

The files are committed, so the program never needs a compiler at run time. They hold nothing that depends on
the machine: the same sources and settings give the same bytes.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "contracts" / "src"
OUT = ROOT / "contracts" / "out"
ARTIFACTS = ROOT / "src" / "echain" / "chain" / "artifacts"
CONTRACTS = ("EventFactory", "EventTicket", "Poap", "SignatureValidator")
DOUBLES = ROOT / "contracts" / "test" / "SignatureValidator" / "SmartWallet.sol"
"""Wallets that stand in tests for those of others; their creation code is kept beside the tests."""
DOUBLES_CODE = ROOT / "tests" / "accounts" / "vectors" / "wallets.json"
SETTINGS = ("evm_version", "optimizer", "optimizer_runs", "bytecode_hash", "cbor_metadata", "remappings")
PACKAGES = ("node_modules/solc", "node_modules/@openzeppelin/contracts")


def build() -> None:
    """Compile the contracts; exits with the compiler's words when they do not compile."""
    forge = subprocess.run(  # noqa: S603 - our own script
        [ROOT / "contracts" / "forge", "build", "contracts/src", DOUBLES],
        capture_output=True,
        text=True,
        check=False,
    )
    if forge.returncode:
        sys.exit(f"The contracts do not compile.\n{forge.stdout}{forge.stderr}")


def compiler_settings() -> dict[str, Any]:
    """Return what beside the sources decides the bytecode: the settings, and the packages by their hashes."""
    profile = tomllib.loads((ROOT / "foundry.toml").read_text())["profile"]["default"]
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    return {name: profile[name] for name in SETTINGS} | {
        name: packages[name]["integrity"] for name in PACKAGES
    }


def source_hash() -> str:
    """Return the SHA-256 over the compiler's settings and every source with its path."""
    digest = hashlib.sha256(json.dumps(compiler_settings(), sort_keys=True).encode())
    for path in sorted(SOURCES.rglob("*.sol")):
        text = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {len(text)}\n".encode())
        digest.update(text)
    return digest.hexdigest()


def storage_rows(layout: dict[str, Any]) -> Iterator[str]:
    """Yield a line per variable and struct member; compiler-internal numbers of types are left out."""
    types: dict[str, Any] = layout["types"] or {}

    def rows(variables: list[dict[str, Any]], path: str) -> Iterator[str]:
        for variable in variables:
            kind = types[variable["type"]]
            name = f"{path}{variable['label']}"
            yield f"{variable['slot']}+{variable['offset']} {kind['label']} {name}"
            yield from rows(kind.get("members", []), f"{name}.")
            if value := kind.get("value"):
                yield from rows(types[value].get("members", []), f"{name}[].")

    yield from rows(layout["storage"], "")


def artifact(name: str, sources: str) -> str:
    """Return the file of contract `name` as it must stand in the package."""
    compiled = json.loads((OUT / f"{name}.sol" / f"{name}.json").read_text())
    deployed = compiled["deployedBytecode"]["object"].encode()
    layout = "\n".join(storage_rows(compiled["storageLayout"])).encode()
    content = {
        "contract": name,
        "sourceHash": sources,
        "storageLayoutHash": hashlib.sha256(layout).hexdigest(),
        "deployedBytecodeHash": hashlib.sha256(deployed).hexdigest(),
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"]["object"],
    }
    return json.dumps(content, indent=1) + "\n"


def doubles() -> str:
    """Return the creation code of each test wallet by its name."""
    compiled = {path.stem: json.loads(path.read_text()) for path in (OUT / DOUBLES.name).glob("*.json")}
    code = {name: compiled[name]["bytecode"]["object"] for name in sorted(compiled)}
    return json.dumps(code, indent=1) + "\n"


def check(expected: dict[Path, str]) -> None:
    """Exit with what differs, and what to do, unless every committed file is as it must be."""
    stale = [path for path, text in expected.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in sorted(ARTIFACTS.glob("*.json")) if path not in expected]
    if stale:
        names = "\n".join(f"  {path.relative_to(ROOT)}" for path in stale)
        sys.exit(f"These files do not match the contracts:\n{names}\nRun `make artifacts` and commit them.")


def main() -> None:
    """Write the artifacts, or with `--check` say whether the committed ones are current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    arguments = parser.parse_args()
    build()
    sources = source_hash()
    expected = {ARTIFACTS / f"{name}.json": artifact(name, sources) for name in CONTRACTS}
    expected[DOUBLES_CODE] = doubles()
    if arguments.check:
        check(expected)
        return
    ARTIFACTS.mkdir(exist_ok=True)
    for path, text in expected.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
