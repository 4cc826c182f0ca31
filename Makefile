# Everything a person does with this repository. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
UV_GROUP = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header
UV_COMPILE = $(UV_GROUP) pyproject.toml

# The virtual environment belongs to one set of locked requirements: with others it is made anew.
REQUIREMENTS_HASH := $(shell sha256sum <requirements-dev.txt | cut -c1-16)
VENV_STAMP := $(VENV)/.stamp-$(REQUIREMENTS_HASH)

# The lab's own targets (its programs, and its rule `lab`, which builds them).
-include lab/lab.mk

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

.PHONY: demo
demo: system venv lab ## the whole product on this machine: API server, domain controller, operator, and a guided tour
	@$(PY) -m lab.demo

.PHONY: demo-stop
demo-stop: ## end what `make demo` left running
	@if [ -x $(PY) ]; then $(PY) -m lab.demo --stop; else echo "Nothing to stop: there is no $(VENV)."; fi

.PHONY: test
test: system venv ## everything: lint, types, unit, property, integration and chart tests, from nothing
	@$(MAKE) lint unit
	@$(MAKE) integration
	@$(MAKE) chart

.PHONY: lint
lint: venv ## ruff, mypy and the import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

.PHONY: format
format: venv ## put the code into its form
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: unit
unit: venv ## unit and property tests; they start nothing
	$(PY) -m pytest tests/unit $(wildcard tests/property)

.PHONY: integration
integration: system venv lab ## tests against a real API server and a real domain controller
	@# Real parts on a machine that may be busy: a test that fails gets one more try, and is listed with an R where it needed it.
	$(PY) -m pytest tests/integration --reruns 1 -rR

.PHONY: integration-strict integration-direct
integration-strict: FRONT := strict
integration-direct: FRONT := direct
integration-strict integration-direct: system venv lab ## all of them by one way to the directory: through a proxy with Windows's manners, or without
	ADSYNC_TEST_FRONT=$(FRONT) $(PY) -m pytest tests/integration --reruns 1 -rR

.PHONY: chart
chart: system venv lab ## tests of the chart: what it renders, and a release of it in a real API server
	@[ "$$(id -u)" -ne 0 ] || lab/install-packages chart-packages.txt
	$(PY) -m pytest tests/chart

.PHONY: cluster
cluster: system venv lab ## tests on a real node (needs root): the image is built, the chart installed, upgraded and uninstalled
	@[ "$$(id -u)" -ne 0 ] || lab/install-packages node-packages.txt
	$(PY) -m pytest -rs -s tests/cluster

.PHONY: kind-demo
kind-demo: ## with Docker and kind: a cluster, a domain controller as a pod, the chart, the examples
	@$(PYTHON) -m lab.kind.demo

.PHONY: kind-stop
kind-stop: ## delete that cluster
	@$(PYTHON) -m lab.kind.demo --stop

.PHONY: bench
bench: system venv lab ## measure, print a table, keep the result as a file
	@$(PY) -m benchmarks

.PHONY: crds
crds: venv ## generate crds/ from the models
	$(PY) -m adsync.resources.crd crds
	$(PY) -m adsync.resources.crd helm/adsync/files/crds

.PHONY: values
values: venv ## make docs/values.md of the chart's values and their schema
	$(PY) helm/values_table.py

.PHONY: dashboard
dashboard: venv ## make the Grafana dashboard of its code
	$(VENV)/bin/uv run --quiet --no-project --isolated --with-requirements requirements-dashboards.txt python dashboards/dashboard.py

.PHONY: image
IMAGE ?= adsync:$(shell $(PYTHON) -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
CONTAINER_TOOL ?= $(firstword $(shell command -v podman docker buildah))
image: ## build the image with podman, docker or buildah
	@[ -n "$(CONTAINER_TOOL)" ] || { echo "Building the image needs podman, docker or buildah."; exit 1; }
	$(CONTAINER_TOOL) build --tag $(IMAGE) --file Containerfile .

.PHONY: lock
lock: venv ## resolve the requirements anew
	$(UV_COMPILE) --upgrade --output-file requirements.txt
	$(UV_COMPILE) --upgrade --group dev --constraint requirements.txt --output-file requirements-dev.txt
	$(UV_GROUP) --upgrade --group image --output-file requirements-image.txt
	$(UV_GROUP) --upgrade --group dashboards --output-file requirements-dashboards.txt

.PHONY: venv
venv: $(VENV_STAMP) ## the virtual environment, from the locked requirements

$(VENV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: adsync needs Python 3.11. Say which one to use with make PYTHON=…"; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: system
system: ## the Debian packages that the lab needs (asks for root only if one is missing)
	@lab/install-packages

.PHONY: clean
clean: ## remove what was built here, but not the lab's cache
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build
