VENV ?= .venv
PYTHON ?= python3
SEEDS ?=
CONSTRAINTS ?= -c constraints.txt
export PATH := $(abspath $(VENV))/bin:$(PATH)

READY := $(VENV)/.ready

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	pip install -q --disable-pip-version-check $(CONSTRAINTS) -e ".[dev]"
	@touch $@

install: $(READY) ## the virtual environment, with everything in it

repro: $(READY) ## the whole pipeline on params.yaml; SEEDS=2 sets split.seeds there first
	@git rev-parse --git-dir > /dev/null 2>&1 || dvc config --local core.no_scm true
	python -m pipeline verify --quick || python -m pipeline verify --mend
	for stage in $$(python -m pipeline outdated); do dvc repro -f -s $$stage; done
	$(if $(SEEDS),dvc exp run -S split.seeds=$(SEEDS),dvc repro) || ! python -m pipeline verify --quick
	python -m pipeline verify --quick || { python -m pipeline verify --mend && dvc repro; }

test: $(READY) ## ruff, mypy --strict and the whole test suite
	ruff check .
	ruff format --check .
	mypy
	pytest -q -n 3 --dist loadfile --no-loadscope-reorder

bench: $(READY) ## ratios against what a user would pick instead -> docs/benchmarks.json, docs/benchmarks.md, docs/scale.md
	python -m bench

proof: $(READY) ## kills, faults and flipped bits, many times over -> results/proof.json, docs/reliability.md
	python -m proof

tables: $(READY) ## measure the tables of docs/results.md and README.md (needs the research-only photos)
	python -m ablations.tables

clean: ## the virtual environment and everything that was made
	rm -rf $(VENV) data runs results

.PHONY: help install repro test bench proof tables clean
