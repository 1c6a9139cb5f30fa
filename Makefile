# mpclab. `make lab` and `make test` are all one needs; `make` lists the rest.
# PYTHON=… names the Python (3.11 or newer) to build the environment with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=60 \
	--nbval-sanitize-with tests/nbval-sanitize.cfg
NOTEBOOKS := $(wildcard notebooks)

.PHONY: help setup lab demo test check format docs docs-tables site compiled bench soak chaos browser lock clean
.DEFAULT_GOAL := help
# Tests start hundreds of processes that import the same modules: compile these once.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(READY)  ## create .venv, or bring it up to the lock

# Nothing to do until the packages change: mpclab itself is installed editable.
$(READY): pyproject.toml requirements.lock tools/environment.py
	$(PYTHON) tools/environment.py $(VENV)
	@touch $@

lab: $(READY)  ## open JupyterLab on the first notebook
	$(BIN)/mpclab lab -- $(ARGS)

demo: $(READY)  ## the whole story in a terminal; leaves pictures, trace and report in demo-out/
	$(BIN)/mpclab demo --out demo-out

test: $(READY) browser  ## everything: unit, property, conformance, notebooks, browser
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(NBVAL) tests $(NOTEBOOKS) $(ARGS)

check: $(READY)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs-tables: $(READY)  ## print what the documents say of the code: tables, diagrams, wire.json
	$(BIN)/python -m tools.docs

docs: docs-tables  ## build the documentation site, notebooks included, into site/; links are checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

site: $(READY)  ## write the page in which a browser tab is a party into site-tab/, for any static server
	$(BIN)/python -m mpclab.web.assets site-tab

compiled: $(READY)  ## compile the engine's modules: the same runs, about twice as fast
	$(BIN)/python -m tools.compile_core

bench: $(READY)  ## measure, beside peers where there are any
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(READY)  ## many more random runs than the tests do
	$(BIN)/python -m benchmarks.soak $(ARGS)

chaos: $(READY)  ## kill, stop, cut off, fill and flood a server and parties for two minutes
	$(BIN)/python -m benchmarks.chaos $(ARGS)

browser: $(READY)  ## get a Chromium for the browser tests if there is none
	$(BIN)/python -m tools.chromium

lock: $(READY)  ## choose the newest packages that pyproject.toml allows; no addresses are kept
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements.lock

clean:  ## remove the environment, caches and results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache demo-out soak-out bench-out site site-tab mpclab/_compiled
