# Everything runs in .venv. The first target that needs it creates it.
PYTHON ?= python3
PARAMS ?= quick
JOBS ?= 2
RESULTS := results
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# The environment is created again when requirements.lock or pyproject.toml changes.
LOCK := $(shell git hash-object requirements.lock pyproject.toml | cut -c1-12 | tr '\n' -)
READY := .venv/ready-$(LOCK)

.DEFAULT_GOAL := help
.PHONY: help run test lab paper env notebooks exercises book lint lock clean

help:  ## print this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "  For run: PARAMS=laptop JOBS=1; for another Python: PYTHON=python3.12"

run: $(READY)  ## run all notebooks headless, results in results/quick/index.html
	$(BIN)/python -m clr run --params $(PARAMS) --jobs $(JOBS)

test: $(READY)  ## run the tests, and check the outputs of the committed notebooks
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=10 \
	  --nbval --nbval-current-env --nbval-cell-timeout=300 tests notebooks

lab: $(READY)  ## open JupyterLab on the notebooks
	$(BIN)/python -m jupyterlab notebooks

paper: $(READY)  ## run the notebooks at the paper's scale (many hours, best with a GPU)
	$(BIN)/python -m clr run --params paper --jobs 1

env: $(READY)  ## only make the environment

notebooks: $(READY)  ## execute the committed notebooks in place, strip what differs each time, update README.md
	$(BIN)/python -m nbconvert --to notebook --execute --inplace --log-level ERROR \
	  --ExecutePreprocessor.kernel_manager_class=clr.notebooks.kernel.Kernel \
	  --NotebookExporter.preprocessors=clr.notebooks.pages.SmallFigures notebooks/*.ipynb
	$(BIN)/nbstripout --keep-output --keep-count --keep-id --extra-keys \
	  "metadata.language_info.version metadata.papermill cell.metadata.papermill cell.metadata.execution" \
	  notebooks/*.ipynb
	$(BIN)/python -m clr claims --readme

exercises: $(READY)  ## write the students' versions of the exercises to results/exercises
	@mkdir -p $(RESULTS)
	$(BIN)/python -m nbgrader generate_assignment exercises --force --no-db \
	  --log-level=WARN --CourseDirectory.release_directory=$(RESULTS)

book: exercises  ## build the book, a static site, in results/book
	rm -rf $(RESULTS)/book $(RESULTS)/book-source
	mkdir -p $(RESULTS)/book-source/notebooks
	cp -R docs/. $(RESULTS)/book-source
	cp data/README.md $(RESULTS)/book-source/data.md
	cp data/schedules.png $(RESULTS)/book-source
	cp notebooks/[0-9]*.ipynb notebooks/appendix_*.ipynb $(RESULTS)/book-source/notebooks
	cp -R $(RESULTS)/exercises $(RESULTS)/book-source/notebooks
	$(BIN)/python -m sphinx -W --keep-going --quiet $(RESULTS)/book-source $(RESULTS)/book
	$(BIN)/python -c "from clr.papers import runs_page; runs_page.write('$(RESULTS)/book/runs.html')"
	@echo "$(RESULTS)/book/index.html written"

lint: $(READY)  ## run ruff on the code and the notebooks, and mypy on the library
	$(BIN)/ruff check .
	$(BIN)/ruff format --check clr tests
	$(BIN)/ruff format --check --line-length 76 notebooks
	$(BIN)/python -m mypy

lock: $(READY)  ## update requirements.lock, for every platform (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header \
	  --upgrade -o requirements.lock pyproject.toml

clean:  ## remove results and caches (not .venv, not data/cache)
	rm -rf results .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find clr tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# TORCH_INDEX=<address> installs torch from another index, without the CUDA packages.
$(READY):
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('This needs Python 3.11 or newer, and $(PYTHON) is ' + sys.version.split()[0] + '. Name a newer one: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	@rm -f .venv/ready-*
ifdef TORCH_INDEX
	grep -v -E '^(nvidia|cuda|triton)' requirements.lock > .venv/requirements.lock
	$(BIN)/python -m pip install --extra-index-url $(TORCH_INDEX) -r .venv/requirements.lock
else
	$(BIN)/python -m pip install -r requirements.lock
endif
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@
