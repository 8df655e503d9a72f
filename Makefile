# make demo      anonymize the demo portraits: pictures and a report in demo/
# make test      the laws, but for those marked slow: minutes
# make slow      the slow ones alone
# make lint      style and shell checks
# make parity    our networks against PyTorch's, in a .venv-parity of its own (2 GB)
# make docs      the docs as a site in build/site; a link without target is an error
# make test-all  lint, docs, test, slow and parity, as continuous integration does
#
# Each recipe works as the first command in a fresh clone: it makes .venv itself, and
# again when the requirements change. PYTHON picks the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
PARITY := .venv-parity
DOCS := .venv-docs

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint docs parity test-all
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(READY)
	$(VENV)/bin/id2face demo --out demo

# A file at a time in each process, since fixtures are a file's. The longest first, as
# tests/conftest.py sorts them; pytest-xdist would take those of many tests first.
PYTEST := $(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
  --no-loadscope-reorder

test: $(READY)
	$(PYTEST) -m "not slow"

slow: $(READY)
	$(PYTEST) -m slow

# Cheapest first.
test-all: lint docs test slow parity

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/shellcheck .ci/run launch/*.sh launch/slurm.sbatch

docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

$(DOCS)/.ready: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-docs.txt
	@touch $@

# XLA_FLAGS: the tests' own setting compiles quickly and runs slowly, which full-size
# networks do not forgive.
parity: $(PARITY)/.ready
	XLA_FLAGS=--xla_force_host_platform_device_count=1 \
	  $(PARITY)/bin/python -m pytest tests/parity

$(PARITY)/.ready: requirements.txt requirements-parity.txt
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-parity.txt
	@touch $@

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13;" \
	       "run: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --editable .
	@touch $@
