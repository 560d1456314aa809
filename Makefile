# Each target sets up what it needs on a fresh machine: a virtual environment with pinned versions.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
EXTRAS := demo,eval,documents,serve,dev
WORKERS ?= 2
PYTEST = $(RUN) -m pytest --numprocesses=$(WORKERS) --dist=loadfile

.PHONY: demo test test-fast lint bench clean
.DEFAULT_GOAL := demo

$(READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"tflm needs Python 3.11 to 3.13; $(PYTHON) is {v[0]}.{v[1]}. Use: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(READY)  ## from dialogues to a conversation with a served model, some ten minutes; ARGS=--overwrite begins again
	@$(RUN) -m apps.demo $(ARGS)

# TensorFlow keeps the memory of every graph that was ever traced, so the tests are run in three lots of processes.
test: $(READY)  ## every test, in WORKERS processes; ARGS=tests/text for some
ifeq ($(ARGS),)
	$(PYTEST) tests/apps
	$(PYTEST) tests/tasks tests/decoding tests/models
	$(PYTEST) tests --ignore=tests/apps --ignore=tests/tasks --ignore=tests/decoding --ignore=tests/models
else
	$(PYTEST) $(ARGS)
endif

test-fast: $(READY)  ## without those that need minutes
	$(PYTEST) -m 'not slow' $(ARGS)

lint: $(READY)  ## style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy tflm apps

bench: $(READY)  ## beside nanoGPT's recipe in PyTorch, in one run; ARGS=--data=PATH
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(RUN) benchmarks/shakespeare_char.py $(ARGS)

clean:  ## the virtual environment and caches; runs/ and saved_models/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
