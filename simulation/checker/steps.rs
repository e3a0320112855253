//! Phases and steps: what may follow what, and what must be written down before.

use std::time::Duration;

use seatrial::{
    api::v1alpha1::{ModelDeploymentStatus, Outcome, Phase, RequestOutcome},
    world::history::Key,
};

use super::{
    findings::Findings,
    input::Request,
    reactions::exists,
    tracks::{Split, millis},
    trial::{Share, Turn, did, limit, models_of, on_trial, route_writes, turns},
    world::{World, overlap},
};

/// S7 (after every revision). Phases follow the table of design §3; a candidate's step goes up by one at a time and only
/// while it progresses (or to the end, because somebody asked to promote it); and no write of ours gives a candidate a
/// greater share of its model's traffic except where its step says so: in a pause never more than it had before.
pub fn s7_monotone_phases(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        out.expect(arrow(before.phase, after.phase), turn.change, || {
            format!("{} went from {:?} to {:?}", turn.key.name, before.phase, after.phase)
        });
        if let Some(message) = jumped(&turn) {
            out.by(turn.change, format!("{}: {message}", turn.key.name));
        }
    }
    for write in route_writes(world) {
        for (key, track, model) in models_of(world, &write) {
            let status = &model.status;
            let (Some(was), Some(is)) =
                (Share::of(write.before, status), Share::of(Some(write.after), status))
            else {
                continue;
            };
            if !is.exceeds(was.most()) || is.whole == 0 {
                continue;
            }
            let may = match status.phase {
                Phase::Progressing | Phase::Watching => true,
                Phase::Paused => !is.exceeds(most_before(world, &write, track, status)),
                _ => false,
            };
            out.expect(may, write.change, || {
                format!(
                    "the candidate of {} rose from {} to {} ppm in phase {:?}",
                    key.name,
                    was.ppm(),
                    is.ppm(),
                    status.phase
                )
            });
        }
    }
}

/// The table of design §3.
fn arrow(from: Phase, to: Phase) -> bool {
    use Phase::{Paused, Pending, Preparing, Progressing, RolledBack, RollingBack, Stable, Watching};
    from == to
        || matches!(
            (from, to),
            (Pending | Watching, Stable)
                | (Stable, Preparing | RolledBack)
                | (Preparing, Progressing | Paused | Watching | RollingBack | Stable)
                | (Progressing, Paused | Watching | RollingBack)
                | (Paused, Progressing | Preparing | Watching | RollingBack)
                | (Watching, RollingBack)
                | (RollingBack, RolledBack | Stable | Preparing)
                | (RolledBack, Preparing | Stable)
        )
}

/// What is wrong with the step that was taken.
fn jumped(turn: &Turn<'_, '_>) -> Option<String> {
    let (before, after) = (&turn.before.status, &turn.after.status);
    let (old, new) = (before.step.as_ref()?, after.step.as_ref()?);
    if !turn.same_trial() || old.entered.is_none() || did("promote", before, after) {
        return None;
    }
    if let Some((from, to)) = turn.advance()
        && to != from + 1
    {
        return Some(format!("step {from} was followed by step {to}"));
    }
    (new.weight > old.weight && turn.advance().is_none()).then(|| {
        format!("the step's weight rose from {} to {} in phase {:?}", old.weight, new.weight, before.phase)
    })
}

/// The greatest share that the candidate had in this attempt before a route was written, by whichever route: its model may be
/// named by another `TrafficSplit` now, which goes on with what is held.
fn most_before(
    world: &World<'_>,
    write: &super::trial::RouteWrite<'_, '_>,
    track: &super::tracks::Track<'_, super::tracks::Model>,
    status: &ModelDeploymentStatus,
) -> i64 {
    let begun = track
        .states
        .iter()
        .find(|s| {
            s.value.as_ref().is_some_and(|m| m.status.attempt == status.attempt && on_trial(m.status.phase))
        })
        .map_or(0, |s| s.change.revision);
    let written = world.routes.values().flat_map(|track| &track.states);
    written
        .filter(|s| s.change.revision >= begun && s.change.revision < write.change.revision && s.ours)
        .filter_map(|s| Some(Share::of(s.value.as_ref(), status)?.most()))
        .max()
        .unwrap_or(0)
}

