# Every command sets up what it needs in $(VENV) first. `make help` lists the commands.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# make test PYTHON=python3.12 gets an environment of its own, beside that of python3.
PYTHON ?= python3
VENV ?= .venv$(subst /,-,$(patsubst %,-%,$(patsubst /%,%,$(filter-out python3,$(PYTHON)))))
# make demo CONFIG=secrets/config.json reads all tables of a real account instead.
CONFIG ?=
# make unit ARGS="-k slicing -x"
ARGS ?=
IMAGE ?= source-listrak:dev

BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The suites may run side by side (make -j), so each keeps its cache apart.
PYTEST = $(BIN)/python -m pytest -o cache_dir=.pytest_cache/$@
# Most of an integration test is the start of a process.
SIDE_BY_SIDE = -n 2 --dist loadgroup
WITH_SIMULATOR = $(BIN)/python -m integration_tests.acceptance run
AIRBYTE_CDK = '$(abspath $(BIN))/airbyte-cdk'
CLIENTS := $(VENV)-clients
DBT := $(VENV)-dbt
DEMO := $(VENV)-demo
QA := $(VENV)-qa
# As in pyproject.toml.
UV := uv>=0.13,<0.14
CHECK_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' \
  || { echo 'Python 3.10 to 3.14 is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
FIND_POSTGRES = { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } > /dev/null 2>&1
# For the image's Python. Versions that are locked already stay, unless --upgrade is given.
LOCK = UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile pyproject.toml --quiet --universal \
  --python-version 3.13 --generate-hashes --custom-compile-command 'make lock'

##@ Commands

.PHONY: demo
demo: $(DEMO)/.ready $(DBT)/.ready ## replicate a simulated account into DuckDB and compare (CONFIG=path: all of a real one)
	DBT='$(DBT)/bin/dbt' $(DEMO)/bin/python -m demo $(if $(CONFIG),--config '$(CONFIG)')

.PHONY: test
test: lint types unit integration ## the quick checks, in about 5 minutes: lint, types, unit and integration tests

.PHONY: format
format: $(READY) ## rewrite the code in the project's format
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## delete environments, caches and output
	rm -rf .venv .venv-* build dist demo-output .tmp *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Parts of `make test`

.PHONY: lint
lint: $(READY) ## ruff: rules and format; the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

.PHONY: types
types: $(READY) ## mypy, strict
	$(BIN)/mypy

.PHONY: unit
unit: $(READY) ## tests without a socket
	$(PYTEST) unit_tests $(ARGS)

.PHONY: integration
integration: $(READY) ## tests against the simulator
	$(PYTEST) $(SIDE_BY_SIDE) simulator integration_tests -m 'not slow and not image_tests and not clients and not browser and not aspnet' $(ARGS)

##@ Longer checks (whatever is added here gets a line in .ci/run)

.PHONY: fuzz
fuzz: $(READY) ## 100,000 mutated responses lead to rows or to a named error (ARGS="--seed 2")
	$(BIN)/python -m integration_tests.fuzz $(ARGS)

.PHONY: slow
slow: $(READY) ## the tests left out of `make test` for their length
	$(PYTEST) $(SIDE_BY_SIDE) unit_tests simulator integration_tests -m 'slow and not image_tests and not clients and not browser and not aspnet' $(ARGS)

.PHONY: acceptance
acceptance: $(READY) ## airbyte-cdk connector test, against the simulator
	$(WITH_SIMULATOR) $(AIRBYTE_CDK) connector test --pytest-arg=-m --pytest-arg='not image_tests'

.PHONY: image
image: ## build the Docker image (IMAGE=name)
	scripts/image.sh build '$(IMAGE)'

.PHONY: image-test
image-test: image $(READY) ## run the image against the simulator, then airbyte-cdk image test
	scripts/image.sh exec $(PYTEST) integration_tests -m image_tests \
	  --connector-image '$(IMAGE)' --read-from-streams=all --read-scenarios=sample_config $(ARGS)
	scripts/image.sh exec $(WITH_SIMULATOR) $(AIRBYTE_CDK) image test --image '$(IMAGE)'

.PHONY: lock-check
lock-check: $(READY) ## the lock of the image's dependencies matches pyproject.toml
	mkdir -p .tmp
	cp requirements.txt .tmp/requirements.txt
	$(LOCK) --output-file .tmp/requirements.txt
	diff requirements.txt .tmp/requirements.txt || { echo 'Run: make lock' >&2; exit 1; }

.PHONY: workflows
workflows: $(READY) ## lint the workflows by zizmor: pinned actions, permissions, credentials, injection
	$(BIN)/uv tool run --quiet --from 'zizmor>=1.32,<2' zizmor --offline --persona pedantic .github

