//! Everything that happened to the models and routes of a namespace, in order: claims such as "never", "first" and
//! "none skipped" are about the whole history, not about the end.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::DynamicObject,
    core::DeserializeGuard,
    runtime::{WatchStreamExt, watcher},
};
use seatrial::api::v1alpha1::{ModelDeployment, Phase};
use tokio::task::JoinSet;

use super::{Route, now, objects::route_kind};

/// A moment of a model or a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A `ModelDeployment`'s status.
    Model {
        /// Its name.
        name: String,
        /// Its phase.
        phase: Phase,
        /// The index of its step.
        step: Option<i32>,
        /// The version that serves.
        stable: Option<String>,
        /// The version on trial.
        candidate: Option<String>,
        /// Its sentence.
        message: String,
    },
    /// A route was written.
    Route(Route),
    /// A route is gone.
    NoRoute(String),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { name, phase, step, stable, candidate, message } => {
                let step = step.map_or(String::new(), |s| format!(" step {s}"));
                let (stable, candidate) =
                    (stable.as_deref().unwrap_or("-"), candidate.as_deref().unwrap_or("-"));
                write!(f, "{name}: {phase:?}{step}, stable {stable}, candidate {candidate}: {message}")
            }
            Self::Route(route) => write!(f, "route {} {}: {:?}", route.name, route.generation, route.weights),
            Self::NoRoute(name) => write!(f, "route {name} is gone"),
        }
    }
}

type Entries = Arc<Mutex<History>>;

#[derive(Default)]
struct History {
    seen: Vec<(Timestamp, Seen)>,
    /// The newest resourceVersion of a model that was seen.
    models: u64,
    /// The newest resourceVersion of a route that was seen.
    routes: u64,
}

/// The history of a namespace since the start of its scenario. A restarted watch may leave out a moment that was
/// replaced at once, never the last one; it never shows a moment that was not.
pub struct Timeline {
    entries: Entries,
    _watches: JoinSet<()>,
}

impl Timeline {
    /// Watches a namespace from now on.
    pub fn watch(client: &Client, namespace: &str) -> Self {
        let entries = Entries::default();
        let mut watches = JoinSet::new();
        let models: Api<Readable> = Api::namespaced(client.clone(), namespace);
        let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &route_kind());
        watches.spawn(watch_models(models, Arc::clone(&entries)));
        watches.spawn(watch_routes(routes, Arc::clone(&entries)));
        Self { entries, _watches: watches }
    }

    /// All of it so far, in order.
    pub fn all(&self) -> Vec<(Timestamp, Seen)> {
        self.lock().seen.clone()
    }

    /// Whether these versions of models and routes, or newer ones, were seen: the watches may be behind a live read.
    pub fn has_caught_up(&self, models: u64, routes: u64) -> bool {
        let history = self.lock();
        history.models >= models && history.routes >= routes
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much has been seen; `since` takes it.
    pub fn mark(&self) -> usize {
        self.lock().seen.len()
    }

    /// What was seen after `mark`.
    pub fn since(&self, mark: usize) -> Vec<Seen> {
        self.all().into_iter().skip(mark).map(|(_, seen)| seen).collect()
    }

    /// The phases of a model after `mark`, each change once.
    pub fn phases(&self, mark: usize, model: &str) -> Vec<Phase> {
        let mut phases: Vec<Phase> = vec![];
        for seen in self.since(mark) {
            if let Seen::Model { name, phase, .. } = seen
                && name == model
                && phases.last() != Some(&phase)
            {
                phases.push(phase);
            }
        }
        phases
    }

    /// The steps of a model after `mark`, each change once.
    pub fn steps(&self, mark: usize, model: &str) -> Vec<i32> {
        let mut steps: Vec<i32> = vec![];
        for seen in self.since(mark) {
            if let Seen::Model { name, step: Some(step), .. } = seen
                && name == model
                && steps.last() != Some(&step)
            {
                steps.push(step);
            }
        }
        steps
    }

    /// The weights of a version in a route after `mark`, each change once; a route that is gone counts as 0.
    pub fn weights(&self, mark: usize, route: &str, version: &str) -> Vec<i64> {
        let mut weights = vec![];
        for seen in self.since(mark) {
            let weight = match seen {
                Seen::Route(r) if r.name == route => r.weight(version),
                Seen::NoRoute(name) if name == route => 0,
                _ => continue,
            };
            if weights.last() != Some(&weight) {
                weights.push(weight);
            }
        }
        weights
    }
}

/// A scenario may store what no type can read: it must not end the watch.
type Readable = DeserializeGuard<ModelDeployment>;

async fn watch_models(api: Api<Readable>, entries: Entries) {
    let mut models = Box::pin(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Some(model) = models.next().await {
        let Ok(DeserializeGuard(Ok(model))) = model else { continue };
        let name = model.name_any();
        let version = version_of(&model);
        let status = model.status.unwrap_or_default();
        let seen = Seen::Model {
            name,
            phase: status.phase,
            step: status.step.map(|s| s.index),
            stable: status.stable_version,
            candidate: status.candidate_version,
            message: status.message,
        };
        record(&entries, seen);
        let mut history = entries.lock().unwrap_or_else(PoisonError::into_inner);
        history.models = history.models.max(version);
    }
}

/// An object's resourceVersion; within one kind they grow.
pub fn version_of(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

async fn watch_routes(api: Api<DynamicObject>, entries: Entries) {
    let mut routes = Box::pin(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = routes.next().await {
        match event {
            Ok(watcher::Event::Apply(route) | watcher::Event::InitApply(route)) => {
                record(&entries, Seen::Route(Route::of(&route)));
                let mut history = entries.lock().unwrap_or_else(PoisonError::into_inner);
                history.routes = history.routes.max(version_of(&route));
            }
            Ok(watcher::Event::Delete(route)) => record(&entries, Seen::NoRoute(route.name_any())),
            _ => {}
        }
    }
}

/// A route's status changes without its spec; such repetitions are left out.
fn record(entries: &Entries, seen: Seen) {
    let entries = &mut entries.lock().unwrap_or_else(PoisonError::into_inner).seen;
    let same = |old: &Seen| match (old, &seen) {
        (Seen::Model { name: a, .. }, Seen::Model { name: b, .. }) => a == b,
        (Seen::Route(a), Seen::Route(b)) => a.name == b.name,
        (Seen::NoRoute(a), Seen::Route(b)) => *a == b.name,
        (Seen::Route(a), Seen::NoRoute(b)) => a.name == *b,
        _ => false,
    };
    if entries.iter().rev().find(|(_, old)| same(old)).is_none_or(|(_, old)| *old != seen) {
        entries.push((now(), seen));
    }
}
