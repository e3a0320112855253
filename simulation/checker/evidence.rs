//! What a step, a promotion and a rollback rest on.

use std::{collections::BTreeMap, time::Duration};

use seatrial::{
    api::v1alpha1::{Approval, Outcome, Phase, RevisionUse, RolloutRecord, StepStart, VerdictWord},
    rollout::steps::EARLIER,
    world::history::Key,
};
use serde_json::Value;

use super::{
    findings::Findings,
    input::Quality,
    tracks::{Split, difference, millis, within},
    trial::{ALL, Turn, did, turns},
    world::World,
};

/// What clocks and answers on the way may blur.
const BLUR: Duration = Duration::from_secs(1);

/// The states of the `TrafficSplit` of a model that a write may rest on.
fn splits<'t>(world: &'t World<'_>, turn: &Turn<'_, '_>, known: u64) -> Vec<&'t Split> {
    let Some((key, _)) = world.split_of(turn.key, known) else { return vec![] };
    world.splits[key].during(world.read_from(turn.change), turn.change.revision).flatten().collect()
}

/// S9 (at the end). A step is passed only when the proxies all apply its weight, have done so for at least its `bake` in all
/// (a weight that somebody else took away, or that moved because another backend came, is none while it is away), and have
/// sent the candidate requests in that time; the record of that write has a `Pass` for every SLO; an approval that the step asks for stands in the record. A step without
/// traffic lasts its `bake` from when it was taken. And a version that breaks an SLO clearly is never made stable unless
/// somebody asked for it.
pub fn s9_evidence(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        if let Some((index, _)) = turn.advance() {
            let wrong = each(world, &turn, |known| unproven(world, &turn, index, known));
            out.expect(wrong.is_none(), turn.change, || {
                format!("{} passed step {index}: {}", turn.key.name, wrong.unwrap_or_default())
            });
        }
        if let Some(record) = promotion(&turn) {
            let bad = world.input.facts.versions.get(&record.version) == Some(&Quality::Bad);
            let newer = turn.after.status.latest_revision.as_ref() != Some(&record.revision);
            let asked = newer || did("promote", &turn.before.status, &turn.after.status);
            let judged = turn.before.status.step.is_some();
            out.expect(!bad || asked || !judged, turn.change, || {
                format!("{} promoted {}, which breaks its SLOs", turn.key.name, record.revision)
            });
        }
    }
}

/// What is wrong by the `TrafficSplit` that has the model now and by the one that had it when this was read: another may have
/// got it meanwhile.
fn each(world: &World<'_>, turn: &Turn<'_, '_>, wrong: impl Fn(u64) -> Option<String>) -> Option<String> {
    [turn.change.revision, world.known(turn.change)]
        .into_iter()
        .map(wrong)
        .min_by_key(Option::is_some)
        .flatten()
}

fn unproven(world: &World<'_>, turn: &Turn<'_, '_>, index: i32, known: u64) -> Option<String> {
    let status = &turn.before.status;
    let (step, candidate) = (status.step.as_ref()?, status.candidate_revision.as_ref()?);
    let specs = splits(world, turn, known);
    let rules =
        |s: &&&Split| usize::try_from(index).ok().and_then(|i| s.spec.strategy.canary.steps.get(i)).is_some();
    let steps: Vec<_> = specs
        .iter()
        .filter(rules)
        .map(|s| &s.spec.strategy.canary.steps[usize::try_from(index).unwrap_or(0)])
        .collect();
    let bake = millis(steps.iter().map(|s| s.bake.millis()).min()?);
    if steps.iter().all(|s| s.approval == Approval::Required) && !step.approvals.contains(&index) {
        return Some("nobody approved it".to_owned());
    }
    let at = turn.change.at;
    if step.weight.ppm() == 0 {
        let taken = taken(turn, |s| s.step.as_ref().is_some_and(|s| s.index == index && s.entered.is_some()));
        return (at + BLUR < taken + bake).then(|| {
            format!("its bake of {} s had begun only at {:.3} s", bake.as_secs(), taken.as_secs_f64())
        });
    }
    let open = turn.after.status.analysis.iter().find(|slo| slo.verdict != VerdictWord::Pass);
    if let Some(slo) = open {
        return Some(format!("SLO {} is {:?}: {}", slo.name, slo.verdict, slo.message));
    }
    let since = taken(turn, |s| s.step.as_ref().is_some_and(|s| s.index == index));
    if let Some(wrong) = not_held(world, turn, i64::from(step.weight.ppm()), (since, bake), known) {
        return Some(wrong);
    }
    let served = world.input.served.iter();
    let mine = served.filter(|s| s.backend == *candidate && s.at > since && s.at <= at);
    let requests: u64 = mine.map(|s| s.requests).sum();
    (requests == 0 && !world.input.served.is_empty())
        .then(|| format!("it had no request since {:.3} s", since.as_secs_f64()))
}

