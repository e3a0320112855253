//! Which trial is judged, and how. Plain data.

use jiff::Timestamp;

use crate::api::v1alpha1::{Analysis, Duration};

/// What the evidence is about. A different one starts afresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Namespace of the model.
    pub namespace: String,
    /// Candidate revision.
    pub candidate: String,
    /// Stable revision.
    pub stable: Option<String>,
    /// Attempt of the model.
    pub attempt: i64,
    /// When the candidate first was given weight; `None` while it prepares.
    pub entered: Option<Timestamp>,
}

/// How a candidate is judged, beside its SLOs.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The spec's `analysis`.
    pub analysis: Analysis,
    /// The provider's scrape interval.
    pub scrape: Duration,
    /// See [`super::steps::planned_blocks`].
    pub planned_blocks: u32,
    /// See [`super::steps::pods_ratio`]. Looked at once: a model that is scaled in mid-trial is judged as it began.
    pub pods_ratio: f64,
}

impl Rules {
    /// Whether evidence under the one is evidence under the other.
    #[must_use]
    pub fn agree(&self, other: &Self) -> bool {
        self.analysis == other.analysis && self.planned_blocks == other.planned_blocks
    }
}

/// What a question is about, by index of the SLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The trial.
    Trial(usize),
    /// What stable did before it.
    Past(usize),
}
