PYTHON ?= python

.PHONY: install format lint types test test-slow fuzz

install:  ## an editable install with everything that training and the tests need
	$(PYTHON) -m pip install --editable ".[test]"

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy src

test:
	$(PYTHON) -m pytest -n 2

test-slow:
	$(PYTHON) -m pytest -n 2 -m slow

SECONDS ?= 3600

fuzz:  ## enter the doors with random files for SECONDS; what fails is kept in the folder fuzz-findings
	$(PYTHON) tests/fuzz/run.py --seconds $(SECONDS)
