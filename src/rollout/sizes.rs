//! Which revisions exist, what for, and at what size.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    decide::Around,
    observed::{Model, Split, StableService},
    phase, steps,
};
use crate::{
    api::v1alpha1::{Duration, ModelDeploymentStatus, Percent, Phase, RevisionStatus, RevisionUse},
    mutant::{Mutant, on},
    route::Effective,
};

/// A revision and its size; `None`: its objects are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// The revision.
    pub revision: String,
    /// Replicas.
    pub replicas: Option<i32>,
}

/// Writes into the status which revisions there are and what each is for. Order: stable, candidate, warm, draining,
/// history by age.
pub fn revisions(model: &Model, status: &mut ModelDeploymentStatus, around: &Around<'_>) {
    let mut names: Vec<String> = model.workloads.keys().cloned().collect();
    names.extend(status.stable_revision.clone());
    names.extend(status.candidate_revision.clone());
    if status.phase == Phase::Pending {
        names.extend(status.latest_revision.clone().filter(|_| model.latest.is_ok()));
    }
    names.sort();
    names.dedup();
    let live = around.split.and_then(|s| s.route.live());
    let mut all: Vec<RevisionStatus> = names
        .into_iter()
        .map(|name| {
            let workload = model.workload(&name);
            let old = model.status.revisions.iter().chain(&status.revisions).rfind(|r| r.name == name);
            // Named without traffic too: it may have had some a moment ago, and proxies that do not know yet.
            let in_route =
                live.is_some_and(|view| view.shares.contains_key(&name) || view.idle.contains(&name));
            let elsewhere = model.elsewhere.contains(&name);
            let warm_until = warm_until(old, elsewhere, around.now);
            let warm = elsewhere || warm_until.is_some();
            let used = used(status, &name, warm, in_route || workload.desired > 0);
            let same = old.filter(|r| {
                r.used == used && !(used == RevisionUse::Candidate && is_new_attempt(model, status))
            });
            let since = same.and_then(|r| r.since.clone()).or(Some(MicroTime(around.now)));
            // However long ago that was decided, the drain has not begun while somebody may be led to it.
            let led_to = model.service == StableService::On(name.clone()) || may_be_sent_to(&name, around);
            let since = since.filter(|_| used != RevisionUse::Draining || !led_to);
            RevisionStatus {
                version: model.version_of(&name),
                used,
                replicas: workload.desired,
                ready_replicas: workload.ready,
                since,
                warm_until: warm_until.filter(|_| used == RevisionUse::Warm),
                name,
            }
        })
        .collect();
    all.sort_by_key(|r| (r.used, std::cmp::Reverse(model.workload(&r.name).created), r.name.clone()));
    all.truncate(40);
    status.revisions = all;
}

/// Whether some proxy may still apply weights that send to a revision. Told by its status, so that it is known too once the
/// `TrafficSplit` is deleted, which takes with it since when its route is effective. (Where there is no route, [`is_drained`]
/// waits until it is forgotten.)
fn may_be_sent_to(revision: &str, around: &Around<'_>) -> bool {
    let Some(split) = around.split.filter(|_| !on(Mutant::DrainFromWrite)) else { return false };
    let Some(view) = split.route.live() else { return false };
    view.shares.contains_key(revision) || !around.effective.is_settled()
}

/// What a route of another `TrafficSplit` sends to is warm without an end. Once it sends there no more, its proxies have to
/// hear of that, and nobody tells us when the last one has.
fn warm_until(old: Option<&RevisionStatus>, elsewhere: bool, now: Timestamp) -> Option<MicroTime> {
    let old = old?;
    match &old.warm_until {
        None if old.used == RevisionUse::Warm && !elsewhere => {
            now.checked_add(drained_after(None).signed()).ok().map(MicroTime)
        }
        until => until.clone().filter(|until| until.0 > now),
    }
}

fn is_new_attempt(model: &Model, status: &ModelDeploymentStatus) -> bool {
    model.status.attempt != status.attempt
}

fn used(status: &ModelDeploymentStatus, name: &str, warm: bool, alive: bool) -> RevisionUse {
    if status.stable_revision.as_deref() == Some(name) {
        return RevisionUse::Stable;
    }
    let first = status.phase == Phase::Pending && status.latest_revision.as_deref() == Some(name);
    if first || status.candidate_revision.as_deref() == Some(name) {
        return RevisionUse::Candidate;
    }
    match (warm, alive) {
        (true, _) => RevisionUse::Warm,
        (false, true) => RevisionUse::Draining,
        (false, false) => RevisionUse::History,
    }
}

/// The size of every revision. A revision that lost its traffic keeps its pods until that is effective everywhere and
/// its requests are done; what is beyond the history limit goes.
#[must_use]
pub fn sizes(
    model: &Model,
    status: &ModelDeploymentStatus,
    split: Option<&Split>,
    effective: &Effective,
    now: Timestamp,
) -> Vec<Size> {
    let full = model.spec.full_size();
    let keep = usize::try_from(model.spec.revision_history_limit).unwrap_or(0);
    let mut history = 0;
    status
        .revisions
        .iter()
        .map(|r| {
            let present = model.workload(&r.name);
            let replicas = match r.used {
                RevisionUse::Stable if on(Mutant::StableShrinks) => Some(what_is_left(status, full)),
                RevisionUse::Stable if on(Mutant::StableEndsAtFull) && status.phase == Phase::Watching => {
                    Some(0)
                }
                RevisionUse::Stable if on(Mutant::AutoscalerIgnored) && present.desired > 0 => {
                    Some(present.desired)
                }
                RevisionUse::Warm if on(Mutant::WarmNotKept) => Some(0),
                RevisionUse::Stable | RevisionUse::Warm => Some(full),
                RevisionUse::Candidate => {
                    let drained = !model.elsewhere.contains(&r.name) && is_drained(r, split, effective, now);
                    Some(candidate(model, status, split, present.desired, drained))
                }
                RevisionUse::Draining if is_drained(r, split, effective, now) => Some(0),
                RevisionUse::Draining => Some(present.desired),
                RevisionUse::History => {
                    history += 1;
                    (history <= keep).then_some(0)
                }
            };
            Size { revision: r.name.clone(), replicas }
        })
        .collect()
}

