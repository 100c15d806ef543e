# Two commands for a newcomer: `make testnet` and `make test`. The rest is for contributors.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env testnet test test-long check soak bench lock clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

env: $(STAMP)    ## the environment in .venv, from the lock file

$(STAMP): requirements/lock.txt requirements/lock-extras.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "apocryph needs Python 3.11 or newer: set PYTHON=python3.11"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock-extras.txt >/dev/null 2>&1 \
	  || echo "note: the optional extras (ignite, ipfs) do not build here; everything else works without them"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

testnet: env     ## four validators on this machine; ARGS='up -n 4 --until height=20 --json' reaches the command
	@$(BIN)/apocryph testnet $(if $(ARGS),$(ARGS),up --demo pingpong)

test: env        ## the whole test suite that needs no outside service
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long and not integration" $(ARGS)

test-long: env   ## what takes minutes: kills, stopped readers, drawn seeds
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "long and not soak" $(ARGS)

check: env       ## the gate: ruff, mypy, import-linter, tidy, fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 -m "not long and not integration and not slow" $(ARGS)

soak: env        ## what takes long, within 30 minutes: soak/soak.html; ARGS="--minutes 120 --only storm"
	$(BIN)/apocryph sim soak $(ARGS)

bench: env       ## every figure of bench/README.md, measured again
	$(BIN)/python -m bench --all --write

lock:            ## renew the lock files (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade pyproject.toml --group dev -o requirements/lock.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade pyproject.toml --extra ignite --extra ipfs -c requirements/lock.txt -o requirements/lock-extras.txt

clean:           ## remove the environment and caches of tools
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