/// The route of the `TrafficSplit` that a model belonged to: another may still send to one of its revisions.
fn routed_by(world: &World<'_>, model: &Key, revision: u64) -> Option<Key> {
    let (split, _) = world.split_of(model, revision)?;
    Some(Key::new("HTTPRoute", &split.namespace, &split.name))
}

/// Why a candidate has not had its share for so long since then, or has it no more.
fn not_held(
    world: &World<'_>,
    turn: &Turn<'_, '_>,
    ppm: i64,
    (since, length): (Duration, Duration),
    known: u64,
) -> Option<String> {
    let status = &turn.before.status;
    let (route, candidate) = (routed_by(world, turn.key, known)?, status.candidate_revision.as_deref()?);
    let at = turn.change.at;
    match world.routed.get(&(&route, candidate)).map_or(Some(0), |c| c.agreed(at)) {
        None => return Some("its proxies do not agree on the weight".to_owned()),
        Some(0) => return Some("no proxy sends it anything".to_owned()),
        Some(_) => {}
    }
    let stable = status.stable_revision.as_deref().unwrap_or_default();
    let held: Duration = (routes_of(world, turn, since, known).iter())
        .map(|(route, from, until)| world.held(route, (candidate, stable), ppm, (*from, *until)))
        .sum();
    (held + BLUR < length).then(|| {
        let (held, length) = (held.as_secs_f64(), length.as_secs());
        format!(
            "its weight was effective for {held:.3} s since {:.3} s, not for {length} s",
            since.as_secs_f64()
        )
    })
}

/// The routes that a model was in since a moment, each from when until when: it may move to another `TrafficSplit` in the
/// middle of a trial, and what was watched under the one before counts.
fn routes_of(
    world: &World<'_>,
    turn: &Turn<'_, '_>,
    since: Duration,
    known: u64,
) -> Vec<(Key, Duration, Duration)> {
    let at = turn.change.at;
    let changes = world.splits.values().flat_map(|track| track.states.iter().map(|state| state.change));
    let mut moves: Vec<(Duration, u64)> = changes
        .map(|change| (change.at, change.revision))
        .filter(|(moved, by)| *moved < at && *by <= known)
        .collect();
    moves.sort_unstable();
    let ends = moves.iter().skip(1).map(|(moved, _)| *moved).chain([at]);
    let spans =
        moves.iter().zip(ends).map(|((from, revision), until)| ((*from).max(since), until, *revision));
    spans
        .filter(|(from, until, _)| from < until)
        .filter_map(|(from, until, revision)| Some((routed_by(world, turn.key, revision)?, from, until)))
        .collect()
}

/// The first change from which the state before `turn` has held without interruption.
fn taken(
    turn: &Turn<'_, '_>,
    holds: impl Fn(&seatrial::api::v1alpha1::ModelDeploymentStatus) -> bool,
) -> Duration {
    let end = turn.track.states.partition_point(|s| s.change.revision < turn.change.revision);
    let mut since = turn.change.at;
    for state in turn.track.states[..end].iter().rev() {
        if !state.value.as_ref().is_some_and(|m| holds(&m.status)) {
            break;
        }
        since = state.change.at;
    }
    since
}

