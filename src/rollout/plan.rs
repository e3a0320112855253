//! The plan for one unit: at most one move a model, and the writes that follow from the state, in safety order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    apply,
    decide::{self, Around},
    held, leftover,
    notice::Notice,
    observed::{Model, Observed, Route, Split, StableService},
    phase::{self, Move},
    shares, sizes, split_summary, steps, summary,
};
use crate::{
    api::{
        conditions::{self, PROGRAMMED},
        v1alpha1::{Duration, ModelDeploymentStatus, Outcome, Phase, StepStart, TrafficSplitStatus},
    },
    mutant::{Mutant, on},
    revision::NAME_TAKEN,
    route::{self, Effective, RouteView, Share},
};

/// What is to be done, and when to look again.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In safety order: intent, what rises, the route, what falls, outcome. Every prefix is a state from which a new
    /// plan goes on. What is so already costs nothing to write: it is compared first.
    pub writes: Vec<Write>,
    /// The status of each model.
    pub models: BTreeMap<String, ModelDeploymentStatus>,
    /// The status of the `TrafficSplit`.
    pub split: Option<TrafficSplitStatus>,
    /// What to tell, by model.
    pub notices: Vec<(String, Notice)>,
    /// Some write takes something away, or raises a weight: the unit is read live before it, and planned again (design
    /// §3, S2). A rollback does not wait for that: it needs nothing but the two writes.
    pub confirm: bool,
    /// Some model is being rolled back: this goes by the lane that nothing else holds up.
    pub urgent: bool,
    /// The route keeps its parents, hosts and matches as they live.
    pub keeps_parents: bool,
    /// When to look again if nothing happens.
    pub next: Option<Timestamp>,
}

/// One write. It says what should be, not what to change.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The model's status, as in [`Plan::models`].
    Status {
        /// The model.
        model: String,
    },
    /// The revision's snapshot exists.
    Snapshot {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
    },
    /// The revision's Service exists.
    Service {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
    },
    /// The revision's Deployment has this size.
    Deployment {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
        /// Its size.
        replicas: i32,
    },
    /// Service `<name>` selects this revision.
    StableService {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
    },
    /// The route has these shares.
    Route(Vec<Share>),
    /// The revision's objects are gone.
    Delete {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
    },
    /// A Deployment without its model is gone.
    DeleteDeployment {
        /// The revision that it was of.
        revision: String,
    },
    /// A Service without its model is gone.
    DeleteService {
        /// The revision that it was of.
        revision: String,
    },
    /// The status of the `TrafficSplit`, as in [`Plan::split`].
    SplitStatus,
}

/// How often a name that somebody else has is looked at again.
const RECHECK: Duration = Duration::from_secs(10);

/// Plans one unit. Total: any state gives a plan, and a state that is as it should be gives one that changes nothing.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let split = observed.split.as_ref();
    let view = split.and_then(|s| s.route.live());
    let effective = effective(split, now);
    let mut statuses: Vec<ModelDeploymentStatus> = vec![];
    let mut notices = vec![];
    let before: Vec<shares::Decided<'_>> = observed.models.iter().map(|m| (m, &m.status)).collect();
    let goal = split.map(|s| shares::goal(s, &before, &effective)).unwrap_or_default();
    let begun = observed.models.iter().any(|m| m.status.step.is_some());
    let granted =
        split.filter(|_| begun).map(|s| shares::granted(s, &before, &effective)).unwrap_or_default();
    let mut busy: BTreeSet<&str> =
        observed.models.iter().filter(|m| is_rolling(m.status.phase)).map(|m| m.name.as_str()).collect();
    for model in &observed.models {
        let around = Around {
            split,
            effective: &effective,
            at_goal: shares::gives(view, model, &goal),
            at_granted: shares::gives(view, model, &granted),
            candidate_weight: candidate_weight(model, view),
            busy: busy.iter().any(|other| *other != model.name),
            led_since: observed.led_since,
            now,
        };
        let (mut status, told) = turn(model, &around);
        if is_rolling(status.phase) {
            busy.insert(&model.name);
        }
        sizes::revisions(model, &mut status, &around);
        summary::model(model, &mut status, &around);
        notices.extend(told.into_iter().map(|notice| (model.name.clone(), notice)));
        statuses.push(status);
    }
    let decided: Vec<shares::Decided<'_>> = observed.models.iter().zip(&statuses).collect();
    let route = split.map(|s| shares::written(s, &decided, &effective, now)).unwrap_or_default();
    for status in &mut statuses {
        held::end(status, view, &route, now);
    }
    let decided: Vec<shares::Decided<'_>> = observed.models.iter().zip(&statuses).collect();
    let urgent = statuses.iter().any(|s| s.phase == Phase::RollingBack);
    let mut writes = writes(observed, &decided, &route, &effective, urgent, now);
    let split_status = split.map(|s| split_status(s, &decided, &route, &effective, now));
    if let (Some(split), Some(after)) = (split, &split_status) {
        let first = leftover::returned(&split.status, after) && !urgent;
        writes.insert(if first { 0 } else { writes.len() }, Write::SplitStatus);
    }
    let next = next(observed, &decided, split, &effective, now);
    let raises = !urgent
        && route
            .iter()
            .any(|s| s.weight > view.map_or(0, |v| v.shares.get(&s.revision).copied().unwrap_or(0)));
    // Somebody may have a route of that name, which the watch on our own does not show.
    let creates = split.is_some_and(|s| s.route == Route::Absent) && !route.is_empty();
    let confirm =
        creates || raises || writes.iter().any(|w| needs_live_read(w, observed)) || moves_on(&decided);
    let confirm = confirm && !on(Mutant::NoLiveRead);
    if on(Mutant::RouteBeforeRecord) {
        writes.sort_by_key(|write| !matches!(write, Write::Route(_)));
    }
    let models = observed.models.iter().map(|m| m.name.clone()).zip(statuses).collect();
    let keeps_parents = split.is_some_and(|s| s.frozen);
    Plan { writes, models, split: split_status, notices, confirm, urgent, keeps_parents, next }
}

