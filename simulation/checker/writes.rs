//! Who writes, on what ground, and how often.

use std::{collections::BTreeMap, time::Duration};

use seatrial::{api::v1alpha1::Phase, world::history::Key};

use super::{
    findings::Findings,
    input::Request,
    tracks::{Lease, number, text, within},
    world::World,
};

/// A tenure lasts so long after its last renewal was sent.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// S17 (at the end). Writes are guarded by what was read: a status by its resourceVersion, a change of a route, a Deployment
/// or a Service by uid and resourceVersion, a deletion by both. After a conflict that the replica was told of, nothing is
/// sent again on a version that has passed. (A conflict may also be a fault of the network's; and where an answer was lost,
/// sending the same once more is safe, because it is guarded.)
pub fn s17_preconditions(world: &World<'_>, out: &mut Findings) {
    for change in world.input.changes.iter().filter(|c| world.ours(c)) {
        let Some(request) = world.request(change.revision) else { continue };
        let (version, uid) = (request.resource_version.is_some(), request.uid.is_some());
        let kind = change.key.kind.as_str();
        let guarded = match (kind, &change.before, &change.after) {
            ("Event" | "Lease", ..) | (_, None, _) => continue,
            (_, Some(_), None) | ("HTTPRoute" | "Deployment" | "Service", ..) => version && uid,
            ("ModelDeployment" | "TrafficSplit", ..) if request.method == "PUT" => version,
            _ => continue,
        };
        out.expect(guarded, change, || {
            format!(
                "{} of {kind} {} without uid or resourceVersion of what was read",
                request.method, change.key.name
            )
        });
    }
    let mut refused: BTreeMap<(&str, &Key, &Option<String>), &Request> = BTreeMap::new();
    for request in world.input.requests.iter().filter(|r| r.is_write() && !r.again) {
        let Some(key) = &request.key else { continue };
        let about = (request.who.as_str(), key, &request.subresource);
        if let (Some(before), Some(version)) = (refused.remove(&about), &request.resource_version) {
            out.armed();
            // Version 1 is nobody's: what is sent on it makes what is not there, and changes nothing.
            let live =
                latest(world, key, request.sent).is_some_and(|live| live != *version && version != "1");
            // A process that began since then knows nothing of it.
            let began =
                world.input.facts.absent.iter().any(|a| a.from >= before.sent && a.from <= request.sent);
            let again = before.resource_version.as_ref() == Some(version) && !began;
            if again && live && key.kind != "Lease" {
                let message =
                    format!("{} {} was sent again on version {version} after a conflict", key.kind, key.name);
                out.missed(request.sent, message);
            }
        }
        if request.code == Some(409) && request.told && request.resource_version.is_some() {
            refused.insert(about, request);
        }
    }
}

/// The resourceVersion of an object at a moment.
fn latest(world: &World<'_>, key: &Key, at: Duration) -> Option<String> {
    let last = world.input.changes.iter().rfind(|c| c.at <= at && c.key == *key)?;
    last.after.as_ref().map(|after| text(after, "/metadata/resourceVersion").to_owned())
}

/// S18 (at the end). Only the leader writes, and only until ten seconds after it *sent* its last successful renewal; never
/// after another replica has taken the Lease. Told from the Lease's own requests, not from what a replica believed.
pub fn s18_only_the_leader_writes(world: &World<'_>, out: &mut Findings) {
    let mut renewed: BTreeMap<&str, Duration> = BTreeMap::new();
    let leases: Vec<_> = world.leases.values().flat_map(|t| &t.states).collect();
    if leases.is_empty() {
        return;
    }
    for request in world.input.requests.iter().filter(|r| r.is_write()) {
        let Some(key) = &request.key else { continue };
        let who = request.who.as_str();
        if key.kind == "Lease" {
            if request.revision.is_some() && matches!(request.code, Some(200 | 201)) {
                renewed.insert(who, request.sent);
            }
            continue;
        }
        out.armed();
        let told = || format!("{who} sent {} {} {}", request.method, key.kind, key.name);
        match renewed.get(who) {
            None => out.missed(request.sent, format!("{} and has never led", told())),
            Some(since) if request.sent >= *since + RENEW_DEADLINE => {
                let since = since.as_secs_f64();
                out.missed(request.sent, format!("{}; it last renewed its lease at {since:.3} s", told()));
            }
            Some(_) => {}
        }
        let other = leases.iter().rfind(|s| s.change.at <= request.sent).and_then(|s| s.value.as_ref());
        if let Some(lease) = other.filter(|l| !l.holder.is_empty() && !l.is_held_by(who)) {
            out.missed(request.sent, format!("{} while {} led", told(), lease.holder));
        }
    }
}