/// The record of a promotion that this very write made.
fn promotion<'t>(turn: &'t Turn<'_, '_>) -> Option<&'t RolloutRecord> {
    let (before, after) = (&turn.before.status, &turn.after.status);
    let record = after.history.first()?;
    let moved = before.stable_revision != after.stable_revision;
    (moved && record.outcome == Outcome::Promoted && before.history.first() != Some(record)).then_some(record)
}

/// S10 (at the end). What was measured belongs to one attempt of one candidate: the write that begins another has no verdict,
/// no beginning of a step and no approval; and the beginnings of steps only grow.
pub fn s10_binding(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let name = &turn.key.name;
        if !turn.same_trial() && after.candidate_revision.is_some() {
            let step = after.step.as_ref();
            let clean = after.analysis.is_empty()
                && after.verdict.is_none()
                && step.is_none_or(|s| s.starts.is_empty() && s.approvals.is_empty() && s.entered.is_none());
            out.expect(clean, turn.change, || {
                format!(
                    "attempt {} of {name} begins with what was found out about an earlier one",
                    after.attempt
                )
            });
        }
        if let (true, Some(old), Some(new)) = (turn.same_trial(), &before.step, &after.step) {
            // An edited schedule leaves those behind that were of the one before.
            let same = |a: &StepStart, b: &StepStart| {
                a.since == b.since && (a.index == b.index || b.index == EARLIER)
            };
            let known = old.starts.iter().zip(&new.starts).all(|(a, b)| same(a, b));
            out.expect(known && new.starts.len() >= old.starts.len(), turn.change, || {
                format!("when the steps of {name} began was rewritten")
            });
        }
    }
}

/// S14 (after every revision). Promotion moves a pointer to what was on trial: the new stable revision was the candidate (or
/// the first), under a `TrafficSplit` all proxies have sent it everything for the whole `rollbackWindow`, or somebody asked
/// for it, or a newer revision waits and the old one is kept warm. And nothing of a revision is ever rewritten: template of
/// its Deployment and data of its snapshot are what they were at first.
pub fn s14_good_target(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        if before.stable_revision == after.stable_revision {
            continue;
        }
        let wrong = each(world, &turn, |known| wrong_target(world, &turn, known));
        out.expect(wrong.is_none(), turn.change, || {
            let stable = after.stable_revision.as_deref().unwrap_or("nothing");
            format!("{} made {stable} stable: {}", turn.key.name, wrong.unwrap_or_default())
        });
    }
    never_rewritten(world, out);
}

fn wrong_target(world: &World<'_>, turn: &Turn<'_, '_>, known: u64) -> Option<String> {
    let (before, after) = (&turn.before.status, &turn.after.status);
    let Some(stable) = &after.stable_revision else { return Some("nothing is stable any more".to_owned()) };
    let Some(old) = &before.stable_revision else {
        return (before.latest_revision.as_ref() != Some(stable)
            && after.latest_revision.as_ref() != Some(stable))
        .then(|| "it is not the first revision".to_owned());
    };
    if before.candidate_revision.as_ref() != Some(stable) {
        return Some("it was not on trial".to_owned());
    }
    let specs = splits(world, turn, known);
    if specs.is_empty() || did("promote", before, after) || before.phase != Phase::Watching {
        return (!specs.is_empty() && before.phase != Phase::Watching && before.step.is_some())
            .then(|| format!("it was only {:?}", before.phase));
    }
    let kept = after
        .revisions
        .iter()
        .any(|r| r.name == *old && r.used == RevisionUse::Warm && r.warm_until.is_some());
    if kept && after.latest_revision.as_ref() != Some(stable) {
        return None;
    }
    let window = millis(specs.iter().map(|s| s.spec.strategy.canary.rollback_window.millis()).min()?);
    let old_carries =
        |route: &Key| world.routed.get(&(route, old)).is_some_and(|c| c.most(turn.change.at) > 0);
    if routed_by(world, turn.key, known).as_ref().is_some_and(old_carries) {
        return Some(format!("proxies still send to {old}"));
    }
    not_held(world, turn, ALL, (taken(turn, |s| s.phase == Phase::Watching), window), known)
}

