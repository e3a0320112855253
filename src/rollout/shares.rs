//! Who should get which share of the route: what the state asks for, and how far it may be followed now.
//!
//! Two rules stand above the state (design §4.3, §4.4): no weight rises onto a revision that is not ready for it, and
//! nothing moves traffic from ready endpoints to fewer than needed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    apply,
    evidence::Observability,
    leftover,
    observed::{Model, Split},
    phase, sizes, steps,
};
use crate::{
    api::v1alpha1::{Canary, ModelDeploymentStatus, Percent, Phase, RevisionUse},
    mutant::{Mutant, on},
    route::{self, Effective, Portion, RouteView, Share},
};

/// A model with the status that is to be acted on.
pub type Decided<'a> = (&'a Model, &'a ModelDeploymentStatus);

/// Weights by revision.
pub type Weights = BTreeMap<String, i32>;

/// What the state asks for, however ready anything is.
#[must_use]
pub fn goal(split: &Split, models: &[Decided<'_>], effective: &Effective) -> Weights {
    let canary = &split.spec.strategy.canary;
    weights(split, models, effective, |(_, status)| apply::candidate_weight(status, Some(canary)))
}

/// The last weights of all rollouts that were effective.
#[must_use]
pub fn granted(split: &Split, models: &[Decided<'_>], effective: &Effective) -> Weights {
    weights(split, models, effective, |(_, status)| {
        status.step.as_ref().map_or(Percent::ZERO, steps::granted)
    })
}

fn weights(
    split: &Split,
    models: &[Decided<'_>],
    effective: &Effective,
    weight_of: impl Fn(&Decided<'_>) -> Percent,
) -> Weights {
    let shares = assemble(split, models, &live(split), &known(split, effective), weight_of);
    shares.into_iter().map(|share| (share.revision, share.weight)).collect()
}

/// Whether the live route gives this model's revisions these weights.
#[must_use]
pub fn gives(view: Option<&RouteView>, model: &Model, weights: &Weights) -> bool {
    let Some(view) = view else { return false };
    let status = &model.status;
    let mut names = [&status.stable_revision, &status.candidate_revision, &status.latest_revision]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    names.dedup();
    !weights.is_empty() && names.iter().all(|name| view.shares.get(*name) == weights.get(*name))
}

/// All that the route should name now: who gets traffic, and who is known without any. Each once.
#[must_use]
pub fn written(split: &Split, models: &[Decided<'_>], effective: &Effective, now: Timestamp) -> Vec<Share> {
    let mut route = allowed(split, models, effective);
    let has_traffic: BTreeSet<String> = route.iter().map(|share| share.revision.clone()).collect();
    let of_unit: Vec<&Model> = models.iter().map(|(model, _)| *model).collect();
    let named = idle(split, models, effective, now)
        .into_iter()
        .chain(leftover::idle(split, effective, now))
        .chain(leftover::departed(split, &of_unit, effective, now));
    route.extend(named.filter(|share| !has_traffic.contains(&share.revision)));
    route
}

/// What may be sent where now, given what the live route says.
fn allowed(split: &Split, models: &[Decided<'_>], effective: &Effective) -> Vec<Share> {
    let (live, known) = (live(split), known(split, effective));
    let shares = assemble(split, models, &live, &known, |(model, status)| {
        guarded(model, status, &split.spec.strategy.canary, &live, &known)
    });
    if shares.is_empty() { kept(split, models, &live) } else { shares }
}

/// The live shares as they are: nobody can serve now (the only model was deleted and is made anew, say), and a route to
/// nobody is no better than one to whoever served last. It changes once somebody is ready and known. What has no Service
/// any more serves nobody, and a route that names it is not accepted: nobody would ever become known. The others share what
/// it had.
fn kept(split: &Split, models: &[Decided<'_>], live: &BTreeMap<String, i32>) -> Vec<Share> {
    let models_of = || models.iter().map(|(model, _)| *model);
    let made_again = |name: &String| models.iter().any(|(model, _)| model.workloads.contains_key(name));
    let serves = |name: &String| !split.broken.contains(name) || made_again(name);
    let left: Vec<(&String, i64)> = live
        .iter()
        .filter(|(name, _)| serves(name))
        .map(|(name, weight)| (name, i64::from(*weight)))
        .collect();
    let parts: Vec<i64> = left.iter().map(|(_, part)| *part).collect();
    let weights = route::apportion(&parts, route::TOTAL);
    let named = left.into_iter().zip(weights).filter(|(_, weight)| *weight > 0);
    named.map(|((name, _), weight)| share(split, models_of(), name.clone(), weight)).collect()
}

/// A part of the route, with what people call its revision: one of the unit, or one that it has left.
pub(super) fn share<'a>(
    split: &Split,
    models: impl Iterator<Item = &'a Model>,
    revision: String,
    weight: i32,
) -> Share {
    let left = split.leftovers.iter().find(|left| left.revision == revision).map(|l| l.version.clone());
    let mut of_models = models.map(|model| model.version_of(&revision));
    let version = left.or_else(|| of_models.find(|version| !version.is_empty())).unwrap_or_default();
    Share { revision, version, weight }
}

/// Revisions that the route names, whether or not they have traffic now: a candidate that is about to get its first weight, and
/// what had weight or was about to, until it is drained. So every proxy knows a revision before its first request and
/// until after its last (make before break).
fn idle(split: &Split, models: &[Decided<'_>], effective: &Effective, now: Timestamp) -> Vec<Share> {
    let named =
        |name: &str| split.route.live().is_some_and(|v| v.shares.contains_key(name) || v.idle.contains(name));
    let canary = &split.spec.strategy.canary;
    let mut idle = vec![];
    for (model, status) in models {
        for revision in &status.revisions {
            let ready = model.workload(&revision.name).ready;
            let wanted = match revision.used {
                RevisionUse::Candidate if phase::on_trial(status.phase) => {
                    let step = status.step.as_ref().map_or(0, |s| s.index);
                    named(&revision.name) || ready >= steps::replicas(canary, step, model.full_size())
                }
                RevisionUse::Candidate if status.phase == Phase::Pending => {
                    // Once named it stays so: pods that come and go write no route each time.
                    let ready = ready >= model.full_size() || on(Mutant::FirstRouteBeforeReady);
                    ready || named(&revision.name)
                }
                _ if on(Mutant::BreakBeforeMake) => false,
                RevisionUse::Draining if sizes::is_drained(revision, Some(split), effective, now) => false,
                RevisionUse::History => false,
                _ => named(&revision.name),
            };
            if wanted {
                let version = model.version_of(&revision.name);
                idle.push(Share { revision: revision.name.clone(), version, weight: 0 });
            }
        }
    }
    idle
}

/// Revisions that every proxy knows by now, without traffic.
fn known(split: &Split, effective: &Effective) -> BTreeSet<String> {
    let view = split.route.live().filter(|_| effective.is_settled());
    view.map(|view| view.idle.clone()).unwrap_or_default()
}

fn live(split: &Split) -> BTreeMap<String, i32> {
    split.route.live().map(|view| view.shares.clone()).unwrap_or_default()
}

/// What a model has to serve: the stable revision and the candidate by `weight`; the first revision by itself once it is
/// ready and known to the data plane, or as long as it has all of the traffic already (`alone`); nothing for a model that
/// cannot serve yet.
fn portion(
    (model, status): &Decided<'_>,
    backend: i32,
    weight: Percent,
    split: &Split,
    (live, known): (&BTreeMap<String, i32>, &BTreeSet<String>),
    alone: bool,
) -> Option<Portion> {
    let called = |revision: &str| (revision.to_owned(), model.version_of(revision));
    let Some(stable) = status.stable_revision.as_deref() else {
        let first = status.latest_revision.as_deref().filter(|_| status.phase == Phase::Pending)?;
        let enough = model.workload(first).ready >= model.full_size() || on(Mutant::FirstRouteBeforeReady);
        let has = live.contains_key(first);
        let ready = enough && (has || known.contains(first) || on(Mutant::FirstRouteUnknown));
        return (ready || (has && alone)).then(|| Portion {
            weight: backend,
            stable: called(first),
            candidate: None,
            held: vec![],
        });
    };
    let candidate = status.candidate_revision.as_deref().filter(|_| weight > Percent::ZERO);
    let routed = status.revisions.iter().any(|r| live.contains_key(&r.name));
    if candidate.is_none() && model.workload(stable).ready == 0 && !routed {
        // A new TrafficSplit over a model that is down: the route is made once it is back.
        return None;
    }
    let candidate = candidate.map(|c| (c.to_owned(), model.version_of(c), weight));
    let held = held(model, stable, status.candidate_revision.as_deref(), split, live);
    let held = held.into_iter().map(|(name, share)| (name.clone(), model.version_of(name), share)).collect();
    Some(Portion { weight: backend, stable: called(stable), candidate, held })
}

/// What keeps the share of its model that it has: a revision that is neither stable nor on trial any more, while the stable
/// one cannot take over what it has. So a candidate that makes way for a newer one, beside a stable revision that is down.
fn held<'a>(
    model: &Model,
    stable: &str,
    candidate: Option<&str>,
    split: &Split,
    live: &'a BTreeMap<String, i32>,
) -> Vec<(&'a String, Percent)> {
    let other = |name: &String| name != stable && Some(name.as_str()) != candidate;
    let serves = |name: &String| model.workloads.contains_key(name) && !split.broken.contains(name);
    live.iter()
        .filter(|(name, weight)| **weight > 0 && other(name) && serves(name))
        .filter(|(name, _)| !can_take_over(model, stable, model.workload(name).ready))
        .map(|(name, _)| (name, present(model, live, name)))
        .collect()
}

/// Whether the stable revision has pods enough for the traffic of one that has `ready` of them.
fn can_take_over(model: &Model, stable: &str, ready: i32) -> bool {
    let of_stable = model.workload(stable).ready;
    of_stable > 0 && (of_stable >= ready || of_stable >= model.full_size())
}

/// Shares of the whole route, in the order of the backends; empty when nobody can serve.
fn assemble<'a>(
    split: &Split,
    models: &[Decided<'a>],
    live: &BTreeMap<String, i32>,
    known: &BTreeSet<String>,
    weight_of: impl Fn(&Decided<'a>) -> Percent,
) -> Vec<Share> {
    let portions: Vec<Portion> = split
        .spec
        .backends
        .iter()
        .filter_map(|backend| {
            let decided = models.iter().find(|(m, _)| m.name == backend.model_deployment_ref.name)?;
            let (weight, (_, status)) = (backend.weight.unwrap_or(1).max(1), decided);
            // A model that was deleted in mid-trial and made anew finds shares of two revisions.
            let own = |name: &String| status.latest_revision.as_ref() == Some(name);
            let other =
                |name| models.iter().any(|(m, _)| m.name != decided.0.name && m.workloads.contains_key(name));
            let alone = live.keys().all(|name| own(name) || other(name));
            portion(decided, weight, weight_of(decided), split, (live, known), alone)
        })
        .collect();
    route::shares(&portions)
}

/// The candidate's weight that may be written now.
fn guarded(
    model: &Model,
    status: &ModelDeploymentStatus,
    canary: &Canary,
    live: &BTreeMap<String, i32>,
    known: &BTreeSet<String>,
) -> Percent {
    let goal = apply::candidate_weight(status, Some(canary));
    let (Some(stable), Some(candidate)) = (&status.stable_revision, &status.candidate_revision) else {
        return goal;
    };
    let present = present(model, live, candidate);
    let of_candidate = model.workload(candidate).ready;
    if goal > present {
        let need =
            status.step.as_ref().map_or(model.full_size(), |s| steps::needed(canary, s, model.full_size()));
        let ready = of_candidate >= need
            || on(Mutant::WeightBeforeReady)
            || (on(Mutant::GuardOnlyAtFull) && goal < Percent::ALL);
        // Promoted by hand before its first step, it has still to be made known to every proxy.
        let known = known.contains(candidate) || live.contains_key(candidate) || on(Mutant::EnterUnknown);
        return if ready && known { goal } else { present };
    }
    if goal < present {
        let enough = can_take_over(model, stable, of_candidate);
        let measured = model.judgement.observability == Observability::Yes;
        let servable =
            (enough || on(Mutant::RollbackToEmptyStable)) && (measured || !on(Mutant::RollbackNeedsMetrics));
        return if servable { goal } else { present };
    }
    goal
}

/// The weight of a revision within its model in the live route; nothing where that has none. Rounded up, so that writing it
/// again gives the same weights.
fn present(model: &Model, live: &BTreeMap<String, i32>, revision: &str) -> Percent {
    let weight = |weight: &i32| i64::from(*weight).max(0);
    let of_revision = live.get(revision).map_or(0, weight);
    let sum: i64 = live.iter().filter(|(name, _)| model.has(name)).map(|(_, value)| weight(value)).sum();
    if sum == 0 {
        return Percent::ZERO;
    }
    let ppm = (of_revision * i64::from(Percent::ALL.ppm()) + sum - 1) / sum;
    i32::try_from(ppm).ok().and_then(Percent::from_ppm).unwrap_or(Percent::ZERO)
}
