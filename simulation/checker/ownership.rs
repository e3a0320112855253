//! Whose objects are whose, and what is left when one goes.

use std::{collections::BTreeMap, time::Duration};

use seatrial::{
    api::v1alpha1::{Outcome, Phase},
    world::{
        history::{Change, Key},
        plant::garbage,
    },
};
use serde_json::Value;

use super::{
    findings::Findings,
    tracks::{Model, Route, Split, left_to, owners, text, within},
    trial::{on_trial, route_writes},
    world::{NEWS, World},
};

const CHILDREN: [&str; 4] = ["Deployment", "Service", "ControllerRevision", "HTTPRoute"];

fn children<'a>(world: &World<'a>) -> impl Iterator<Item = &'a Change> {
    let ours = |c: &&Change| world.ours(c) && CHILDREN.contains(&c.key.kind.as_str());
    world.input.changes.iter().filter(ours)
}

/// S6 (after every revision). What is not ours stays as it is: the operator changes no object of another kind, no annotation,
/// no label that it did not make, no finalizer of its own children; and of foreign objects of the same name nothing at all
/// (S29).
pub fn s6_non_interference(world: &World<'_>, out: &mut Findings) {
    const KINDS: [&str; 8] = [
        "ModelDeployment",
        "TrafficSplit",
        "Deployment",
        "Service",
        "ControllerRevision",
        "HTTPRoute",
        "Lease",
        "Event",
    ];
    for change in world.input.changes.iter().filter(|c| world.ours(c)) {
        let kind = change.key.kind.as_str();
        out.expect(KINDS.contains(&kind), change, || {
            format!("{} wrote {kind} {}", change.by, change.key.name)
        });
        let (Some(before), Some(after), true) = (&change.before, &change.after, CHILDREN.contains(&kind))
        else {
            continue;
        };
        for part in ["annotations", "labels"] {
            let of = |v: &Value| v["metadata"][part].as_object().cloned().unwrap_or_default();
            let (old, new) = (of(before), of(after));
            let own = |key: &str| key.starts_with("seatrial.dev/") || key.starts_with("app.kubernetes.io/");
            let lost = old.iter().find(|(key, value)| !own(key) && new.get(*key) != Some(value));
            out.expect(lost.is_none(), change, || {
                format!("{} changed {part} of {kind} {}: {:?}", change.by, change.key.name, lost.map(|l| l.0))
            });
        }
        let same = before["metadata"].get("finalizers") == after["metadata"].get("finalizers");
        out.expect(same, change, || {
            format!("{} changed finalizers of {kind} {}", change.by, change.key.name)
        });
    }
}

/// S29 (after every revision). Every child has exactly one controlling owner, an object of ours of the right kind that lived
/// in the same namespace a moment ago; and nothing is changed or deleted that another object controls, or nobody.
pub fn s29_ownership(world: &World<'_>, out: &mut Findings) {
    let uids = uids(world);
    for change in children(world) {
        let key = &change.key;
        let parent = if key.kind == "HTTPRoute" { "TrafficSplit" } else { "ModelDeployment" };
        if let Some(after) = &change.after {
            let owners = owners(after);
            let right = matches!(&owners[..], [(kind, uid)] if kind == parent && uids.contains_key(&(key.namespace.as_str(), uid.as_str())));
            out.expect(right, change, || {
                format!("{} {} was written with owners {owners:?}, not one {parent}", key.kind, key.name)
            });
        }
        if let Some(before) = &change.before {
            let owner = owners(before).into_iter().next();
            let kept = matches!(key.kind.as_str(), "Service" | "Deployment");
            if kept && owner.is_none() && is_left(before, key, &uids) {
                continue;
            }
            let ours = owner.as_ref().is_some_and(|(kind, uid)| {
                kind == parent && uids.contains_key(&(key.namespace.as_str(), uid.as_str()))
            });
            out.expect(ours, change, || {
                format!("{} touched {} {}, which belongs to {owner:?}", change.by, key.kind, key.name)
            });
            let adopted =
                change.after.as_ref().is_some_and(|after| owners(after).into_iter().next() != owner);
            out.expect(!adopted, change, || format!("{} {} was taken from {owner:?}", key.kind, key.name));
        }
    }
}

/// What proxies may still send to of a model that has gone is kept by the `TrafficSplit`'s ownership.
fn is_left(object: &Value, key: &Key, uids: &BTreeMap<(&str, &str), (Duration, Option<Duration>)>) -> bool {
    left_to(object).any(|uid| uids.contains_key(&(key.namespace.as_str(), uid)))
}