/// What the stable revision would need if it had to carry no more than the candidate leaves it (a mutant's view).
fn what_is_left(status: &ModelDeploymentStatus, full: i32) -> i32 {
    let taken = status.step.as_ref().filter(|s| s.entered.is_some()).map_or(Percent::ZERO, |s| s.weight);
    full - full * (taken.ppm() / 1000) / 1000
}

/// The candidate's size: its step's; never less than it has while it may have traffic, or had it in an attempt before and is
/// not drained yet. None where its user wants none.
fn candidate(
    model: &Model,
    status: &ModelDeploymentStatus,
    split: Option<&Split>,
    present: i32,
    drained: bool,
) -> i32 {
    let full = model.spec.full_size();
    if full == 0 {
        return 0;
    }
    match (status.phase, &status.step, split) {
        (Phase::Pending, ..) | (_, None, _) | (_, _, None) => {
            if status.phase == Phase::RollingBack {
                present
            } else {
                full
            }
        }
        (Phase::RollingBack, ..) => present,
        (Phase::Preparing, Some(_), Some(split)) => {
            let needed = steps::replicas(&split.spec.strategy.canary, 0, full);
            if drained { needed } else { needed.max(present.min(full)) }
        }
        (phase, Some(step), Some(split)) if phase::on_trial(phase) => {
            // Pods that end under traffic lose requests, which would be held against it: only its user makes it smaller, who
            // makes stable smaller with it. Steps that ask for less (of another TrafficSplit, say) do not.
            let canary = &split.spec.strategy.canary;
            let stable = status.stable_revision.as_deref().map(|stable| model.workload(stable).desired);
            let shrinks = stable.is_some_and(|stable| stable > full) || on(Mutant::CandidateShrinks);
            let most = if shrinks { steps::most(canary, full) } else { present };
            steps::needed(canary, step, full).max(present.min(most))
        }
        _ => present,
    }
}

/// Whether a revision that lost its traffic has none left: the route without it is effective, and for as long as a
/// request may take.
#[must_use]
pub fn is_drained(
    revision: &RevisionStatus,
    split: Option<&Split>,
    effective: &Effective,
    now: Timestamp,
) -> bool {
    let Some(lost) = revision.since.as_ref().map(|s| s.0) else { return false };
    if on(Mutant::NoDrain) {
        return true;
    }
    let since = match (split, effective) {
        (None, _) => lost,
        _ if on(Mutant::DrainFromWrite) => lost,
        (Some(split), Effective::Settled { since }) => {
            if split.route.live().is_some_and(|view| view.shares.contains_key(&revision.name)) {
                return false;
            }
            lost.max(*since)
        }
        (Some(split), _) => match unrouted_since(split) {
            Some(since) => lost.max(since),
            None => return false,
        },
    };
    now.duration_since(since) >= drained_after(split).signed()
}

/// Since when no proxy sends anybody anything by a route of ours: there is none (none yet, or somebody has deleted it), as
/// the status tells, and the last proxy has forgotten it.
#[must_use]
pub fn unrouted_since(split: &Split) -> Option<Timestamp> {
    // Not since when it is not Ready or Programmed: a gateway that refuses it may go on with what it has.
    let gone = split.status.route.as_ref().filter(|route| route.generation == 0)?;
    gone.since.0.checked_add(split.propagation.signed()).ok().filter(|_| split.route.live().is_none())
}

/// How long requests may still run at a revision that lost its weight: the route's own limit, else 30 s.
#[must_use]
pub fn drain(split: &Split) -> Duration {
    let timeouts = split.spec.route.http_route.timeouts.as_ref();
    timeouts.and_then(|t| t.request).filter(|d| d.millis() > 0).unwrap_or(DRAIN)
}

/// How long after a revision lost its weight no request runs at it any more. Where its route went with its `TrafficSplit`,
/// nobody tells when the last proxy has forgotten it.
#[must_use]
pub fn drained_after(split: Option<&Split>) -> Duration {
    split.map_or(Duration::from_millis(DRAIN.millis() + FORGOTTEN.millis()), drain)
}

/// The drain where nobody says how long a request may take.
const DRAIN: Duration = Duration::from_secs(30);
/// How long proxies may send by a route that is gone: the default propagation allowance.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// The revision that Service `<name>` should select: the stable one, or the first once it is ready. `None`: leave it
/// as it is.
#[must_use]
pub fn stable_service(model: &Model, status: &ModelDeploymentStatus) -> Option<String> {
    if model.service == StableService::Taken {
        return None;
    }
    let early = status.candidate_revision.clone().filter(|_| on(Mutant::ServiceMovesEarly));
    if let Some(stable) = &status.stable_revision {
        return Some(early.unwrap_or_else(|| stable.clone()));
    }
    let first = status.latest_revision.as_ref().filter(|_| status.phase == Phase::Pending)?;
    let selected = model.service == StableService::On(first.clone()) || on(Mutant::ServiceMovesEarly);
    (selected || model.workload(first).ready >= model.full_size()).then(|| first.clone())
}
