# `make demo` shows the trace of an example, `make test` runs all tests but those of the stack of
# servers, which `make test-stack` builds and runs. Each sets itself up.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXAMPLE ?= examples/research_agent.py
TESTS ?= tests
# Other backends are large, so they stand in an environment of their own.
BACKENDS := $(VENV)-backends
# Those that ask the programs something, and no others: test_distribution.py would build a wheel again.
STACK_TESTS := tests/stack tests/packaging/test_rules.py tests/packaging/test_dashboards.py \
  tests/otlp/test_metrics_export.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-stack check format readme build bench bench-quick clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo ## Trace an example in the terminal (EXAMPLE=examples/chat.py for another)
	$(BIN)/pocketflow-trace run $(EXAMPLE)

test: $(VENV)/.dev ## Run all tests but those that need the stack
	$(BIN)/python -m pytest -n auto $(TESTS)

test-stack: $(VENV)/.dev $(BACKENDS)/.installed ## Build collector, Jaeger and Prometheus, and test against them (needs Go)
	bin=$$($(BIN)/python scripts/stack_binaries.py) && \
	POCKETFLOW_STACK_BIN="$$bin" POCKETFLOW_STACK_BACKENDS="$(abspath $(BACKENDS)/bin)" \
	  $(BIN)/python -m pytest -n 2 --dist loadgroup $(STACK_TESTS)

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

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(BACKENDS) build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[pocketflow,terminal]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(BACKENDS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[backends]'
	@touch $@