/// S8 (after every revision). A candidate's share is never written above what the record allows at that moment, and the
/// record never above what the user's steps say at its index. Sharpened: a share that the route already had may stay (the
/// stable revision cannot be served, or somebody else wrote it).
pub fn s8_bounded_blast_radius(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        for (key, _, model) in models_of(world, &write) {
            let status = &model.status;
            let Some(is) = Share::of(Some(write.after), status) else { continue };
            let was = Share::of(write.before, status).map_or(0, Share::most);
            let most = limit(status).max(was);
            out.expect(!is.exceeds(most), write.change, || {
                format!(
                    "the candidate of {} was given {} ppm where {:?} allows {most}",
                    key.name,
                    is.ppm(),
                    status.phase
                )
            });
        }
    }
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let Some(step) = &after.step else { continue };
        let kept = before.step.as_ref().is_some_and(|old| old.weight >= step.weight && turn.same_trial());
        let from = world.read_from(turn.change);
        // Before it gets weight, the schedule is looked at once more, live.
        if step.entered.is_none() || world.split_of(turn.key, turn.change.revision).is_none() {
            continue;
        }
        // Another one may have named it when that was planned.
        let near = world.splits.iter().filter(|(key, _)| key.namespace == turn.key.namespace);
        let specs = near.flat_map(|(_, track)| track.during(from, turn.change.revision).flatten());
        let specs = specs.filter(|split| split.names(&turn.key.name));
        let index = usize::try_from(step.index).unwrap_or(0);
        let declared =
            specs.map(|s| s.spec.strategy.canary.steps.get(index).map_or(1_000_000, |s| s.weight.ppm()));
        let most = declared.max().unwrap_or(1_000_000);
        out.expect(kept || step.weight.ppm() <= most, turn.change, || {
            format!(
                "{} took weight {} at step {index}, whose weight is {most} ppm",
                turn.key.name, step.weight
            )
        });
    }
}

/// S11 (at the end). Nothing rises while it cannot be measured: no step is passed while the record says so, nor after
/// Prometheus has been away for three blocks and the longest question.
pub fn s11_hold_not_advance(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let Some((from, to)) = turn.advance() else { continue };
        let known = turn.before.status.step.as_ref().is_some_and(|s| s.unobservable_since.is_some());
        let no_traffic = turn.before.status.step.as_ref().is_some_and(|s| s.weight.ppm() == 0);
        let interval = world
            .split_of(turn.key, turn.change.revision)
            .map_or(Duration::from_secs(15), |(_, s)| millis(s.spec.analysis.interval.millis()));
        let long = interval * 3 + world.input.facts.scrape * 2 + Duration::from_secs(15);
        let at = turn.change.at;
        let unanswered = &world.input.facts.unanswered;
        // What was scraped before is still there to be asked for: that nothing comes any more shows when a scrape is overdue.
        let shows = unanswered.iter().any(|b| b.from + world.input.facts.scrape * 2 <= at && at <= b.until);
        let away = shows && overlap(unanswered, at.saturating_sub(long), at) >= long;
        out.expect(!known && (no_traffic || !away), turn.change, || {
            format!("{} went from step {from} to {to} while nothing could be measured", turn.key.name)
        });
    }
}

