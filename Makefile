# `make up` runs the whole system here; `make test` runs the tests. Needs Python 3.11+ with pip, make and git.
PYTHON ?= python3
UV_VERSION := 0.13.9
# pip must install into our folder, whatever its configuration, and uv must use the same package indexes as pip.
PIP := PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 $(PYTHON) -m pip
UV = $(shell $(PYTHON) devstack/uv_environment.py) .tools/bin/uv
RUN := .venv/bin

.PHONY: env up demo test test-long test-browser faults crash-matrix schemathesis soak check check-pythons check-lock lock clean distclean

env: .venv/.ready

# pip --target also works where the system Python is externally managed.
.tools/.uv-$(UV_VERSION):
	$(PIP) install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade --target .tools uv==$(UV_VERSION)
	@touch $@

# Compile bytecode once here, because under `make up` several processes start at the same time.
.venv/.ready: .tools/.uv-$(UV_VERSION) constraints.txt pyproject.toml packaging/server/pyproject.toml packaging/server/hatch_build.py
	@test -x $(RUN)/python || $(UV) venv --quiet --no-python-downloads --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(RUN)/python --require-hashes --compile-bytecode -r constraints.txt
	$(UV) pip install --quiet --python $(RUN)/python --no-deps --no-build-isolation --editable . --editable packaging/server
	@touch $@

up: env
	@exec $(RUN)/zipcast up

demo: env
	@exec $(RUN)/zipcast demo

# Two files at a time, each worker with its own servers, because tests mostly wait for epochs.
test: env
	$(RUN)/python -m pytest -n 2 --dist loadfile -m "not long and not soak"

# Outages, frozen parts and floods. These need the machine for themselves:
ALONE := tests/faults/test_fault_driver.py tests/faults/test_crash_matrix.py tests/faults/test_frozen_parts.py \
  tests/faults/test_outages_over_a_start.py tests/integration/test_many_credentials.py tests/security/test_floods.py
# Tests without servers; each keeps a processor busy.
PURE := tests/simulation tests/unit
# Files that take minutes start first, so that they do not run alone at the end.
SLOW := tests/security/test_nothing_leaks.py tests/integration/test_simulated_time.py tests/faults/test_full_disk.py \
  tests/integration/test_sealing.py tests/integration/test_up.py tests/faults/test_killed_parts.py \
  tests/integration/test_callout.py tests/security/test_fuzz.py tests/contract/test_schemathesis.py
OTHERS := $(filter-out $(ALONE) $(SLOW) tests/browser/% $(addsuffix /%,$(PURE)),$(wildcard tests/*/test_*.py))

test-long: env test-browser
	$(RUN)/python -m pytest -m long $(ALONE)
	$(RUN)/python -m pytest -n 2 --dist worksteal -m "long and not soak" $(PURE)
	$(RUN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "long and not soak" $(SLOW) $(OTHERS)

schemathesis: env
	$(RUN)/python -m pytest -m long tests/contract/test_schemathesis.py

# Uses Debian's Chromium, Node.js and PgBouncer, and installs missing ones. Screenshots are stored in .artefacts.
test-browser: env
	@test -x /usr/bin/chromium && test -x /usr/sbin/pgbouncer && command -v node >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium nodejs pgbouncer >/dev/null; }
	$(RUN)/python -m pytest -m long tests/browser

# `make faults SEED=7 EPOCHS=100 FAULTS=40`: the same seed gives the same plan.
SEED ?= 1
EPOCHS ?= 100
FAULTS ?= 40
faults: env
	$(RUN)/python -m tests.faults.driver --seed $(SEED) --epochs $(EPOCHS) --faults $(FAULTS)

# Writes the table of docs/reliability.md.
crash-matrix: env
	$(RUN)/python -m tests.faults.crash_matrix --write docs/reliability.md

soak: env
	$(RUN)/python -m pytest -m soak tests/unit tests/simulation
	$(RUN)/python -m tests.faults.driver --seed $(SEED) --epochs 1000 --faults 400

# Checks that the selection gives the same bytes with other Python versions, which need no packages.
PYTHONS ?= $(foreach minor,11 12 13 14,$(shell python3.$(minor) -c 'import sys; print(sys.executable)' 2>/dev/null))
check-pythons:
	@test $(words $(PYTHONS)) -ge 2 || { echo "too few: make check-pythons PYTHONS='python3.11 python3.13'"; exit 1; }
	@set -e; for python in $(PYTHONS); do $$python -m tests.replay.golden; done

check: env
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	PYTHONPATH=. $(RUN)/lint-imports --no-cache
	$(RUN)/python -m devstack.check_migrations
	$(MAKE) --no-print-directory check-lock

COMPILE = $(UV) pip compile --quiet packaging/server/pyproject.toml --universal --python-version 3.11 \
  --generate-hashes --no-emit-package zipcast --no-emit-index-url --no-emit-find-links --no-header --no-annotate
LOCK = $(COMPILE) --extra devstack --group dev
# The lock of the image: the same versions, without packages that only tests and the local stack need.
LOCK_SERVER = $(COMPILE) --constraint

# `make lock UPGRADE=1` also takes newer versions.
lock: .tools/.uv-$(UV_VERSION)
	$(LOCK) $(if $(UPGRADE),--upgrade) --output-file constraints.txt
	$(LOCK_SERVER) constraints.txt --output-file constraints-server.txt

# The lock is up to date if resolving again, with its pins preferred, changes nothing.
check-lock: .tools/.uv-$(UV_VERSION)
	@cp constraints.txt constraints-server.txt .tools/
	@$(LOCK) --output-file .tools/constraints.txt
	@$(LOCK_SERVER) .tools/constraints.txt --output-file .tools/constraints-server.txt
	@for lock in constraints.txt constraints-server.txt; do \
	  diff -u $$lock .tools/$$lock || { echo "$$lock is out of date: make lock"; exit 1; }; done

clean:
	rm -rf .devstack

distclean: clean
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
