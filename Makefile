# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
# Each makes .venv when there is none. Needs Python 3.11 or later and git; no key, no network beyond the package registry.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# uv resolves in seconds; where it can't reach the registry as it is configured for pip, pip does the same more slowly
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
SLOWLY  = $(BIN)/python -m pip install --quiet --constraint constraints.txt
TESTS  ?= tests
FRAMEWORKS = tests/capture/test_frameworks.py
LINT   = tests/contracts/test_datacontract_lint.py
ARGS   ?=

.PHONY: demo test test-slow test-frameworks test-datacontract test-colab bench check notebooks lock clean
.DEFAULT_GOAL := help
.PHONY: help
help:
	@echo "make demo       the whole story on made-up support tickets, about two minutes"
	@echo "make test       format, lint, types and tests"
	@echo "make test-slow  the tests that take longer: PostgreSQL, long outages, bursts"
	@echo "make bench      the measurements beside the peers, printed as ratios"
	@echo "make notebooks  run the tutorials and store what they print"

$(BIN)/python:
	@echo "prodkit: making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("prodkit needs Python 3.11 or later, this is %d.%d; say make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "prodkit: installing prodkit with what the demo needs"
	@$(INSTALL) --editable '.[demo]' || $(SLOWLY) --editable '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "prodkit: installing what the tests need"
	@$(INSTALL) --editable '.[demo,polars,dask]' --group test || $(SLOWLY) --editable '.[demo,polars,dask]' --group test
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/prodkit demo

check: $(VENV)/.test
	@echo "prodkit: ruff format, ruff check, mypy"
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/mypy

test: check
	@echo "prodkit: tests"
	@$(BIN)/python -m pytest $(TESTS) --ignore tests/benchmarks -n 2 --dist loadgroup -m "not slow" $(ARGS)

# litellm and langchain lie apart: where MLflow finds litellm, it imports it for seconds and prices by it
$(VENV)/.sdks: $(VENV)/.test
	@echo "prodkit: installing the frameworks over the SDKs"
	@$(INSTALL) --target $(VENV)/sdks --group sdks || $(SLOWLY) --target $(VENV)/sdks --group sdks
	@touch $@

test-slow: $(VENV)/.test
	@$(BIN)/python -m pytest $(TESTS) --ignore tests/benchmarks --ignore $(FRAMEWORKS) --ignore $(LINT) -m slow --timeout 600 $(ARGS)
	@$(MAKE) --no-print-directory test-frameworks
	@$(MAKE) --no-print-directory test-datacontract
	@$(MAKE) --no-print-directory test-colab

test-frameworks: $(VENV)/.sdks
	@PYTHONPATH=$(VENV)/sdks $(BIN)/python -m pytest $(FRAMEWORKS) -m slow --timeout 600 $(ARGS)

# the contract files' linter has an environment of its own: some fifty packages that nothing here imports
$(VENV)/.datacontract: $(VENV)/.test
	@echo "prodkit: installing the linter of contract files"
	@$(BIN)/python -m venv --clear $(VENV)/datacontract
	@$(BIN)/uv pip install --quiet --python $(VENV)/datacontract/bin/python 'datacontract-cli>=1.2' || $(VENV)/datacontract/bin/python -m pip install --quiet 'datacontract-cli>=1.2'
	@touch $@

test-datacontract: $(VENV)/.datacontract
	@$(BIN)/python -m pytest $(LINT) -m slow --timeout 600 $(ARGS)

# what Colab runs: older front-end packages, which pip leaves as they are; its IPython has no completion for our lines
COLAB = 'ipython==7.34.0' 'ipykernel==6.17.1' 'ipywidgets==7.7.1'
$(VENV)/.colab: $(VENV)/.test
	@echo "prodkit: installing prodkit beside Colab's IPython, ipykernel and ipywidgets"
	@$(BIN)/python -m venv --clear $(VENV)/colab
	@$(VENV)/colab/bin/python -m pip install --quiet --editable '.[demo,polars]' $(COLAB) anthropic pytest pytest-asyncio pytest-benchmark pytest-timeout pytest-xdist nbval nbmake
	@touch $@

test-colab: $(VENV)/.colab
	@PATH="$(CURDIR)/$(VENV)/colab/bin:$$PATH" $(VENV)/colab/bin/python -m pytest tests/notebook --ignore tests/notebook/test_completion.py -W default -n 2 -m "not slow" $(ARGS)

bench: $(VENV)/.test
	@$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only --timeout 600 -q $(ARGS)

notebooks: $(VENV)/.test
	@$(BIN)/python tests/notebooks/test_tutorials.py

lock: $(BIN)/python
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --extra demo --extra polars --extra dask --extra postgres --group test --group sdks pyproject.toml --output-file constraints.txt
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" >> constraints.txt

clean:
	rm -rf $(VENV) .prodkit jobs
