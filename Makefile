# `make demo` shows the trace of an example, `make test` runs all tests but those of the stack of
# servers, which `make test-stack` builds and runs. Each sets itself up.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXAMPLE ?= examples/research_agent.py
TESTS ?= tests
# Other backends are large, so they stand in an environment of their own.
BACKENDS := $(VENV)-backends
OLDEST := $(VENV)-oldest
NEWEST := $(VENV)-newest
AUDIT := $(VENV)-audit
# What needs neither clients of models nor a collector: those have versions of their own.
OLDEST_TESTS ?= tests/capture tests/core tests/flows tests/usage/test_book.py \
  tests/usage/test_ledger.py tests/usage/test_processor.py tests/usage/test_record_usage.py \
  tests/trace/test_outbox.py tests/trace/test_undelivered.py tests/trace/test_provider.py \
  tests/trace/test_attach.py tests/trace/test_run_collector.py tests/trace/test_run_model.py \
  tests/trace/test_runfile.py tests/trace/test_testing.py tests/export_faults
# What does more the longer it is let. Random programs that fail stay in .hypothesis.
NIGHTLY_TESTS := tests/equivalence tests/faults tests/lifecycle/test_long_runs.py
# The versions that the locks name, and no file whose hash is another.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP_INSTALL) --require-hashes -r
OURSELVES := $(PIP_INSTALL) --no-deps --no-build-isolation -e .
# Which registry it asked is nobody's business.
UV ?= uv
# With extras: of a package that others need with some, pip 23 takes no lock that names none.
COMPILE := $(UV) pip compile --quiet --upgrade --generate-hashes --no-strip-extras --no-emit-index-url \
  --no-emit-find-links --custom-compile-command 'make lock'
# Not the oldest: those are only tested with, and known to be old.
AUDITED := dev backends audit
# Those that ask the programs something, and no others: test_distribution.py would build a wheel again.
STACK_TESTS := tests/stack tests/packaging/test_rules.py tests/packaging/test_dashboards.py \
  tests/otlp/test_metrics_export.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-nightly test-stack test-oldest test-newest check format readme build bench \
  bench-quick lock audit clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo ## Trace an example in the terminal (EXAMPLE=examples/chat.py for another)
	$(BIN)/pocketflow-trace run $(EXAMPLE)

test: $(VENV)/.dev ## Run all tests but those that need the stack
	$(BIN)/python -m pytest -n auto $(TESTS)

test-nightly: $(VENV)/.dev ## Random programs, faults at every line, runs of a million nodes (for hours)
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n auto $(NIGHTLY_TESTS)

test-stack: $(VENV)/.dev $(BACKENDS)/.installed ## Build collector, Jaeger and Prometheus, and test against them (needs Go)
	bin=$$($(BIN)/python scripts/stack_binaries.py) && \
	POCKETFLOW_STACK_BIN="$$bin" POCKETFLOW_STACK_BACKENDS="$(abspath $(BACKENDS)/bin)" \
	  $(BIN)/python -m pytest -n 2 --dist loadgroup $(STACK_TESTS)

test-oldest: $(OLDEST)/.installed ## Test with the oldest versions that we claim (PYTHON: a 3.10)
	$(OLDEST)/bin/python -m pytest -n auto $(OLDEST_TESTS)

test-newest: ## Run all tests with the newest versions of everything, whatever the lock says
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python $(PIP_INSTALL) --upgrade -e '.[dev]'
	$(NEWEST)/bin/python -m pytest -n auto $(TESTS)

check: $(VENV)/.dev ## Lint, types, import rules, README tables
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python scripts/readme_tables.py --check

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

readme: $(VENV)/.dev ## Write the README's tables and picture anew
	$(BIN)/python scripts/readme_tables.py
	$(BIN)/python scripts/readme_picture.py

build: $(VENV)/.dev ## Build wheel and sdist into dist/
	$(BIN)/python -m build

bench: $(VENV)/.dev ## Measure the overhead, and write docs/overhead.md and its picture
	$(BIN)/python -m benchmarks

bench-quick: $(VENV)/.dev ## Has tracing become slower than benchmarks/recorded.json?
	$(BIN)/python -m benchmarks --quick

lock: ## Choose the newest versions, and write requirements/*.txt anew (needs uv)
	$(COMPILE) --universal --python-version 3.10 --extra dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) --universal --python-version 3.11 --extra backends \
	  -o requirements/backends.txt pyproject.toml
	$(COMPILE) --universal --python-version 3.10 -o requirements/audit.txt requirements/audit.in
	$(COMPILE) --resolution lowest-direct --python-version 3.10 --extra otlp --extra terminal --extra cost \
	  -o requirements/oldest.txt pyproject.toml requirements/oldest.in

audit: $(AUDIT)/.installed ## Ask for known vulnerabilities of what the locks name (needs network)
	for lock in $(AUDITED); do \
	  echo "== $$lock" && \
	  $(AUDIT)/bin/pip-audit --strict --progress-spinner off --disable-pip --require-hashes \
	    --requirement requirements/$$lock.txt || exit; \
	done

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(BACKENDS) $(OLDEST) $(NEWEST) $(AUDIT) build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python $(PIP_INSTALL) -e '.[pocketflow,terminal]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml requirements/dev.txt
	$(BIN)/python $(LOCKED) requirements/dev.txt
	$(BIN)/python $(OURSELVES)
	@touch $@ $(VENV)/.demo

$(BACKENDS)/.installed: pyproject.toml requirements/backends.txt
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/python $(LOCKED) requirements/backends.txt
	$(BACKENDS)/bin/python $(OURSELVES)
	@touch $@

$(OLDEST)/.installed: pyproject.toml requirements/oldest.txt
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python $(LOCKED) requirements/oldest.txt
	$(OLDEST)/bin/python $(OURSELVES)
	@touch $@

$(AUDIT)/.installed: requirements/audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python $(LOCKED) requirements/audit.txt
	@touch $@
