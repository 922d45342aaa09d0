# Works with GNU make 3.81 (macOS) and later. Every command runs from .venv, which is created
# from requirements-dev.lock if it does not exist or was created from another lock.

PYTHON ?= python3
LOCK := requirements-dev.lock
PY := .venv/bin/python
CODE := pipeline tasks flows demo bench dashboard
INSTALLED := .venv/$(LOCK)
# Programs that the benchmark compares with; each has its own environment, .venv-NAME.
OTHERS := dlt meltano ingestr
# Connectors of ingestr to other databases, which only exist as source code.
WITHOUT_ingestr := $(foreach name,clickhouse-sqlalchemy curlify python-quickbooks rauth thrift,--no-emit-package=$(name))

# If PYTHON is set on the command line, .venv must have this version.
ifeq ($(origin PYTHON),command line)
SAME_PYTHON = import sys; sys.exit('$(shell $(PYTHON) --version 2>/dev/null)' != 'Python ' + sys.version.split()[0])
endif

# Changes of tables that somebody consents to: ALLOW="drop dim_staff.manager, narrow fact_x.amount".
ALLOWED = $(if $(ALLOW),--allow "$(ALLOW)")
# Ends a target that lacks a variable, unless it only prints its options; the second word is an example.
NEED = $(if $($(1))$(filter -h --help,$(ARGS)),,echo 'error: $(1) is missing; write make $@ $(1)=$(2)' >&2; exit 2;)
# A plan, a branch or a trial that finds something exits with 2, for programs; for people that is no failure.
FOUND = || [ $$? -eq 2 ]
# The tests start many processes, and each worker imports all of them: modules are compiled once, in any environment.
PYTEST = PYTHONDONTWRITEBYTECODE= $(PY) -m pytest
# Most tests wait for a server most of the time.
SIDE_BY_SIDE = --numprocesses 4 --dist loadfile --no-loadscope-reorder
# The folder of the models, as the settings of the environment and .env have it.
FOLDER = $(shell $(PY) -c "from pipeline import settings; print(settings.load().transforms)")
LINT = $(PY) -m sqlfluff lint --disable-progress-bar --config pyproject.toml
# Renovate repeats this command from the head of each lock; it requires = before values.
COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version=3.11 --generate-hashes

# Prints one line and exits with 1 if PYTHON cannot be used.
define CHECK_PYTHON
import sys
fit = "; name another: make setup PYTHON=python3.12"
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit("error: $(PYTHON) is Python %d.%d, this needs 3.11 to 3.14" % sys.version_info[:2] + fit)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("error: $(PYTHON) has no venv module (Debian: apt-get install python3-venv)" + fit)
endef
export CHECK_PYTHON

# Defaults; variables of the environment take precedence.
PREFECT_SERVER_ANALYTICS_ENABLED ?= false
PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS ?= 120
DO_NOT_TRACK ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS DO_NOT_TRACK

# With an empty HOME, programs would write files into /. Without HOME they use the user's own folder.
ifeq ($(strip $(HOME)),)
unexport HOME
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo live dashboard test coverage blocks deploy plan try docs lineage relations grants run reconcile status automations rebuild restate import-history retain forget verify campaign bench bench-quick \
	lint sbom lock clean venv $(OTHERS) style types imports sql dockerfile security secrets audit

help: ## list these targets
	@echo "make TARGET, with Python 3.11 to 3.14 (PYTHON=python3.12 picks one):"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

setup: venv ## create .venv from the lock file; the other targets do so when needed
	@echo "ready: .venv, $$($(PY) --version)"

demo: venv ## run the pipeline on an embedded Postgres and folders (FRESH=1 starts over)
	@$(PY) -m demo $(if $(filter-out 0,$(FRESH)),--fresh)

live: venv ## the same with a worker, a shop that trades and the Prefect UI, until Ctrl-C
	@$(PY) -m demo $(if $(filter-out 0,$(FRESH)),--fresh) live

dashboard: venv ## a web page on the warehouse, or on the demo's (ARGS="--port 8051": options, --help lists them)
	@$(PY) -m tasks.dashboard $(ARGS)

test: venv ## the tests (ARGS="-k words": some of them)
	@$(PYTEST) --no-header $(if $(ARGS),$(ARGS),$(SIDE_BY_SIDE))

coverage: venv ## the tests with code coverage, which takes a third longer
	@$(PYTEST) --no-header --cov $(SIDE_BY_SIDE)

blocks: venv ## test the settings of the environment or .env, and save those that work as Prefect blocks
	@$(PY) -m tasks.save_blocks $(ARGS)

