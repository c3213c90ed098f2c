# One vocabulary for people, hooks and CI. Everything works from a fresh clone with Python 3.11 or newer, git and make.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

# Stages, flows and model servers call `tru`, `dvc`, `mlflow` and `python` by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A job about privacy tells no vendor that it ran. (MLflow accepts DO_NOT_TRACK=true, but not =1.)
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export DVC_NO_ANALYTICS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup check test test-fast demo data up down

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## install into .venv; nothing if it is up to date

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'tru needs Python 3.11 or newer. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV); the first time takes some minutes and about 2 GB.'
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

check: setup ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread per worker: on a busy machine more threads are slower. A file stays on one worker, so that what its tests
# share (a trained model, a server) is made once.
test: export OMP_NUM_THREADS := 1
test: setup ## the whole test suite; one part: make test T=tests/data
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(T)

test-fast: export OMP_NUM_THREADS := 1
test-fast: setup ## what takes no more than a minute of it
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow" $(T)

demo: setup ## the whole chain on built-in data, in demo/
	$(BIN)/tru demo

data: setup ## the built-in data set in data/, unless there is one
	@test -e data/dataset.json || $(BIN)/tru data generate

up: setup ## start Prefect's server and worker, the schedule, and MLflow's page
	$(BIN)/tru up

down: setup ## stop what `make up` started
	$(BIN)/tru down
