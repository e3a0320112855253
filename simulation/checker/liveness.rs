//! What must happen in the end, and how soon.

use std::time::Duration;

use seatrial::{
    api::v1alpha1::{Outcome, Phase, RevisionUse},
    world::history::Key,
};

use super::{
    findings::Findings,
    input::Quality,
    steps::is_refused,
    tracks::{Model, Split, State, Track, is_of, millis},
    trial::turns,
    world::World,
};

/// Since when nothing disturbs this world any more.
fn calm_since(world: &World<'_>) -> Duration {
    world.input.facts.quiet_since.max(world.input.facts.faults_end)
}

/// When every rollout of this world has surely ended.
fn settled_at(world: &World<'_>) -> Duration {
    calm_since(world) + settle(world)
}

/// How long everything takes at most once nothing disturbs it any more.
fn settle(world: &World<'_>) -> Duration {
    let settle = world.input.facts.settle;
    if settle > Duration::ZERO { settle } else { longest(world) }
}

/// Whether everything that this world will ever come to has come: that time is over, or nothing has changed for long.
fn is_over(world: &World<'_>) -> bool {
    let end = world.input.facts.end;
    let last = world.input.changes.iter().rfind(|c| c.key.kind != "Lease").map_or(Duration::ZERO, |c| c.at);
    let ended = |track: &Track<'_, Model>| {
        use Phase::{Paused, Pending, RolledBack, Stable};
        track.last().is_none_or(|m| matches!(m.status.phase, Paused | Pending | RolledBack | Stable))
    };
    let still =
        end > last.max(calm_since(world)) + Duration::from_secs(15) && world.models.values().all(ended);
    still || end >= settled_at(world)
}

/// How long a rollout may take in this world.
fn once(world: &World<'_>) -> Duration {
    let all = u32::try_from(world.models.len().max(1)).unwrap_or(1);
    settle(world) / all
}

/// The longest that a rollout takes by what the specs say, two in a row.
fn longest(world: &World<'_>) -> Duration {
    let deadline = world
        .models
        .values()
        .filter_map(Track::last)
        .map(|m| millis(m.spec.progress_deadline.millis()))
        .max();
    let canaries = world.splits.values().filter_map(Track::last).map(|s| {
        let canary = &s.spec.strategy.canary;
        let steps: i64 = canary.steps.iter().map(|s| s.max_duration.millis()).sum();
        millis(steps + canary.rollback_window.millis() * 2 + s.spec.analysis.hold_budget.millis())
    });
    (deadline.unwrap_or_default() + canaries.max().unwrap_or_default() + Duration::from_mins(10)) * 2
}

/// L1. What is asked for comes true and stays: when the world has long been calm, every model has observed its generation and
/// is at an end (stable on its latest revision, rejected, or paused with a reason); its route says so and the proxies apply
/// it; the stable revision has full size, the others none; Service `<name>` selects it. (That it stays so: S21.)
pub fn l1_eventually_stable(world: &World<'_>, out: &mut Findings) {
    let end = world.input.facts.end;
    if !is_over(world) {
        return;
    }
    for (key, track) in &world.models {
        let Some(model) = track.last().filter(|_| !world.input.facts.broken.contains(key)) else { continue };
        if model.deleting {
            continue;
        }
        out.armed();
        if is_leaving(track, end) || is_late(world, key) {
            continue;
        }
        if let Some(wrong) = unsettled(world, key, model) {
            out.missed(end, format!("{} ({:?}) has not settled: {wrong}", key.name, model.status.phase));
        }
    }
}

/// Whether its candidate was taken out so late that the rollback may still be under way: evidence may be long in coming.
fn is_leaving(track: &Track<'_, Model>, end: Duration) -> bool {
    let other =
        |s: &&State<'_, Model>| s.value.as_ref().is_none_or(|model| model.status.phase != Phase::RollingBack);
    let before = track.states.iter().rposition(|s| other(&s)).map_or(0, |index| index + 1);
    track.states.get(before).is_some_and(|s| end < s.change.at + Duration::from_mins(1))
}