/// S12 (after every revision). A rollback is written down before the weight falls: no write of ours gives a candidate less
/// than the record says. And it is for good: a rejected revision becomes the candidate again only after somebody asked to
/// retry it, and the memory of a rejection goes by nothing else (of more than 20 the oldest goes).
pub fn s12_rollback_is_absorbing(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        for (key, _, model) in models_of(world, &write) {
            let status = &model.status;
            let Some(is) = Share::of(Some(write.after), status) else { continue };
            let was = Share::of(write.before, status).map_or(0, Share::ppm);
            if is.is_below(was) {
                let recorded = granted(status);
                out.expect(!is.is_below(recorded), write.change, || {
                    format!(
                        "the candidate of {} fell from {was} to {} ppm, the record in {:?} says {recorded}",
                        key.name,
                        is.ppm(),
                        status.phase
                    )
                });
            }
        }
    }
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let taken =
            after.candidate_revision.as_ref().filter(|c| before.candidate_revision.as_ref() != Some(c));
        if let Some(candidate) = taken {
            let rejected = after.rejected.iter().any(|r| r.revision == *candidate);
            out.expect(!rejected && !is_forgotten(&turn, candidate), turn.change, || {
                format!("{} tries {candidate} again, which was rejected", turn.key.name)
            });
        }
        if before.phase == Phase::RollingBack {
            out.armed();
        }
        for old in &before.rejected {
            let kept = after.rejected.iter().any(|r| r.revision == old.revision);
            let full = after.rejected.len() >= 20;
            let promoted = after.stable_revision.as_ref() == Some(&old.revision);
            out.expect(kept || full || promoted || did("retry", before, after), turn.change, || {
                format!("{} forgot that {} is rejected", turn.key.name, old.revision)
            });
        }
    }
}

/// Whether the last rollout of a revision was rejected, and nobody has asked to retry it since that was decided.
fn is_forgotten(turn: &Turn<'_, '_>, revision: &str) -> bool {
    let status = &turn.after.status;
    let Some(last) = status.history.iter().find(|r| r.revision == revision) else { return false };
    let decided = |status: &ModelDeploymentStatus| {
        let about = status.candidate_revision.as_deref() == Some(revision);
        status.rollback.as_ref().filter(|_| about).map(|rollback| rollback.since.0)
    };
    let end = turn.track.states.partition_point(|s| s.change.revision < turn.change.revision);
    let mut earlier = turn.track.states[..end].iter().rev().filter_map(|s| s.value.as_ref());
    let since = earlier.find_map(|m| decided(&m.status)).unwrap_or(last.at.0);
    let asked = status.requests.iter().any(|r| {
        r.verb == "retry"
            && r.outcome == RequestOutcome::Done
            && r.value.contains(revision)
            && r.at.0 >= since
    });
    matches!(last.outcome, Outcome::RolledBack | Outcome::Cancelled) && !asked
}

/// The least that the record gives the candidate: in a pause only what was effective before.
fn granted(status: &ModelDeploymentStatus) -> i64 {
    if status.phase == Phase::Paused {
        return 0;
    }
    limit(status)
}

/// S25 (at the end). A crash loses time, nothing else: attempts are counted by one, no rollout that ended is forgotten (of
/// more than 10 the oldest), no request is handled twice. Armed by every status; crashes make it hard.
pub fn s25_determinable_progress(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let name = &turn.key.name;
        let attempts = after.attempt - before.attempt;
        out.expect((0..=1).contains(&attempts), turn.change, || {
            format!("attempt {} of {name} was followed by {}", before.attempt, after.attempt)
        });
        let new = after.history.len().saturating_sub(before.history.len());
        let shifted = (0..=1).any(|by| {
            let by = by.max(new);
            after.history.iter().skip(by).zip(&before.history).all(|(a, b)| a == b)
        });
        let shorter = after.history.len() < before.history.len();
        out.expect(shifted && !shorter, turn.change, || format!("the history of {name} was rewritten"));
        let mut seen: Vec<_> = after.requests.iter().map(|r| (&r.verb, &r.value)).collect();
        seen.sort();
        let all = seen.len();
        seen.dedup();
        out.expect(seen.len() == all, turn.change, || format!("a request on {name} was handled twice"));
    }
}

