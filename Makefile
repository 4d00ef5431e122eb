# Everything a person does with this repository. Type `make` for the list.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	$(UPGRADE) pyproject.toml

.PHONY: help demo up test check audit bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.base ## Start everything, have one picture drawn, stop; needs no key and no GPU
	@$(BIN)/darkroom demo

up: $(VENV)/.base ## Run broker, worker and API on this machine until Ctrl-C
	@$(BIN)/darkroom up

# Each file's tests stay together, because those of one file often share a server.
# `make test BACKENDS=shared` runs on PostgreSQL, the system's redis-server and an S3-compatible store.
test: $(VENV)/.dev ## Run the tests, several at once
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(VENV)/.dev ## Check style, types, who imports whom, and what is known of dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit.py requirements/base.txt

audit: $(VENV)/.dev ## Look the locked packages up in a database of known vulnerabilities
	$(BIN)/python .ci/audit.py requirements/base.txt

bench: $(VENV)/.dev ## Run the benchmarks: they print what they measure, and keep it in bench/bench.json
	$(BIN)/pytest -m benchmark -s

lock: $(VENV)/.dev ## Pin what pyproject.toml asks for (UPGRADE=--upgrade takes newer releases)
	$(LOCK) --group build --output-file requirements/base.txt
	$(LOCK) --group build --group dev --constraints requirements/base.txt --output-file requirements/dev.txt

clean: ## Remove the virtual environment and all caches; data/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Darkroom needs Python 3.11 or newer. Name one: make PYTHON=python3.13" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: requirements/base.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes --requirement requirements/base.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# What the tools need includes all of the above, at the same versions.
$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes --requirement requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.base $@