fn unsettled(world: &World<'_>, key: &Key, model: &Model) -> Option<String> {
    let status = &model.status;
    if status.observed_generation != model.generation {
        return Some(format!("generation {} is not observed", model.generation));
    }
    let split = world.split_of(key, u64::MAX);
    let held = split.is_some_and(|(_, s)| is_refused(&s.status.conditions)) || is_refused(&status.conditions);
    let rejected = |name: &Option<String>| status.rejected.iter().any(|r| Some(&r.revision) == name.as_ref());
    let quality = status.candidate_version.as_ref().or(model.spec.model.as_ref().map(|m| &m.version));
    let never = quality.and_then(|v| world.input.facts.versions.get(v));
    let ends = match status.phase {
        Phase::Stable => {
            let waits = held || is_busy(world, key) || model.spec.full_size() == 0;
            status.latest_revision == status.stable_revision || waits
        }
        Phase::RolledBack => held || rejected(&status.latest_revision),
        Phase::Paused => status.pause.is_some(),
        // Whoever is asked for no pods never begins to serve.
        Phase::Pending => {
            let none = model.spec.full_size() == 0;
            held || none || matches!(never, Some(Quality::NeverReady | Quality::Crashing))
        }
        // Nobody is to blame: without requests nothing can be proven, a broken stable cannot be returned to, and what loses
        // its pods again and again starts again each time.
        _ => {
            let again = status.attempt > 1 && matches!(never, Some(Quality::Restless));
            held || again || world.input.facts.rate == 0.0 || !servable(world, key, model)
        }
    };
    if !ends {
        return Some(format!(
            "latest {:?}, stable {:?}: {}",
            status.latest_revision, status.stable_revision, status.message
        ));
    }
    if !matches!(status.phase, Phase::Stable | Phase::RolledBack) {
        return None;
    }
    // One that yields to an older one has no say: its model is by itself.
    let accepted = split.filter(|(_, s)| s.status.conditions.iter().all(|c| c.reason != "Conflict"));
    wrong_objects(world, key, model, accepted)
}

/// Whether its rollout may still be under way because it had to wait: another backend's was long undecided, and paused.
fn is_late(world: &World<'_>, key: &Key) -> bool {
    let rolls = |m: &Model| matches!(m.status.phase, Phase::Preparing | Phase::Progressing | Phase::Watching);
    let now = world.models.get(key).and_then(Track::last).is_some_and(rolls);
    let lately = world.input.facts.end.saturating_sub(once(world));
    now && others(world, key).any(|track| track.during(lately, u64::MAX).flatten().any(is_rolling))
}

/// The other backends of the model's `TrafficSplit`.
fn others<'w, 'a>(world: &'w World<'a>, key: &'w Key) -> impl Iterator<Item = &'w Track<'a, Model>> {
    let split = world.split_of(key, u64::MAX).map(|(_, split)| split);
    let all =
        world.models.iter().filter(move |(other, _)| ***other != *key && other.namespace == key.namespace);
    all.filter(move |(other, _)| split.is_some_and(|split| split.names(&other.name))).map(|(_, track)| track)
}

fn is_rolling(model: &Model) -> bool {
    !matches!(model.status.phase, Phase::Pending | Phase::Stable | Phase::RolledBack)
}

/// Whether another backend of the model's `TrafficSplit` has not ended its rollout (a pause may last for ever): one rolls at
/// a time.
fn is_busy(world: &World<'_>, key: &Key) -> bool {
    others(world, key).any(|track| track.last().is_some_and(is_rolling))
}

fn servable(world: &World<'_>, key: &Key, model: &Model) -> bool {
    let Some(stable) = &model.status.stable_revision else { return false };
    world.deployment(&key.namespace, stable).and_then(Track::last).is_some_and(|d| d.ready > 0)
}