.PHONY: qa
qa: $(QA)/.ready ## Airbyte's own checks of connectors, at the level for certified ones
	DO_NOT_TRACK=1 PYTHONWARNINGS=ignore $(QA)/bin/python scripts/qa.py

.PHONY: package
package: $(READY) ## build the Python package, and run it in an environment of its own
	rm -rf dist
	$(BIN)/uv build --quiet --python '$(BIN)/python'
	$(BIN)/uv tool run --quiet --python '$(BIN)/python' --from dist/*.whl source-listrak spec > /dev/null

.PHONY: clients
clients: $(READY) $(CLIENTS)/pyairbyte/.ready $(CLIENTS)/airbyte_serverless/.ready ## PyAirbyte and airbyte-serverless read through the connector
	CLIENTS='$(CLIENTS)' $(PYTEST) integration_tests -m clients $(ARGS)

.PHONY: aspnet
aspnet: $(READY) ## all tables through a real ASP.NET service (root: installs Mono and nginx)
	scripts/aspnet.sh $(PYTEST) integration_tests/aspnet -m aspnet $(ARGS)

.PHONY: analytics
analytics: $(READY) $(DBT)/.warehouses ## build the dbt package on DuckDB and Postgres, and parse its SQL in six dialects
	@$(FIND_POSTGRES) || { apt-get update && apt-get install --yes postgresql; } > /dev/null 2>&1 \
	  || echo 'There is no Postgres (apt-get install postgresql): the tests on it are skipped' >&2
	DBT='$(DBT)/bin/dbt' $(PYTEST) $(SIDE_BY_SIDE) integration_tests/test_analytics.py $(ARGS)

.PHONY: browser
browser: $(READY) $(DBT)/.ready ## open the demo's report in headless Chromium
	DBT='$(DBT)/bin/dbt' $(PYTEST) integration_tests -m browser $(ARGS)

.PHONY: bench
bench: $(READY) ## measure for half an hour, and write docs/performance.md (ARGS="memory --rounds 1": print a part)
	$(BIN)/python -m benchmarks $(or $(ARGS),--write)

##@ Other

.PHONY: lock
lock: $(READY) ## lock the image's dependencies, with hashes, at their newest versions
	$(LOCK) --upgrade --output-file requirements.txt

.PHONY: audit
audit: $(READY) ## check the locked dependencies for known vulnerabilities
	$(BIN)/uv tool run --quiet --from 'pip-audit>=2.10,<3' pip-audit --progress-spinner off \
	  --requirement requirements.txt --require-hashes --disable-pip --strict

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@printf '\nVariables: PYTHON=%s VENV=%s CONFIG= ARGS= IMAGE=%s\n' '$(PYTHON)' '$(VENV)' '$(IMAGE)'

# Installed again whenever the dependencies may have changed.
$(READY): pyproject.toml setup.py
	$(CHECK_PYTHON)
	@echo 'Setting up $(VENV): one to five minutes, once'
	$(PYTHON) -m venv '$(VENV)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# Less than half the size of $(VENV): uv leaves out what pyproject.toml tells it to.
$(DEMO)/.ready: pyproject.toml setup.py
	$(CHECK_PYTHON)
	@echo 'Setting up $(DEMO): about a minute, once'
	$(PYTHON) -m venv '$(DEMO)'
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check '$(UV)'
	$(DEMO)/bin/uv pip install --quiet --python '$(DEMO)/bin/python' --editable '.[demo]'
	touch $@

# dbt's bounds do not fit those of mypy.
$(DBT)/.ready: analytics/requirements.txt
	@echo 'Setting up $(DBT): half a minute, once'
	$(PYTHON) -m venv '$(DBT)'
	$(DBT)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# By uv, since pip takes ten minutes to resolve it; --no-config, since pyproject.toml excludes packages
# from the image that it needs.
$(QA)/.ready: scripts/qa.txt $(READY)
	@echo 'Setting up $(QA): about a minute, once'
	$(PYTHON) -m venv '$(QA)'
	$(BIN)/uv pip install --quiet --no-config --python '$(QA)/bin/python' -r $<
	touch $@

$(DBT)/.warehouses: analytics/requirements-warehouses.txt $(DBT)/.ready
	$(DBT)/bin/python -m pip install --quiet --disable-pip-version-check -r analytics/requirements.txt -r $<
	touch $@

# Each client gets its own environment, as on a platform.
$(CLIENTS)/%/.ready: integration_tests/clients/%.txt
	@echo 'Setting up $(@D): about a minute, once'
	$(PYTHON) -m venv '$(@D)'
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@
