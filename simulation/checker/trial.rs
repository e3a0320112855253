//! What the write-ahead record says about a candidate at one moment, and what the route gives it.

use std::time::Duration;

use seatrial::{
    api::v1alpha1::{Canary, ModelDeploymentStatus, Phase, RequestOutcome},
    world::history::Key,
};

use super::{
    tracks::{Model, Route, Split, Track},
    world::World,
};

/// Everything, in parts per million.
pub const ALL: i64 = 1_000_000;

/// Whether a revision is on trial in this phase.
pub fn on_trial(phase: Phase) -> bool {
    matches!(phase, Phase::Preparing | Phase::Progressing | Phase::Paused | Phase::Watching)
}

/// The most that the record allows the candidate, in parts per million of its model's traffic.
pub fn limit(status: &ModelDeploymentStatus) -> i64 {
    let step = status.step.as_ref().map_or(0, |s| i64::from(s.weight.ppm()));
    match status.phase {
        Phase::Progressing | Phase::Paused => step,
        Phase::Watching => ALL,
        Phase::Pending | Phase::Stable | Phase::Preparing | Phase::RollingBack | Phase::RolledBack => 0,
    }
}

/// A candidate's weight in a route, and that of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of the candidate.
    pub candidate: i64,
    /// Of all revisions of its model.
    pub whole: i64,
}

impl Share {
    /// What a route gives the candidate of a status; nothing when either is not named.
    pub fn of(route: Option<&Route>, status: &ModelDeploymentStatus) -> Option<Self> {
        let (stable, candidate) = (status.stable_revision.as_ref()?, status.candidate_revision.as_ref()?);
        let model = stable.rsplit_once('-')?.0;
        let whole = route.map_or(0, |route| route.of_model(model));
        Some(Self { candidate: route.map_or(0, |route| route.weight(candidate)), whole })
    }

    /// Rounded down, in parts per million.
    pub fn ppm(self) -> i64 {
        if self.whole == 0 { 0 } else { self.candidate * ALL / self.whole }
    }

    /// The most that it may stand for, in parts per million: weights are whole numbers, so that it may have been rounded
    /// down by nearly one of them (1.66 of 16.67 % are a tenth).
    pub fn most(self) -> i64 {
        if self.candidate == 0 { 0 } else { ((self.candidate + 1) * ALL / self.whole).min(ALL) }
    }

    /// Whether it is more than `ppm`, by more than one unit of weight.
    pub fn exceeds(self, ppm: i64) -> bool {
        self.candidate * ALL > self.whole * ppm + ALL
    }

    /// Whether it is less than `ppm`, by more than one unit of weight.
    pub fn is_below(self, ppm: i64) -> bool {
        self.whole > 0 && (self.candidate + 1) * ALL < self.whole * ppm
    }
}

/// Pods that a share of a model's traffic needs: the step's own number, else the share of full size, rounded up; so also
/// for a share that is larger than every step's (the steps were edited, and a weight never falls because of that).
pub fn need(canary: &Canary, share: Share, full: i64) -> i64 {
    let reaches = |weight: i64| !share.exceeds(weight);
    let step = canary.steps.iter().find(|s| s.weight.ppm() > 0 && reaches(i64::from(s.weight.ppm())));
    let part = |weight: i64, whole: i64| ((full * weight + whole - 1) / whole).max(1);
    match step {
        None => part(share.candidate, share.whole.max(1)),
        Some(step) => step.replicas.map_or_else(|| part(i64::from(step.weight.ppm()), ALL), i64::from),
    }
}

/// The smallest full size of a model between a moment and a change, at least 1.
pub fn least_full(track: &Track<'_, Model>, from: Duration, until: u64) -> i64 {
    track.during(from, until).flatten().map(Model::full).min().unwrap_or(1)
}

/// The least size that its user asked for in a span: 0 when it was to be scaled to nothing.
pub fn least_asked(track: &Track<'_, Model>, from: Duration, until: u64) -> i64 {
    track.during(from, until).flatten().map(|m| i64::from(m.spec.full_size())).min().unwrap_or(1)
}