fn wrong_objects(
    world: &World<'_>,
    key: &Key,
    model: &Model,
    split: Option<(&Key, &Split)>,
) -> Option<String> {
    let stable = model.status.stable_revision.as_ref()?;
    let namespace = key.namespace.as_str();
    for (child, track) in world.deployments.iter().filter(|(k, _)| k.namespace == namespace) {
        let Some(deployment) = track.last().filter(|d| d.model == key.name) else { continue };
        let size = deployment.replicas.unwrap_or(1);
        let warm = model.status.revisions.iter().any(|r| r.name == child.name && r.used == RevisionUse::Warm);
        let full = i64::from(model.spec.full_size());
        if child.name == *stable && size != full {
            return Some(format!("stable {stable} has {size} pods, full size is {full}"));
        }
        let draining =
            model.status.revisions.iter().any(|r| r.name == child.name && r.used == RevisionUse::Draining);
        let needed = warm || (draining && is_young(world)) || is_kept(world, key, &child.name);
        if child.name != *stable && size != 0 && !needed {
            return Some(format!("{} still has {size} pods", child.name));
        }
    }
    let service = world.services.get(&Key::new("Service", namespace, &key.name)).and_then(Track::last);
    let ours = service.filter(|s| s.owner.as_ref().is_some_and(|(_, uid)| *uid == model.uid));
    if ours.is_some_and(|s| s.revision != *stable) {
        return Some(format!("Service {} selects {}", key.name, ours.map_or("", |s| s.revision.as_str())));
    }
    let (split, spec) = split?;
    let route = world.routes.get(&Key::new("HTTPRoute", namespace, &split.name)).and_then(Track::last)?;
    let mine = |name: &&String| is_of(name, &key.name);
    let shares: Vec<&String> = route.shares.keys().filter(mine).collect();
    let ours = route.owner.as_ref().is_some_and(|(_, uid)| *uid == spec.uid);
    if ours && shares != [stable] && servable(world, key, model) {
        return Some(format!("its route sends to {shares:?}, not to {stable}"));
    }
    let late = world.input.applied.is_empty() || !world.input.facts.deaf.is_empty();
    for name in world.carried.keys().filter(|(n, name)| *n == namespace && !late && *name != stable) {
        let sent = world.effective(namespace, name.1, world.input.facts.end) > 0;
        if is_of(name.1, &key.name) && sent && servable(world, key, model) && !is_kept(world, key, name.1) {
            return Some(format!("a proxy still sends to {}", name.1));
        }
    }
    None
}

/// Whether the route of a `TrafficSplit` that names the model no more goes on to send to a revision, because none of those
/// that it names can serve.
fn is_kept(world: &World<'_>, model: &Key, revision: &str) -> bool {
    let near = world.routes.iter().filter(|(route, _)| route.namespace == model.namespace);
    let sends = near.filter(|(_, track)| track.last().is_some_and(|route| route.weight(revision) > 0));
    let mut splits = sends.filter_map(|(route, _)| {
        world.splits.get(&Key::new("TrafficSplit", &route.namespace, &route.name)).and_then(Track::last)
    });
    splits.any(|split| {
        let named = world.models.iter().filter(|(key, _)| split.names(&key.name));
        let mut others = named.filter_map(|(key, track)| Some((*key, track.last()?)));
        !split.names(&model.name) && !others.any(|(key, other)| servable(world, key, other))
    })
}

/// Whether so little time has gone by since the last change that a drain may still be under way.
fn is_young(world: &World<'_>) -> bool {
    let last = world.input.changes.iter().rfind(|c| c.key.kind != "Lease").map_or(Duration::ZERO, |c| c.at);
    world.input.facts.end < last + Duration::from_mins(1)
}

