# Two commands on a fresh machine with python3 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export OMP_NUM_THREADS ?= 1
# An image may forbid Python to keep what it compiles: then each process that a test starts compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE
# How many test files run side by side; each may start workers of its own.
JOBS ?= 2

.PHONY: help setup demo test quick soak lint types format docs reference clean
help:            ## say what there is
	@grep -E '^[a-z]+: .*##|^[a-z]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup: $(READY)  ## make .venv with everything the commands below need

# uv resolves a torch and a torchvision that belong together; where it is absent, the environment brings it.
$(READY): pyproject.toml
	@echo "making $(VENV): torch with its CUDA libraries takes 8 GB, and minutes on a slow network"
	@if command -v uv >/dev/null; then uv venv -q --allow-existing --python '>=3.11' $(VENV); \
	else $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q uv; fi
	@UV=$$(command -v uv || echo $(BIN)/uv); $$UV pip install -q --python $(BIN)/python -e '.[dev]'
	@touch $@

demo: setup      ## render a pool with known faults, curate it, compare with the truth
	$(BIN)/curate demo
	@command -v curate >/dev/null || echo "  To type curate instead of $(BIN)/curate: source $(BIN)/activate"

test: lint types ## lint, format check, types and all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not soak'

quick: setup     ## the tests that take no more than a few seconds each
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not slow and not soak'

soak: setup      ## the long trials: ten thousand mutated files, an hour of schedules
	$(BIN)/python -m pytest -m soak

lint: setup      ## ruff: lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup     ## mypy, strict
	$(BIN)/mypy

format: setup    ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup      ## the pages of docs/ as a site in site/, which opens from the disk; broken links are errors
	$(BIN)/zensical build --strict --clean

reference: setup ## the generated parts of docs/ (commands, keys) as the code has them
	$(BIN)/python -m curate.reference

clean:           ## remove what the commands above made
	rm -rf $(VENV) demo site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
