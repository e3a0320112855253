#![forbid(unsafe_code)]
//! `seatrial`: parse, install the TLS provider, dispatch.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use seatrial::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("seatrial: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The outermost error says what was being done, the innermost why it did not work; a few repeat their source.
fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

fn start(cli: Cli) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    // One provider for the whole process; there is none before, so this cannot fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: a reconcile waits far more than it computes, one malloc arena instead of one per thread keeps the resident
    // memory low, and the simulation runs the same schedule. Nothing here blocks it: files are read at the start.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(cli.run())
}
