# The two commands: `make ablation_losses` and `make test`. `make help` lists the rest.
#
# Every target needs `.venv`, which is made once. The stamp's name holds a checksum of what decides
# its content (the checkout's path and three files), so nothing is installed again while they stay
# the same, and an install that was interrupted leaves no stamp and is repeated.
# All paths are relative: a space in the checkout's own path does no harm.

PYTHON ?= python3
EXTRAS ?= dev
JOBS   ?= 2
ARGS   ?=

SHELL  := /bin/sh
VENV   := .venv
PY     := $(VENV)/bin/python
INPUTS := setup.cfg pyproject.toml constraints.txt
STAMP  := $(VENV)/.installed-$(EXTRAS)-$(shell { pwd; cat $(INPUTS); } | cksum | tr ' ' '-')
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install ablation_losses demo test test-slow test-slurm test-all lint format typecheck \
        wheel constraints clean

help: ## List the targets
	@echo "usage: make TARGET [ARGS='...'] [PYTHON=python3.12] [EXTRAS=dev,eval] [JOBS=2]"
	@sed -n 's/^\([a-z_-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | \
	    while IFS='|' read -r name text; do printf '  %-18s %s\n' $$name "$$text"; done

ablation_losses: $(STAMP) ## Train and compare all loss variants (ARGS='scale=... data=... output_dir=...')
	$(PY) -m experiments.run experiment=ablation_losses $(ARGS)

# Gradio comes with the extra dev too, whose tests open the page; alone it is the extra demo.
demo: $(STAMP) ## Serve the web page on this machine (ARGS='checkpoint=... weights_dir=...')
	$(PY) -m experiments.demo $(ARGS)

test: lint typecheck ## All quick checks: ruff, mypy, pytest (ARGS go to pytest)
	$(PYTEST) $(ARGS)

# pytest leaves with 5 when no test bears the marker.
test-slow: $(STAMP) ## The slow tests only
	$(PYTEST) -m "slow and not slurm" $(ARGS) || [ $$? -eq 5 ]

test-slurm: $(STAMP) ## All tests that need Slurm; `test` runs the quick ones of them
	$(PYTEST) -m slurm $(ARGS) || [ $$? -eq 5 ]

test-all: lint typecheck ## ruff, mypy and every test, the slow and the Slurm ones included
	$(PYTEST) -m "slow or not slow" $(ARGS)

lint: $(STAMP) ## ruff check and ruff format --check
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(STAMP) ## Let ruff mend and format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

typecheck: $(STAMP) ## mypy on osdface/
	$(PY) -m mypy

wheel: $(STAMP) ## Build a wheel in dist/
	rm -rf build
	$(PY) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

constraints: $(STAMP) ## Resolve constraints.txt anew over all extras
	$(PY) -m pip install --quiet --dry-run --ignore-installed --report $(VENV)/report.json \
	    '.[dev,eval,iqa,demo,export]'
	$(PY) -c "$$WRITE_CONSTRAINTS" $(VENV)/report.json

clean: ## Remove .venv and the build folders (not outputs/)
	rm -rf $(VENV) build dist osdface.egg-info .pytest_cache .ruff_cache .mypy_cache

install: $(STAMP) ## Make .venv and install into it; nothing to do when it is up to date

# pip is what a venv made without ensurepip, or one interrupted while it was made, lacks.
#
# opencv-python (wanted by facexlib) and opencv-python-headless (wanted by us) write into the same
# folder, the last one wins, and the former needs libGL, libxcb and GLib, which a machine without a
# screen lacks. Hence the second install: the headless build always comes last.
$(STAMP):
	@rm -f $(VENV)/.installed-*
	@$(PY) -m pip --version >/dev/null 2>&1 || { $(CHECK_PYTHON) && \
	    echo "making $(VENV)" && $(PYTHON) -m venv --clear $(VENV); }
	$(PY) -m pip install --disable-pip-version-check -e '.[$(EXTRAS)]' -c constraints.txt
	$(PY) -m pip install --disable-pip-version-check --quiet --force-reinstall --no-deps \
	    opencv-python-headless -c constraints.txt
	@$(PY) -c 'import cv2' || { echo "cv2 cannot be imported: run 'make clean' and repeat." >&2; \
	    exit 1; }
	@touch $@

define CHECK_PYTHON
{ $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
    echo "osdface needs Python >= 3.11, but '$(PYTHON)' is missing or older: run 'apt-get install \
python3 python3-venv' as root, or name another one with 'make PYTHON=python3.12'." >&2; exit 1; }; } \
&& { $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
    echo "'$(PYTHON)' cannot make a virtual environment because ensurepip is missing: run 'apt-get \
install python3-venv' as root." >&2; exit 1; }; }
endef

define WRITE_CONSTRAINTS
import json, re, sys
packages = [item["metadata"] for item in json.load(open(sys.argv[1]))["install"]]
pins = {re.sub("[-_.]+", "-", p["name"]).lower(): p["version"] for p in packages}
pins.pop("osdface")
head = [
    "# Versions that work together, for Linux and Python >= 3.11: a resolution of setup.cfg over",
    "# all its extras, used as `pip install ... -c constraints.txt`. Made by `make constraints`:",
    "#   pip install --dry-run --ignore-installed --report report.json '.[dev,eval,iqa,demo,export]'",
    "# under Python %d.%d, then one line for each package of the report." % sys.version_info[:2],
]
lines = head + [f"{name}=={version}" for name, version in sorted(pins.items())]
open("constraints.txt", "w").write("\n".join(lines) + "\n")
endef
export WRITE_CONSTRAINTS
