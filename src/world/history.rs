//! What happened to the objects of a world, one change after the other.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

/// Which object: its kind decides its API group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// As in `kind:`.
    pub kind: String,
    /// Empty for a cluster-scoped kind.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// The key of an object in a namespace; an empty one for a cluster-scoped kind.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// One object changed once.
#[derive(Clone, Debug)]
pub struct Change {
    /// The cluster-wide number of the change; the object's `resourceVersion` after it.
    pub revision: u64,
    /// Virtual time since the world began.
    pub at: Duration,
    /// Who: the name of a client or of an actor (`seatrial-a`, `kubelet`, `user`).
    pub by: String,
    /// Which object.
    pub key: Key,
    /// As it was; `None`: it was made.
    pub before: Option<Arc<Value>>,
    /// As it is; `None`: it is gone.
    pub after: Option<Arc<Value>>,
}

/// A proxy began to apply a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Virtual time since the world began.
    pub at: Duration,
    /// Which proxy.
    pub proxy: usize,
    /// Which route.
    pub route: Key,
    /// The route's generation that it applies; `None`: it knows no such route any more.
    pub generation: Option<i64>,
    /// Backends (names of Services, which are those of revisions) and their weights; none at 0.
    pub shares: Vec<(String, i64)>,
}

/// Requests that the proxies sent to one backend in one tick, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Virtual time since the world began, at the end of the tick.
    pub at: Duration,
    /// By which route.
    pub route: Key,
    /// The backend that they were sent to.
    pub backend: String,
    /// All of them.
    pub requests: u64,
    /// Answered by the model with a server error: its own fault.
    pub errors: u64,
    /// Answered too late by the model: its own fault.
    pub slow: u64,
    /// Not answered because nothing ready was there (no endpoints, a pod that ended): somebody's ordering was wrong.
    pub failed: u64,
}
