# `make` lists the targets.  ARGS= is handed on: make demo ARGS=--help, make test ARGS="-k claim".

SHELL := $(shell command -v bash)
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
MADE := .venv/.made

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(MADE) ## Make .venv from requirements.lock; again only when that or pyproject.toml changed

$(MADE): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or later is needed, and "$(PYTHON)" is not: try make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'Python has no module venv: install it (Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@echo "installing requirements.lock into .venv (log: .venv/pip.log)"
	@$(call pip,-r requirements.lock --require-hashes --only-binary :all:)
	@$(call pip,--no-deps --no-build-isolation -e .)
	@touch $@

# One line on a terminal, rewritten package by package; elsewhere none.  On failure, pip's last lines.
define pip
$(BIN)/python -u -m pip install --progress-bar off $(1) 2>&1 | tee .venv/pip.log | \
  awk -v terminal="$$(test -t 2 && echo yes || true)" \
    'terminal && /^(Collecting|Installing|Building|Preparing)/ { \
       printf "\r\033[K  %d: %s %s", ++n, $$1, $$2 > "/dev/stderr" } \
     END { if (n) printf "\r\033[K" > "/dev/stderr" }' || \
  { tail -n 20 .venv/pip.log >&2; exit 1; }
endef

.PHONY: demo
demo: $(MADE) ## See the engine work on invented people, with nothing to set up
	@$(BIN)/clento demo $(ARGS)

.PHONY: chaos
chaos: $(MADE) ## Kill, stall, cut and crash it for ten minutes, and see that no promise breaks
	@$(BIN)/clento chaos $(ARGS)

.PHONY: chaos-virtual
chaos-virtual: $(MADE) ## The same in virtual time: a hundred seeds of a month, each replays to the byte
	@$(BIN)/clento chaos --virtual --seeds 100 $(ARGS)

.PHONY: bench
bench: $(MADE) ## Measure it, beside its peers, but for the soak; writes bench/README.md; takes 40 minutes
	@$(BIN)/python -m bench all $(ARGS)

.PHONY: check
check: formatted lint types imports test test-pooler bench-short ## Everything CI asks: the next seven, in this order

.PHONY: formatted
formatted: $(MADE) ## Is everything as `make format` leaves it?
	@$(BIN)/ruff format --check --quiet .

.PHONY: lint
lint: $(MADE) ## ruff
	@$(BIN)/ruff check .

.PHONY: types
types: $(MADE) ## mypy, strict
	@$(BIN)/mypy

.PHONY: imports
imports: $(MADE) ## Who may import whom; where SQL, HTTP and the clock may be
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python scripts/check_rooms.py

.PHONY: test
test: $(MADE) ## The tests, on PostgreSQL 18 and Debian's; also that the migrations make store/tables.py
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

.PHONY: test-pooler
test-pooler: $(MADE) ## The store's tests through a PgBouncer in transaction mode, where one is installed
	@CLENTO_TEST_POOLER=1 $(BIN)/python -m pytest tests/store -m "not direct" \
	  --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

.PHONY: proof
proof: $(MADE) ## Every crash point and every pair of them, controls, races, a longer model: an hour
	@CLENTO_EVERY_PAIR_OF_DEATHS=1 HYPOTHESIS_PROFILE=storm $(BIN)/python -m pytest tests/proof \
	  --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

.PHONY: bench-short
bench-short: $(MADE) ## What a step costs and whether that grows, by counts: no timing fails it
	@$(BIN)/python -m bench short

.PHONY: format
format: $(MADE) ## Format the code, and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: lock
lock: ## Make requirements.lock anew from pyproject.toml (ARGS=--upgrade: newest versions)
	@made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; \
	$(PYTHON) -m venv "$$made"; \
	"$$made/bin/pip" install --quiet uv; \
	"$$made/bin/uv" --quiet pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --extra dev $(ARGS) -o requirements.lock pyproject.toml

.PHONY: clean
clean: ## Remove what these targets made, never data
	@rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
