PYTHON ?= python

.PHONY: install format lint types test test-more test-slow docs docs-test package api matrix fuzz gpu-first-hour

install:  ## an editable install with everything that training, the tests, the site and a release need
	$(PYTHON) -m pip install --constraint constraints.txt --editable ".[test,docs,release]"

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

docs:  ## the documentation site, into docs/_build/html, with its notebooks executed and its links checked
	PYTHON=$(PYTHON) .ci/docs

docs-test:  ## the code blocks of README.md and docs/
	$(PYTHON) -m pytest -n 2 -m docs

package:  ## wheel and source distribution into dist/, checked, installed into an empty environment and used
	PYTHON=$(PYTHON) .ci/package dist

api:  ## public names that have changed since the last release
	PYTHON=$(PYTHON) .ci/api

matrix:  ## the suite with the lowest and the newest versions that setup.py allows; see docs/dependencies.md
	PYTHON=$(PYTHON) .ci/matrix

SECONDS ?= 3600

fuzz:  ## enter the doors with random files for SECONDS; what fails is kept in the folder fuzz-findings
	$(PYTHON) tests/fuzz/run.py --seconds $(SECONDS)

gpu-first-hour:  ## 45 minutes on one CUDA GPU: what the GPU path promises, as one table
	$(PYTHON) -m pytest -m gpu
	$(PYTHON) benchmarks/gpu_first_hour.py
