# Every habit is one command; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TRITON_VENV := .venv-triton
TRITON := $(TRITON_VENV)/.installed
NODE := tests/web/node/node_modules/.installed
STUDIO := tests/studio/node/node_modules/.installed

.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch comes first and by exact version: that one resolves to a CPU build, a range may pull gigabytes of CUDA.
$(STAMP): pyproject.toml deploy/services/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[server,web,model,triton,onnx,otel,c2pa,train,dev]' --editable deploy/services
	touch $@

install: $(STAMP) ## makes .venv with everything

demo: $(STAMP) ## starts the four services, makes pictures into out/demo, stops them
	$(BIN)/unclip demo --out out/demo

serve: $(STAMP) ## the same services, kept running; the gateway on 127.0.0.1:50050
	$(BIN)/unclip serve --port 50050

# A real tritonserver for the tests of networks on Triton, apart: its wheel wants numpy 1. Where it cannot be had the
# tests say so and are skipped.
$(TRITON): Makefile
	test -x $(TRITON_VENV)/bin/python || $(PYTHON) -m venv $(TRITON_VENV)
	-$(TRITON_VENV)/bin/pip install --quiet 'nvidia-pytriton>=0.7,<0.8' 'numpy<2'
	touch $@

# SDKs for Node that the web process is tested by; TypeScript, which checks the studio's types, and axe, which looks for
# what is in the way of some people. Where npm or its packages cannot be had the tests say so and are skipped.
$(NODE) $(STUDIO): %/node_modules/.installed: %/package.json
	-npm install --silent --no-audit --no-fund --no-package-lock --prefix $*
	mkdir -p $(@D) && touch $@

# Two processes of one thread each: two of two threads would wait for each other.
test: $(STAMP) $(TRITON) $(NODE) $(STUDIO) ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile

check: $(STAMP) $(STUDIO) ## ruff, mypy and tsc --strict, buf lint and breaking, yamllint, hadolint, shellcheck, generated code, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd protos && ../$(BIN)/buf lint
	cd protos && ../$(BIN)/buf breaking --against released.binpb
	$(BIN)/yamllint --strict .
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/shellcheck deploy/*.sh
	$(BIN)/python -m pytest tests/unit/test_generated_code.py tests/studio/test_types.py
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy docs/examples

format: $(STAMP) ## lets ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(STAMP) ## generates unclip/api from protos/, and the blocking client from the asyncio one
	$(BIN)/python protos/generate.py

release: ## takes the contracts as they are for released: from now on they may only grow
	cp unclip/api/descriptors.binpb protos/released.binpb

chart: $(STAMP) ## writes the services' settings into the chart's schema of values, and the chart's README
	$(BIN)/python -m deploy.settings_schema
	$(BIN)/python -m deploy.chart_readme

cluster: $(STAMP) ## the chart on a real API server, whose binaries are in UNCLIP_KUBE_BIN; on a node, with UNCLIP_KUBE_IMAGES
	$(BIN)/python -m pytest -rP tests/cluster

kind: $(STAMP) ## a cluster of its own with Docker and kind: builds, loads, installs, tests, makes a picture, deletes
	UNCLIP=$(abspath $(BIN))/unclip deploy/kind.sh

lock: $(STAMP) ## locks what the images install, to the versions in .venv, with digests
	$(BIN)/python -m deploy.lock

sbom: $(STAMP) ## software bills of materials in out/sbom: of the locks, and of the built images that IMAGES names
	$(BIN)/python -m deploy.sbom
	$(foreach image,$(IMAGES),deploy/sbom-image.sh $(BIN)/python $(image) &&) true

evaluate: $(STAMP) ## measures the embedded checkpoint into out/evaluate
	$(BIN)/python -m training.evaluate
	$(BIN)/python -m training.manipulations
	$(BIN)/python -m training.edits

bench: $(STAMP) $(TRITON) ## every benchmark that runs on this machine; tables, and JSON in out/bench
	$(BIN)/python -m tests.bench

drill: $(STAMP) ## what can happen to a cluster: restarts, kills, overload ...; a table, and JSON in out/drill
	$(BIN)/python -m tests.drill

clean: ## removes .venv and everything made
	rm -rf $(VENV) $(TRITON_VENV) tests/web/node/node_modules tests/studio/node/node_modules out build deploy/services/build *.egg-info .mypy_cache .ruff_cache .pytest_cache

.PHONY: help install demo serve test check format protos release chart cluster kind lock sbom evaluate bench drill clean
