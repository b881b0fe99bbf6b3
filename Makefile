# `make up` runs the whole system here; `make test` runs the tests. Needs Python 3.11+ with pip, make and git.
PYTHON ?= python3
UV_VERSION := 0.13.9
# pip must install into our folder, whatever its configuration, and uv must use the same package indexes as pip.
PIP := PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 $(PYTHON) -m pip
UV = $(shell $(PYTHON) devstack/uv_environment.py) .tools/bin/uv
RUN := .venv/bin

.PHONY: env up demo test test-long test-browser faults crash-matrix schemathesis soak docs bench check check-pythons check-packages check-lock lock clean distclean

env: .venv/.ready

# pip --target also works where the system Python is externally managed.
.tools/.uv-$(UV_VERSION):
	@echo "env: installing uv into .tools"
	@$(PIP) install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade --target .tools uv==$(UV_VERSION)
	@touch $@

# Compile bytecode once here, because under `make up` several processes start at the same time.
# The first run downloads for a minute or more, so each step is named.
.venv/.ready: .tools/.uv-$(UV_VERSION) constraints.txt pyproject.toml packaging/server/pyproject.toml packaging/server/hatch_build.py
	@echo "env: preparing .venv"
	@test -x $(RUN)/python || $(UV) venv --quiet --no-python-downloads --python $(PYTHON) .venv
	@echo "env: installing the packages of constraints.txt; the first time, this takes a minute or more"
	@$(UV) pip install --quiet --python $(RUN)/python --require-hashes --compile-bytecode -r constraints.txt
	@echo "env: installing Zipcast"
	@$(UV) pip install --quiet --python $(RUN)/python --no-deps --no-build-isolation --editable . --editable packaging/server
	@touch $@

# `make up UP_OPTIONS='--epoch-length 20s'`; `zipcast up --help` lists the options.
UP_OPTIONS ?=
up: env
	@exec $(RUN)/zipcast up $(UP_OPTIONS)

demo: env
	@exec $(RUN)/zipcast demo

# Runs two test files at a time, each with its own servers. Tests mostly wait for epochs, so this saves time.
test: env
	$(RUN)/python -m pytest -n 2 --dist loadfile -m "not long and not soak"

# Tests of outages, frozen parts and floods. They run one after the other, because they need the whole
# machine.
ALONE := tests/faults/test_fault_driver.py tests/faults/test_crash_matrix.py tests/faults/test_frozen_parts.py \
  tests/faults/test_outages_over_a_start.py tests/integration/test_many_credentials.py tests/security/test_floods.py
# Tests without servers. Each test keeps a processor busy.
PURE := tests/model tests/simulation tests/unit
# Test files that take minutes. They start first, so that they do not run alone at the end.
SLOW := tests/security/test_nothing_leaks.py tests/integration/test_simulated_time.py tests/faults/test_full_disk.py \
  tests/integration/test_sealing.py tests/integration/test_up.py tests/faults/test_killed_parts.py \
  tests/integration/test_programs_of_users.py tests/integration/test_callout.py tests/security/test_fuzz.py \
  tests/contract/test_schemathesis.py tests/faults/test_client_faults.py