/// At most one move: what takes the candidate out, then requests, then what goes on.
fn turn(model: &Model, around: &Around<'_>) -> (ModelDeploymentStatus, Vec<Notice>) {
    let canary = around.split.map(|s| &s.spec.strategy.canary);
    let step = decide::next_move(model, around);
    let (mut status, notices) = match (step, model.requests.first()) {
        (Some(step @ Move::Retreat(_)), _) | (Some(step), None) => {
            apply::apply(model, canary, &step, around.now)
        }
        (_, Some(request)) => apply::handle(model, canary, request, around.now),
        (None, None) => (model.status.clone(), vec![]),
    };
    if on(Mutant::CandidateSwapped) && status.step.as_ref().is_some_and(|s| s.entered.is_some()) {
        status.candidate_revision = model.wanted().map(str::to_owned);
    }
    if let Ok(latest) = &model.latest {
        status.latest_revision = Some(latest.revision.clone());
    }
    (status, notices)
}

/// A rollout that other backends wait for.
fn is_rolling(phase: Phase) -> bool {
    phase::on_trial(phase) || phase == Phase::RollingBack
}

/// Whether the live route is effective; without one nothing is, and for a model by itself everything is at once.
pub(super) fn effective(split: Option<&Split>, now: Timestamp) -> Effective {
    match split.map(|s| (s, s.route.live())) {
        None => Effective::Settled { since: Timestamp::MIN },
        Some((_, None)) => Effective::Unaccepted { message: "there is no route yet".to_owned() },
        Some((split, Some(view))) => {
            route::effective(view, split.status.route.as_ref(), split.propagation, now)
        }
    }
}

pub(super) fn candidate_weight(model: &Model, view: Option<&RouteView>) -> i32 {
    let candidate = model.status.candidate_revision.as_ref();
    candidate.and_then(|c| view.and_then(|v| v.shares.get(c))).copied().unwrap_or(0)
}