/// Whether a request with this verb was carried out by the very write from `before` to `after`.
pub fn did(verb: &str, before: &ModelDeploymentStatus, after: &ModelDeploymentStatus) -> bool {
    let done =
        |r: &&seatrial::api::v1alpha1::HandledRequest| r.verb == verb && r.outcome == RequestOutcome::Done;
    let old = before.requests.iter().filter(done).map(|r| &r.value).collect::<Vec<_>>();
    after.requests.iter().filter(done).any(|r| !old.contains(&&r.value))
}

/// A status that a replica of the operator wrote onto another one of the same object.
pub struct Turn<'t, 'a> {
    /// The model.
    pub key: &'a Key,
    /// All of its states.
    pub track: &'t Track<'a, Model>,
    /// As it was.
    pub before: &'t Model,
    /// As it is.
    pub after: &'t Model,
    /// The change.
    pub change: &'a seatrial::world::history::Change,
}

impl Turn<'_, '_> {
    /// Whether the trial before and after is the same attempt of the same candidate.
    pub fn same_trial(&self) -> bool {
        let (before, after) = (&self.before.status, &self.after.status);
        before.attempt == after.attempt
            && before.candidate_revision == after.candidate_revision
            && before.candidate_revision.is_some()
    }

    /// A step was passed by itself: from which to which index.
    pub fn advance(&self) -> Option<(i32, i32)> {
        let (before, after) = (&self.before.status, &self.after.status);
        let (old, new) = (before.step.as_ref()?, after.step.as_ref()?);
        let moved = self.same_trial() && before.phase == Phase::Progressing && new.index > old.index;
        let rose = new.weight > old.weight || after.phase == Phase::Watching;
        (moved && rose && !did("promote", before, after)).then_some((old.index, new.index))
    }
}

/// Every status that the operator wrote, in order, by model.
pub fn turns<'t, 'a>(world: &'t World<'a>) -> impl Iterator<Item = Turn<'t, 'a>> {
    world.models.iter().flat_map(|(key, track)| {
        track.steps().filter(|s| s.ours).filter_map(move |step| {
            let (before, after) = (step.before?, step.after?);
            (before.uid == after.uid).then_some(Turn { key, track, before, after, change: step.change })
        })
    })
}

/// A route that a replica of the operator wrote.
pub struct RouteWrite<'t, 'a> {
    /// The route.
    pub key: &'a Key,
    /// As it was; `None`: it was made.
    pub before: Option<&'t Route>,
    /// As it is.
    pub after: &'t Route,
    /// The `TrafficSplit` of its name at that moment.
    pub split: Option<&'t Split>,
    /// The change.
    pub change: &'a seatrial::world::history::Change,
}

impl RouteWrite<'_, '_> {
    /// The weight of a revision before.
    pub fn was(&self, revision: &str) -> i64 {
        self.before.map_or(0, |r| r.weight(revision))
    }
}

/// Every route that the operator wrote, in order, by route.
pub fn route_writes<'t, 'a>(world: &'t World<'a>) -> impl Iterator<Item = RouteWrite<'t, 'a>> {
    world.routes.iter().flat_map(move |(key, track)| {
        let split = world.splits.get(&Key::new("TrafficSplit", &key.namespace, &key.name));
        track.steps().filter(|s| s.ours).filter_map(move |step| {
            let after = step.after?;
            let split = split.and_then(|t| t.at(step.change.revision));
            Some(RouteWrite { key, before: step.before, after, split, change: step.change })
        })
    })
}

/// The models that a route's `TrafficSplit` names, as they were at a change.
pub fn models_of<'t, 'a>(
    world: &'t World<'a>,
    write: &RouteWrite<'t, 'a>,
) -> Vec<(&'a Key, &'t Track<'a, Model>, &'t Model)> {
    let Some(split) = write.split else { return vec![] };
    let named = split.spec.backends.iter().map(|b| &b.model_deployment_ref.name);
    named
        .filter_map(|name| {
            let key = Key::new("ModelDeployment", &write.key.namespace, name);
            let (key, track) = world.models.get_key_value(&key)?;
            Some((*key, track, track.at(write.change.revision)?))
        })
        .collect()
}
