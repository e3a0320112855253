//! What the operator says of itself.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use seatrial::{api::v1alpha1::Phase, rollout::news::is_news, world::history::Change};

use super::{
    findings::Findings,
    tracks::{Model, Step, text, within},
    trial::turns,
    world::World,
};

/// S22 (after every revision). A status is computed as a whole from the generation that it names, which never falls and is
/// never ahead of the object; a condition's time moves when and only when its status does; every condition names that
/// generation; `Ready` is true only while a revision that should serve has a ready pod.
pub fn s22_status_truth(world: &World<'_>, out: &mut Findings) {
    // By a clock that was set back, no time can be told from another.
    let jumped = !world.input.facts.jumps.is_empty();
    for (key, track) in &world.models {
        for step in track.steps().filter(|s| s.ours) {
            let (Some(before), Some(after)) = (step.before, step.after) else { continue };
            let (old, new) = (
                (before.status.observed_generation, &before.status.conditions),
                (after.status.observed_generation, &after.status.conditions),
            );
            said(out, jumped, step.change, &key.name, after.generation, old, new);
        }
    }
    for (key, track) in &world.splits {
        for step in track.steps().filter(|s| s.ours) {
            let (Some(before), Some(after)) = (step.before, step.after) else { continue };
            let (old, new) = (
                (before.status.observed_generation, &before.status.conditions),
                (after.status.observed_generation, &after.status.conditions),
            );
            said(out, jumped, step.change, &key.name, after.generation, old, new);
        }
    }
    for turn in turns(world) {
        let status = &turn.after.status;
        let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if !ready {
            continue;
        }
        let watched = status.candidate_revision.iter().filter(|_| status.phase == Phase::Watching);
        // What a cache may still say when the watch is in trouble.
        let from = world.read_from(turn.change).saturating_sub(Duration::from_secs(2));
        let calm = world.calm(from, turn.change.at);
        let pods: i64 = status
            .stable_revision
            .iter()
            .chain(watched)
            .map(|r| world.most_ready(&turn.key.namespace, r, from, turn.change.revision))
            .sum();
        out.expect(pods > 0 || !calm, turn.change, || {
            format!("{} is said to be Ready, but no pod of {:?} is", turn.key.name, status.stable_revision)
        });
    }
}

fn said(
    out: &mut Findings,
    jumped: bool,
    change: &Change,
    name: &str,
    generation: i64,
    (old, before): (i64, &Vec<Condition>),
    (new, after): (i64, &Vec<Condition>),
) {
    if new == 0 {
        return;
    }
    out.expect(new >= old && new <= generation, change, || {
        format!("{name} observed generation {new} after {old}, its generation is {generation}")
    });
    for condition in after {
        let kind = &condition.type_;
        out.expect(condition.observed_generation == Some(new), change, || {
            format!(
                "condition {kind} of {name} is of generation {:?}, the status of {new}",
                condition.observed_generation
            )
        });
        let Some(was) = before.iter().find(|c| c.type_ == *kind) else { continue };
        let moved = was.last_transition_time != condition.last_transition_time;
        // A time has whole seconds: two moves within one look like none.
        let twice = || !moved && (jumped || within_a_second(condition, change));
        out.expect(moved == (was.status != condition.status) || twice(), change, || {
            format!(
                "condition {kind} of {name} went from {} to {}, its time {}",
                was.status,
                condition.status,
                if moved { "moved" } else { "stayed" }
            )
        });
    }
}

/// Whether a condition's time is, but for its fraction, the very second of the change, by the status' own newest time.
fn within_a_second(condition: &Condition, change: &Change) -> bool {
    let all = change.after.as_ref().and_then(|v| within(v, "/status/conditions")?.as_array());
    let newest = all.into_iter().flatten().map(|c| text(c, "/lastTransitionTime")).max();
    newest.is_some_and(|newest| newest == condition.last_transition_time.0.to_string())
}

