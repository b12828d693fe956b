# `make demo` on a fresh machine is the whole tour; `make help` lists the rest.

PYTHON      ?= python3
EXTRAS      ?= dev,report
CONSTRAINTS ?=
WORKERS     ?= 2

VENV     := .venv
BIN      := $(VENV)/bin
comma    := ,
# One stamp per set of extras: `.venv/.installed-dev-reference` says what is in there.
STAMP    := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
SOURCES  := pyproject.toml $(wildcard CMakeLists.txt) \
            $(shell find hardcast -name '*.cpp' -o -name '*.hpp' -o -name '*.c' -o -name '*.h' \
                                  -o -name 'CMakeLists.txt')
PYSOURCE := $(wildcard hardcast tests benchmarks)

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test check format verify bench clean

help: ## what each target does
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## .venv with hardcast in it (EXTRAS=dev,report by default; reference adds torch)

$(STAMP): $(SOURCES) | $(BIN)/python
	@echo "installing into $(VENV) and compiling the engine: one to three minutes the first time ..."
	@$(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable '.[$(EXTRAS)]'
	@touch $@

$(BIN)/python: | tools
	$(PYTHON) -m venv $(VENV)

# Each missing tool is one line that says what to install, before anything is written.
tools:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "hardcast needs Python 3.11 or newer: no '$(PYTHON)' here (name one: make PYTHON=python3.12 ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hardcast needs Python 3.11 or newer: $(PYTHON) is $$($(PYTHON) -V) (name one: make PYTHON=python3.12 ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "hardcast needs Python's venv module: $(PYTHON) has none (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' || \
	  { echo "hardcast compiles its engine: Python.h is missing (Debian, Ubuntu: apt install python3-dev)" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || \
	  { echo "hardcast compiles its engine: no C++ compiler found (Debian, Ubuntu: apt install g++; macOS: xcode-select --install)" >&2; exit 1; }

demo: setup ## the whole tour: fetch SmolLM2-135M, build its chip image, ask it, write its datasheet
	@$(BIN)/hardcast demo

test: setup ## every test that runs in seconds
	$(BIN)/python -m pytest -n $(WORKERS)

check: setup ## linter, formatter, types
	$(BIN)/ruff check $(PYSOURCE)
	$(BIN)/ruff format --check $(PYSOURCE)
	$(BIN)/mypy

format: setup ## rewrite the sources as `make check` wants them
	$(BIN)/ruff check --fix $(PYSOURCE)
	$(BIN)/ruff format $(PYSOURCE)

verify: setup ## the slow proofs on real models (minutes; downloads SmolLM2-135M and Qwen2.5-Coder-0.5B once)
	$(BIN)/python -m pytest -m verify

bench: ## decode and prefill against llama.cpp on the same file (compiles llama.cpp: 4 minutes)
	@$(MAKE) --no-print-directory setup EXTRAS=$(EXTRAS),bench
	$(BIN)/python benchmarks/against_llama_cpp.py

clean: ## removes what make and the tests wrote, .venv too; not the model cache
	rm -rf $(VENV) build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
