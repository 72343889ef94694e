# The whole interface, for people and for CI. `make` alone lists it.
# Needs rustup (rust-toolchain.toml names the version), a C compiler for SQLite, Node 20 and Python 3.10 or newer.

CARGO_TARGET_DIR ?= target
override CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
export CARGO_TARGET_DIR
RELEASE := $(CARGO_TARGET_DIR)/release
DATA ?= ./concave-data
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
CLIENTS := tests/clients

.DEFAULT_GOAL := help
.PHONY: help run test rust-tests client-tests fmt lint sim soak bench fuzz deny
# The clients' suites wait more than they work, so that they run side by side.
CLIENT_SUITES := npm-newest npm-1.30 npm-1.17 python-client rust-client
.PHONY: $(CLIENT_SUITES)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

run: ## build and serve the chat application on http://127.0.0.1:3210, data in ./concave-data
	cargo build --release --locked --bin concave
	$(RELEASE)/concave serve --app presence --data $(DATA) --dev-auth

test: lint rust-tests client-tests ## everything that must pass

rust-tests:
	cargo build --workspace --locked
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace --locked
else
	cargo test --workspace --locked
endif

client-tests: export CONCAVE_BIN = $(CARGO_TARGET_DIR)/debug/concave
client-tests:
	cargo build --workspace --locked
	cd $(CLIENTS)/npm && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cd $(CLIENTS)/rust && cargo test --locked --no-run
	$(MAKE) --no-print-directory --jobs --output-sync=target $(CLIENT_SUITES)

npm-newest:
	cd $(CLIENTS)/npm && npm test

npm-1.30 npm-1.17: npm-%:
	cd $(CLIENTS)/npm && npm run test:$*

python-client:
	python3 $(CLIENTS)/python/run.py

rust-client:
	cd $(CLIENTS)/rust && cargo test --locked

fmt: ## format the Rust sources
	cargo fmt --all

lint: ## formatting and lints, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cd $(CLIENTS)/rust && cargo fmt --check
	cd $(CLIENTS)/rust && cargo clippy --locked --all-targets -- -D warnings

sim: ## the seeded simulation; SEED=… repeats one run
	$(if $(SEED),SEED=$(SEED)) cargo test --locked -p tests --test sim -- --nocapture

soak: ## long runs against a release build; MINUTES=… for how long, 10 without
	cargo build --release --locked -p tests --bin base-server
	MINUTES=$(or $(MINUTES),10) cargo test --release --locked -p tests --test soak -- --nocapture --test-threads 1

bench: ## the workloads of docs/benchmarks.md, in a release build
	cargo build --release --locked -p benches -p concave
	for workload in fanout untouched mutations; do $(RELEASE)/benches $$workload || exit 1; done
	$(RELEASE)/benches start --program $(RELEASE)/concave

fuzz: ## foreign bytes into every reader, MINUTES=30 for each; TARGET=… one of them, KEEP=1 its corpus
	python3 fuzz/run.py --minutes $(or $(MINUTES),30) $(if $(KEEP),--keep) $(TARGET)

deny: ## licenses, bans and sources of dependencies (needs cargo-deny)
	cargo deny check licenses bans sources
