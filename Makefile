# Every target sets up what it needs: `make run` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
LOG ?=
RUN ?= runs/first
SEED ?= 0
BIN = $(VENV)/bin
STAMP = $(VENV)/.pyrorec-stamp

.PHONY: setup run test lint studies faults embedded clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("pyrorec needs Python 3.11 or newer: say make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

run: $(STAMP)
	$(BIN)/pyrorec fit $(if $(LOG),"$(LOG)" --holdout 0.2) --out "$(RUN)" --seed $(SEED) --replace
	@echo "open $(RUN)/report.html"

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

studies: $(STAMP)
	$(BIN)/python -m benchmarks.confounded_worlds
	$(BIN)/python -m benchmarks.recovery

faults: $(STAMP)
	$(BIN)/python -m pytest -m fault

embedded: $(STAMP)
	$(BIN)/python -m pyrorec.simulation.embedded

clean:
	rm -rf $(VENV) runs build dist *.egg-info src/*.egg-info
