# make demo    anonymize the demo portraits: pictures and a report in demo/
# make test    the whole test suite
# make lint    style and shell checks
#
# Each recipe works as the first command in a fresh clone: it makes .venv itself, and
# again when the requirements change. PYTHON picks the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(READY)
	$(VENV)/bin/id2face demo --out demo

test: $(READY)
	$(VENV)/bin/python -m pytest

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/shellcheck .ci/run launch/*.sh launch/slurm.sbatch

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
