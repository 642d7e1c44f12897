# Everything runs from .venv, which `make` makes itself from the hashed requirements.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 9200
KIBANA_PORT ?= 5601
KEEP ?=
export ELASTICSEARCH_URL KIBANA_URL ELASTIC_API_KEY

.PHONY: help demo test lint sandbox bench chaos wheel requirements clean

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

chaos: $(VENV)/dev.stamp ## Kill workers in the middle of ingest and training, and count what is left (minutes)
	$(BIN)/python -m pytest -q -m chaos -p no:cacheprovider tests/chaos

wheel: $(VENV)/dev.stamp ## Build the wheel that adopters install
	$(BIN)/uv build --wheel --no-build-isolation --python $(BIN)/python --out-dir build/dist

requirements: $(VENV)/uv.stamp ## Compile requirements.txt and requirements-dev.txt from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --group demo --universal --generate-hashes --python-version 3.11 --no-header $(ARGS) -o requirements.txt
	$(BIN)/uv pip compile -q pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 --no-header $(ARGS) -c requirements.txt -o requirements-dev.txt

clean: ## Remove build/ (demo data, wheels); .venv stays
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

$(VENV)/uv.stamp:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer with its venv module, or name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed, this is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv
	@touch $@

$(VENV)/demo.stamp: $(VENV)/uv.stamp requirements.txt pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/uv.stamp requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