/// When each object of ours that may own others came, and when it went.
fn uids<'w>(world: &'w World<'_>) -> BTreeMap<(&'w str, &'w str), (Duration, Option<Duration>)> {
    let mut found = BTreeMap::new();
    for change in &world.input.changes {
        if !matches!(change.key.kind.as_str(), "ModelDeployment" | "TrafficSplit") {
            continue;
        }
        for (value, gone) in [(&change.after, false), (&change.before, change.after.is_none())] {
            let Some(value) = value else { continue };
            let key = (change.key.namespace.as_str(), text(value, "/metadata/uid"));
            let entry = found.entry(key).or_insert((change.at, None));
            if gone {
                entry.1 = Some(change.at);
            }
        }
    }
    found
}

/// S30 (at the end). A model belongs to the oldest `TrafficSplit` that names it: no route of a younger one gives its
/// revisions weight, as far as was surely known, but what a model that was deleted has left there.
pub fn s30_route_claims(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        let Some(split) = write.split else { continue };
        for backend in &split.spec.backends {
            let model = Key::new("ModelDeployment", &write.key.namespace, &backend.model_deployment_ref.name);
            let Some((owner, older)) = world.split_of(&model, write.change.revision) else { continue };
            let then = world.splits[owner].at(world.known(write.change));
            let known = then.is_some_and(|s| s.uid == older.uid && s.names(&model.name));
            // The older one may be refused itself, by one that is older still: then it claims nothing.
            let holds = older.status.conditions.iter().all(|c| c.reason != "Conflict");
            let theirs = owner.name != write.key.name && known && holds;
            let deleted = |name: &str| {
                let of = name.rsplit_once('-').map_or("", |(model, _)| model);
                let key = Key::new("ModelDeployment", &write.key.namespace, of);
                world.models.get(&key).is_some_and(|track| track.at(write.change.revision).is_none())
            };
            let left = |route: &Route| -> i64 {
                route.shares.iter().filter(|(name, _)| deleted(name)).map(|(_, weight)| *weight).sum()
            };
            // A candidate's weight may go back to its stable revision.
            let before = write.before.map_or(0, |route| route.of_model(&model.name) + left(route));
            let more = write.after.of_model(&model.name) > before;
            out.expect(!theirs || !more, write.change, || {
                format!(
                    "route {} sends to {}, which belongs to TrafficSplit {}",
                    write.key.name, model.name, owner.name
                )
            });
        }
    }
}

/// S31 (at the end). Nothing is made for an owner that has gone (ten seconds and the faults before); and a `TrafficSplit`
/// that is deleted in mid-trial ends the trial: the candidate is rejected as `Cancelled`, the stable revision stays (S4).
pub fn s31_deletion(world: &World<'_>, out: &mut Findings) {
    let uids = uids(world);
    for change in children(world).filter(|c| c.before.is_none()) {
        let Some(after) = &change.after else { continue };
        for (kind, uid) in owners(after) {
            let gone = uids.get(&(change.key.namespace.as_str(), uid.as_str())).and_then(|(_, gone)| *gone);
            let late = gone.is_some_and(|at| change.at > at + NEWS + world.hindered(at, change.at));
            out.expect(!late, change, || {
                format!("{} {} was made for a {kind} that has gone", change.key.kind, change.key.name)
            });
        }
    }
    for (key, track) in &world.splits {
        for step in track.steps().filter(|s| s.after.is_none()) {
            let Some(before) = step.before else { continue };
            for backend in &before.spec.backends {
                cancelled(world, out, key, step.change, &backend.model_deployment_ref.name);
            }
        }
    }
}

fn cancelled(world: &World<'_>, out: &mut Findings, split: &Key, gone: &Change, model: &str) {
    let key = Key::new("ModelDeployment", &split.namespace, model);
    let Some(track) = world.models.get(&key) else { return };
    let Some(then) = track.at(gone.revision) else { return };
    let begun = on_trial(then.status.phase) && then.status.step.is_some();
    let limit = gone.at + Duration::from_secs(30) + world.hindered(gone.at, world.input.facts.end);
    if !begun || limit > world.input.facts.end || world.split_of(&key, gone.revision).is_some() {
        return;
    }
    let again = world.splits.values().any(|t| {
        t.states.iter().any(|s| {
            s.change.at >= gone.at && s.change.at <= limit && s.value.as_ref().is_some_and(|s| s.names(model))
        })
    });
    if again || track.when(limit).is_none_or(|m| m.uid != then.uid) {
        return;
    }
    let candidate = then.status.candidate_revision.as_deref();
    let over = |later: &Model| {
        let status = &later.status;
        let rolls_back = status.phase == Phase::RollingBack;
        let told = status.rejected.iter().chain(&then.status.rejected).any(|r| {
            Some(r.revision.as_str()) == candidate
                && matches!(r.outcome, Outcome::Cancelled | Outcome::RolledBack)
        });
        let ended = status.candidate_revision.as_deref() != candidate || rolls_back;
        let superseded = later.generation != then.status.observed_generation;
        ended && (told || superseded || (rolls_back && status.rollback.is_some()))
    };
    // Over once is enough: somebody may ask for it again, without a TrafficSplit.
    let mut later = track.states.iter().filter(|s| s.change.revision > gone.revision && s.change.at <= limit);
    out.expect(later.any(|s| s.value.as_ref().is_some_and(over)), gone, || {
        format!("TrafficSplit {} was deleted, but {model} still tries {candidate:?}", split.name)
    });
}

