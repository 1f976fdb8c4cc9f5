# make test          lint, types and tests, as .ci/run does
# make test-all      the same with the slow tests
# make demo          the whole job on generated people, with a report
#
# Each creates .venv at the first call. PYTHON=... chooses another interpreter.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --progress-bar off -c constraints.txt

# one thread for each of the two processes that test; make test OMP_NUM_THREADS=2 takes more
export OMP_NUM_THREADS ?= 1
# worksteal: each process has half of the tests in their order, and takes over what the other has left
PYTEST := HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

.PHONY: test test-all lint types demo clean

test: lint types
	$(PYTEST) -m 'not slow'

test-all: lint types
	$(PYTEST)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/mypy

demo: .venv/installed
	$(BIN)/multidelete demo --out runs/demo --overwrite

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no python3 found; Python 3.11 or newer is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) -V); Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "error: $(PYTHON) cannot create virtual environments; apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv build dist runs .mypy_cache .ruff_cache .pytest_cache
