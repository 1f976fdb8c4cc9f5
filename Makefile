# make test          lint, types and tests, as .ci/run does
# make test-all      the same with the slow tests
# make test-lowest   a deletion from training to report with the lowest versions that pyproject.toml allows
# make demo          the whole job on generated people, with a report
#
# Each creates .venv at the first call (test-lowest one of its own, .venv-lowest). PYTHON=... chooses another interpreter.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --progress-bar off -c constraints.txt

# one thread for each of the two processes that test; make test OMP_NUM_THREADS=2 takes more
export OMP_NUM_THREADS ?= 1
# worksteal: each process has half of the tests in their order, and takes over what the other has left
# compiled files are kept: tests start some hundred processes, each of which would compile the package anew
PYTEST := HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -q

.PHONY: test test-all test-lowest lint types demo clean

test: lint types
	$(PYTEST) -m 'not slow'

test-all: lint types
	$(PYTEST)

LOWEST := HF_HUB_OFFLINE=1 .venv-lowest/bin/multidelete
SMALL := --data personas:people=12,unseen=6,size=32
ONE := $(SMALL) --forget-subject person-0001 --device cpu --overwrite

test-lowest: .venv-lowest/installed
	$(LOWEST) train $(SMALL) --family vision-text --image-size 32 --passes 4 --device cpu --overwrite --out runs/lowest/original
	$(LOWEST) unlearn runs/lowest/original $(ONE) --passes 4 --out runs/lowest/unlearned
	$(LOWEST) unlearn runs/lowest/original $(ONE) --method retrain --out runs/lowest/retrained
	$(LOWEST) unlearn runs/lowest/original $(ONE) --passes 1 --lora r=2 --out runs/lowest/adapter
	$(LOWEST) merge runs/lowest/adapter --overwrite --out runs/lowest/merged
	$(LOWEST) audit runs/lowest/unlearned --original runs/lowest/original --retrained runs/lowest/retrained $(ONE) --out runs/lowest/report

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

.venv-lowest/installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip --disable-pip-version-check install --quiet --progress-bar off -c constraints-lowest.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .venv-lowest build dist runs .mypy_cache .ruff_cache .pytest_cache
