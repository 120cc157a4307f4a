SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := test

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= config.yaml
WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/.setup-done
SOURCES := exchanges executor traders manager $(wildcard migrations) $(wildcard benchmarks) docs/pages tests
GENERATED := executor/proto/decision_pb2.py
PEER := .venv/bench-peer
PEER_PYTHON ?= $(BIN)/python
BENCHMARKS := $(filter-out benchmarks/twelve_traders.py benchmarks/many_traders.py,$(wildcard benchmarks/[a-z]*.py))
MEASURE := COVERAGE_FILE=$(CURDIR)/.coverage
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: setup run test coverage check lint types format docs first-hour api-tour bench lock clean

setup: $(STAMP) $(GENERATED)

$(STAMP): requirements-dev.lock pyproject.toml
	@[ -x $(BIN)/python ] || { \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'make: Propdesk needs Python 3.11 or newer as python3 (or: make PYTHON=/path/to/python setup).' >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo 'make: this Python has no venv; on Debian or Ubuntu: apt-get install python3-venv, then run make again.' >&2; exit 1; }; \
	  "$(PYTHON)" -m venv .venv; }
	@awk '/^[a-z]/ { wanted = /^uv==/ } wanted && !/^ *#/' requirements-dev.lock > .venv/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode --require-hashes requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q exchanges executor traders manager
	@touch $(STAMP)

$(GENERATED): executor/proto/decision.proto hatch_build.py | $(STAMP)
	$(BIN)/python hatch_build.py

run: setup
	$(BIN)/propdesk run -c $(CONFIG)

test: setup
	PYTEST_TIMEOUT=180 $(BIN)/pytest -n $(WORKERS)

# Branch coverage of the four packages by the unit tests alone and by all; the lines that no test runs are in
# .coverage/report.txt. A test that fails under measurement does not stop it: `make test` is the judge.
coverage: setup
	rm -rf .coverage && mkdir -p .coverage/unit .coverage/all
	-$(MEASURE)/unit/data $(BIN)/coverage run -m pytest -q -n $(WORKERS) tests/unit
	$(MEASURE)/unit/data $(BIN)/coverage combine -q
	-$(MEASURE)/all/data PYTEST_TIMEOUT=600 $(BIN)/coverage run -m pytest -q -n $(WORKERS) --ignore tests/unit
	$(MEASURE)/all/data $(BIN)/coverage combine -q --keep --append .coverage/all .coverage/unit/data
	$(MEASURE)/all/data $(BIN)/coverage report --show-missing --skip-covered > .coverage/report.txt
	@for tests in unit all; do echo "coverage by $$tests tests: $$($(MEASURE)/$$tests/data $(BIN)/coverage report --precision 1 --format=total) %"; done

check: lint types
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest -q -n $(WORKERS) tests/architecture tests/unit

lint: setup
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy $(SOURCES)

format: setup
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

# Write the pages of docs/ that come from the code.
docs: setup
	PYTHONPATH=docs $(BIN)/python -m pages

first-hour: setup
	PYTHONPATH=docs $(BIN)/python -m pages.first_hour

api-tour: setup
	PYTHONPATH=docs $(BIN)/python -m pages.api

bench: setup
	@$(PEER)/bin/python -c 'import nautilus_trader, backtesting, polars' 2>/dev/null || { \
	  rm -rf $(PEER); $(BIN)/uv venv --quiet --python $(PEER_PYTHON) $(PEER) && \
	  $(BIN)/uv pip install --quiet --python $(PEER)/bin/python -r benchmarks/requirements.txt; } || { \
	  rm -rf $(PEER); echo 'make bench: the peers cannot be installed here; their figures are left out.' >&2; }
	@for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script"; done

lock: setup
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf executor/proto/*_pb2*.py .venv .coverage .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache build dist *.egg-info
	find exchanges executor traders manager migrations benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