deploy: venv ## deploy prefect.yaml for TOTESYS_ENVIRONMENT (ARGS=infra/prefect.docker.yaml)
	@$(PY) -m tasks.deploy $(ARGS)

plan: venv ## print what the next run does because models, marts or schema.sql have changed (BRANCH=name: compute it; DROP=1)
	@$(PY) -m $(if $(BRANCH),tasks.branch $(if $(filter-out 0,$(DROP)),--drop) $(ARGS) -- "$(BRANCH)",tasks.plan $(ALLOWED) $(ARGS)) $(FOUND)

try: venv ## run one model on the last batch and compare it with the warehouse (MODEL=transforms/dim_staff.sql)
	@$(call NEED,MODEL,transforms/dim_staff.sql) $(PY) -m tasks.trial $(ARGS) -- "$(MODEL)" $(FOUND)

docs: venv ## write the data dictionary of the warehouse, one HTML page (ARGS="--file name.html")
	@$(PY) -m tasks.data_dictionary $(ARGS)

lineage: venv ## print what the columns of the source feed in the warehouse (TABLE=staff: those of one table)
	@$(PY) -m tasks.lineage $(ARGS) $(if $(TABLE),-- "$(TABLE)")

relations: venv ## write how the views for readers belong together, for Metabase and Superset, into relations/
	@$(PY) -m tasks.relations $(ARGS)

grants: venv ## print what the source's role must be granted (ARGS="--role name")
	@$(PY) -m tasks.grants $(ARGS)

run: venv ## run the flow once with those blocks (ARGS="--full": options, --help lists them)
	@$(PY) -m flows $(ALLOWED) $(ARGS)

reconcile: venv ## run the flow once and compare every row of the source with the warehouse
	@$(PY) -m flows --reconcile $(ALLOWED) $(ARGS)

status: venv ## print the warehouse's age, pending rows, rejected rows (ARGS=--quick: without counting)
	@$(PY) -m tasks.status $(ARGS)

automations: venv ## save watchdogs and alerts as Prefect automations (ARGS=--try sends a test message)
	@$(PY) -m tasks.save_automations $(ARGS)

rebuild: venv ## fill an empty warehouse from the raw bucket (ARGS="--until 2026-11-20T12:00:00Z")
	@$(PY) -m flows --rebuild $(ALLOWED) $(ARGS)

restate: venv ## compute a model's table again over all batches (MODEL=fact_sales_order), and run
	@$(call NEED,MODEL,fact_sales_order) $(PY) -m flows $(foreach model,$(MODEL),--restate "$(model)") $(ALLOWED) $(ARGS)

import-history: venv ## add versions from before the first batch (MODEL=dim_staff FILE=old.csv); ARGS=--yes imports them
	@$(call NEED,MODEL,dim_staff FILE=old.csv) $(PY) -m tasks.import_history $(ARGS) $(if $(MODEL),--model "$(MODEL)") $(if $(FILE),--file "$(FILE)") $(if $(TABLE),--table "$(TABLE)")

retain: venv ## list old batches that no rebuild needs (KEEP=400d); ARGS=--yes removes them
	@$(call NEED,KEEP,400d) $(PY) -m flows $(if $(KEEP),--retain="$(KEEP)") $(ARGS)

forget: venv ## list the personal values of a row of the source (TABLE=staff KEY=7); ARGS=--yes erases them
	@$(PY) -m tasks.forget $(ARGS) $(if $(TABLE),-- "$(TABLE)" "$(KEY)")

verify: venv ## check the lake's checksums, and compare a rebuild with the warehouse (ARGS=--quick: objects only)
	@$(PY) -m tasks.verify $(ARGS)

campaign: venv ## 500 failures and 20,000 random steps, compared with plain SQL (ARGS="--failures 100 --seed 7")
	@$(PY) -m tests.faults $(ARGS)
	@$(PYTEST) -q -m campaign tests/engine/test_habits.py
	@$(PYTEST) -q --hypothesis-profile=campaign -m '' tests/engine/test_model_based.py

bench: venv $(OTHERS) ## compare with the floor, dlt, Meltano, ingestr and an empty flow; writes docs/performance.md
	@$(PY) -m bench --write $(ARGS)

bench-quick: venv dlt ## the same on fewer rows in a minute, printed only (ARGS="--orders 50000": options, --help lists them)
	@$(PY) -m bench --quick $(ARGS)

lint: venv ## style, types, imports, SQL style, Dockerfile, security, committed secrets, known vulnerabilities
	@$(MAKE) --no-print-directory --keep-going --jobs 2 types sql style imports dockerfile security secrets audit