/// S32 (at the end). The same name is not the same object: the first status of a new uid holds nothing of the one before.
pub fn s32_same_name_recreation(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.models {
        let mut known: Option<&str> = None;
        for step in track.steps() {
            let Some(after) = step.after else { continue };
            let blank = |m: &super::tracks::Model| {
                m.status.latest_revision.is_none() && m.status.conditions.is_empty()
            };
            if known == Some(after.uid.as_str()) || blank(after) {
                continue;
            }
            known = Some(after.uid.as_str());
            let status = &after.status;
            let fresh = status.history.is_empty()
                && status.rejected.is_empty()
                && status.stable_revision.is_none()
                && status.candidate_revision.is_none()
                && status.attempt == 0;
            out.expect(!step.ours || fresh, step.change, || {
                format!("the first status of {} (uid {}) knows of an earlier life", key.name, after.uid)
            });
        }
    }
}

/// S34 (at the end). Without the operator nothing changes: while nobody holds a Lease that is still good, none of our objects
/// changes by us, and no route goes but with its `TrafficSplit`. (What was sent before may land later.)
pub fn s34_fail_static(world: &World<'_>, out: &mut Findings) {
    let flight = Duration::from_secs(4);
    for (from, until) in leaderless(world) {
        out.armed();
        let within = |c: &&Change| c.at > from + flight && c.at < until;
        for change in world.input.changes.iter().filter(within) {
            let (kind, name) = (change.key.kind.as_str(), change.key.name.as_str());
            let sent = world.sent(change);
            if world.ours(change) && sent > from + flight && !matches!(kind, "Lease" | "Event") {
                out.by(change, format!("{} wrote {kind} {name} while nobody led", change.by));
            }
            let split = Key::new("TrafficSplit", &change.key.namespace, name);
            let owner = change.before.as_ref().map(|route| text(route, "/metadata/ownerReferences/0/uid"));
            // Garbage collection comes after the owner has gone; one of the same name may have been made since.
            let stands = |split: &Split| owner == Some(split.uid.as_str());
            if kind == "HTTPRoute"
                && change.after.is_none()
                && change.by == garbage::NAME
                && world.splits.get(&split).and_then(|t| t.at(change.revision)).is_some_and(stands)
            {
                out.by(change, format!("route {name} went although its TrafficSplit stands"));
            }
        }
    }
}

/// From when until when nobody led: a Lease that was given back, or not renewed for longer than a tenure. One that somebody
/// deletes ends no tenure: its holder may write until the end of it.
fn leaderless(world: &World<'_>) -> Vec<(Duration, Duration)> {
    let mut found = vec![];
    for track in world.leases.values() {
        let mut ends = Duration::ZERO;
        for (index, state) in track.states.iter().enumerate() {
            ends = match &state.value {
                Some(lease) if !lease.holder.is_empty() => state.change.at + Duration::from_secs(10),
                Some(_) => state.change.at,
                None => ends.max(state.change.at),
            };
            let next = track.states.get(index + 1).map_or(world.input.facts.end, |next| next.change.at);
            if next > ends + Duration::from_secs(4) {
                found.push((ends, next));
            }
        }
    }
    found
}

/// S24 (at the end). The same revision renders the same objects, whichever replica or release does it: what we apply to the
/// Service of a revision and to the selector of its Deployment never changes; nor does it when they are made anew. (Template
/// and snapshot: S14.)
pub fn s24_deterministic_rendering(world: &World<'_>, out: &mut Findings) {
    let mut first: BTreeMap<(&Key, &str, &str, String), &Value> = BTreeMap::new();
    for change in children(world) {
        let Some(after) = &change.after else { continue };
        let parts: &[&str] = match change.key.kind.as_str() {
            "Service" => &["/spec/ports"],
            "Deployment" => &["/spec/selector", "/spec/strategy", "/metadata/labels"],
            _ => continue,
        };
        for part in parts {
            let (Some(value), uid) = (within(after, part), text(after, "/metadata/ownerReferences/0/uid"))
            else {
                continue;
            };
            let revision = text(after, "/metadata/labels/seatrial.dev~1revision").to_owned();
            let known = first.entry((&change.key, part, uid, revision)).or_insert(value);
            out.expect(*known == value, change, || {
                format!("{part} of {} {} was rendered differently", change.key.kind, change.key.name)
            });
        }
    }
}