/// S19 (at the end). Once a replica of a later term has changed an object, no change of an earlier term lands on it. Terms
/// are counted by who took the Lease after whom.
pub fn s19_fencing(world: &World<'_>, out: &mut Findings) {
    let is_of = |holder: &str, who: &str| Lease { holder: holder.to_owned() }.is_held_by(who);
    let mut terms: Vec<(u64, &str)> = vec![];
    for track in world.leases.values() {
        for state in &track.states {
            let Some(lease) = &state.value else { continue };
            if !lease.holder.is_empty() && terms.last().is_none_or(|(_, who)| *who != lease.holder) {
                terms.push((state.change.revision, &lease.holder));
            }
        }
    }
    let mut highest: BTreeMap<&Key, usize> = BTreeMap::new();
    for change in &world.input.changes {
        if !world.ours(change) || matches!(change.key.kind.as_str(), "Lease" | "Event") {
            continue;
        }
        let taken =
            terms.iter().rposition(|(revision, who)| *revision <= change.revision && is_of(who, &change.by));
        let Some(term) = taken else { continue };
        let seen = highest.entry(&change.key).or_insert(term);
        let stale = term < *seen;
        *seen = (*seen).max(term);
        out.expect(!stale, change, || {
            format!("{} changed {} {} after its successor had", change.by, change.key.kind, change.key.name)
        });
    }
}

/// No unit needs more writes, and no replica more requests, in ten seconds.
const BUSY: usize = 60;
/// The same for reads: each look at a model that starts asks once whether a name is free, and all that happens to its pods is
/// looked at.
const READS: usize = 200;

/// S21 (at the end). Nothing is written when nothing changes: an accepted write that changed nothing is a write too many
/// (unless the one before it got no answer), no object is written more than sixty times in ten seconds, or read by one replica
/// more than two hundred times, and a model that has been at rest for a minute in a quiet world is left alone.
pub fn s21_zero_steady_state(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    for request in world.input.requests.iter().filter(|r| r.is_write()) {
        let done = matches!(request.code, Some(200 | 201)) && request.method != "DELETE";
        let Some(key) = request.key.as_ref().filter(|k| done && k.kind != "Lease" && k.kind != "Event")
        else {
            continue;
        };
        let from = request.sent.saturating_sub(Duration::from_mins(1));
        out.armed();
        if request.revision.is_none() && world.hindered(from, request.sent) == Duration::ZERO {
            let message =
                format!("{} {} of {} {} changed nothing", request.who, request.method, key.kind, key.name);
            out.missed(request.sent, message);
        }
    }
    let mut recent: BTreeMap<&Key, Vec<Duration>> = BTreeMap::new();
    for change in world.input.changes.iter().filter(|c| world.ours(c)) {
        let times = recent.entry(&change.key).or_default();
        times.retain(|at| *at + Duration::from_secs(10) > change.at);
        times.push(change.at);
        if times.len() == BUSY {
            out.by(
                change,
                format!("{} {} was written {BUSY} times in ten seconds", change.key.kind, change.key.name),
            );
        }
    }
    tried_without_a_pause(world, out);
    let quiet = facts.quiet_since.max(facts.faults_end);
    let Some(rest) = at_rest(world) else { return };
    let from = quiet.max(rest) + Duration::from_mins(1);
    if from >= facts.end {
        return;
    }
    out.armed();
    for change in
        world.input.changes.iter().filter(|c| c.at >= from && world.ours(c) && c.key.kind != "Lease")
    {
        out.by(change, format!("{} {} was written in a world at rest", change.key.kind, change.key.name));
    }
}

/// Whoever fails tries again later: reads are no more free than writes.
fn tried_without_a_pause(world: &World<'_>, out: &mut Findings) {
    let mut tried: BTreeMap<(&str, bool, &Key), Vec<Duration>> = BTreeMap::new();
    for request in &world.input.requests {
        let Some(key) = request.key.as_ref().filter(|key| !key.name.is_empty()) else { continue };
        let times = tried.entry((request.who.as_str(), request.is_write(), key)).or_default();
        times.retain(|at| *at + Duration::from_secs(10) > request.sent);
        times.push(request.sent);
        let most = if request.is_write() { BUSY } else { READS };
        if times.len() == most {
            let (who, tried) = (&request.who, if request.is_write() { "tried" } else { "read" });
            let message = format!("{who} {tried} {} {} {most} times in ten seconds", key.kind, key.name);
            out.missed(request.sent, message);
        }
    }
}

