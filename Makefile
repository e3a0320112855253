# `make demo` and `make test` do all the set-up themselves; the rest are their parts.

CLUSTER := e2e/cluster/cluster
BINARY  := target/debug/seatrial

# Clippy is the compiler of this crate in every build, so that the dependencies are not checked once more for its sake.
export RUSTC_WORKSPACE_WRAPPER := clippy-driver
export CLIPPY_ARGS := -Dwarnings__CLIPPY_HACKERY__

.PHONY: help demo test check fmt clippy unit regressions sim sim-busy sim-leftovers sim-plans chart e2e lifecycles build up down crds judge conformance mutants

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build up  ## the main job on a real cluster, told as it happens; ends in target/demo/report.json
	$(CLUSTER) exec "$$(.ci/binary demo)"

# The cluster's programs are built beside the checks, where they are not there yet.
test:  ## everything: lints, unit and property tests, chart, then the scenarios on the real cluster
	@$(CLUSTER) install & install=$$!; trap "kill $$install 2> /dev/null" EXIT; \
	$(MAKE) --no-print-directory check && wait $$install && $(MAKE) --no-print-directory e2e

check: fmt clippy unit regressions chart  ## everything that needs no cluster

fmt:  ## formats
	cargo fmt --check

clippy:  ## lints, of all there is: the builds of which the other parts are made
	cargo build --all-targets --locked

unit:  ## all tests that need no cluster, and the proofs of the simulation's checker
	cargo test --lib --test checker --locked

# This crate alone is compiled once more, optimised; its dependencies are those of every other build. Not incrementally: a
# crate in a few large pieces is compiled in less time, and to faster code, than one in 256.
OPTIMISED := regressions sim sim-busy sim-leftovers sim-plans mutants
$(OPTIMISED): export CARGO_PROFILE_DEV_OPT_LEVEL := 2
$(OPTIMISED): export CARGO_PROFILE_DEV_INCREMENTAL := false
# Sums that overflow still end a run; what the standard library checks of itself at every access costs a sixth.
$(OPTIMISED): export CARGO_PROFILE_DEV_DEBUG_ASSERTIONS := false
$(OPTIMISED): export CARGO_PROFILE_DEV_OVERFLOW_CHECKS := true
# The next world needs what the last one gave back.
$(OPTIMISED): export MIMALLOC_PURGE_DELAY := -1

sim:  ## thousands of rollouts in a world that fails; SEEDS=20000 FROM=1 says which, SEED=n replays one and makes it smaller
	cargo test --locked --test simulation

sim-leftovers:  ## as sim; in each world models are deleted that others may still send to
	cargo test --locked --test simulation -- leftovers

sim-busy:  ## as sim; people do, and actors break, many times as much
	cargo test --locked --test simulation -- busy

regressions:  ## the worlds in which the simulation once found a bug, and the first 5000 seeds
	SEEDS=5000 FROM=1 cargo test --locked --test simulation

mutants:  ## faults of other rollout controllers, one at a time: the simulation must see each; MUTANT=WeightBeforeReady for one
	cargo test --locked --features mutants --test simulation -- mutants

sim-plans:  ## every crash point, stale and unobserved event of recorded rollouts; PLANS=n says how many at most
	cargo test --locked --test simulation -- plans

chart:  ## the chart: lint, schema, rules over what it renders
	charts/check

e2e: build up  ## the scenarios on the real cluster; SCENARIO=name runs one
	$(CLUSTER) exec "$$(.ci/binary e2e)"

lifecycles: build up  ## 300 lifecycles and 10,000 weight changes under load, 0 failed requests; an hour and more
	LIFECYCLES=$${LIFECYCLES:-300} $(CLUSTER) exec "$$(.ci/binary e2e)"

# In one command: for the operator alone, cargo would build those dependencies again of which tests need more features.
build:  ## the operator, the scenarios and the demo: one tree, one profile
	cargo build --locked --bin seatrial --test e2e --test demo

up:  ## the cluster, with this build's image in it
	$(CLUSTER) install
	$(CLUSTER) up
	$(CLUSTER) image seatrial $(BINARY)

judge:  ## thousands of simulated rollouts through the judge, beside other rules; ends in target/judge/report.json; SEED=7 plays others
	cargo run --locked --release --manifest-path benches/judge/Cargo.toml --target-dir target/judge/build -- \
		--run --seed $(or $(SEED),0)

SEQUENCES ?= 5000
conformance:  ## the simulation's API server beside a real one, over random requests; SEED=7 SEQUENCES=1 tells one in full
	cargo test --no-run --locked --test conformance
	SEQUENCES=$(SEQUENCES) simulation/conformance/server exec cargo test --locked --test conformance

down:  ## ends the cluster and everything in it
	$(CLUSTER) down

crds:  ## writes crds/ from the types
	UPDATE=1 cargo test --lib --locked the_files_in_crds
