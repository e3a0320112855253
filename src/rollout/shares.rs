//! Who should get which share of the route: what the state asks for, and how far it may be followed now.
//!
//! Two rules stand above the state (design §4.3, §4.4): no weight rises onto a revision that is not ready for it, and
//! nothing moves traffic from ready endpoints to fewer than needed.

use std::collections::BTreeMap;

use super::{
    apply,
    observed::{Model, Split},
    steps,
};
use crate::{
    api::v1alpha1::{Canary, ModelDeploymentStatus, Percent, Phase},
    route::{Share, apportion},
};

/// A route's weights sum to this.
pub const TOTAL: i32 = 10_000;

/// Parts of a backend's share that the candidate gets, of this many; finer than any weight.
const WHOLE: i64 = 1_000_000;

/// A model with the status that is to be acted on.
pub type Decided<'a> = (&'a Model, &'a ModelDeploymentStatus);

/// What the state asks for, however ready anything is.
#[must_use]
pub fn goal(split: &Split, models: &[Decided<'_>]) -> Vec<Share> {
    let live = BTreeMap::new();
    assemble(split, models, |(model, status)| {
        let canary = &split.spec.strategy.canary;
        parts(model, status, apply::candidate_weight(status, Some(canary)), &live)
    })
}

/// What may be written now, given what the live route says.
#[must_use]
pub fn allowed(split: &Split, models: &[Decided<'_>]) -> Vec<Share> {
    let empty = BTreeMap::new();
    let live = split.route.live().map_or(&empty, |view| &view.shares);
    assemble(split, models, |(model, status)| {
        let canary = &split.spec.strategy.canary;
        let weight = guarded(model, status, canary, live);
        parts(model, status, weight, live)
    })
}

/// One model's revisions and their parts of its share: stable first.
struct Parts(Vec<(String, i64)>);

/// The stable revision and the candidate by `weight`; the first revision by itself once it is ready (or is in the live
/// route already); nothing for a model that cannot serve yet.
fn parts(model: &Model, status: &ModelDeploymentStatus, weight: Percent, live: &BTreeMap<String, i32>) -> Parts {
    let Some(stable) = &status.stable_revision else {
        let Some(first) = status.latest_revision.as_deref().filter(|_| status.phase == Phase::Pending) else {
            return Parts(vec![]);
        };
        let ready = model.workload(first).ready >= model.full_size();
        let serves = ready || live.contains_key(first);
        return Parts(if serves { vec![(first.to_owned(), WHOLE)] } else { vec![] });
    };
    let in_route = live.contains_key(stable);
    let candidate = status.candidate_revision.as_deref().filter(|_| weight > Percent::ZERO);
    if candidate.is_none() && !in_route && model.workload(stable).ready == 0 && !routed(status, live) {
        // A new TrafficSplit over a model that is down: the route is made once it is back.
        return Parts(vec![]);
    }
    let ppm = i64::from(weight.ppm());
    let mut parts = vec![(stable.clone(), WHOLE - ppm)];
    parts.extend(candidate.map(|c| (c.to_owned(), ppm)));
    parts.retain(|(_, part)| *part > 0);
    Parts(parts)
}

/// Whether the live route names any revision of this model.
fn routed(status: &ModelDeploymentStatus, live: &BTreeMap<String, i32>) -> bool {
    status.revisions.iter().any(|r| live.contains_key(&r.name))
}

/// Shares of the whole route, in the order of the backends; empty when nobody can serve.
fn assemble<'a>(split: &Split, models: &[Decided<'a>], parts_of: impl Fn(&Decided<'a>) -> Parts) -> Vec<Share> {
    let mut wanted: Vec<(Share, i64)> = vec![];
    for backend in &split.spec.backends {
        let Some(decided) = models.iter().find(|(m, _)| m.name == backend.model_deployment_ref.name) else { continue };
        let weight = i64::from(backend.weight.unwrap_or(1).max(1));
        for (revision, part) in parts_of(decided).0 {
            let version = decided.0.version_of(&revision);
            wanted.push((Share { revision, version, weight: 0 }, weight * part));
        }
    }
    let portions: Vec<i64> = wanted.iter().map(|(_, part)| *part).collect();
    let weights = apportion(&portions, TOTAL);
    wanted.into_iter().zip(weights).map(|((share, _), weight)| Share { weight, ..share }).collect()
}

/// The candidate's weight that may be written now.
fn guarded(model: &Model, status: &ModelDeploymentStatus, canary: &Canary, live: &BTreeMap<String, i32>) -> Percent {
    let goal = apply::candidate_weight(status, Some(canary));
    let (Some(stable), Some(candidate)) = (&status.stable_revision, &status.candidate_revision) else { return goal };
    let present = present(live, stable, candidate);
    let (of_stable, of_candidate) = (model.workload(stable).ready, model.workload(candidate).ready);
    if goal > present {
        let need = status.step.as_ref().map_or(model.full_size(), |s| steps::replicas(canary, s.index, model.full_size()));
        return if of_candidate >= need { goal } else { present };
    }
    if goal < present {
        let servable = of_stable > 0 && (of_stable >= of_candidate || of_stable >= model.full_size());
        return if servable { goal } else { present };
    }
    goal
}

/// The candidate's weight within its model in the live route; nothing when neither is there.
#[must_use]
pub fn present(live: &BTreeMap<String, i32>, stable: &str, candidate: &str) -> Percent {
    let of = |revision: &str| i64::from(live.get(revision).copied().unwrap_or(0));
    let (of_stable, of_candidate) = (of(stable), of(candidate));
    let sum = of_stable + of_candidate;
    if sum == 0 {
        return Percent::ZERO;
    }
    let ppm = (of_candidate * WHOLE + sum / 2) / sum;
    i32::try_from(ppm).ok().and_then(Percent::from_ppm).unwrap_or(Percent::ZERO)
}