/// S27 (at the end). While the operator itself says that a spec is refused or names what is not there, no candidate of it
/// rises: no step is taken, and no weight beyond the step that was taken before. (One that is refused because it names
/// another's model has no say over the rest either: those are by themselves.)
pub fn s27_refused_spec_changes_nothing(world: &World<'_>, out: &mut Findings) {
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let from = world.read_from(turn.change);
        let Some((key, _)) = world.split_of(turn.key, turn.change.revision) else { continue };
        let refused = world.splits[key].during(from, turn.change.revision).all(|s| {
            s.is_some_and(|s| {
                s.status.observed_generation == s.generation
                    && is_refused(&s.status.conditions)
                    && still_refused(world, key, s, turn.change.revision)
            })
        });
        if !refused {
            continue;
        }
        let begun = before.phase != after.phase
            && matches!(after.phase, Phase::Preparing | Phase::Progressing | Phase::Watching)
            && !matches!(before.phase, Phase::RollingBack | Phase::Paused)
            && !did("promote", before, after);
        out.expect(!begun && turn.advance().is_none(), turn.change, || {
            format!(
                "{} went on to {:?} although TrafficSplit {} is refused",
                turn.key.name, after.phase, key.name
            )
        });
    }
    for turn in turns(world) {
        let conditions = &turn.before.status.conditions;
        // Whether it will be, the API server could not say.
        let unknown = conditions.iter().any(|c| c.reason == "NotTriedOut");
        let seen = turn.before.status.observed_generation == turn.before.generation;
        if !seen || unknown || !is_refused(conditions) {
            continue;
        }
        let same = turn.before.status.latest_revision == turn.after.status.latest_revision
            || turn.after.status.conditions.iter().all(|c| c.status == "True" || c.type_ != "Accepted");
        out.expect(same, turn.change, || {
            format!("{} took up a revision of a spec that is refused", turn.key.name)
        });
    }
}

/// Whether what a `TrafficSplit` was refused for still is so: its own status is written after those of its models.
fn still_refused(world: &World<'_>, key: &Key, split: &Split, revision: u64) -> bool {
    let told = split.status.conditions.iter().filter(|c| c.status == "False");
    let mut reasons = told.filter(|c| matches!(c.type_.as_str(), "Accepted" | "ResolvedRefs"));
    // One that yields has no say in its models, whatever else is wrong with it, also where its status cannot be written.
    let another = |model: &str| {
        let model = Key::new("ModelDeployment", &key.namespace, model);
        world.split_of(&model, revision).is_some_and(|(owner, _)| owner != key)
    };
    let mut named = split.spec.backends.iter().map(|b| b.model_deployment_ref.name.as_str());
    !reasons.clone().any(|c| c.reason == "Conflict")
        && !named.any(another)
        && reasons.any(|c| match c.reason.as_str() {
            "ModelDeploymentNotFound" | "GatewayNotFound" => !exists(world, split, key, revision),
            "NameTaken" => {
                let route = world.routes.get(&Key::new("HTTPRoute", &key.namespace, &key.name));
                let owner = route.and_then(|t| t.at(revision)).map(|r| r.owner.clone());
                owner.is_some_and(|owner| owner.is_none_or(|(_, uid)| uid != split.uid))
            }
            "InvalidRoute" => !would_be_taken(world, key, revision),
            _ => true,
        })
}

/// Whether the API server took the route of a `TrafficSplit` when it was last asked, if only by way of trial.
fn would_be_taken(world: &World<'_>, split: &Key, revision: u64) -> bool {
    let route = Key::new("HTTPRoute", &split.namespace, &split.name);
    let until = world.request(revision).map_or(Duration::MAX, |request| request.sent);
    let asked = |r: &&Request| r.method == "PATCH" && r.sent <= until && r.key.as_ref() == Some(&route);
    let last = world.input.requests.iter().filter(asked).rfind(|r| r.code.is_some());
    last.is_some_and(|r| matches!(r.code, Some(200 | 201)))
}

/// Whether the conditions say that a spec cannot be acted on.
pub fn is_refused(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> bool {
    conditions.iter().any(|c| matches!(c.type_.as_str(), "Accepted" | "ResolvedRefs") && c.status == "False")
}
