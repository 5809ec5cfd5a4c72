# The project's commands. `make` alone lists them.

PYTHON ?= python3
VENV := .venv/bin
CONFIG ?= applications/ctr/configs/ctr.yaml
# Files of tests that run at a time; 0: none in a process of its own, for a debugger.
TEST_WORKERS ?= 2
# Every folder with an __init__.py is a package of ours.
SOURCES := $(patsubst %/__init__.py,%,$(wildcard */__init__.py)) local_runner.py

# TensorFlow's start-up chatter hides what the run itself says.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup jars audit services demo demo-fraud demo-loop test test-slow test-debian13 lint mypy bench lock clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup:  ## make .venv for this machine (TFX_LINE=1.16 or 1.21 chooses the line)
	@$(PYTHON) requirements/install.py

jars: setup  ## connectors for Spark and the services' own jars, by Maven, into jars/
	@$(VENV)/python requirements/jars.py

audit:  ## look all locked packages up among known vulnerabilities; says what it could not ask for
	@$(PYTHON) requirements/audit.py

services: jars  ## start Kafka, MariaDB, PostgreSQL, HDFS, S3 and Redis on loopback, until Ctrl-C
	@tests/install_packages.sh
	@$(VENV)/python -m dev_services

demo: setup  ## the click-through-rate pipeline, end to end, on a generated click log
	@$(VENV)/python local_runner.py --config $(CONFIG)

demo-fraud: setup  ## the card fraud pipeline, with late labels, on a generated log of payments
	@$(VENV)/python local_runner.py --config applications/fraud/configs/fraud.yaml

demo-loop: setup jars  ## a day of a site: serve, log, Kafka, hourly spans, train, push, serve
	@$(VENV)/python -m applications.ctr.demo_loop

# Tests compare numbers between runs and lines: on the CPU, GPU or not.
test test-slow: export CUDA_VISIBLE_DEVICES ?= -1

test: setup  ## every test but the slow ones (PYTEST_ARGS="-m unit": some; COVERAGE=1: prints coverage)
	@tests/install_packages.sh
	@$(VENV)/python requirements/jars.py
	@$(VENV)/python -m tests -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: setup  ## soak tests, kill storms, more whole runs, containers
	@tests/install_packages.sh
	@$(VENV)/python requirements/jars.py
	$(VENV)/python -m pytest -m slow $(PYTEST_ARGS)

test-debian13:  ## the tests on the TFX 1.21 line, in a Debian 13 root file system (needs root)
	@PYTEST_ARGS="$${PYTEST_ARGS-}" tests/debian13.sh

lint: setup  ## ruff, mypy, import-linter
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(MAKE) --no-print-directory mypy
	$(VENV)/lint-imports

mypy:
	MYPYPATH=.:requirements $(VENV)/mypy --explicit-package-bases $(SOURCES) requirements setup.py

bench: setup  ## every benchmark
	@$(VENV)/python -m benchmarks

lock:  ## resolve the locks in requirements/ anew
	@requirements/lock.sh

clean:  ## remove .venv and what the tools leave; data and runs stay
	rm -rf .venv .venv-* build dist *.egg-info
	rm -rf .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
