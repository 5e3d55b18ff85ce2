# make demo, make test: each makes the environment where it is missing, then does its work.
.PHONY: env demo test check bench faults lock

PYTHON ?= python3
BIN := .venv/bin
# uv does not read pip's variable. A folder of wheels there saves the download of torch.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

env: .venv/made

.venv/made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode -r requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

demo: .venv/made
	$(BIN)/fashion-clip demo

# One thread a worker: matrix libraries that each take all cores make the tests several times as slow.
test: .venv/made
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist worksteal

check: .venv/made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# BENCH=NAME .. chooses some, QUICK=--quick makes them small. For an otherwise idle machine; an hour and a half.
bench: .venv/made
	$(BIN)/python -m benchmarks $(QUICK) $(BENCH)

# As root, on a machine with the services that .ci/install_services installs. FAULTS=--tenth for a tenth of it.
faults: .venv/made
	$(BIN)/python -m tests.faults $(FAULTS)

# Without the CUDA packages that torch from the index brings by itself, and that a CPU wheel does not need.
lock: .venv/made
	UV_FIND_LINKS= $(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	    --quiet --no-header --no-annotate | grep -v -E '^(nvidia-|triton|cuda-)' > requirements.lock.part
	mv requirements.lock.part requirements.lock
