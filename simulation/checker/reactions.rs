//! What must follow on what, and how soon.

use std::time::Duration;

use seatrial::{api::v1alpha1::Phase, world::history::Key};

use super::{
    findings::Findings,
    steps::is_refused,
    tracks::{Model, Split, State, is_of, millis},
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

/// L5. A new spec is taken up within five seconds: it is observed, and a revision on trial makes way for the new one.
pub fn l5_supersedes(world: &World<'_>, out: &mut Findings) {
    newer_takes_over(world, out);
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

/// The second half of L5: a newer revision takes the place of the one on trial, or that one is on its way out.
fn newer_takes_over(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let phase = matches!(after.phase, Phase::Preparing | Phase::Progressing | Phase::Paused);
        let news = before.latest_revision != after.latest_revision
            && before.latest_revision == before.candidate_revision
            && after.candidate_revision == before.candidate_revision;
        let limit = due(world, turn.change.at);
        let Some((key, split)) = world.split_of(turn.key, turn.change.revision) else { continue };
        // Its own status is written after those of its models.
        let told = world.splits[key].states.iter().filter(|s| s.change.at >= turn.change.at);
        let mut told = told.take_while(|s| s.change.at <= limit).filter_map(|s| s.value.as_ref());
        let held = is_refused(&split.status.conditions)
            || is_refused(&after.conditions)
            || told.any(|now| now.generation == split.generation && is_refused(&now.status.conditions));
        if !phase || !news || held || limit > world.input.facts.end {
            continue;
        }
        let states =
            turn.track.states.iter().filter(|s| s.change.at >= turn.change.at && s.change.at <= limit);
        let moved = states.into_iter().any(|s| {
            s.value.as_ref().is_none_or(|m| {
                m.status.candidate_revision != after.candidate_revision
                    || matches!(m.status.phase, Phase::RollingBack | Phase::Watching)
                    || m.status.latest_revision != after.latest_revision
                    || is_refused(&m.status.conditions)
            })
        });
        out.expect(moved, turn.change, || {
            let (new, old) = (&after.latest_revision, &after.candidate_revision);
            format!("{new:?} of {} waits for {old:?}, which is still on trial", turn.key.name)
        });
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
                || m.spec.full_size() == 0
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
                if end > at + Duration::from_mins(1) {
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
                    route.shares.keys().partition(|name| is_of(name, &key.name));
                if !mine.is_empty() && others.iter().any(|name| is_there(world, &key.namespace, name, limit))
                {
                    out.missed(
                        limit,
                        format!("{} is gone, but route {} still sends to {mine:?}", key.name, name.name),
                    );
                }
            }
        }
    }
}

/// Whether a revision's model exists at that moment: nobody else may take another's traffic over.
fn is_there(world: &World<'_>, namespace: &str, revision: &str, at: Duration) -> bool {
    let mut models =
        world.models.iter().filter(|(key, _)| key.namespace == namespace && is_of(revision, &key.name));
    models.any(|(_, track)| track.when(at).is_some())
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
            // Nobody is there to be asked, or nobody is sent anything.
            if blind
                || is_refused(&split.status.conditions)
                || jumped
                || limit > facts.end
                || facts.rate <= 0.0
            {
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
            let mut later = track.states.iter().filter(|s| s.change.at >= change.at && s.change.at <= limit);
            let found = later.any(|s| {
                // Edited meanwhile, it may name something else that does not exist.
                let exists = |now: &Split| exists(world, now, key, s.change.revision);
                s.value.as_ref().is_none_or(|now| !missing(now) || !exists(now))
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
pub fn exists(world: &World<'_>, split: &Split, key: &Key, revision: u64) -> bool {
    let models = split.spec.backends.iter().all(|b| {
        let model = Key::new("ModelDeployment", &key.namespace, &b.model_deployment_ref.name);
        world.models.get(&model).is_some_and(|t| t.at(revision).is_some())
    });
    let gateways = split.spec.route.http_route.parent_refs.iter().filter(|p| p.kind == "Gateway").all(|p| {
        let namespace = p.namespace.as_ref().unwrap_or(&key.namespace);
        let gateway = Key::new("Gateway", namespace, &p.name);
        let mut all = world.input.changes.iter().filter(|c| c.key == gateway && c.revision <= revision);
        all.next_back().is_some_and(|c| c.after.is_some())
    });
    models && gateways
}
