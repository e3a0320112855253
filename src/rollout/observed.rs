//! What a plan is made from: one unit as it was read. Plain data.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{evidence::Judgement, leftover::Leftover, requests::Request};
use crate::{
    api::v1alpha1::{
        Duration, ModelDeploymentSpec, ModelDeploymentStatus, Phase, TrafficSplitSpec, TrafficSplitStatus,
    },
    revision::Refusal,
    route::RouteView,
    workload::Trouble,
};

/// A unit: a `TrafficSplit` with the models that it names, or a model that no `TrafficSplit` names.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The `TrafficSplit`; absent for a model by itself.
    pub split: Option<Split>,
    /// The models that exist, in the order of `spec.backends`.
    pub models: Vec<Model>,
    /// Since when this replica leads: what nobody did before is nobody's fault but ours.
    pub led_since: Timestamp,
}

/// A `TrafficSplit` as it was read.
#[derive(Clone, Debug)]
pub struct Split {
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// What the user wrote.
    pub spec: TrafficSplitSpec,
    /// What we wrote last.
    pub status: TrafficSplitStatus,
    /// Why its spec cannot be acted on: nothing rises, what flows goes on.
    pub refused: Option<Refusal>,
    /// The SLOs that nobody can be asked about: their query is wrong, or their provider unknown. A refused spec is judged by the
    /// others: what flows goes on, and may breach them.
    pub unaskable: BTreeSet<String>,
    /// What it names and is not there: nothing rises, what flows goes on.
    pub unresolved: Option<Refusal>,
    /// `ModelDeployment`s that it names and that do not exist.
    pub missing: BTreeSet<String>,
    /// The route keeps its parents, hosts and matches as they live: those of the spec cannot be used.
    pub frozen: bool,
    /// The generated route.
    pub route: Route,
    /// What the route names and has no Service any more: while it does, no Gateway takes it over.
    pub broken: BTreeSet<String>,
    /// Revisions whose `ModelDeployment` is gone.
    pub leftovers: Vec<Leftover>,
    /// How long after acceptance a data plane may still apply what was before.
    pub propagation: Duration,
}

#[cfg(test)]
impl Split {
    /// `TrafficSplit` `iris` of this spec, for tests: nothing is wrong with it, and it has no route yet.
    pub(super) fn of(spec: TrafficSplitSpec) -> Self {
        Self {
            name: "iris".to_owned(),
            generation: 1,
            spec,
            status: TrafficSplitStatus::default(),
            refused: None,
            unaskable: BTreeSet::new(),
            unresolved: None,
            missing: BTreeSet::new(),
            frozen: false,
            route: Route::Absent,
            broken: BTreeSet::new(),
            leftovers: vec![],
            propagation: Duration::from_secs(2),
        }
    }

    /// As [`Self::of`], for model `iris`, with one step at 10 % and one SLO.
    pub(super) fn of_iris() -> Self {
        let spec = serde_json::json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
            "backends": [{"modelDeploymentRef": {"name": "iris"}}],
            "strategy": {"canary": {"steps": [{"weight": "10%", "bake": "5m"}]}},
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
        });
        Self::of(serde_json::from_value(spec).unwrap())
    }
}

#[cfg(test)]
impl Model {
    /// Model `iris` of two pods, whose spec asks for revision `b` while `a` serves, with this status, for tests.
    pub(crate) fn of_iris(status: serde_json::Value) -> Self {
        let spec = serde_json::json!(
            {"model": {"version": "2", "uri": "pvc://m/2"}, "runtimeRef": {"name": "r"}, "replicas": 2});
        Self {
            name: "iris".to_owned(),
            generation: 1,
            spec: serde_json::from_value(spec).unwrap(),
            latest: Ok(Latest { revision: "b".to_owned(), version: "2".to_owned() }),
            workloads: BTreeMap::new(),
            service: StableService::On("a".to_owned()),
            requests: vec![],
            elsewhere: BTreeSet::new(),
            judgement: Judgement::default(),
            status: serde_json::from_value(status).unwrap(),
        }
    }
}

/// The generated route as it was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// There is none.
    Absent,
    /// An object of that name is not ours: it is left untouched.
    Taken,
    /// It is there.
    Live(RouteView),
}