/// All writes but the `TrafficSplit`'s status, in safety order.
fn writes(
    observed: &Observed,
    decided: &[shares::Decided<'_>],
    route: &[Share],
    effective: &Effective,
    urgent: bool,
    now: Timestamp,
) -> Vec<Write> {
    let mut intent = vec![];
    let (mut rising, mut falling) = (vec![], vec![]);
    for (model, status) in decided {
        let name = &model.name;
        intent.push(Write::Status { model: name.clone() });
        for size in sizes::sizes(model, status, observed.split.as_ref(), effective, now) {
            let (of, revision) = (|| name.clone(), size.revision);
            let Some(replicas) = size.replicas else {
                falling.push(Write::Delete { model: of(), revision });
                continue;
            };
            rising.push(Write::Snapshot { model: of(), revision: revision.clone() });
            rising.push(Write::Service { model: of(), revision: revision.clone() });
            let falls = replicas < model.workload(&revision).desired;
            let write = Write::Deployment { model: of(), revision, replicas };
            if falls { falling.push(write) } else { rising.push(write) }
        }
        if let Some(revision) = sizes::stable_service(model, status) {
            rising.push(Write::StableService { model: name.clone(), revision });
        }
    }
    let mut writes = intent;
    // A size that is refused (by a webhook that is down, say) does not hold up a rollback.
    let (first, then): (Vec<_>, Vec<_>) =
        rising.into_iter().partition(|write| !urgent || !matches!(write, Write::Deployment { .. }));
    writes.extend(first);
    let writable = observed.split.as_ref().is_some_and(|s| match s.route {
        Route::Taken => false,
        Route::Absent => !s.frozen,
        Route::Live(_) => true,
    });
    if !route.is_empty() && writable {
        writes.push(Write::Route(route.to_vec()));
    }
    writes.extend(then);
    writes.extend(falling);
    writes.extend(
        observed.split.iter().flat_map(|split| leftover::gone(split, &observed.models, effective, now)),
    );
    writes
}

/// A write that takes something away, or points callers in the cluster at another revision, needs a live read before it.
fn needs_live_read(write: &Write, observed: &Observed) -> bool {
    let find = |name: &str| observed.models.iter().find(|m| m.name == name);
    match write {
        Write::Delete { .. } | Write::DeleteDeployment { .. } | Write::DeleteService { .. } => true,
        Write::Deployment { model, revision, replicas } => {
            find(model).is_some_and(|m| *replicas < m.workload(revision).desired)
        }
        Write::StableService { model, revision } => {
            find(model).is_some_and(|m| m.service != StableService::On(revision.clone()))
        }
        _ => false,
    }
}

/// A trial goes on to its next step, a revision takes over, or a trial ends because no `TrafficSplit` names its model any more.
fn moves_on(decided: &[shares::Decided<'_>]) -> bool {
    let cancelled =
        |s: &ModelDeploymentStatus| s.rollback.as_ref().is_some_and(|r| r.outcome == Outcome::Cancelled);
    decided.iter().any(|(model, status)| {
        let promoted =
            model.status.stable_revision.is_some() && model.status.stable_revision != status.stable_revision;
        let index = |s: &ModelDeploymentStatus| s.step.as_ref().map(|step| step.index);
        let step = phase::on_trial(status.phase)
            && phase::on_trial(model.status.phase)
            && (model.status.phase, index(&model.status)) != (status.phase, index(status));
        promoted || step || (cancelled(status) && !cancelled(&model.status))
    })
}

/// What the `TrafficSplit` shows, and the memory behind "effective".
pub(super) fn split_status(
    split: &Split,
    decided: &[shares::Decided<'_>],
    route: &[Share],
    effective: &Effective,
    now: Timestamp,
) -> TrafficSplitStatus {
    let mut status = split.status.clone();
    status.route = route::remember(split.route.live(), split.status.route.as_ref(), now);
    split_summary::split(split, decided, route, effective, &mut status, now);
    status
}

/// The earliest moment at which time alone may change the plan.
fn next(
    observed: &Observed,
    decided: &[shares::Decided<'_>],
    split: Option<&Split>,
    effective: &Effective,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut due: Vec<Timestamp> = vec![];
    let mut after = |since: Timestamp, length: Duration| due.extend(since.checked_add(length.signed()).ok());
    if let (Some(split), Effective::Settled { since }) = (split, effective) {
        after(*since, sizes::drain(split));
    }
    // A gateway's silence becomes news.
    if let Some(since) = split.and_then(|s| conditions::false_since(&s.status.conditions, PROGRAMMED)) {
        after(since, decide::HEARING);
    }
    if let Some((split, since)) = split.and_then(|split| Some((split, sizes::unrouted_since(split)?))) {
        after(since, sizes::drain(split));
    }
    for (model, status) in decided {
        for revision in &status.revisions {
            if let Some(since) = &revision.since {
                after(since.0, sizes::drained_after(split));
                after(since.0.max(observed.led_since), model.spec.progress_deadline);
            }
            if let Some(until) = &revision.warm_until {
                after(until.0, Duration::from_millis(0));
            }
        }
        if let Some(step) = &status.step {
            let (since, deadline) = (step.since.0.max(observed.led_since), model.spec.progress_deadline);
            after(since, deadline);
            after(since, Duration::from_millis(deadline.millis() + decide::HEARING.millis()));
            if let Some(split) = split {
                let canary = &split.spec.strategy.canary;
                if let Some(since) = &step.unobservable_since {
                    after(since.0, split.spec.analysis.hold_budget);
                }
                if let Some(since) = &step.shared_since {
                    after(since.0, split.spec.analysis.shared_breach_timeout);
                }
                if let Some(rules) = steps::get(canary, step.index) {
                    let since = |start: Option<&StepStart>| {
                        start.map_or(step.since.0, |start| start.since.0.max(step.since.0))
                    };
                    after(since(steps::began(step)), rules.max_duration);
                    after(since(steps::effective(step)), rules.bake);
                }
            }
        }
        if let Some(rollback) = &status.rollback {
            after(rollback.since.0, sizes::drained_after(split));
        }
    }
    due.extend(split.into_iter().flat_map(|split| leftover::due(split, &observed.models, effective, now)));
    if let Effective::Waiting { until } = effective {
        due.push(*until);
    }
    // What is not ours is not watched: whether it has gone is looked at now and then.
    let no_name = |model: &Model| matches!(&model.latest, Err(refusal) if refusal.reason == NAME_TAKEN);
    let taken = observed.models.iter().any(|m| m.service == StableService::Taken || no_name(m));
    // A route of another unit wakes that one.
    let elsewhere = observed.models.iter().any(|m| !m.elsewhere.is_empty());
    if taken || elsewhere || split.is_some_and(|s| s.route == Route::Taken) {
        due.extend(now.checked_add(RECHECK.signed()).ok());
    }
    due.extend(observed.models.iter().filter_map(|m| m.judgement.next));
    due.into_iter().filter(|at| *at > now).min()
}