fn never_rewritten(world: &World<'_>, out: &mut Findings) {
    let mut first: BTreeMap<(&str, &str, &str, &str), &Value> = BTreeMap::new();
    for change in &world.input.changes {
        let part = match change.key.kind.as_str() {
            "Deployment" => "/spec/template",
            "ControllerRevision" => "/data",
            _ => continue,
        };
        let Some(after) = change.after.as_ref().filter(|_| world.ours(change)) else { continue };
        let Some(value) = within(after, part) else { continue };
        let owner = super::tracks::text(after, "/metadata/ownerReferences/0/uid");
        let key = &change.key;
        let known = first
            .entry((key.kind.as_str(), key.namespace.as_str(), key.name.as_str(), owner))
            .or_insert(value);
        out.expect(*known == value, change, || {
            format!("{}{part}{} of {} was rewritten", key.kind, difference(known, value), key.name)
        });
    }
}

/// S35 (at the end). A clock that jumps decides nothing: no deadline, window or budget ends before as much virtual time has
/// gone by as it says. Armed by every decision that rests on a time; jumps make it hard. (S9 and S14 say the same of bakes
/// and of the rollback window.)
pub fn s35_clocks(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let specs = splits(world, &turn, turn.change.revision);
        let model = turn.track.during(world.read_from(turn.change), turn.change.revision).flatten();
        let deadline = model.map(|m| m.spec.progress_deadline.millis()).min().map_or(Duration::ZERO, millis);
        let attempt = |s: &seatrial::api::v1alpha1::ModelDeploymentStatus| {
            s.attempt == before.attempt && s.candidate_revision == before.candidate_revision
        };
        let at_step = |s: &seatrial::api::v1alpha1::ModelDeploymentStatus| {
            attempt(s) && s.step.as_ref().map(|s| s.index) == before.step.as_ref().map(|s| s.index)
        };
        let decided = after.rollback.as_ref().filter(|_| before.rollback.is_none());
        let (least, since) = match decided.map(|r| r.reason.as_str()) {
            Some("ProgressDeadlineExceeded") => (deadline, taken(&turn, attempt)),
            Some("WeightNotEffective") => (deadline, taken(&turn, at_step)),
            Some("Inconclusive") => (longest(&specs, before), taken(&turn, at_step)),
            Some("Unobservable") => {
                let budget = specs.iter().map(|s| s.spec.analysis.hold_budget.millis()).min().unwrap_or(0);
                let missing = |s: &seatrial::api::v1alpha1::ModelDeploymentStatus| {
                    s.step.as_ref().is_some_and(|s| s.unobservable_since.is_some())
                };
                (millis(budget), taken(&turn, missing))
            }
            _ => continue,
        };
        // A write may land some seconds after the moment that it records.
        let blur = Duration::from_secs(10);
        out.expect(turn.change.at + blur >= since + least, turn.change, || {
            format!(
                "{} was rolled back ({}) {:.3} s after {:.3} s, which must last {} s",
                turn.key.name,
                decided.map_or("", |r| r.reason.as_str()),
                turn.change.at.saturating_sub(since).as_secs_f64(),
                since.as_secs_f64(),
                least.as_secs()
            )
        });
    }
}

fn longest(specs: &[&Split], status: &seatrial::api::v1alpha1::ModelDeploymentStatus) -> Duration {
    let index = status.step.as_ref().and_then(|s| usize::try_from(s.index).ok()).unwrap_or(usize::MAX);
    let all = specs.iter().filter_map(|s| s.spec.strategy.canary.steps.get(index));
    all.map(|s| millis(s.max_duration.millis())).min().unwrap_or(Duration::ZERO)
}
