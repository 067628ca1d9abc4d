# The commands of the project. On a fresh machine `make test` and `make paper` do all set-up themselves.
#   make paper [DURATION=60] [SPEED=20] [ARGS=...]   install the core, then trade on the demo exchange and watch it
#   make test                                          install everything, run every suite within its time budget
#   make golden REASON='...'                           what the classic strategies come to on recorded markets is expected from now on
#   make check                                         format, lint, types, layers, quick tests: before each commit
SHELL := /bin/bash
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
KERNELS := $(wildcard setup.py mia/kernels/*.py mia/kernels/*.pxd mia/venues/*/wire.py mia/venues/*/*.pxd)
INPUTS := pyproject.toml constraints.txt setup.py
PYTEST := $(BIN)/python -m pytest -q
WORKERS ?= auto
# The same versions for what pip installs and for the isolated environment it builds our wheel in.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: help paper golden test check bench kernels sim clean static quick interpreted wheel slow root
help:
	@grep -E '^#  ' Makefile

# --- set-up: a stamp file in the environment says what was installed into it ---
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "python 3.11 or newer not found: install it, or name it with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: name another with PYTHON=..." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.core: $(INPUTS) $(KERNELS) | $(BIN)/python
	@echo "setting up $(VENV), once: libraries are fetched and the numeric core is compiled; one to three minutes"
	$(PIP_INSTALL) -e .
	@touch $@

# --no-compile: most of the libraries' code is never run here; what is imported compiles itself.
$(VENV)/.dev: $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) --no-compile -e '.[train,dev]'
	@touch $@ $(VENV)/.core

kernels: $(VENV)/.dev
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $(VENV)/.core

# --- the daemon ---
paper: $(VENV)/.core
	@$(BIN)/mia paper $(if $(DURATION),--duration $(DURATION)) $(if $(SPEED),--speed $(SPEED)) $(ARGS)

bench: kernels
	$(BIN)/mia bench $(ARGS)

# Without a reason it only says what differs.
golden: kernels
	$(BIN)/python -m tests.golden $(if $(REASON),--write --reason "$$REASON")

# --- tests: each suite has a budget in seconds; together they stay under 20 minutes ---
test: quick interpreted wheel slow root
	@echo "all suites passed"

check: kernels static
	$(PYTEST) -n $(WORKERS) -m "not slow and not root" tests

static: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=.:daemon $(BIN)/lint-imports

quick: kernels
	timeout 780 $(PYTEST) -n $(WORKERS) -m "not slow and not root" tests

interpreted: kernels
	MIA_KERNELS=interpreted timeout 120 $(PYTEST) -n $(WORKERS) -m "not slow and not root" $(wildcard tests/unit/kernels tests/property/kernels)

wheel: kernels
	timeout 240 $(PYTEST) -m "wheel and not root" tests

# Here and below: exit status 5 means that no test carries the mark.
slow: kernels
	timeout 480 $(PYTEST) -n $(WORKERS) -m "slow and not wheel and not root" tests || [ $$? = 5 ]

root: kernels
	@if [ "$$(id -u)" = 0 ]; then timeout 60 $(PYTEST) -m root tests || [ $$? = 5 ]; else echo "root tests: not run (uid $$(id -u))"; fi

sim: kernels
	MIA_SEED=$(SEED) MIA_SCHEDULES=10000 $(PYTEST) -n $(WORKERS) tests/sim tests/venues/test_binance_once.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	find mia daemon tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f mia/kernels/*.so mia/venues/*/*.so $(VENV)/.core $(VENV)/.dev