/// S23 (after every revision). A status has at most 32 KiB, 10 rollouts, 20 rejections, 40 revisions, and messages of at most
/// 1024 bytes; what is no news in it is written three times at once, then every ten seconds.
pub fn s23_status_bounded(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.models {
        let small: Vec<_> = track.steps().filter(|s| s.ours).filter_map(|s| no_news(&s)).collect();
        for four in small.windows(4) {
            let ((first, of_first), (last, of_last)) = (four[0], four[3]);
            let long = last.at.saturating_sub(first.at) >= Duration::from_millis(9900);
            // A new leader begins anew, and so does a model; what was held up on its way comes with the next.
            let comparable = of_first == of_last && world.calm(first.at, last.at);
            out.expect(long || !comparable, last, || {
                format!("{} was written four times since {:?} for what is no news", key.name, first.at)
            });
        }
    }
    for change in world.input.changes.iter().filter(|c| world.ours(c)) {
        if !matches!(change.key.kind.as_str(), "ModelDeployment" | "TrafficSplit") {
            continue;
        }
        let Some(status) = change.after.as_ref().and_then(|v| v.get("status")) else { continue };
        let size = size_of(status);
        out.expect(size <= 32 * 1024, change, || {
            format!("the status of {} has {size} bytes", change.key.name)
        });
        let long = |part: &str, most: usize| {
            status
                .get(part)
                .and_then(serde_json::Value::as_array)
                .filter(|a| a.len() > most)
                .map(|a| (part.to_owned(), a.len()))
        };
        let wrong = [("history", 10), ("requests", 10), ("rejected", 20), ("revisions", 40)]
            .into_iter()
            .find_map(|(part, most)| long(part, most));
        out.expect(wrong.is_none(), change, || format!("status of {} has {wrong:?}", change.key.name));
        let message = text(status, "/message").len();
        out.expect(message <= 1024, change, || {
            format!("a message of {} has {message} bytes", change.key.name)
        });
    }
}

/// A write of a status that is no news; of which object, and in whose tenure.
fn no_news<'t, 'a>(step: &Step<'t, 'a, Model>) -> Option<(&'a Change, (&'t str, Option<i64>))> {
    let (before, after) = (step.before?, step.after?);
    let small = before.uid == after.uid && !is_news(&before.status, &after.status);
    small.then_some((step.change, (after.uid.as_str(), after.status.writer_epoch)))
}

/// About the bytes of a value as JSON, without writing it out.
fn size_of(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(all) => 2 + all.iter().map(size_of).sum::<usize>(),
        Value::Object(all) => {
            2 + all.iter().map(|(key, value)| key.len() + 4 + size_of(value)).sum::<usize>()
        }
    }
}

/// S26 (at the end). A stored object that this release cannot read becomes `Accepted=False` on itself within a minute after
/// the faults; no reconcile ever panics.
pub fn s26_broken_objects(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    out.armed();
    for panic in &facts.panics {
        out.missed(facts.end, format!("a reconcile panicked: {panic}"));
    }
    for key in &facts.broken {
        let last = world.input.changes.iter().rfind(|c| c.key == *key);
        let Some((value, at)) = last.and_then(|c| c.after.as_ref().map(|v| (v, c.at))) else { continue };
        if facts.end < facts.faults_end.max(at) + Duration::from_mins(1) {
            continue;
        }
        out.armed();
        let conditions = within(value, "/status/conditions").and_then(serde_json::Value::as_array);
        let told =
            conditions.into_iter().flatten().any(|c| c["type"] == "Accepted" && c["status"] == "False");
        if !told {
            out.missed(facts.end, format!("{} {} cannot be read, and nothing says so", key.kind, key.name));
        }
    }
}

/// S28 (at the end). One object's trouble is its own: beside a broken object, every other model is still looked at.
pub fn s28_contained(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    if facts.broken.is_empty() && facts.panics.is_empty() {
        return;
    }
    for (key, track) in &world.models {
        let Some(model) = track.last().filter(|_| !facts.broken.contains(key)) else { continue };
        let since = track.states.iter().rfind(|s| !s.ours).map_or(Duration::ZERO, |s| s.change.at);
        if facts.end < facts.faults_end.max(since) + Duration::from_mins(1) {
            continue;
        }
        out.armed();
        if model.status.observed_generation != model.generation {
            out.missed(facts.end, format!("{} is not looked at any more beside a broken object", key.name));
        }
    }
}
