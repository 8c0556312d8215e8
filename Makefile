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
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

ONNX2TF = "onnx2tf==1.29.24 ; python_version < '3.12'" "onnx2tf[tensorflow]==2.6.9 ; python_version >= '3.12'"

.DEFAULT_GOAL := help
.PHONY: help environments export ios-demo test test-fast test-all check swift report constraints clean

help:
	@echo "make export   install what Core ML needs and export $(MODEL) (MODEL=m1 for another)"
	@echo "make ios-demo export what the demo app bundles ($(IOS_MODELS), and digits; IOS_MODELS=\"m1 m4\" for others)"
	@echo "make test     install everything, then check and test it"
	@echo "make test-fast the same without Swift and the slow tests"
	@echo "make test-all the same with the exhaustive tests, before a release"
	@echo "make check    lint, format and types of the Python alone"
	@echo "make swift    build, test and lint the iOS side, where Swift is installed"
	@echo "make report   draw benchmarks/report.html and report.md from the samples in benchmarks/"
	@echo "make constraints choose the newest versions that work together"
	@echo "make clean    remove $(VENV) and $(ARTIFACTS)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "evim-deploy needs Python 3.11 to 3.13. Name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(BIN)/uv: $(BIN)/python constraints.txt
	@$(PIP) uv

$(VENV)/.coreml: $(BIN)/uv pyproject.toml constraints.txt
	@echo "Installing what Core ML needs into $(VENV): a minute or more, and only once"
	@$(INSTALL) --editable ".[coreml]"
	@touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml constraints.txt
	@echo "Installing everything into $(VENV): a minute and 9 GB on Linux, and only once"
	@$(INSTALL) --editable ".[dev]"
	@touch $@

# It pins some twenty packages exactly, and so has an environment of its own: docs/networks.md.
$(VENV)/.onnx2tf: $(BIN)/uv
	@echo "Installing onnx2tf into $(VENV)/onnx2tf, an environment of its own: 3 GB, and only once"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/onnx2tf
	@$(BIN)/uv pip install --quiet --python $(VENV)/onnx2tf/bin/python $(ONNX2TF)
	@touch $@

environments: $(VENV)/.dev $(VENV)/.onnx2tf

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

check: environments
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The workers share the cores, so each computes on one. One that dies ends the run: pytest-xdist may hang instead.
# They take files in the order that tests/conftest.py gives them, the slow ones first.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
	--no-loadscope-reorder --max-worker-restart 0

test: check swift
	$(PYTEST) -m "not exhaustive"

test-fast: check
	$(PYTEST) -m "not slow and not exhaustive"

test-all: check swift
	$(PYTEST)

constraints: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --extra dev pyproject.toml \
		--no-annotate --custom-compile-command "make constraints" --output-file constraints.txt

report: $(VENV)/.dev
	@for output in $(REPORTS); do $(BIN)/evim-deploy report $(REPORTED:%=benchmarks/cpu-%.json) benchmarks/not-run.json \
		--baseline EfficientViM-M4 --output $$output --overwrite || exit; done

clean:
	rm -rf $(VENV) $(ARTIFACTS) $(REPORTS) ios-demo/EvimKit/.build $(BUNDLED)/*.mlpackage*
