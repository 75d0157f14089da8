# Everything a fresh clone needs: `make demo`, `make test`. The rest is for people who change the code.
# The environment is built from hashed lock files with pip alone, so that Python, git and make are enough.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,$(if $(shell $(p) -c "import sys; print(sys.version_info >= (3, 11) or '')" 2>/dev/null),$(p))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed
MUTANTS_STAMP := $(VENV)/.mutants-installed
MUTANTS_SECONDS ?= 600
ONLY ?=
CASES ?=
RUNS ?= 3
QUICK ?=

# Empty means: Python keeps compiled files. Without them every process of the tests compiles all modules again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test check format lock dist docs prose soak mutants bench bench-docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found. Install one, or say which: make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## stop a simulated teepod: plan, live progress, summary, audit log
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh playbooks/demo.sh

# The folder for the files of the tests: in memory if 2 GiB are free there, since an fsync takes no time there.
TESTS_TMPDIR ?= $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 2097152 {print $$6}' \
	| while read folder; do test -w $$folder && ! grep -q " $$folder .*noexec" /proc/mounts && echo $$folder; done)

# Four for each core, since the tests often wait for processes: fewer leave the cores idle, more cost their start.
WORKERS ?= $(shell expr 4 \* $$(getconf _NPROCESSORS_ONLN))

test: $(STAMP)  ## run the tests
	$(if $(TESTS_TMPDIR),TMPDIR=$(TESTS_TMPDIR)) $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

soak: $(STAMP)  ## run the long seeded suites as well (chaos, crashes)
	$(BIN)/python -m pytest -m "soak or not soak" --timeout 1800

$(MUTANTS_STAMP): $(STAMP) requirements/mutants.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutants.lock
	@touch $@

# At most MUTANTS_SECONDS for each module; the next call goes on with the remaining mutants. Works on copies in `mutants/`.
mutants: $(MUTANTS_STAMP)  ## change decisions, and list changes without a failing test (ONLY="engine/rate/gcra")
	$(BIN)/python -m tests.mutants $(MUTANTS_SECONDS) $(ONLY)

$(BENCH_STAMP): $(STAMP) requirements/bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.lock
	@touch $@

bench: $(BENCH_STAMP)  ## measure how fast it is, beside yardsticks (CASES="batch startup" RUNS=3 QUICK=1)
	$(BIN)/python -m bench $(CASES) --runs $(RUNS) $(if $(QUICK),--quick)

bench-docs: $(BENCH_STAMP)  ## make the chart and the tables of what was measured anew
	$(BIN)/python -m bench.page

check: $(STAMP)  ## formatter, linter, types, layers, docstrings, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy docs/generate.py docs/record.py docs/prose.py
	$(BIN)/lint-imports
	$(BIN)/interrogate --quiet orchestrator bench
	$(BIN)/codespell

format: $(STAMP)  ## let the formatter and the linter's safe fixes have their way
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)  ## make the generated parts of the docs anew
	$(BIN)/python docs/generate.py

prose: $(STAMP)  ## measure how plainly docstrings and names read, by folder
	$(BIN)/python docs/prose.py

lock: $(STAMP)  ## resolve the lock files anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements/run.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra postgres --group dev -o requirements/dev.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra postgres -c requirements/dev.lock -o requirements/postgres.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --group bench -c requirements/dev.lock -o requirements/bench.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --group mutants -c requirements/dev.lock -o requirements/mutants.lock

	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group build -c requirements/dev.lock -o requirements/build.lock

# From the committed files alone, with the locked build backend. The wheel is built from the sdist. The time of the commit
# stands for every file's time, and 022 for the umask, so that a second build has the same bytes.
dist: $(STAMP)  ## build the sdist and the wheel of the last commit in dist/
	@export=$$(mktemp -d) && trap 'rm -rf "$$export"' EXIT && umask 022 \
	&& git archive HEAD | tar -x -C "$$export" && rm -rf dist \
	&& SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --offline --no-config --no-build-isolation \
		--python $(BIN)/python --out-dir dist "$$export" \
	&& ls dist/*

clean:  ## remove what the targets above made
	rm -rf $(VENV) demo dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