impl Route {
    /// What it says, if it is there and ours.
    #[must_use]
    pub fn live(&self) -> Option<&RouteView> {
        match self {
            Self::Live(view) => Some(view),
            Self::Absent | Self::Taken => None,
        }
    }
}

/// A `ModelDeployment` as it was read.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// What the user wrote.
    pub spec: ModelDeploymentSpec,
    /// What we wrote last.
    pub status: ModelDeploymentStatus,
    /// The revision that the spec asks for, or why it cannot be run.
    pub latest: Result<Latest, Refusal>,
    /// Its revisions that exist, by name.
    pub workloads: BTreeMap<String, Workload>,
    /// Revisions (also of the unit's other models) that the route of another `TrafficSplit` sends to: one that yields to an
    /// older one and so writes nothing, or that has let go of the model just now.
    pub elsewhere: BTreeSet<String>,
    /// The revision that Service `<name>` selects.
    pub service: StableService,
    /// Requests by annotation that were not handled yet.
    pub requests: Vec<Request>,
    /// The verdicts on its candidate.
    pub judgement: Judgement,
}

/// The revision that a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Its name.
    pub revision: String,
    /// What people call it.
    pub version: String,
}

/// Service `<name>` as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StableService {
    /// There is none.
    Absent,
    /// An object of that name is not ours: it is left untouched.
    Taken,
    /// It selects this revision.
    On(String),
}

/// A revision's objects as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// What people call it.
    pub version: String,
    /// When its snapshot was stored; `None` when it is not stored yet.
    pub created: Option<Timestamp>,
    /// Pods asked for.
    pub desired: i32,
    /// Pods ready. Counted only once the Deployment's controller has seen the newest size.
    pub ready: i32,
    /// The Deployment's controller has not seen the newest size yet: that nothing is counted does not mean that nothing is
    /// ready.
    pub uncounted: bool,
    /// Why pods are not ready, if that was looked up.
    pub trouble: Option<Trouble>,
}

impl Model {
    /// The state of a revision; all zero when it does not exist.
    #[must_use]
    pub fn workload(&self, revision: &str) -> Workload {
        self.workloads.get(revision).cloned().unwrap_or_default()
    }

    /// Whether a revision is one of this model, present or past, by its name.
    #[must_use]
    pub fn has(&self, revision: &str) -> bool {
        self.workloads.contains_key(revision)
            || revision.rsplit_once('-').is_some_and(|(name, _)| name == self.name)
    }

    /// What people call a revision, as far as that is known.
    #[must_use]
    pub fn version_of(&self, revision: &str) -> String {
        match &self.latest {
            Ok(latest) if latest.revision == revision => return latest.version.clone(),
            _ => {}
        }
        if let Some(workload) = self.workloads.get(revision) {
            return workload.version.clone();
        }
        self.status
            .revisions
            .iter()
            .find(|r| r.name == revision)
            .map(|r| r.version.clone())
            .unwrap_or_default()
    }

    /// While nothing is stable yet: the first revision, if people already reach it and the spec has moved on to another. It
    /// is the stable one then, and the newer a candidate: nobody's traffic waits for pods that may never be ready.
    pub fn serves_already(&self) -> Option<&str> {
        let StableService::On(first) = &self.service else { return None };
        let moved_on = self.wanted() != Some(first.as_str());
        let is_first =
            self.status.phase == Phase::Pending && self.status.latest_revision.as_ref() == Some(first);
        (moved_on && is_first && self.workload(first).ready > 0).then_some(first.as_str())
    }

    /// The revision that should run: the spec's, or the last that was accepted while the spec cannot be run.
    #[must_use]
    pub fn wanted(&self) -> Option<&str> {
        match &self.latest {
            Ok(latest) => Some(&latest.revision),
            Err(_) => self.status.latest_revision.as_deref(),
        }
    }

    /// Whether a revision is not to be tried again.
    #[must_use]
    pub fn is_rejected(&self, revision: &str) -> bool {
        self.status.rejected.iter().any(|r| r.revision == revision)
    }

    /// Its user wants no pods at all: nothing is tried until there may be some.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.spec.full_size() == 0
    }

    /// Full size, at least one: what a route to it needs.
    #[must_use]
    pub fn full_size(&self) -> i32 {
        self.spec.full_size().max(1)
    }
}
