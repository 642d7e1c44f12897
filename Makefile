# Everything runs from .venv, which `make` makes itself from the hashed requirements.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 9200
KIBANA_PORT ?= 5601
KEEP ?=
export ELASTICSEARCH_URL KIBANA_URL ELASTIC_API_KEY ELASTIC_CA_CERTS
NOT_INSTALLED = { echo "Nothing runs before this is installed. The lines above say why it failed: the package index cannot be reached (set the proxy or index that pip uses), or the disk of $(CURDIR) is full (about 1 GB is needed). Then make again: it goes on from here." >&2; exit 1; }

.PHONY: help demo test lint sandbox bench chaos record wheel wheel-test requirements clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

demo: $(VENV)/demo.stamp ## Run the whole lifecycle here: KEEP=1 leaves it running; ELASTICSEARCH_URL, KIBANA_URL, ELASTIC_API_KEY name a real stack
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

test: lint ## Lint, import contracts, types and the whole test suite
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp ## Style, import contracts, types, current requirements
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m tests.requirements_are_current

sandbox: $(VENV)/demo.stamp ## Serve the sandbox until stopped: PORT=9200 KIBANA_PORT=5601 ARGS="--data DIR"
	@$(BIN)/python -m elastic_sandbox --port $(PORT) --kibana-port $(KIBANA_PORT) $(ARGS)

bench: $(VENV)/dev.stamp ## Measure what the documentation claims (minutes)
	$(BIN)/python -m benchmarks

record: $(VENV)/dev.stamp ## Note what a real stack answers (ELASTICSEARCH_URL, ELASTIC_API_KEY), for the suite to compare the sandbox with
	@PYTHONPATH=tests $(BIN)/python -m recording

chaos: $(VENV)/dev.stamp ## Long chains of DAGs, and workers killed in the middle of them; counts what is left (an hour)
	$(BIN)/python -m pytest -q -m "chaos or long" -p no:cacheprovider tests

wheel: $(VENV)/dev.stamp ## Build the wheel that adopters install
	$(BIN)/uv build --wheel --no-build-isolation --python $(BIN)/python --out-dir build/dist

wheel-test: $(VENV)/dev.stamp ## Install the wheel beside Airflow in an empty environment, and ask Airflow what it sees
	$(BIN)/python -m pytest -q -m wheel -p no:cacheprovider tests/wheel

requirements: $(VENV)/uv.stamp ## Compile requirements.txt and requirements-dev.txt from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --group demo --universal --generate-hashes --python-version 3.11 --no-header $(ARGS) -o requirements.txt
	$(BIN)/uv pip compile -q pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 --no-header $(ARGS) -c requirements.txt -o requirements-dev.txt

clean: ## Remove build/ (demo data, wheels); .venv stays
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

$(VENV)/uv.stamp:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer with its venv module, or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@test ! -x $(BIN)/python || $(BIN)/python -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) and sys.prefix != sys.base_prefix else "$(VENV) is no virtual environment of Python 3.11 or newer: rm -r $(VENV), then make again")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { echo "$(VENV) could not be made (see above): free space or rights in $(CURDIR), then make again" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv || $(NOT_INSTALLED)
	@touch $@

$(VENV)/demo.stamp: $(VENV)/uv.stamp requirements.txt pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.txt || $(NOT_INSTALLED)
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . || $(NOT_INSTALLED)
	@touch $@

$(VENV)/dev.stamp: $(VENV)/uv.stamp requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.txt || $(NOT_INSTALLED)
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . || $(NOT_INSTALLED)
	@touch $@
