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
    tracks::{Model, Split, State, Track, millis},
    trial::{on_trial, turns},
    world::World,
};

/// What the operator may take when nothing is in its way.
const SOON: Duration = Duration::from_secs(5);
/// What it may take once that is over: backoff of up to thirty seconds, and a watch that begins again.
const BACKOFF: Duration = Duration::from_secs(40);

/// By when something that became due at `at` must be done.
fn due(world: &World<'_>, at: Duration) -> Duration {
    let soon = at + SOON;
    let from = at.saturating_sub(BACKOFF);
    let mut limit = soon;
    // Whatever stands in the way moves the limit on, and so may what stands in the way until then.
    for _ in 0..8 {
        let hindered = world.hindered(from, limit);
        let next = if hindered > Duration::ZERO { soon + hindered + BACKOFF } else { soon };
        if next <= limit {
            break;
        }
        limit = next;
    }
    limit
}

/// Since when nothing disturbs this world any more.
fn calm_since(world: &World<'_>) -> Duration {
    world.input.facts.quiet_since.max(world.input.facts.faults_end)
}

/// When every rollout of this world has surely ended.
fn settled_at(world: &World<'_>) -> Duration {
    let facts = &world.input.facts;
    let settle = if facts.settle > Duration::ZERO { facts.settle } else { longest(world) };
    calm_since(world) + settle
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
    (deadline.unwrap_or_default() + canaries.max().unwrap_or_default() + Duration::from_secs(600)) * 2
}

