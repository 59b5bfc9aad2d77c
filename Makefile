# make demo         a real sweep over handwritten digits, in under three minutes
# make panda-demo   one network babysat for fourteen short days, as the supervisor advises, in half a minute
# make test         everything that must hold before a commit
# make test-all     that, and what takes longer: coordinators killed at random, properties tried on many more examples
# make docs         the API reference as HTML, in build/docs
#
# All need make and Python 3.11 or later, and nothing else: what they install goes into .venv. Another Python, or
# another folder: make demo PYTHON=python3.12 VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv
TRIALS ?= 48
DAYS ?= 14
PYTEST ?= $(VENV)/bin/pytest
# Tests run side by side; tests/side_by_side.py says which of them one after another. Four processes, since on two cores
# two of them mostly wait, for Ray or for what they have started.
WORKERS ?= 4
SIDE_BY_SIDE := --numprocesses $(WORKERS)

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
TUNER := $(VENV)/bin/tuner
UV := $(VENV)/bin/uv
RUFF := $(VENV)/bin/ruff
MYPY := $(VENV)/bin/mypy
DEMO := tuner.workloads.digits:train --space sgd_momentum --objective dev_accuracy
DAYS_OF_A_PANDA := $(VENV)/bin/python examples/three_days.py --executor ray

# Whatever runs here starts hundreds of Pythons, and where the shell forbids them to keep what they compile, each compiles
# all of tuner again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo panda-demo test test-all docs long thorough lint fast bounds picture page-picture benchmarks constraints clean

help:
	@sed -n 's/^# make /make /p' Makefile
	@echo 'make lint | fast | long | thorough | bounds | picture | page-picture | benchmarks | constraints | clean'

# ── what people run ─────────────────────────────────────────────────────────────────────────────

# The demo's folder is its own: the one of last time is replaced.
demo: $(VENV)/.demo
	@rm -rf results/demo
	$(TUNER) sweep $(DEMO) --trials $(TRIALS) --name demo --plot --no-json
	@echo
	@echo 'Tables lie in results/demo/tables, pictures in results/demo/plots. Next:'
	@echo '  $(TUNER) show demo      this summary again'
	@echo '  $(TUNER) show demo/7    all about trial 7'
	@echo '  $(TUNER) serve --projects .    the same on a page, to look at, to steer, and to launch the next'

panda-demo: $(VENV)/.demo
	@rm -rf results/panda-demo
	$(DAYS_OF_A_PANDA) --days $(DAYS)
	@echo
	@echo 'The logbook is results/panda-demo/logbook.md, the picture results/panda-demo/plots/lineage.png. Next:'
	@echo '  $(TUNER) watch panda-demo     its room; `help` says what can be asked'
	@echo '  $(TUNER) fork panda-demo --set learning_rate=0.05 --as bolder'

# Types are checked while the tests run, and told of once they have.
test: $(VENV)/.test
	$(RUFF) check
	$(RUFF) format --check
	@mkdir -p build
	$(MYPY) > build/types.txt 2>&1 & types=$$!; trap 'kill $$types' INT; \
	$(PYTEST) $(SIDE_BY_SIDE); tests=$$?; \
	wait $$types; types=$$?; cat build/types.txt; exit $$((tests | types))

test-all: test long thorough

docs: $(VENV)/.docs
	@rm -rf build/docs
	$(VENV)/bin/python docs/api/write.py build/docs
	@echo 'The reference is build/docs/index.html.'

# What `make test` leaves out, for patient machines.
long: $(VENV)/.test
	$(PYTEST) -m long $(SIDE_BY_SIDE)

# Every property on eight times as many examples, and what takes minutes.
thorough: $(VENV)/.test
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -m "hypothesis or thorough" $(SIDE_BY_SIDE)

lint: $(VENV)/.test
	$(RUFF) check
	$(RUFF) format --check
	$(MYPY)

