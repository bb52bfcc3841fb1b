# petct-node: everything from a fresh clone.  `make demo` and `make test` set up what is missing.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# one math thread a process: the tests run side by side
TEST_ENV := OMP_NUM_THREADS=1 TCP_NODELAY=1
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup peers demo test lint format bundle fuzz fuzz-long decisions conformance bench bench-arrival bench-report bench-training results test-conformance test-viewer viewer-setup pictures report-picture fonts clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

$(VENV)/stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Run once:  sudo apt-get install -y python3-venv" >&2; rm -rf $(VENV); exit 3; }
	@echo "Installing pinned packages into $(VENV) …"
	@# torch first and alone, so that the pinned build is the one every other package finds
	@$(BIN)/pip install -q -c constraints.txt torch
	@$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/stamp ## virtual environment with pinned packages

peers: ## Orthanc, DCMTK and validators from Debian, where missing
	@sh deploy/debian-peers.sh

demo: setup peers ## the main job, once: a study in by C-STORE, its report out in Orthanc (STUDY=folder, KEEP=1)
	@$(BIN)/petct-node demo $(if $(STUDY),--study "$$STUDY") $(if $(KEEP),--keep)

test: setup peers ## all tests but the browser's and the template check
	@$(TEST_ENV) $(BIN)/pytest -n $(JOBS) --dist worksteal -q --ignore=tests/viewer --ignore=tests/conformance

lint: setup ## ruff, mypy strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## let ruff put the code in order
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bundle: setup ## train the demonstration model again, into inference/bundles/demo
	@$(BIN)/petct-node train demo --out inference/bundles/demo --overwrite

fuzz: setup ## the fuzz targets, briefly, as in the tests
	@$(TEST_ENV) $(BIN)/pytest -q tests/fuzz

fuzz-long: setup ## the fuzz targets, each for an hour (SECONDS_EACH=60); findings and corpus in build/fuzz
	@for target in header study region; do mkdir -p build/fuzz/$$target && \
	$(BIN)/python -m tests.fuzz.run $$target -max_total_time=$(or $(SECONDS_EACH),3600) \
	-artifact_prefix=build/fuzz/$$target- build/fuzz/$$target || exit 1; done

bench: setup ## the pipeline against a plain script, side by side (RUNS=3)
	@$(BIN)/python tests/benchmarks/pipeline.py $(if $(RUNS),--runs $(RUNS))

bench-arrival: setup peers ## from the last slice to the analysis, for each way to send 300 + 300 slices
	@$(BIN)/python -m tests.benchmarks.arrival

bench-report: setup ## CPU and size of each result object, against one forward of a network (RUNS=5)
	@$(BIN)/python -m tests.benchmarks.report $(if $(RUNS),--runs $(RUNS))

bench-training: setup ## seconds, memory and input share of a training step, for each recipe (ONLY=cpc)
	@$(BIN)/python -m tests.benchmarks.training $(if $(ONLY),--only $(ONLY))

results: setup ## docs/results.md again, from what docs/measured holds
	@$(BIN)/python -m training.experiments.results_page

test-conformance: setup peers ## PixelMed checks our reports against the templates of PS3.16 (takes PixelMed and a Java from Debian; 2 minutes)
	@sh deploy/debian-peers.sh --conformance
	@$(TEST_ENV) $(BIN)/pytest -q tests/conformance

viewer-setup: setup
	@sh deploy/debian-peers.sh --viewer
	@sh tests/viewer/setup.sh

test-viewer: peers viewer-setup ## OHIF and dwv in a headless browser show our results (VIEWER_STUDY=folder)
	@$(TEST_ENV) $(BIN)/pytest -q tests/viewer

conformance: setup ## the tables of conformance.md again, from the code and from objects written for it
	@$(BIN)/python -m deploy.conformance

decisions: setup ## what becomes of the 77 reference folders, as a Markdown table
	@$(BIN)/python -m tests.integration.decisions_table

pictures: peers viewer-setup ## the pictures of README and docs again, of the real patient in ../shared/data
	@$(TEST_ENV) $(BIN)/python tests/viewer/pictures.py

report-picture: setup ## the README's picture of a training report again (needs chromium; 3 minutes)
	@$(TEST_ENV) $(BIN)/python tests/viewer/report_picture.py

fonts: setup ## the pictures' Japanese and Chinese fonts again, after a change of the phrases (needs npm)
	@$(BIN)/python deploy/fonts.py

clean: ## remove what the targets made
	rm -rf $(VENV) demo-run build dist .pytest_cache .mypy_cache .ruff_cache