/// L3. After a crash somebody goes on: once twenty seconds after the end of the time without a leader have gone by in which
/// nothing stood in the way, the operator has read or written again. (That the same step goes on, none skipped or repeated: S7, S25.)
pub fn l3_resumes(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    for span in &facts.absent {
        let limit = world.unhindered(span.until, Duration::from_secs(20));
        let crashed = facts.crashes.iter().any(|at| *at >= span.from && *at <= span.until);
        if !crashed || limit > facts.end || world.input.requests.is_empty() {
            continue;
        }
        out.armed();
        let back =
            world.input.requests.iter().any(|r| r.sent >= span.from && r.sent <= limit && r.code.is_some());
        if !back {
            out.missed(limit, format!("nobody went on after the crash at {:.3} s", span.from.as_secs_f64()));
        }
    }
}

/// L4. A healthy candidate finishes: in a calm world with requests, a good version is not rolled back for a breach, and is
/// stable in the end if it is what the spec asks for (unless somebody aborted, paused or cancelled it, or its pods were
/// lost: those have reasons of their own). Pods of this world end without a grace: what goes to those that a user or an
/// autoscaler wanted no more is lost, and truly breaks the SLO of whoever serves then.
pub fn l4_healthy_finishes(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    let good = |version: &str| facts.versions.get(version).is_none_or(|q| *q == Quality::Good);
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let Some(record) = after.history.first().filter(|r| before.history.first() != Some(r)) else {
            continue;
        };
        let breach = record.outcome == Outcome::RolledBack && record.reason == "Breach";
        let since = turn.change.at.saturating_sub(Duration::from_mins(2));
        let sizes: Vec<i32> =
            turn.track.during(since, turn.change.revision).flatten().map(|m| m.spec.full_size()).collect();
        let shrunk = sizes.windows(2).any(|pair| pair[1] < pair[0]);
        out.expect(!breach || shrunk || !good(&record.version), turn.change, || {
            format!("good version {} was rolled back: {}", record.version, record.message)
        });
    }
    if !is_over(world) || facts.rate <= 0.0 {
        return;
    }
    for (key, track) in &world.models {
        let Some(model) = track.last().filter(|_| !facts.broken.contains(key)) else { continue };
        let Some(version) = model.spec.model.as_ref().map(|m| m.version.as_str()) else { continue };
        let split = world.split_of(key, u64::MAX);
        let held = split.is_some_and(|(_, s)| is_refused(&s.status.conditions))
            || is_refused(&model.status.conditions);
        let excused = model.status.pause.is_some()
            || held
            // Whoever wants no pods can prove nothing with them.
            || model.spec.full_size() == 0
            || is_busy(world, key)
            || is_late(world, key)
            || model
                .status
                .rejected
                .iter()
                .any(|r| Some(&r.revision) == model.status.latest_revision.as_ref());
        if !good(version) || excused || model.deleting {
            continue;
        }
        out.armed();
        let stable = model.status.stable_version.as_deref() == Some(version);
        if !stable {
            out.missed(
                facts.end,
                format!(
                    "good version {version} of {} is not stable: {:?}, {}",
                    key.name, model.status.phase, model.status.message
                ),
            );
        }
    }
}

/// L8. After a gap (watches dropped, stalled, 410) the cache is right again: 330 seconds after the faults every object that
/// nobody has touched since has been observed.
pub fn l8_cache_recovers(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    let usual = facts.faults_end + Duration::from_secs(330);
    let limit = if is_over(world) { usual.min(facts.end) } else { usual };
    if facts.faults.is_empty() || limit > facts.end {
        return;
    }
    for (key, track) in &world.models {
        let touched =
            track.states.iter().any(|s| !s.ours && s.change.at > facts.faults_end && s.change.at <= limit);
        let Some(model) = track.when(limit).filter(|_| !touched && !facts.broken.contains(key)) else {
            continue;
        };
        out.armed();
        if model.status.observed_generation != model.generation {
            out.missed(
                limit,
                format!("generation {} of {} was never seen after the faults", model.generation, key.name),
            );
        }
    }
}