/// Since when every model is Stable or `RolledBack`, without a revision that is kept warm, and no pods come and go; `None`:
/// not all are.
fn at_rest(world: &World<'_>) -> Option<Duration> {
    let pods = world.input.changes.iter().rfind(|c| c.key.kind == "Pod");
    let mut rest = pods.map_or(Duration::ZERO, |c| c.at);
    for track in world.models.values() {
        let Some(last) = track.last() else { continue };
        if !matches!(last.status.phase, Phase::Stable | Phase::RolledBack) {
            return None;
        }
        if last.status.revisions.iter().any(|r| r.warm_until.is_some()) {
            return None;
        }
        let other =
            |m: &super::tracks::Model| m.status.phase != last.status.phase || m.generation != last.generation;
        let moved = track.states.iter().rposition(|s| s.value.as_ref().is_none_or(other));
        let since =
            moved.map_or(Duration::ZERO, |i| track.states[(i + 1).min(track.states.len() - 1)].change.at);
        rest = rest.max(since);
    }
    Some(rest)
}

/// S36 (at the end). A foreign writer is not fought with a storm. Sharpened: Seatrial has no `Contended` condition; each
/// foreign change of a route is answered by at most six of ours within ten seconds, so that a fight is never faster than the
/// foreigner makes it.
pub fn s36_gitops_contention(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.routes {
        for (index, state) in track.states.iter().enumerate().filter(|(i, s)| *i > 0 && !s.ours) {
            let spec = |v: &Option<std::sync::Arc<serde_json::Value>>| {
                v.as_ref().and_then(|v| v.get("spec")).cloned()
            };
            if spec(&state.change.before) == spec(&state.change.after) {
                continue;
            }
            let limit = state.change.at + Duration::from_secs(10);
            let later = track.states[index + 1..].iter();
            let answers = later.take_while(|s| s.change.at <= limit && s.ours).count();
            out.expect(answers <= 6, state.change, || {
                format!("{answers} writes of ours answered one of {} to route {}", state.change.by, key.name)
            });
        }
    }
}

/// L9 (by counting). Progress beside foreign writers: no replica runs into more than twenty conflicts on one object in a row.
pub fn l9_progress_beside_foreign_writers(world: &World<'_>, out: &mut Findings) {
    let mut row: BTreeMap<(&str, &Key), usize> = BTreeMap::new();
    for request in world.input.requests.iter().filter(|r| r.is_write()) {
        let Some(key) = request.key.as_ref().filter(|k| k.kind != "Lease") else { continue };
        let count = row.entry((request.who.as_str(), key)).or_default();
        if request.code != Some(409) {
            *count = 0;
            continue;
        }
        *count += 1;
        out.armed();
        if *count == 20 {
            out.missed(
                request.sent,
                format!("{} ran into {count} conflicts on {} {}", request.who, key.kind, key.name),
            );
        }
    }
}

/// S20 (after every revision). The spec is the user's: the operator never makes, deletes or changes a `ModelDeployment` or
/// `TrafficSplit` but for its status. And a Deployment that it makes says its size.
pub fn s20_spec_is_the_users(world: &World<'_>, out: &mut Findings) {
    for change in world.input.changes.iter().filter(|c| world.ours(c)) {
        let key = &change.key;
        match (key.kind.as_str(), &change.before, &change.after) {
            ("ModelDeployment" | "TrafficSplit", Some(before), Some(after)) => {
                let parts =
                    ["/spec", "/metadata/labels", "/metadata/annotations", "/metadata/deletionTimestamp"];
                let moved = parts.iter().find(|p| within(before, p) != within(after, p));
                out.expect(moved.is_none(), change, || {
                    format!("{} wrote {} of {} {}", change.by, moved.unwrap_or(&""), key.kind, key.name)
                });
            }
            ("ModelDeployment" | "TrafficSplit", before, _) => {
                let did = if before.is_none() { "made" } else { "deleted" };
                out.expect(false, change, || format!("{} {did} {} {}", change.by, key.kind, key.name));
            }
            ("Deployment", None, Some(after)) => {
                out.expect(number(after, "/spec/replicas").is_some(), change, || {
                    format!(
                        "Deployment {} was made without a size, which means 1",
                        text(after, "/metadata/name")
                    )
                });
            }
            _ => {}
        }
    }
}