OTHERS := $(filter-out $(ALONE) $(SLOW) tests/browser/% $(addsuffix /%,$(PURE)),$(wildcard tests/*/test_*.py))

test-long: env test-browser
	$(RUN)/python -m pytest -m long $(ALONE)
	$(RUN)/python -m pytest -n 2 --dist worksteal -m "long and not soak" $(PURE)
	$(RUN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "long and not soak" $(SLOW) $(OTHERS)

schemathesis: env
	$(RUN)/python -m pytest -m long tests/contract/test_schemathesis.py

# Uses Debian's Chromium, Node.js with npm, PgBouncer, Prometheus, and Spin with gcc, and installs those that are
# missing. Screenshots are stored in .artefacts.
test-browser: env
	@missing=; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v npm >/dev/null || missing="$$missing nodejs npm"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	command -v spin >/dev/null || missing="$$missing spin"; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	test -x /usr/sbin/pgbouncer || missing="$$missing pgbouncer"; \
	test -z "$$missing" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
	$(RUN)/python -m pytest -m long tests/browser

# `make faults SEED=7 EPOCHS=100 FAULTS=40`: the same seed gives the same plan.
SEED ?= 1
EPOCHS ?= 100
FAULTS ?= 40
faults: env
	$(RUN)/python -m tests.faults.driver --seed $(SEED) --epochs $(EPOCHS) --faults $(FAULTS)

# Builds the documentation site in `site/`.
docs: env
	$(RUN)/python -m documentation
	@echo "To read it, run: python3 -m http.server -d site"

# Writes the table of docs/reliability.md.
crash-matrix: env
	$(RUN)/python -m tests.faults.crash_matrix --write docs/reliability.md

# Runs all benchmarks and writes docs/performance.md. Nothing else may run on the machine.
bench: env
	$(RUN)/python -m bench

soak: env
	$(RUN)/python -m pytest -m soak -s tests/unit tests/simulation tests/operations
	$(RUN)/python -m tests.faults.driver --seed $(SEED) --epochs 1000 --faults 400
	$(RUN)/python -m tests.faults.test_client_faults --seed $(SEED) --epochs 200
	$(RUN)/python -m bench.herd

# Checks that the selection gives the same bytes on other Python versions. They need no packages installed.
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
	$(MAKE) --no-print-directory check-lock check-packages

# Builds the two published packages, and installs the SDK in an empty environment of each Python version. For
# each version on which Zipcast runs, this checks that the packages of the lock can be installed without a
# compiler. Only nkeys may be built: it is pure Python, but has no wheel.
DIST := .tools/dist
check-packages: env
	@rm -rf $(DIST)
	@$(RUN)/python -m build --no-isolation --outdir $(DIST) . >/dev/null
	@$(RUN)/python -m build --no-isolation --wheel --outdir $(DIST) packaging/server >/dev/null
	@set -e; for python in $(or $(PYTHONS),$(PYTHON)); do \
	  $(UV) venv --quiet --clear --no-python-downloads --python $$python $(DIST)/empty; \
	  $(UV) pip install --quiet --python $(DIST)/empty/bin/python --constraints constraints.txt $(DIST)/zipcast-*.whl; \
	  (cd $(DIST) && empty/bin/python -W error -c "import zipcast; zipcast.connect_sync" && empty/bin/zipcast --version); done
	@set -e; for minor in 11 12 13 14; do \
	  $(UV) pip install --quiet --dry-run --target $(DIST)/none --python-version 3.$$minor --only-binary :all: \
	    --no-binary nkeys --require-hashes -r constraints.txt; done

COMPILE = $(UV) pip compile --quiet packaging/server/pyproject.toml --universal --python-version 3.11 \
  --generate-hashes --no-emit-package zipcast --no-emit-index-url --no-emit-find-links --no-header --no-annotate
LOCK = $(COMPILE) --extra devstack --group dev --group docs
# The lock of the Docker image: the same versions as in constraints.txt, without packages that only tests and
# the local stack need.
LOCK_SERVER = $(COMPILE) --constraint

# `make lock UPGRADE=1` also upgrades packages to newer versions.
lock: .tools/.uv-$(UV_VERSION)
	$(LOCK) $(if $(UPGRADE),--upgrade) --output-file constraints.txt
	$(LOCK_SERVER) constraints.txt --output-file constraints-server.txt

# The lock is up to date if resolving again changes nothing. Resolving prefers the versions in the lock.
check-lock: .tools/.uv-$(UV_VERSION)
	@cp constraints.txt constraints-server.txt .tools/
	@$(LOCK) --output-file .tools/constraints.txt
	@$(LOCK_SERVER) .tools/constraints.txt --output-file .tools/constraints-server.txt
	@for lock in constraints.txt constraints-server.txt; do \
	  diff -u $$lock .tools/$$lock || { echo "$$lock is out of date: make lock"; exit 1; }; done

clean:
	@test ! -e .devstack/lock || $(PYTHON) -c "import fcntl; fcntl.flock(open('.devstack/lock', 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)" 2>/dev/null || \
	  { echo "make clean: the system is running. Stop it with: $(RUN)/zipcast down"; exit 1; }
	@rm -rf .devstack

distclean: clean
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