# Half the time: what needs no Ray.
fast: $(VENV)/.test
	$(PYTEST) -m "not ray and not long and not thorough" $(SIDE_BY_SIDE)

# The bounds of pyproject.toml tell the truth: what meets the packages of others, and a sweep on Ray, pass with the newest
# and with the lowest versions that they admit, each in an environment of its own.
bounds: bound-highest bound-lowest-direct

# What meets the packages of others: the shell, pictures, tables, the record, samplers, the service, what travels.
BOUND_TESTS := $(addprefix tests/,$(addsuffix .py,$(addprefix test_,cli terminal compare drawing room plots lineage_plot notebook \
  explanation tables export store optuna optuna_view server_reading server_security pictures space search_spaces function sources \
  local) $(addprefix contracts/test_,samplers storages stores)))

bound-%: $(VENV)/.uv
	@rm -rf build/$*
	$(UV) venv --quiet --python $(VENV)/bin/python build/$*
	$(UV) pip install --quiet --python build/$*/bin/python --resolution $* --editable '.[test]'
	build/$*/bin/python -m pytest -m "not ray and not long" $(SIDE_BY_SIDE) $(BOUND_TESTS)
	build/$*/bin/tuner sweep $(DEMO) --trials 4 --name demo --results build/$*/results --plot

# The pictures of the README: the sweep of the demo, with a few more trials to see it zoom in, and the babysat run.
picture: $(VENV)/.demo
	@rm -rf build/digits build/one
	$(TUNER) sweep $(DEMO) --trials 64 --name digits --results build --plot
	$(DAYS_OF_A_PANDA) --name one --results build
	@mkdir -p docs
	cp build/digits/plots/scatter.png build/one/plots/lineage.png docs/

# The picture of the page, of the same sweep.
page-picture: $(VENV)/.test
	$(TUNER) sweep $(DEMO) --trials 40 --name digits --results build
	$(VENV)/bin/python docs/picture_of_page.py build digits docs/page.png

benchmarks:
	@echo '$(PIP) install --editable ".[benchmarks]"    # brings the peers too'
	@echo '$(VENV)/bin/python benchmarks/throughput.py --quick'
	@echo '$(VENV)/bin/python benchmarks/throughput.py --markdown results/benchmarks/throughput.md --json results/benchmarks/throughput.json'
	@echo '$(VENV)/bin/python benchmarks/search.py --quick'

# ── what they stand on ──────────────────────────────────────────────────────────────────────────

# uv fetches and compiles side by side what pip does one after another. Where it cannot (it is not built for this machine,
# or only pip is told of the index to ask), pip does it.
install = { $(PIP) install --quiet 'uv>=0.5' && \
	  $(UV) pip install --quiet --compile-bytecode --python $(VENV) --editable '.[$(1)]' --constraint constraints.txt; } || \
	  $(PIP) install --quiet --editable '.[$(1)]' --constraint constraints.txt

# A stamp says what was installed, so that the second time nothing is.
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'installing tuner and its demo into $(VENV): up to a minute the first time'
	@$(call install,demo)
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'installing tuner and its tests into $(VENV): up to a minute the first time'
	@$(call install,test)
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(call install,docs)
	@touch $@

$(VENV)/.uv: | $(VENV)/bin/python
	@$(PIP) install --quiet 'uv>=0.5'
	@touch $@

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'tuner needs Python 3.11 or later, and there is no $(PYTHON). Install it: apt-get install python3 python3-venv'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tuner needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo '$(PYTHON) cannot make virtual environments. Install python3-venv: apt-get install python3-venv'; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Pins the newest release of everything that the demo, the tests and the reference bring; run the tests before you keep it.
constraints:
	@rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip --disable-pip-version-check install --quiet '.[docs,test]'
	{ head -n 1 constraints.txt; build/pins/bin/python -m pip list --format freeze --exclude pip --exclude setuptools --exclude tuner; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis results/demo results/panda-demo
