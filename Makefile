# Development commands; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Touched after a complete installation, so that it is only repeated if one of its two prerequisites has changed.
INSTALLED := $(VENV)/.installed

# No prompts, version notices or progress bars from pip, so that the output is the same without a terminal.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# Extra arguments for a target: make train ARGS="seed=1"
ARGS ?=
# Number of pytest workers; each worker uses one thread.
JOBS ?= $(shell nproc)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; ok = sys.version_info >= (3, 11); sys.exit(None if ok else \
	"requirements.lock needs Python 3.11 or newer, " + sys.executable + " is " + sys.version.split()[0] + \
	". Choose another one: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV) (once; a few minutes)"
	@$(PIP) install --quiet --progress-bar off --requirement requirements.lock
	@$(PIP) install --quiet --progress-bar off --no-deps --editable .
	@touch $@

.PHONY: install
install: $(INSTALLED) ## create .venv and install the locked packages (other targets do this automatically)

.PHONY: train
train: $(INSTALLED) ## train the quickstart, print the results and the path of the picture
	@$(BIN)/mipi train experiment=quickstart $(ARGS)

.PHONY: test
test: $(INSTALLED) ## run the tests except those marked slow; ARGS="-m slow" runs these
	@$(PYTEST) -m "not slow" $(ARGS)

# Suppresses a multi-line notice of the theme about MkDocs 2.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs

.PHONY: docs
docs: $(INSTALLED) ## build the documentation with the API reference in build/site; warnings are errors
	@$(MKDOCS) build --strict --quiet $(ARGS)

.PHONY: check
check: $(INSTALLED) ## check format, lint, types (strict), documentation and import direction, run all tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(MKDOCS) build --strict --quiet
	@$(PYTEST) $(ARGS)

.PHONY: soak
soak: $(INSTALLED) ## kill runs of four algorithms in two worlds 200 times at random moments, resume them, compare the ends; continues
	@$(BIN)/python benchmarks/soak_resume.py $(ARGS)

.PHONY: soak-memory
soak-memory: $(INSTALLED) ## train for an hour and monitor memory, threads, processes and files; ARGS="--kind on_policy"
	@$(BIN)/python benchmarks/soak_memory.py $(ARGS)

.PHONY: damage
damage: $(INSTALLED) ## damage 1,000 files of runs and check that each is refused or survived, none silently used
	@$(BIN)/python benchmarks/damage.py $(ARGS)

.PHONY: fuzz
fuzz: $(INSTALLED) ## run 5,000 random configurations over all commands and list tracebacks and hangs; continues; ARGS="--cases 300 --seed 1"
	@$(BIN)/python benchmarks/fuzz_configs.py $(ARGS)

.PHONY: mutations
mutations: $(INSTALLED) ## put mistakes into a copy of the learner and report which test detects each
	@$(BIN)/python benchmarks/mutations.py $(ARGS)

.PHONY: format
format: $(INSTALLED) ## format the code and apply lint fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Checkouts of peers to compare with: make bench REFIL=PATH SMACLITE=PATH (see benchmarks/peer_refil.py)
REFIL ?=
SMACLITE ?=

.PHONY: bench
bench: $(INSTALLED) ## measure battle and learner, append a table to benchmarks/results.md; with peers: REFIL=PATH SMACLITE=PATH JAXMARL=PATH JAXMARL_PYTHON=PYTHON
	@$(BIN)/python benchmarks/bench.py $(if $(REFIL),--refil $(REFIL)) $(if $(SMACLITE),--smaclite $(SMACLITE)) \
		$(if $(JAXMARL),--jaxmarl $(JAXMARL) --jaxmarl-python $(JAXMARL_PYTHON)) $(ARGS)

.PHONY: golden
golden: $(INSTALLED) ## rewrite the golden files after an intended change of behaviour
	@$(BIN)/python -m pytest tests -k golden --golden-update

.PHONY: lock
lock: ## regenerate requirements.lock from pyproject.toml
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet "torch==2.13.0" ".[dev,docs,dashboard,launchers]"
	@{ sed -n '/^#/p' requirements.lock; build/lock/bin/python -m pip freeze --exclude mipi-pl \
	| sed 's/^\(torch==[0-9.]*\)+.*/\1/'; } > build/requirements.lock
	@mv build/requirements.lock requirements.lock
