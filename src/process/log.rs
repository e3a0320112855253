//! Where the log goes and how much of it there is. Messages are constant sentences; data is in fields.

use std::io;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for log stores.
    Json,
}

/// Sends the log to stderr, as much of it as `level` says: `info`, or one level per module as in `info,seatrial=debug`.
///
/// # Errors
/// When `level` is not of that form, or a log was started before.
pub fn start(format: Format, level: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::builder().parse(level)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(layer).try_init()?,
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}