sbom: venv ## write sbom.json, the software bill of materials (CycloneDX), from requirements.lock
	@$(PY) -W ignore -m cyclonedx_py requirements --index-url https://pypi.org/simple --pyproject pyproject.toml \
		--mc-type application --output-reproducible --output-file sbom.json requirements.lock

lock: ## update the lock files from pyproject.toml (UPGRADE=1: to the newest versions)
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@test -x .venv/bin/uv || $(PY) -m pip install --quiet --disable-pip-version-check uv
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --output-file=$(LOCK) pyproject.toml
	@$(COMPILE) --constraints=$(LOCK) --output-file=requirements.lock pyproject.toml
	@$(foreach name,$(OTHERS),$(COMPILE) $(if $(UPGRADE),--upgrade) $(WITHOUT_$(name)) \
		--output-file=bench/requirements-$(name).lock bench/requirements-$(name).in &&) true

clean: ## remove files of tests and checks
	@rm -rf .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find $(CODE) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock is copied into .venv last, so that an interrupted installation is repeated.
venv:
	@if cmp -s $(LOCK) $(INSTALLED) && $(PY) -c "$(SAME_PYTHON)" 2>/dev/null; then exit 0; fi; \
	command -v $(PYTHON) >/dev/null || { \
		echo "error: there is no $(PYTHON); name a Python 3.11 to 3.14: make setup PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -c "$$CHECK_PYTHON" || exit 1; \
	echo "Installing the locked packages into .venv: about a minute, once ..."; \
	$(PYTHON) -m venv --clear .venv && \
	$(PY) -m pip install -qq --disable-pip-version-check --no-input --only-binary :all: --no-deps --require-hashes -r $(LOCK) && \
	cp $(LOCK) $(INSTALLED) || { \
		echo "error: the packages were not installed; what pip says is above; run make setup again" >&2; exit 1; }

# If one of them cannot be installed, the benchmark runs without it.
$(OTHERS): venv
	@if cmp -s bench/requirements-$@.lock .venv-$@/requirements-$@.lock; then exit 0; fi; \
	echo "Installing $@ into .venv-$@: about a minute, once ..."; \
	$(PY) -m venv --clear .venv-$@ && \
	.venv-$@/bin/python -m pip install -qq --disable-pip-version-check --no-input --only-binary :all: \
		--no-deps --require-hashes -r bench/requirements-$@.lock && \
	cp bench/requirements-$@.lock .venv-$@/ || { \
		echo "$@ was not installed; what pip says is above" >&2; rm -rf .venv-$@; }

style:
	@echo "style: ruff"
	@$(PY) -m ruff check --quiet --output-format concise .; checked=$$?; \
	$(PY) -m ruff format --check --quiet . && exit $$checked

types:
	@echo "types: mypy"
	@$(PY) -m mypy --no-error-summary $(CODE) tests .ci/audit.py

imports:
	@echo "imports: import-linter"
	@said=$$(.venv/bin/lint-imports --no-cache --no-logo) || { echo "$$said"; exit 1; }

sql:
	@echo "SQL: sqlfluff"
	@folder="$(FOLDER)"; test -d "$$folder" || { echo "error: TOTESYS_TRANSFORMS: there is no folder $$folder" >&2; exit 1; }; \
	for each in "$$folder/schema.sql" "$$folder/marts"; do test ! -e "$$each" || set -- "$$@" "$$each"; done; \
	$(LINT) pipeline demo bench dashboard "$$@"; checked=$$?; set --; \
	for each in "$$folder"/*.sql; do test "$$each" = "$$folder/schema.sql" || set -- "$$@" "$$each"; done; \
	$(LINT) --dialect duckdb "$$@" && exit $$checked

dockerfile:
	@echo "Dockerfile: hadolint"
	@.venv/bin/hadolint Dockerfile

security:
	@echo "security: bandit"
	@$(PY) -m bandit --quiet --severity-level medium --configfile pyproject.toml --recursive $(CODE)

# Finds text that looks like a key or token. Passwords in examples are short or contain the word secret.
secrets:
	@echo "committed secrets: detect-secrets"
	@git ls-files -z | xargs -0 .venv/bin/detect-secrets-hook --no-verify --exclude-secrets '(?i)^.{1,9}$$|s3?e?cret|hunter|two%20words' \
		$(foreach plugin,KeywordDetector Base64HighEntropyString HexHighEntropyString,--disable-plugin $(plugin))

audit:
	@echo "known vulnerabilities: pip-audit"
	@$(PY) .ci/audit.py $(LOCK)
