# The workshop of Layeron Job. Everything runs inside .venv, which is made from requirements.lock when first needed.

PYTHON ?= python3
BIN := .venv/bin
STUBS := clients/python/layeron
READY := .venv/.ready
DISTRIBUTIONS := clients/python worker server

# Nothing that happens to be set in the caller's shell may decide which packages or interpreter are used.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME CONDA_PREFIX PYTEST_ADDOPTS

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow faults check languages go typescript java conformance generate bench lock format clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv with everything the project needs (the others do this by themselves)

# uv is the locked one, and so is the back end that builds our own three (no isolation). `sync` removes what the lock does
# not name; every package is checked against its hash.
$(READY): requirements.lock $(DISTRIBUTIONS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=python3.11' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -nE 's/^(uv==[^ ]+).*/\1/p' requirements.lock)"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(DISTRIBUTIONS:%=-e %)
	@touch $@

demo: $(READY) ## Start everything and watch real runs go by (DEMO_EXIT=1: stop at the end)
	PYTHONPATH=examples $(BIN)/python -m demo

test: $(READY) ## Run the tests against a real PostgreSQL and a real nats-server (ARGS="-k name" picks some)
	$(BIN)/pytest -n 2 tests --ignore tests/bench -m "not slow" $(ARGS)

slow: $(READY) ## Run the tests that `make test` leaves out because they take long
	$(BIN)/pytest tests --ignore tests/bench -m slow $(ARGS)

faults: $(READY) ## Break everything while it works, and check that nothing is lost (SEED=1-20 MINUTES=2)
	PYTHONPATH=tests $(BIN)/python -m faults --seed $(or $(SEED),1) --minutes $(or $(MINUTES),2) $(ARGS)

check: $(READY) ## Check format, lint, types, import rules, contract and generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/released.binpb
	$(call generate,build/generated)
	diff -r -x __pycache__ build/generated/$(STUBS) $(STUBS) || { echo 'The stubs do not match proto/: run make generate' >&2; exit 1; }
	$(BIN)/pytest --quiet tests/store/test_schema.py

languages: go typescript java ## Check and test the packages of the other languages (needs Go, Node, and Java with Maven)

go: $(READY)
	rm -rf build/generated/clients/go
	$(BIN)/buf generate --template clients/go/buf.gen.yaml --output build/generated
	diff -r build/generated/clients/go/gen clients/go/gen || { echo 'The stubs do not match proto/: run make generate' >&2; exit 1; }
	cd clients/go && test -z "$$(gofmt -l . | tee /dev/stderr)"
	cd clients/go && go vet ./... && go tool -modfile=tools/go.mod staticcheck ./... && go test -race ./...

typescript: $(READY)
	npm --prefix clients/typescript ci
	rm -rf build/generated/clients/typescript
	$(BIN)/buf generate --template clients/typescript/buf.gen.yaml --output build/generated
	diff -r build/generated/clients/typescript/src/gen clients/typescript/src/gen || { echo 'The stubs do not match proto/: run make generate' >&2; exit 1; }
	npm --prefix clients/typescript run check
	npm --prefix clients/typescript test

java: $(READY)
	rm -rf build/generated/java
	mvn -q -f clients/java/pom.xml -P generate -Dstubs.folder=$(CURDIR)/build/generated/java generate-sources
	diff -r build/generated/java clients/java/src/generated/java || { echo 'The stubs do not match proto/: run make generate' >&2; exit 1; }
	mvn -q -f clients/java/pom.xml verify

build/tools/grpcurl:
	GOBIN=$(CURDIR)/build/tools go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3

conformance: $(READY) build/tools/grpcurl ## Run every conformance case in every language, and print the table
	$(BIN)/pytest tests/conformance --languages all $(ARGS)

generate: $(READY) ## Make the stubs of all languages, the golden schema and the state chart again
	$(call generate,build/generated)
	rm -rf $(STUBS)
	cp -R build/generated/$(STUBS) $(STUBS)
	PYTHONPATH=tests $(BIN)/python -m support.chart
	PYTHONPATH=tests $(BIN)/python -m support.schema
	$(BIN)/buf generate --template clients/go/buf.gen.yaml
	mvn -q -f clients/java/pom.xml -P generate generate-sources
	npm --prefix clients/typescript ci
	npm --prefix clients/typescript run generate

# $(call generate,FOLDER): the stubs of proto/, in FOLDER/clients/python. buf cannot call the service plugin of
# grpcio-tools, which is compiled in. `layeron` and `layeron.job` are namespace packages, so only v1 has an __init__.
define generate
	rm -rf $(1)
	$(BIN)/buf generate --output $(1)
	$(BIN)/python -m grpc_tools.protoc --proto_path=proto --grpc_python_out=$(1)/clients/python $(shell find proto -name '*.proto' | sort)
	printf '"""The contract of Layeron Job, version 1: generated from proto/layeron/job/v1."""\n' > $(1)/$(STUBS)/job/v1/__init__.py
	touch $(1)/$(STUBS)/py.typed
endef

bench: $(READY) ## Measure throughput and latency on this machine
	PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

lock: $(READY) ## Choose the newest packages the bounds allow and write requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	    --no-emit-package layeron-job --no-emit-package layeron-job-worker --no-emit-package layeron-job-server \
	    --custom-compile-command 'make lock' --all-extras --group dev --output-file requirements.lock \
	    pyproject.toml $(DISTRIBUTIONS:%=%/pyproject.toml)

format: $(READY) ## Format the code and the contract, and mend what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format --write

clean: ## Remove .venv and everything the tools left behind
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist junit.xml
	find clients server worker tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
