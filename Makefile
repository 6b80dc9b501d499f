# Two commands on a fresh machine with Python >= 3.11:
#   make demo   set up, then the whole job on a recording that it simulates itself
#   make test   set up, then the tests (make test-slow: those too that take minutes)
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-slow setup clean help

help:
	@sed -n '1,4s/^# \{0,1\}//p' Makefile

setup: $(VENV)/ready

# PyTorch first and by its exact version: an unpinned install would pull gigabytes of CUDA on Linux.
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || (echo "nwb_lowrank needs Python >= 3.11; try: make $(MAKECMDGOALS) PYTHON=python3.11" && false)
	@echo "== setting up $(VENV) (once; a few minutes) =="
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

demo: setup
	@echo "== the whole job on a simulated recording; results in demo_output/ =="
	$(BIN)/nwb-lowrank demo --output demo_output

# Two processes, a file of tests in one piece: what a file's tests share is then made once.
test: setup
	@echo "== the tests (under ten minutes on 2 cores) =="
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: setup
	@echo "== the slow tests =="
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow

clean:
	rm -rf $(VENV) demo_output
