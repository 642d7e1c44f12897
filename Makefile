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

.PHONY: help demo test lint style sandbox bench chaos record wheel wheel-test requirements clean logstash-test test-mlflow kibana-bundle kibana-deploy preview docs docs-serve stack-up stack-down stack-logs stack-trial stack-test stack-logstash compatibility

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

demo: $(VENV)/demo.stamp ## Run the whole lifecycle here: KEEP=1 leaves it running; ELASTICSEARCH_URL, KIBANA_URL, ELASTIC_API_KEY name a real stack
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

# mypy takes one core for half a minute where it has no cache yet. Without .pyc files of ours every process compiles them anew.
# A test that neither ends nor can be interrupted takes its worker down, with the stacks of all threads, and the run ends.
test: style ## Lint, import contracts, types and the whole test suite
	@mkdir -p build
	@$(BIN)/mypy >build/mypy.log 2>&1 & types=$$!; \
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n auto --dist loadfile --max-worker-restart 0 --timeout 120 \
		-o faulthandler_timeout=150 -o faulthandler_exit_on_timeout=true $(PYTEST_ARGS); tested=$$?; \
	wait $$types; typed=$$?; cat build/mypy.log; exit $$((tested | typed))

lint: style ## Style, import contracts, types, current requirements
	$(BIN)/mypy

style: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m tests.requirements_are_current

sandbox: $(VENV)/demo.stamp ## Serve the sandbox until stopped: PORT=9200 KIBANA_PORT=5601 ARGS="--data DIR"
	@$(BIN)/python -m elastic_sandbox --port $(PORT) --kibana-port $(KIBANA_PORT) $(ARGS)

kibana-bundle: $(VENV)/demo.stamp ## Write the dashboards to build/kibana/<name>.ndjson, for Kibana's Saved Objects page: PROJECT=include, ARGS
	@$(BIN)/python -m elastic_ml.kibana_bundle $(or $(PROJECT),include) $(ARGS)

