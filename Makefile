PYTHON ?= python

.PHONY: install format lint types test test-more test-slow matrix fuzz

install:  ## an editable install with everything that training and the tests need
	$(PYTHON) -m pip install --constraint constraints.txt --editable ".[test]"

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

test-more:  ## what needs Chromium or a C++ compiler
	$(PYTHON) -m pytest -n 2 -m "(browser or compiler) and not slow"

test-slow:
	$(PYTHON) -m pytest -n 2 -m slow

matrix:  ## the suite with the lowest and the newest versions that setup.py allows; see docs/dependencies.md
	PYTHON=$(PYTHON) .ci/matrix

SECONDS ?= 3600

fuzz:  ## enter the doors with random files for SECONDS; what fails is kept in the folder fuzz-findings
	$(PYTHON) tests/fuzz/run.py --seconds $(SECONDS)
