//! The end-to-end tests: what Seatrial claims, on a real cluster.
//!
//! `make e2e` builds this, starts the cluster and runs it inside; `SCENARIO=good_canary make e2e` runs one. Each file in
//! `scenarios/` is one claim (or a few about one thing) with the YAML that it begins with beside it.

#[allow(dead_code, reason = "the harness is shared with the demo; each uses a part of it")]
mod harness;
mod lifecycles;
mod scenarios;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    match env::var("LIFECYCLES").ok().and_then(|count| count.parse().ok()) {
        Some(count) => lifecycles::run(count),
        None => harness::run_all(scenarios::ALL),
    }
}
