# `make export` and `make test` need Python 3.11 to 3.13 and make, nothing else.

PYTHON ?= python3
MODEL ?= m4
IOS_MODELS ?= m4
VENV := .venv
BIN := $(VENV)/bin
ARTIFACTS := artifacts
BUNDLED := ios-demo/Models
REPORTED := table-e table-3 resolution engines mixer
REPORTS := benchmarks/report.html benchmarks/report.md
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help export ios-demo test check swift report clean

help:
	@echo "make export   install what Core ML needs and export $(MODEL) (MODEL=m1 for another)"
	@echo "make ios-demo export what the demo app bundles ($(IOS_MODELS), and digits; IOS_MODELS=\"m1 m4\" for others)"
	@echo "make test     install everything, then check and test all of it"
	@echo "make check    lint, format and types of the Python alone"
	@echo "make swift    build, test and lint the iOS side, where Swift is installed"
	@echo "make report   draw benchmarks/report.html and report.md from the samples in benchmarks/"
	@echo "make clean    remove $(VENV) and $(ARTIFACTS)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "evim-deploy needs Python 3.11 to 3.13. Name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.coreml: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing what Core ML needs into $(VENV): a minute or more, and only once"
	@$(INSTALL) --editable ".[coreml]"
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing everything into $(VENV): some minutes and 9 GB on Linux, and only once"
	@$(INSTALL) --editable ".[dev]"
	@touch $@

export: $(VENV)/.coreml
	@$(BIN)/evim-deploy export --format coreml $(MODEL) --output-dir $(ARTIFACTS) --overwrite
	@echo
	@echo "The package is in $(CURDIR)/$(ARTIFACTS). Next: drag the .mlpackage into your Xcode project."
	@echo "Xcode shows its input and outputs and makes a Swift class of it; Vision takes it as it is."
	@echo "To the first prediction in ten lines of Swift: ios-demo/README.md."

# Packages, manifests and golden files, side by side: Xcode copies the folder into the app as it is. Digits, the model
# that ships with its weights, comes along.
ios-demo: $(VENV)/.coreml
	@for model in $(IOS_MODELS) digits; do \
		$(BIN)/evim-deploy export --format coreml $$model --golden --output-dir $(BUNDLED) --overwrite || exit; done
	@echo
	@echo "The app's models are in $(CURDIR)/$(BUNDLED). Next: open ios-demo/EvimDemo.xcodeproj in Xcode 16 or later,"
	@echo "choose your team under Signing & Capabilities, and run it on a phone."

swift:
	@ios-demo/check.sh

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The workers share the cores, so each computes on one. One that dies ends the run: pytest-xdist may hang instead.
# They take files in the order that tests/conftest.py gives them, the slow ones first.
test: check swift
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--max-worker-restart 0

report: $(VENV)/.dev
	@for output in $(REPORTS); do $(BIN)/evim-deploy report $(REPORTED:%=benchmarks/cpu-%.json) benchmarks/not-run.json \
		--baseline EfficientViM-M4 --output $$output --overwrite || exit; done

clean:
	rm -rf $(VENV) $(ARTIFACTS) $(REPORTS) ios-demo/EvimKit/.build $(BUNDLED)/*.mlpackage*
