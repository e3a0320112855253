//! What a `ModelDeployment` asks to run: its identity (a hash that no release may move) and its snapshot (the pod
//! template, rendered once and kept).
//!
//! Pure: no I/O, no clock.

mod identity;
mod merge;
mod model;
mod snapshot;
mod template;

pub use identity::{ALGORITHM, Identity, identity};
pub use snapshot::{Snapshot, SnapshotError, snapshot};
pub(crate) use snapshot::{has_port, labels};

use crate::api::conditions::{ACCEPTED, RESOLVED_REFS};

/// Label and pod label: the `ModelDeployment`.
pub const MODEL_LABEL: &str = "seatrial.dev/model";
/// Label and pod label: the revision, which is also the name of its Service.
pub const REVISION_LABEL: &str = "seatrial.dev/revision";
/// Label and pod label: what people call the version. Absent when the spec names none.
pub const VERSION_LABEL: &str = "seatrial.dev/version";

/// The reason where an object that is not ours has the name of one that we need.
pub const NAME_TAKEN: &str = "NameTaken";
/// Reason of a refusal that the API server gave: it does not take the route.
pub const INVALID_ROUTE: &str = "InvalidRoute";

/// Why a spec cannot be run as it is: a condition with status False, in the user's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `Accepted` (the spec is wrong) or `ResolvedRefs` (something that it names is missing or wrong).
    pub condition: &'static str,
    /// One word: `InvalidName`, `InvalidModel`, `InvalidTemplate`, `UnsupportedFormat`, `UnsupportedUri`,
    /// `RuntimeNotFound`, `InvalidRuntime`, `NameTaken`.
    pub reason: &'static str,
    /// Names the field by its path, what is wrong, and what to write instead.
    pub message: String,
}

impl Refusal {
    /// The spec itself is wrong, or is not taken.
    pub(crate) fn spec(reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition: ACCEPTED, reason, message: message.into() }
    }

    fn reference(reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition: RESOLVED_REFS, reason, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
