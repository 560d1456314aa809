# Each target sets up what it needs on a fresh machine: a virtual environment with pinned versions. `make help` lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
EXTRAS := demo,eval,documents,serve,hub,gguf,tune,check,dev
WORKERS ?= 2
PYTEST = $(RUN) -m tests.parallel --workers=$(WORKERS)

.PHONY: help install demo test test-fast lint protos docs bench torture clean
.DEFAULT_GOAL := demo

$(READY): setup.cfg setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"tflm needs Python 3.11 to 3.13; $(PYTHON) is {v[0]}.{v[1]}. Use: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter. For the commands of tflm: . $(VENV)/bin/activate; tflm --help'

install: $(READY)  ## create .venv with tflm, its extras and pinned versions

demo: $(READY)  ## train a small chat model, export it and ask it five questions; ARGS=--overwrite starts again
	@$(RUN) -m tflm demo $(ARGS)

test: $(READY)  ## run all tests in WORKERS=2 processes and list what failed or was skipped; ARGS=tests/text for some
	@$(PYTEST) $(ARGS)

test-fast: $(READY)  ## run the tests that take seconds
	@$(PYTEST) --fast $(ARGS)

lint: $(READY)  ## check style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy tflm apps

protos: $(READY)  ## compile tflm/serving/protos/*.proto
	$(RUN) -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. tflm/serving/protos/*.proto

docs: $(READY)  ## build the documentation site in site/, with an API reference; strict on broken links
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(RUN) docs/make_configuration.py
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet && echo "built site/; to read it: $(RUN) -m http.server --directory site"

bench: $(READY)  ## compare training speed with nanoGPT's recipe in PyTorch; ARGS=--data=PATH
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(RUN) benchmarks/shakespeare_char.py $(ARGS)

torture: $(READY)  ## kill a training 50 times, resume it and compare its end with an uninterrupted one; ARGS=--kills=9
	$(RUN) benchmarks/torture.py $(ARGS)

clean:  ## remove the virtual environment, caches and builds; runs/ and saved_models/ are kept
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
