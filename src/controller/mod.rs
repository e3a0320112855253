//! The shell around the heart: everything that reads from and writes to the API server and Prometheus.
//!
//! ```text
//! watch ─ cache ─┐                     ┌─ act ── API server
//!                ├─ observe ─ judge ─ plan ─┤
//! queue (units) ─┘      │                   └─ publish ── Events, metrics
//!                       └─ ask ── Prometheus
//! ```
//!
//! Begin with [`reconcile`].

pub mod act;
pub mod ask;
pub mod cache;
pub mod clock;
mod conflict;
pub mod error;
pub mod event;
pub mod guard;
pub mod known;
pub mod lanes;
pub mod look;
pub mod metrics;
pub mod observe;
mod pace;
mod publish;
pub mod queue;
pub mod reconcile;
mod refused;
pub mod reread;
pub mod run;
pub mod status;
pub mod unstored;
pub mod vet;
pub mod watch;
pub mod woken;

use std::collections::BTreeMap;

use tokio::sync::watch as channel;

use crate::{
    controller::{
        clock::{Clock, Jitter},
        lanes::{Lanes, Tenure},
        metrics::Metrics,
    },
    prometheus::{client::Transport, provider::Provider},
};

pub use run::run;

/// Everything that the controllers need from outside; the simulation puts its own in.
#[derive(Clone)]
pub struct Context {
    /// The ways to the API server.
    pub api: Lanes,
    /// The Prometheus servers by name.
    pub providers: BTreeMap<String, Source>,
    /// The time.
    pub clock: Clock,
    /// Spreads retries.
    pub jitter: Jitter,
    /// Whether this process leads.
    pub tenure: channel::Receiver<Option<Tenure>>,
    /// Told an epoch of an object that is higher than this process's, for `process::leader`.
    pub outranking: channel::Sender<i64>,
    /// Counted for `/metrics`.
    pub metrics: Metrics,
    /// Turns true once every watch has brought its first list.
    pub synced: channel::Sender<bool>,
}

/// A Prometheus: what it counts, and the way to it.
#[derive(Clone)]
pub struct Source {
    /// Its metric pack and settings.
    pub provider: Provider,
    /// The way to it.
    pub transport: Transport,
}
