# make demo: install, then learn 100 icon classes in 10 tasks.   make test: install what the tests need, then run the fast ones.
# make test-all: the slow tests too.   make test-gpu: those that need an NVIDIA GPU.   make docs: the API page, in build/docs.
# make PYTHON=python3.12 VENV=/some/where test: another interpreter, another folder.   make PINS= test: the newest dependencies.
PYTHON ?= python3
VENV ?= .venv
PINS = -c constraints.txt
PIP = $(VENV)/bin/pip

.NOTPARALLEL:
.PHONY: demo test test-all test-gpu lint docs clean

demo: $(VENV)/with-icons
	$(VENV)/bin/mgclip run icons100

test: lint
	$(VENV)/bin/python scripts/run_tests.py

test-all: lint $(VENV)/with-audit $(VENV)/with-docs
	$(VENV)/bin/pytest -m "slow or not slow"

test-gpu: $(VENV)/with-dev
	$(VENV)/bin/pytest tests/gpu -m "slow or not slow"

lint: $(VENV)/with-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(VENV)/with-docs
	$(VENV)/bin/python scripts/api_page.py build/docs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/with-icons: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install $(PINS) -e ".[icons]"
	touch $@

$(VENV)/with-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install $(PINS) -e ".[icons,studio,onnx,dev]"
	touch $@

$(VENV)/with-audit: pyproject.toml constraints.txt | $(VENV)/with-dev
	$(PIP) install $(PINS) -e ".[audit]"
	touch $@

$(VENV)/with-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install $(PINS) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build
