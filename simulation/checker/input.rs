//! What the checker reads: everything that happened in a world, and what the world knows to be true.

use std::{collections::BTreeMap, time::Duration};

use seatrial::world::history::{Applied, Change, Key, Served};

/// The whole history of one world, and the truth about it.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Every change of every object, in order of their revisions.
    pub changes: Vec<Change>,
    /// What proxies began to apply, in order of time.
    pub applied: Vec<Applied>,
    /// Requests of the models' users, in ticks, in order of time.
    pub served: Vec<Served>,
    /// Requests of the operator's replicas to the API server, in the order in which they were sent.
    pub requests: Vec<Request>,
    /// What the world knows.
    pub facts: Facts,
}

/// One attempt of an operator's replica to reach the API server. A request that a lane repeats is several.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The replica, as in [`Change::by`].
    pub who: String,
    /// Virtual time at which it left the replica.
    pub sent: Duration,
    /// As in HTTP: `GET`, `POST`, `PUT`, `PATCH`, `DELETE`. Watches are left out.
    pub method: &'static str,
    /// The object; an empty name for a list.
    pub key: Option<Key>,
    /// `status`, or none.
    pub subresource: Option<String>,
    /// Nothing was to be written.
    pub dry_run: bool,
    /// `metadata.uid` of the body, or of a deletion's preconditions.
    pub uid: Option<String>,
    /// `metadata.resourceVersion` of the body, or of a deletion's preconditions.
    pub resource_version: Option<String>,
    /// The replica's epoch at that moment, if known.
    pub epoch: Option<i64>,
    /// The API server's answer; `None`: the request never arrived there.
    pub code: Option<u16>,
    /// That answer reached the replica.
    pub told: bool,
    /// The network delivered it once more: the replica did not send it again.
    pub again: bool,
    /// The [`Change::revision`] that it became; `None`: it changed nothing.
    pub revision: Option<u64>,
}

impl Request {
    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        !self.dry_run && matches!(self.method, "POST" | "PUT" | "PATCH" | "DELETE")
    }
}

/// What the world knows to be true, whatever the controllers think.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Names of the operator's replicas, as in [`Change::by`].
    pub operators: Vec<String>,
    /// The propagation allowance that the operator is configured with; no proxy of this world applies an accepted route later.
    pub propagation: Duration,
    /// The provider's scrape interval.
    pub scrape: Duration,
    /// When the world ended.
    pub end: Duration,
    /// No fault is injected from here on.
    pub faults_end: Duration,
    /// No user, no GitOps, no trouble of pods or gateways from here on.
    pub quiet_since: Duration,
    /// How long after both of them everything has surely ended: all steps, windows and deadlines of this world. Zero: by
    /// what the specs say.
    pub settle: Duration,
    /// When something stood between the operator and its world: API server away or slow, partition, stale reads, watches
    /// broken, conflicts, permissions missing.
    pub faults: Vec<Span>,
    /// When Prometheus did not answer, answered late, or with something that is no valid answer.
    pub blind: Vec<Span>,
    /// When it said nothing at all that is true: of `blind`, without the answers that come slowly or lack the newest samples.
    pub unanswered: Vec<Span>,
    /// When the gateway took no route over.
    pub deaf: Vec<Span>,
    /// When no replica could lead: crashed, stopped, or on the way to the lease (until the new leader has synced).
    pub absent: Vec<Span>,
    /// Virtual times at which a replica crashed.
    pub crashes: Vec<Duration>,
    /// Virtual times at which a wall clock jumped, and by how many seconds.
    pub jumps: Vec<(Duration, i64)>,
    /// What every version (`spec.model.version`) is like; one that is not here is good.
    pub versions: BTreeMap<String, Quality>,
    /// Requests per second to the routes while they are open; to judge whether evidence can gather at all.
    pub rate: f64,
    /// Reconciles that panicked.
    pub panics: Vec<String>,
    /// Objects that this release cannot read, stored on purpose.
    pub broken: Vec<Key>,
}

/// A stretch of virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From then.
    pub from: Duration,
    /// Until then.
    pub until: Duration,
}

/// What a version is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// It keeps its SLOs, with a margin.
    #[default]
    Good,
    /// It breaks an SLO so clearly that no judge may pass it, and stable does not.
    Bad,
    /// It begins to break an SLO so clearly at some moment: it may be promoted before, and must be taken out after it.
    Sours,
    /// Neither: no outcome is wrong.
    Unclear,
    /// Its pods never become ready.
    NeverReady,
    /// Its pods end again and again.
    Crashing,
    /// Its pods are evicted, or not ready, again and again: nobody is to blame, and it starts again for as long as they are.
    Restless,
}