/// L1. What is asked for comes true and stays: when the world has long been calm, every model has observed its generation and
/// is at an end (stable on its latest revision, rejected, or paused with a reason); its route says so and the proxies apply
/// it; the stable revision has full size, the others none; Service `<name>` selects it. (That it stays so: S21.)
pub fn l1_eventually_stable(world: &World<'_>, out: &mut Findings) {
    let end = world.input.facts.end;
    if end < settled_at(world) {
        return;
    }
    for (key, track) in &world.models {
        let Some(model) = track.last().filter(|_| !world.input.facts.broken.contains(key)) else { continue };
        if model.deleting {
            continue;
        }
        out.armed();
        if let Some(wrong) = unsettled(world, key, model) {
            out.missed(end, format!("{} ({:?}) has not settled: {wrong}", key.name, model.status.phase));
        }
    }
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
        Phase::Stable => status.latest_revision == status.stable_revision || held,
        Phase::RolledBack => rejected(&status.latest_revision),
        Phase::Paused => status.pause.is_some(),
        Phase::Pending => held || matches!(never, Some(Quality::NeverReady | Quality::Crashing)),
        // Nobody is to blame: without requests nothing can be proven, and a broken stable cannot be returned to.
        _ => held || world.input.facts.rate == 0.0 || !servable(world, key, model),
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
    wrong_objects(world, key, model, split)
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
        if child.name != *stable && size != 0 && !warm {
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
    let mine = |name: &&String| name.rsplit_once('-').is_some_and(|(m, _)| m == key.name);
    let shares: Vec<&String> = route.shares.keys().filter(mine).collect();
    let ours = route.owner.as_ref().is_some_and(|(_, uid)| *uid == spec.uid);
    if ours && shares != [stable] && servable(world, key, model) {
        return Some(format!("its route sends to {shares:?}, not to {stable}"));
    }
    let late = world.input.applied.is_empty() || !world.input.facts.deaf.is_empty();
    for name in world.carried.keys().filter(|(n, name)| *n == namespace && !late && *name != stable) {
        let own = name.1.rsplit_once('-').is_some_and(|(m, _)| m == key.name);
        if own && world.effective(namespace, name.1, world.input.facts.end) > 0 {
            return Some(format!("a proxy still sends to {}", name.1));
        }
    }
    None
}

/// L3. After a crash somebody goes on: within twenty seconds after the end of the time without a leader the operator reads or
/// writes again. (That the same step goes on, none skipped or repeated: S7, S25.)
pub fn l3_resumes(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    for span in &facts.absent {
        let mut limit = span.until + Duration::from_secs(20);
        limit += world.hindered(span.until, limit);
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
/// lost: those have reasons of their own).
pub fn l4_healthy_finishes(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    let good = |version: &str| facts.versions.get(version).is_none_or(|q| *q == Quality::Good);
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let Some(record) = after.history.first().filter(|r| before.history.first() != Some(r)) else {
            continue;
        };
        let breach = record.outcome == Outcome::RolledBack && record.reason == "Breach";
        out.expect(!breach || !good(&record.version), turn.change, || {
            format!("good version {} was rolled back: {}", record.version, record.message)
        });
    }
    if facts.end < settled_at(world) || facts.rate <= 0.0 {
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

/// L5. A new spec is taken up within five seconds: observed, and the revision that it asks for is known.
pub fn l5_supersedes(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.models {
        if world.input.facts.broken.contains(key) {
            continue;
        }
        for step in track.steps().filter(|s| !s.ours) {
            let Some(after) = step.after else { continue };
            let same = step.before.is_some_and(|b| b.uid == after.uid && b.generation == after.generation);
            let limit = due(world, step.change.at);
            if same || limit > world.input.facts.end {
                continue;
            }
            let later =
                |s: &&State<'_, Model>| s.change.revision >= step.change.revision && s.change.at <= limit;
            let mut states = track.states.iter().filter(later);
            let seen = states.clone().any(|s| {
                s.value
                    .as_ref()
                    .is_some_and(|m| m.uid == after.uid && m.status.observed_generation >= after.generation)
            });
            let gone = states.any(|s| s.value.as_ref().is_none_or(|m| m.deleting));
            out.expect(seen || gone, step.change, || {
                format!(
                    "generation {} of {} was not observed until {:.3} s",
                    after.generation,
                    key.name,
                    limit.as_secs_f64()
                )
            });
        }
    }
}

/// L6. A broken stable revision blocks no fix: a new revision that comes while no pod of the stable one is ready is on trial
/// (or refused, or waits for its turn) within half a minute.
pub fn l6_fix_forward(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let Some(stable) = &after.stable_revision else { continue };
        let news =
            before.latest_revision != after.latest_revision && after.latest_revision.as_ref() != Some(stable);
        let at = turn.change.at;
        let down = world.most_ready(&turn.key.namespace, stable, at, turn.change.revision) == 0;
        let limit = due(world, at) + Duration::from_secs(25);
        if !news || !down || limit > world.input.facts.end {
            continue;
        }
        let states = turn.track.states.iter().filter(|s| s.change.at >= at && s.change.at <= limit);
        let moved = states.filter_map(|s| s.value.as_ref()).any(|m| {
            on_trial(m.status.phase)
                || m.status.latest_revision != after.latest_revision
                || m.status.phase == Phase::RollingBack
                || m.status.phase == Phase::RolledBack
                || is_refused(&m.status.conditions)
        });
        let held = world
            .split_of(turn.key, u64::MAX)
            .is_some_and(|(_, s)| is_refused(&s.status.conditions) || s.spec.backends.len() > 1);
        out.expect(moved || held, turn.change, || {
            format!(
                "{:?} of {} is not tried although its stable revision is down",
                after.latest_revision, turn.key.name
            )
        });
    }
}

/// L7. A deletion completes: what is marked as deleted is gone within a minute, and a model that is gone has no weight in any
/// route ten seconds later, if the route has anybody else.
pub fn l7_deletion_completes(world: &World<'_>, out: &mut Findings) {
    let end = world.input.facts.end;
    for (key, track) in &world.models {
        for (index, state) in track.states.iter().enumerate() {
            let at = state.change.at;
            if state.value.as_ref().is_some_and(|m| m.deleting) && index + 1 == track.states.len() {
                out.armed();
                if end > at + Duration::from_secs(60) {
                    out.missed(end, format!("{} is being deleted since {:.3} s", key.name, at.as_secs_f64()));
                }
            }
            let limit = due(world, at) + SOON;
            let again = track.states.get(index + 1).is_some_and(|s| s.change.at <= limit);
            if state.change.after.is_some() || again || limit > end {
                continue;
            }
            out.armed();
            for (name, route) in world.routes.iter().filter(|(k, _)| k.namespace == key.namespace) {
                let Some(route) = route.when(limit) else { continue };
                let (mine, others): (Vec<&String>, Vec<&String>) =
                    route.shares.keys().partition(|n| n.rsplit_once('-').is_some_and(|(m, _)| m == key.name));
                if !mine.is_empty() && !others.is_empty() {
                    out.missed(
                        limit,
                        format!("{} is gone, but route {} still sends to {mine:?}", key.name, name.name),
                    );
                }
            }
        }
    }
}

/// L8. After a gap (watches dropped, stalled, 410) the cache is right again: 330 seconds after the faults every object that
/// nobody has touched since has been observed.
pub fn l8_cache_recovers(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    let limit = facts.faults_end + Duration::from_secs(330);
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

/// L11. A weight that somebody else changed is repaired within five seconds, as long as every revision of the model is ready
/// (S2 and S15 may forbid it otherwise) and its phase is one in which the weight is not held.
pub fn l11_drift_repaired(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.routes {
        for (index, step) in track.steps().enumerate().filter(|(_, s)| !s.ours) {
            let (Some(before), Some(after)) = (step.before, step.after) else { continue };
            let last_ours = index.checked_sub(1).is_some_and(|i| track.states[i].ours);
            let limit = due(world, step.change.at);
            if before.shares == after.shares || !last_ours || limit > world.input.facts.end {
                continue;
            }
            let ready = after.shares.keys().chain(before.shares.keys()).all(|name| {
                let pods = world.deployment(&key.namespace, name);
                pods.is_none_or(|t| {
                    t.during(step.change.at, u64::MAX)
                        .flatten()
                        .all(|d| d.ready >= d.replicas.unwrap_or(1) && d.ready > 0 || d.replicas == Some(0))
                })
            });
            let models = world.models.values().filter_map(|t| t.at(step.change.revision));
            let free = models
                .into_iter()
                .all(|m| !matches!(m.status.phase, Phase::Paused | Phase::RollingBack | Phase::Preparing));
            if !ready || !free {
                continue;
            }
            let repaired = track.states[index + 1..].iter().any(|s| s.change.at <= limit);
            out.expect(repaired, step.change, || {
                format!(
                    "{} changed route {} to {:?}, and nobody repaired it",
                    step.change.by, key.name, after.shares
                )
            });
        }
    }
}

/// L12. When Prometheus is back, measuring goes on: within one block, two scrapes and ten seconds the record says so.
pub fn l12_evaluation_resumes(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    for span in &facts.blind {
        for (key, track) in &world.models {
            let Some(model) = track.when(span.until) else { continue };
            let missing = |m: &Model| {
                matches!(m.status.phase, Phase::Progressing | Phase::Watching | Phase::Paused)
                    && m.status.step.as_ref().is_some_and(|s| s.unobservable_since.is_some())
            };
            let Some((_, split)) = world.split_of(key, u64::MAX).filter(|_| missing(model)) else { continue };
            let wait = millis(split.spec.analysis.interval.millis()) * 2
                + facts.scrape * 4
                + Duration::from_secs(15);
            let limit = due(world, span.until) + wait;
            let blind = facts.blind.iter().any(|s| s.from > span.from && s.from <= limit);
            let jumped = facts.jumps.iter().any(|(at, _)| *at <= limit);
            if blind || jumped || limit > facts.end || facts.rate <= 0.0 {
                continue;
            }
            out.armed();
            let states = track.states.iter().filter(|s| s.change.at >= span.until && s.change.at <= limit);
            let resumed = states.into_iter().any(|s| s.value.as_ref().is_none_or(|m| !missing(m)));
            if !resumed {
                out.missed(limit, format!("{} is not measured again although Prometheus is back", key.name));
            }
        }
    }
}

/// L13. A candidate that has weight and no pod left is acted on within five seconds: taken out, or its pods are back.
pub fn l13_readiness_lost(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.deployments {
        for step in track.steps() {
            let (Some(before), Some(after), change) = (step.before, step.after, step.change) else {
                continue;
            };
            if before.ready == 0 || after.ready > 0 {
                continue;
            }
            let model = Key::new("ModelDeployment", &key.namespace, &after.model);
            let Some(models) = world.models.get(&model) else { continue };
            let Some((split, _)) = world.split_of(&model, change.revision) else { continue };
            let route = world.routes.get(&Key::new("HTTPRoute", &split.namespace, &split.name));
            let weight = route.and_then(|t| t.at(change.revision)).map_or(0, |r| r.weight(&key.name));
            let trial = |m: &Model| {
                matches!(m.status.phase, Phase::Progressing | Phase::Paused | Phase::Watching)
                    && m.status.candidate_revision.as_ref() == Some(&key.name)
            };
            let limit = due(world, change.at);
            if weight == 0 || !models.at(change.revision).is_some_and(trial) || limit > world.input.facts.end
            {
                continue;
            }
            let acted = models.states.iter().any(|s| {
                s.change.at >= change.at && s.change.at <= limit && s.value.as_ref().is_none_or(|m| !trial(m))
            });
            let back = track.states.iter().any(|s| {
                s.change.revision > change.revision
                    && s.change.at <= limit
                    && s.value.as_ref().is_none_or(|d| d.ready > 0)
            });
            let moved = route.is_some_and(|t| t.when(limit).is_none_or(|r| r.weight(&key.name) == 0));
            out.expect(acted || back || moved, change, || {
                format!(
                    "{} has weight {weight} and no pod since {:.3} s, and nothing was done",
                    key.name,
                    change.at.as_secs_f64()
                )
            });
        }
    }
}

/// L14. What was missing is picked up when it appears: a `TrafficSplit` that names a model or a Gateway that did not exist has
/// `ResolvedRefs` true within five seconds after everything that it names is there.
pub fn l14_picked_up(world: &World<'_>, out: &mut Findings) {
    for change in world.input.changes.iter().filter(|c| c.before.is_none()) {
        if !matches!(change.key.kind.as_str(), "ModelDeployment" | "Gateway") {
            continue;
        }
        let limit = due(world, change.at);
        for (key, track) in world.splits.iter().filter(|_| limit <= world.input.facts.end) {
            let Some(split) = track.at(change.revision) else { continue };
            let missing = |s: &Split| {
                s.status.conditions.iter().any(|c| c.type_ == "ResolvedRefs" && c.status == "False")
            };
            let stands = |from: u64| exists(world, split, key, from);
            if !missing(split) || !stands(change.revision) || !stands(u64::MAX) || stands(change.revision - 1)
            {
                continue;
            }
            let found = track.states.iter().any(|s| {
                s.change.at >= change.at
                    && s.change.at <= limit
                    && s.value.as_ref().is_none_or(|s| !missing(s))
            });
            out.expect(found, change, || {
                format!(
                    "{} {} appeared, but TrafficSplit {} still misses something",
                    change.key.kind, change.key.name, key.name
                )
            });
        }
    }
}

/// Whether all that a `TrafficSplit` names is there after a change.
fn exists(world: &World<'_>, split: &Split, key: &Key, revision: u64) -> bool {
    let models = split.spec.backends.iter().all(|b| {
        let model = Key::new("ModelDeployment", &key.namespace, &b.model_deployment_ref.name);
        world.models.get(&model).is_some_and(|t| t.at(revision).is_some())
    });
    let gateways = split.spec.route.http_route.parent_refs.iter().filter(|p| p.kind == "Gateway").all(|p| {
        let namespace = p.namespace.as_ref().unwrap_or(&key.namespace);
        let gateway = Key::new("Gateway", namespace, &p.name);
        let all = world.input.changes.iter().filter(|c| c.key == gateway && c.revision <= revision);
        all.last().is_some_and(|c| c.after.is_some())
    });
    models && gateways
}
