# One command each: `make demo`, `make test`, `make check`, `make bench`, `make soak`. Each sets up what it needs; the
# machine must have Python 3.11 or newer, and nothing else.
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup toolchain demo up test check format artifacts reference gas soak bench lock audit clean

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --require-hashes --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --quiet --no-deps -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

toolchain: node_modules/.ready

node_modules/.ready: package-lock.json .venv/.ready
	$(BIN)/npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

demo: setup
	$(BIN)/echain demo $(if $(EXIT),--exit)

up: setup
	$(BIN)/echain up

test: setup toolchain
	$(BIN)/python -m pytest -n 2 --dist worksteal
	contracts/forge test

check: setup toolchain
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	node_modules/.bin/pyright
	$(BIN)/lint-imports
	contracts/forge fmt --check
	FORGE_SNAPSHOT_CHECK=true contracts/forge test --match-contract GasTest
	$(BIN)/python -m contracts.artifacts --check

format: setup toolchain
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	contracts/forge fmt

artifacts: setup toolchain
	$(BIN)/python -m contracts.artifacts

gas: toolchain
	FORGE_SNAPSHOT_EMIT=true contracts/forge test --match-contract GasTest

reference: setup
	$(BIN)/python docs/generate.py

soak: setup toolchain
	$(BIN)/python -m pytest -n 2 --dist worksteal -m soak
	FOUNDRY_PROFILE=soak contracts/forge test --fuzz-seed $$(date +%s)

bench: setup
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

lock: setup
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock

# Asks a service, or says what it knew when it was asked last; so no part of `make check`.
audit: setup
	$(BIN)/python tools/audit.py

clean:
	rm -rf .venv node_modules .echain contracts/out contracts/cache
