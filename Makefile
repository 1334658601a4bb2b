# Every target makes what it needs; `make repro` and `make test` are all a newcomer has to know.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXPERIMENT ?= ar_small
PATHS := decomposition common ar_variants experiments tests bench
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true

.PHONY: help install format lint types test test-all check golden bench repro report

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

$(BIN)/nla: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(BIN)/nla  ## virtual environment with everything

format: install  ## ruff, in place
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

lint: install  ## ruff and the import rules
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/lint-imports

types: install  ## static types
	$(BIN)/basedpyright

test: install  ## the tests, in as many processes as there are cores (minutes, even on 2 slow ones)
	$(BIN)/pytest -m "not slow" --numprocesses auto --maxprocesses 8

test-all: install  ## the slow ones too: whole pipeline through DVC, kills, a real PostgreSQL
	$(BIN)/pytest

check: lint types test  ## what CI runs

golden: install  ## rewrite golden files after an intended change, then look at the diff
	$(BIN)/python -m tests.report.golden
	$(BIN)/python -m tests.training.golden

bench: install  ## speed against the public alternatives, ratios in one run
	$(BIN)/python -m bench

repro: install  ## one experiment end to end: make repro EXPERIMENT=ar_small PROFILE=laptop
	$(if $(PROFILE),$(BIN)/nla profile $(PROFILE))
	$(BIN)/dvc repro experiments/$(EXPERIMENT)

report: install  ## render the report again from collected results
	$(BIN)/nla report $(EXPERIMENT)
