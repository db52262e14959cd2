# What can be done here. `make` lists it.

.DEFAULT_GOAL := help
.PHONY: help assets demo test test-keystone faults faults-prove check bench fuzz deb test-systemd test-docker

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	    printf '  make %-13s %s\n' "$$name" "$$text"; \
	done

assets: ## man pages and shell completions in target/assets/{man,completions} (CADFD=path: by that program)
	@rm -rf target/assets
	@$${CADFD:-cargo run --quiet --locked --bin cadfd --} assets target/assets
	@find target/assets -type f | sort

demo: ## RabbitMQ, cadfd, Jenkins, Slack: the captured events of a real Keystone, in half a minute
	@.ci/install
	@echo 'cargo build --bin cadfd --example demo (the first time takes minutes)'
	@cargo build --quiet --locked --bin cadfd --example demo
	@cargo run --quiet --locked --example demo

test: ## all tests, against private RabbitMQ nodes
	@.ci/install python3 openssl gzip
	@.ci/rabbitmq-4
	@.ci/promtool
	@.ci/cloudevents
	@command -v systemd-analyze > /dev/null || .ci/install systemd
	@ls /usr/lib/*/rsyslog/lmnsd_ossl.so > /dev/null 2>&1 || .ci/install rsyslog-openssl
	@.ci/exim
	cargo test --locked

test-keystone: ## a hundred operations on a real Keystone 28.1 (from PyPI, with MariaDB), and what must come of each
	@.ci/install
	@.ci/keystone
	cargo test --locked --test keystone

deb: ## the Debian package, in target/debian (PROFILE=dev: not optimised, quick)
	@.ci/install
	@.ci/deb $${PROFILE:-release}

test-systemd: ## the package on a Debian with systemd and RabbitMQ (debootstrap, Docker): start, kill, reload, logrotate, upgrade, purge
	@.ci/install
	@tests/packaging/systemd

test-docker: ## the image beside a real RabbitMQ in another container, the network between them cut and restored
	@.ci/install
	@tests/packaging/docker

faults: ## everything broken at random for an hour (MINUTES=60, SEED=n to repeat one), and a table of what was lost
	@.ci/install
	@.ci/rabbitmq-4
	@echo 'cargo test --test it --no-run (the first time takes minutes)'
	@cargo test --quiet --locked --test it --no-run
	@FAULTS_MINUTES=$${MINUTES:-60} FAULTS_SEED=$${SEED:-} RUST_BACKTRACE=0 \
	    cargo test --quiet --locked --test it faults::nothing_is_lost -- --nocapture

faults-prove: ## that `make faults` can fail: cadfd with mistakes in it, each of which must be found
	@.ci/install patch
	@RUST_BACKTRACE=0 tests/mutants/prove

check: ## what needs no broker: formatting, lints, documentation, licences and advisories of the dependencies
	@.ci/install
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test keystone -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	@.ci/deny

bench: ## cadfd beside a bare consumer and oslo.messaging's, in one run (ROUNDS=5); a quarter of an hour
	@.ci/install
	@.ci/oslo
	@echo 'cargo bench (building it takes minutes)'
	@cargo bench --quiet --locked --bench daemon -- --rounds $${ROUNDS:-5} --oslo target/oslo/bin/python
	@cargo bench --quiet --locked --bench micro
	@cargo bench --quiet --locked --bench store
	@cargo bench --quiet --locked --bench trail -- --records $${RECORDS:-1000000}

fuzz: ## the decoder against random bytes for a minute (SECONDS=60); needs nightly and cargo-fuzz
	@rustup run nightly rustc --version > /dev/null 2>&1 || \
	    { echo 'fuzz: no nightly compiler: rustup toolchain install nightly' >&2; exit 1; }
	@command -v cargo-fuzz > /dev/null || { echo 'fuzz: no cargo-fuzz: cargo install cargo-fuzz --locked' >&2; exit 1; }
	mkdir -p fuzz/corpus/decode
	cargo +nightly fuzz run decode fuzz/corpus/decode tests/data/notifications/documented -- \
	    -max_total_time=$${SECONDS:-60}