kibana-deploy: $(VENV)/demo.stamp ## Bring dashboards, rules and connectors to KIBANA_URL, else the sandbox: MODE=plan (default) or apply, PROJECT=include, ARGS
	@KIBANA_URL=$(or $(KIBANA_URL),http://127.0.0.1:$(KIBANA_PORT)) $(BIN)/python -m elastic_ml.kibana deploy $(or $(PROJECT),include) --mode $(or $(MODE),plan) $(ARGS)

logstash-test: $(VENV)/demo.stamp ## Lint the Logstash pipelines and run their golden events, without Logstash: ARGS="--update"
	@$(BIN)/python -m elastic_sandbox.logstash test logstash --golden tests/logstash/golden $(ARGS)

test-mlflow: $(VENV)/dev.stamp build/mlflow/bin/mlflow ## Let a real MLflow server, in an environment of its own, deliver its webhooks
	@MLFLOW_PYTHON=$(CURDIR)/build/mlflow/bin/python $(BIN)/python -m pytest -q -k real_mlflow -p no:cacheprovider tests/logstash/test_mlflow_webhooks.py

build/mlflow/bin/mlflow: $(VENV)/uv.stamp
	@$(BIN)/uv venv -q --clear --python $(BIN)/python build/mlflow
	@$(BIN)/uv pip install -q --python build/mlflow/bin/python 'mlflow==3.17.*'

bench: $(VENV)/dev.stamp ## Measure what the documentation claims (minutes)
	$(BIN)/python -m benchmarks

record: $(VENV)/dev.stamp ## Note what a real stack answers (ELASTICSEARCH_URL, else that of stack-up), for the suite to compare the sandbox with
	@$(ON_STACK); PYTHONPATH=tests $(BIN)/python -m recording

# Which of docker/*.env: the stack that runs, else the newest. Each version has its own volumes.
STACK_VERSION ?= $(or $(shell cat build/stack/version 2>/dev/null),9.5)
COMPOSE = docker compose --project-name elastic-ml-$(subst .,-,$(STACK_VERSION)) --env-file docker/.env --env-file docker/$(STACK_VERSION).env
SEEN = PYTHONPATH=tests $(BIN)/python -m elastic.seen $$(sed -n 's/^ELASTIC_VERSION=//p' docker/$(STACK_VERSION).env)
ON_STACK = set -e; failed=0; if [ -z "$$ELASTICSEARCH_URL" ]; then \
	key=$$($(PYTHON) docker/stack.py key); \
	export ELASTICSEARCH_URL=https://localhost:9200 KIBANA_URL=https://localhost:5601 ELASTIC_CA_CERTS=build/stack/ca.crt ELASTIC_API_KEY=$$key; fi

stack-up: wheel ## Start Elasticsearch, Kibana and Airflow by Docker, and wait until all are well: STACK_VERSION=9.5 or 9.2
	@running=$$(cat build/stack/version 2>/dev/null || echo $(STACK_VERSION)); test "$$running" = "$(STACK_VERSION)" || { echo "Version $$running runs on these ports: make stack-down first." >&2; exit 1; }
	@$(PYTHON) docker/stack.py env
	$(COMPOSE) build airflow-init
	$(COMPOSE) up --detach --wait
	@mkdir -p build/stack && echo $(STACK_VERSION) >build/stack/version
	@$(COMPOSE) exec -T elasticsearch cat config/certs/ca/ca.crt >build/stack/ca.crt
	@echo "Elasticsearch https://localhost:9200  Kibana https://localhost:5601  Airflow http://localhost:8080  passwords: docker/.env"

stack-down: ## Stop it; VOLUMES=1 deletes its data, too
	$(COMPOSE) --profile logstash down $(if $(VOLUMES),--volumes)
	@rm -rf build/stack

stack-logs: ## Show what its services said
	@$(COMPOSE) --profile logstash ps --all; $(COMPOSE) --profile logstash logs --no-color --tail 500

stack-trial: ## Start the 30 days of all features, machine learning among them
	@$(PYTHON) docker/stack.py trial

stack-test: $(VENV)/dev.stamp ## Run the behaviour tests on it, or on ELASTICSEARCH_URL, KIBANA_URL, ELASTIC_API_KEY; docs/compatibility.md tells what was seen
	@$(ON_STACK); $(BIN)/python -m pytest -q tests/elastic/test_behaviour_*.py $(PYTEST_ARGS) || failed=1; \
	$(if $(ELASTICSEARCH_URL),,$(SEEN) stack-up;) $(BIN)/python -m tests.compatibility; exit $$failed

stack-logstash: ## Send the golden events through a real Logstash of that version
	$(COMPOSE) --profile logstash run --rm logstash-replay
	@$(SEEN) logstash-replay
	@$(BIN)/python -m tests.compatibility

compatibility: $(VENV)/dev.stamp ## Write docs/compatibility.md anew from tests/elastic/behaviours.yml and what was seen
	@$(BIN)/python -m tests.compatibility

chaos: $(VENV)/dev.stamp ## Long chains of DAGs, and workers killed in the middle of them; counts what is left (an hour)
	$(BIN)/python -m pytest -q -m "chaos or long" -p no:cacheprovider tests

wheel: $(VENV)/dev.stamp ## Build the wheel that adopters install
	@rm -f build/dist/*.whl
	$(BIN)/uv build --wheel --no-build-isolation --python $(BIN)/python --out-dir build/dist

wheel-test: $(VENV)/dev.stamp ## Install the wheel beside Airflow in an empty environment, and ask Airflow what it sees
	$(BIN)/python -m pytest -q -m wheel -p no:cacheprovider tests/wheel tests/docker

requirements: $(VENV)/uv.stamp ## Compile requirements.txt and requirements-dev.txt from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --group demo --universal --generate-hashes --python-version 3.11 --no-header $(ARGS) -o requirements.txt
	$(BIN)/uv pip compile -q pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 --no-header $(ARGS) -c requirements.txt -o requirements-dev.txt

preview: $(VENV)/demo.stamp ## Photograph every dashboard into build/preview, needs Chromium: ARGS=--dark
	@$(BIN)/python -m demo.preview $(ARGS)

docs: $(VENV)/dev.stamp ## Build the documentation site into build/site; a broken link fails
	$(BIN)/zensical build --clean --strict

docs-serve: $(VENV)/dev.stamp ## Serve the documentation while you write it
	$(BIN)/zensical serve

clean: ## Remove build/ (demo data, wheels); .venv stays
	rm -rf build .cache .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

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
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt || $(NOT_INSTALLED)
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . || $(NOT_INSTALLED)
	@touch $@

$(VENV)/dev.stamp: $(VENV)/uv.stamp requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.txt || $(NOT_INSTALLED)
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . || $(NOT_INSTALLED)
	@touch $@
