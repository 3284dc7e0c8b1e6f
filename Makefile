# Every target sets up first; a second set-up is a check of 0.2 s.
PY := .venv/bin/python
# Three for two CPUs: most tests wait for something most of the time.
PYTEST_WORKERS ?= $(shell n=$$(nproc); echo $$((n > 5 ? 8 : n + (n + 1) / 2)))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: setup run test test-user check page check-page format lock audit escape faults soak fuzz test-vm escape-vm units-vm bench grade-all clean

setup:
	@scripts/setup

run: setup
	@scripts/demo

# Everything: as root also the integration tests as an ordinary user, first, so that the last line is pytest's summary.
test:
	@scripts/setup --tests
	@scripts/test -n $(PYTEST_WORKERS)

# As root: only the part that runs as an ordinary user.
test-user:
	@scripts/setup --tests
	@scripts/as-user -n $(PYTEST_WORKERS) tests/integration

# The long form of the grader's tests: every language of this host, every kind of forgery in both ways, twenty gradings.
grade-all:
	@scripts/setup --tests
	@SANDBOX_GRADE_ALL=1 $(PY) -m pytest -p no:cacheprovider -n $(PYTEST_WORKERS) tests/integration/grader

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	$(PY) -m pytest -q -p no:cacheprovider tests/unit/project

# The page of the service, from web/ and the npm packages that web/package-lock.json pins: the same bytes every time.
page:
	@cd web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && node build.mjs

# Whether the page that is committed is what the sources make.
check-page:
	@cd web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && node build.mjs ../out/page
	@diff -r out/page sandbox/service/page/static && echo "the page is what its sources make"

# Pin the packages anew; look them up in the database of known vulnerabilities.
lock: setup
	@scripts/lock

audit: setup
	@scripts/audit

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# Attacks with and without their layers, beside bubblewrap; as root also as an ordinary user.
escape:
	@scripts/setup --tests
	@scripts/escape

# An error, a death and a stop at every step of a launch, as a table.
faults:
	@scripts/setup --tests
	@$(PY) -m tests.faults.table

# 20,000 runs of every kind from 8 callers, some of which are killed: nothing may grow.
soak:
	@scripts/setup --tests
	@$(PY) -m tests.soak.run

# Coverage-guided, 60 s a target by default: make fuzz SECONDS=1800
SECONDS ?= 60
fuzz:
	@scripts/setup --tests
	@$(PY) -m pip install --quiet --no-build-isolation --require-hashes --requirement requirements/fuzz.txt
	@$(PY) -m tests.fuzz.run --seconds $(SECONDS)

# Needs root once, to build the image; qemu, no hardware virtualisation.
test-vm: setup
	@tests/vm/run

# The attacks in the same machine: an ordinary user with control groups of version 2. About half an hour.
escape-vm: setup
	@tests/vm/run --escape

# The systemd units of deploy/ in the same machine, as services of the system and of a user. Three minutes.
units-vm: setup
	@tests/vm/run --units

# Side by side with other tools, as root also as an ordinary user, then docs/performance.md: half an hour, on a quiet machine.
# `benchmarks/launch.py` is the quick one; make bench SCALE=0.02 shows that everything works, and leaves page and figures alone.
SCALE ?= 1
bench:
	@scripts/setup --bench
	@$(PY) -m benchmarks.all --scale $(SCALE) $(if $(filter-out 1,$(SCALE)),--no-page --results out/bench)

clean:
	rm -rf .venv build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache sandbox.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
