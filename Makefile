# Each target does all its own set-up on a fresh Debian 12 or 13: packages with
# apt where some are missing, a virtual environment, the rest from pyproject.toml.
#
#   make run     make a telnet TAP if there is none, and run it in the foreground
#                (PORT=4040 PASSWORD=... DIR=run)
#   make test    lint, types and every test; as root also on real systemd
#   make docs    the documentation as a site, into build/docs
#   make soak    the tests that go on for ever, by a seed (SECONDS=3600 SEED=1)
#   make bench   the benchmarks, as ratios within one run
#   make deb     the Debian package, into dist/

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONSTRAINTS = requirements/constraints.txt
# Of tests run at once; the storms and the booted systems are busy by themselves.
JOBS ?= 2
# The Debians that are booted.
SUITES ?= bookworm trixie

RUN_PACKAGES = gcc libsystemd-dev pkg-config python3-dev python3-venv
DEB_PACKAGES = build-essential debhelper dh-python dpkg-dev pybuild-plugin-pyproject python3-setuptools

.PHONY: run test lint types docs unit system soak bench deb clean

# The password stays in the environment: a recipe's text would show in ps.
unexport PASSWORD
run: export BIN := $(BIN)
run: export DIR := $(or $(DIR),run)
run: export PORT := $(PORT)
run: export TAPD_PASSWORD := $(value PASSWORD)
run: $(VENV)/.for-run
	@tools/run-telnet

test: lint types docs unit system

lint: $(VENV)/.for-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.for-test
	$(BIN)/mypy

# A warning (a link that leads nowhere, say) is an error.
docs: $(VENV)/.for-test
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/docs

unit: $(VENV)/.for-test
	$(BIN)/pytest -n $(JOBS) --ignore=tests/system

# The tests of one Debian share a booted system and run in order; the two side by side.
system: $(VENV)/.for-test
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(SUITES:%=system-%)

system-%: $(VENV)/.for-test
	$(BIN)/pytest tests/system -k $*

# A seed is made up, and printed, where none is given.
soak: SECONDS := $(or $(SECONDS),3600)
soak: $(VENV)/.for-test
	$(BIN)/python tests/soak.py --seconds $(SECONDS) $(SEED:%=--seed %)

bench: $(VENV)/.for-test
	for bench in benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

deb:
	@tools/apt-ensure $(DEB_PACKAGES)
	tools/build-deb dist

$(BIN)/python:
	@tools/apt-ensure $(RUN_PACKAGES)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.for-run: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.for-test: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
