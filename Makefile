# Everything a person types. `make` alone prints this list.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST_ARGS ?=
# Threads of torch that wait must not keep a core from those that work.
export OMP_WAIT_POLICY = PASSIVE

help:            ## Show the commands
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## Make .venv with everything in it (a few minutes, once)
$(VENV)/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@# torch comes as the machine needs it, for CPU or CUDA; all else by its hash.
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup      ## Ground a real CT with its report, over the network, and show the result
	$(BIN)/dicom-node demo $(DEMO_ARGS)
test: setup      ## Everything: style, layers, types, the whole suite
	$(MAKE) --no-print-directory lint types
	@# Three on two cores: the long tests mostly wait, for peers and for time-outs.
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
fast: setup      ## Unit and property tests, stop at the first failure
	$(BIN)/pytest -q -x -n 2 -m "not slow and not acceptance and not gpu and not peers"
lint: setup      ## Style, spelling, layering
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell && $(BIN)/lint-imports
types: setup     ## Strict type check
	$(BIN)/mypy
torture: setup   ## Try to break a running node in twenty ways (an hour and a half)
	$(BIN)/python -m tests.torture run $(TORTURE_ARGS)
soak: setup      ## Fifty senders for an hour, and what grows meanwhile
	$(BIN)/python -m tests.torture run 14 --scale soak
bench: setup     ## How fast it is, beside its peers (about an hour)
	$(BIN)/python -m tests.bench run $(BENCH_ARGS)
checkpoint: setup ## Train the bundled checkpoint again from the open data (hours on one core)
	$(BIN)/python -m training checkpoint training/configs/medglip-tiny.toml --resume
# What torch brings along for a GPU differs from machine to machine.
TORCH_OWN = torch triton cuda-toolkit cuda-bindings cuda-pathfinder nvidia-cublas \
  nvidia-cuda-cccl nvidia-cuda-crt nvidia-cuda-cupti nvidia-cuda-nvcc nvidia-cuda-nvrtc \
  nvidia-cuda-opencl nvidia-cuda-profiler-api nvidia-cuda-runtime nvidia-cudnn-cu13 \
  nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
  nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 \
  nvidia-nvtx nvidia-nvvm
lock:            ## Pin every dependency anew, with its hashes (after a make setup)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade \
	  --python-version 3.11 --no-annotate --no-header \
	  $(addprefix --no-emit-package ,$(TORCH_OWN)) pyproject.toml \
	  --extra training --extra ray --group pyproject.toml:dev -o requirements.lock
sbom: setup      ## Write the bill of materials (CycloneDX) of what is installed
	mkdir -p artifacts
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file artifacts/sbom.cdx.json $(BIN)/python
audit: setup     ## Ask the network for known vulnerabilities of what is pinned
	$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements.lock
fix: setup       ## Format and repair what can be repaired
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .
.PHONY: help setup demo torture soak bench checkpoint test fast lint types lock sbom audit fix
