# make demo: install, then learn 100 icon classes in 10 tasks.   make test: install with the tests' needs, then test.
# make PYTHON=python3.12 VENV=/some/where test: another interpreter, another place.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/pip

.PHONY: demo test test-all lint clean

demo: $(VENV)/with-icons
	$(VENV)/bin/mgclip run icons100

test: lint
	$(VENV)/bin/pytest

test-all: lint $(VENV)/with-audit
	$(VENV)/bin/pytest -m "slow or not slow"

lint: $(VENV)/with-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/with-icons: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[icons]"
	touch $@

$(VENV)/with-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[icons,studio,onnx,dev]"
	touch $@

$(VENV)/with-audit: pyproject.toml constraints.txt | $(VENV)/with-dev
	$(PIP) install -c constraints.txt -e ".[audit]"
	touch $@

clean:
	rm -rf $(VENV)
