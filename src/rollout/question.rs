//! What is asked of Prometheus, and what comes back. The plan decides *what*; `prometheus/` knows *how*.

use jiff::Timestamp;

use crate::api::v1alpha1::Duration;

/// One SLO's measurements for one candidate, beside the stable revision if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Name of the provider in the operator's configuration.
    pub provider: String,
    /// Namespace of the model.
    pub namespace: String,
    /// Candidate revision; also the name of its Service.
    pub candidate: String,
    /// Stable revision, for comparison.
    pub stable: Option<String>,
    /// What is measured.
    pub indicator: Indicator,
    /// Raw samples are wanted from here (exclusive) …
    pub from: Timestamp,
    /// … to here (inclusive). For a query: the moment of the evaluation.
    pub until: Timestamp,
}

/// What an SLO measures; the wire form is `api::v1alpha1::Slo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indicator {
    /// Requests and server errors, by the provider's metric pack.
    Errors,
    /// Requests and those answered within a time, by the pack's histogram.
    Latency {
        /// The time.
        below: Duration,
    },
    /// Two counters of the model's own, as selectors without functions.
    Ratio {
        /// Bad events.
        bad: String,
        /// All events.
        total: String,
    },
    /// Any PromQL; `$revision`, `$namespace` and `$service` are replaced inside quotes.
    Query {
        /// The text as the user wrote it.
        query: String,
    },
}

/// An answer that can be judged. Everything else (an error, a timeout, warnings, several series for a query, NaN) is an
/// [`Unanswered`] and never counts as good.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Raw counter samples of both revisions.
    Counters {
        /// The candidate's.
        candidate: Counters,
        /// The stable revision's; empty without one.
        stable: Counters,
    },
    /// The value of a custom query.
    Value(f64),
}

/// Raw samples of one revision's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// All events.
    pub total: Vec<Series>,
    /// Bad events. Empty where buckets answer.
    pub bad: Vec<Series>,
    /// Events at most this slow (seconds), by bucket edge in rising order, without `+Inf`. Only for latency.
    pub within: Vec<(f64, Vec<Series>)>,
}

/// One time series as Prometheus stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels in canonical form: the same series has the same key in every answer.
    pub key: String,
    /// What it was scraped from (job and instance): decides whether a new series starts at 0.
    pub target: String,
    /// Milliseconds since the epoch, and value, in rising order of time. Stale markers and NaN are left out.
    pub samples: Vec<(i64, f64)>,
}

/// Why a question has no answer. The text is for people and holds nothing that a server sent but its status code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unanswered {
    /// One word, for metrics, of a fixed set: `Unreachable`, `Tls`, `Timeout`, `Interrupted`, `TooLarge`, `Token`,
    /// `HttpStatus`, `QueryFailed`, `BadAnswer`, `Warnings`, `NoData`, `SeveralSeries`, `NotANumber`, `BadQuestion`.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}
