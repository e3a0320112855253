//! `make demo`: the main job on a real cluster, under constant load, told as it happens.
//!
//! A better model is promoted, one that fails and one that is slow are rolled back, a rejected one is applied again and
//! not tried. What happened is measured, printed and written to `target/demo/report.json`; a claim that does not hold
//! ends it with an error.

#[allow(
    dead_code,
    unused_imports,
    reason = "the harness is shared with the scenarios; each uses a part of it"
)]
#[path = "../harness/mod.rs"]
mod harness;
mod report;
mod screen;
mod story;

use std::process::ExitCode;

use harness::Outcome;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(play()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(broken) => {
            eprintln!("\ndemo: {broken}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the story; whether every claim held.
async fn play() -> Outcome<bool> {
    let report = story::tell().await?;
    report.write()?;
    report.print();
    Ok(report.broken_claims().is_empty())
}
