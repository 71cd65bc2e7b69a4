# raypipe: `make help` lists the targets.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 --version >/dev/null 2>&1 && echo python3.12 || (command -v python3.11 >/dev/null 2>&1 && echo python3.11 || echo python3))
VENV := .venv
BIN := $(VENV)/bin
GPU := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
STAMP := $(VENV)/.ready-$(GPU)-$(shell cat requirements.txt requirements-gpu.txt pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)

JOB ?= full_pipeline
DATA ?=
DATA_DIR ?=
ARGS ?=
OPTIONS = $(if $(DATA),--data $(DATA)) $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

# on all cores; the tests of a module share what its fixtures made
QUICK_TESTS = $(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 8 --dist loadscope

export RAY_AUTH_MODE ?= token

.PHONY: help setup pipeline serve test fast lint docs stop clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## install everything into .venv (skipped when up to date)

$(STAMP):
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 12), f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
ifeq ($(GPU),gpu)
	grep -v '^flash-attn' requirements-gpu.txt > $(VENV)/gpu.txt
	$(BIN)/python -m pip install --quiet -r $(VENV)/gpu.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation "$$(grep '^flash-attn' requirements-gpu.txt)" || \
		echo "flash-attn could not be built (it needs nvcc); PyTorch's own attention is used"
else
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.txt
endif
	$(BIN)/python -m pip install --quiet --no-deps -e .
	rm -f $(VENV)/.ready-*
	touch $@

pipeline: setup ## run a job: make pipeline [JOB=reclm_pipeline] [DATA=ml-100k DATA_DIR=...] [ARGS="--seeds 5"]
	@$(BIN)/python -m raypipe submit --job $(JOB) $(OPTIONS)

serve: setup ## open the newest bundle on http://127.0.0.1:8000 (or RAYPIPE_BUNDLE=...)
	@$(BIN)/python -m raypipe serve

test: setup lint ## all checks: lint, types, every test, coverage of each room
	$(QUICK_TESTS) --cov --cov-report=json:.coverage.json
	$(BIN)/python tests/support/room_coverage.py .coverage.json
	$(BIN)/python -m pytest -m slow

fast: setup ## the quick tests
	$(QUICK_TESTS)

lint: setup ## ruff, mypy and the figures of style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/support/style_figures.py

docs: setup ## build the documentation into site/ (strict: a broken link fails)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet && echo site/index.html

stop: ## stop the local Ray head
	@$(BIN)/ray stop --force >/dev/null 2>&1 || true

clean: ## remove run folders and caches (not .venv)
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache .coverage*
