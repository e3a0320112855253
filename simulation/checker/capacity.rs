//! Pods: how many, until when, and which Services select them.

use std::time::Duration;

use seatrial::{
    api::v1alpha1::{Phase, RevisionUse},
    world::history::{Change, Key},
};

use super::{
    findings::Findings,
    tracks::{self, DRAIN, Deployment, Model, Split, Step, Track},
    trial::{least_asked, least_full},
    world::World,
};

/// A Deployment that the operator made smaller or deleted.
struct Cut<'t, 'a> {
    key: &'a Key,
    change: &'a Change,
    from: i64,
    to: i64,
    model_key: &'a Key,
    track: &'t Track<'a, Model>,
    model: &'t Model,
}

impl Cut<'_, '_> {
    fn told(&self) -> String {
        format!("{} cut {} from {} to {} pods", self.change.by, self.key.name, self.from, self.to)
    }
}

fn cuts<'t, 'a>(world: &'t World<'a>) -> Vec<Cut<'t, 'a>> {
    let mut found = vec![];
    for (key, track) in &world.deployments {
        for step in track.steps().filter(|s| s.ours) {
            let Step { before: Some(before), after, change, .. } = step else { continue };
            let (from, to) = (size(before), after.map_or(0, size));
            let model = Key::new("ModelDeployment", &key.namespace, &before.model);
            let Some((model_key, track)) = world.models.get_key_value(&model) else { continue };
            let Some(model) = track.at(change.revision) else { continue };
            if to < from && there(world, track, change) {
                found.push(Cut { key, change, from, to, model_key, track, model });
            }
        }
    }
    found
}

/// Whether a model was there whenever it can have been looked at for a change.
fn there(world: &World<'_>, track: &Track<'_, Model>, change: &Change) -> bool {
    track.during(world.read_from(change), change.revision).all(|model| model.is_some())
}

/// Whether a revision's pods and its snapshot were both deleted by somebody: nobody can make it again.
fn is_lost(world: &World<'_>, track: &Track<'_, Deployment>, revision: &str, now: &Change) -> bool {
    let theirs = |c: &&Change| {
        c.key.kind == "ControllerRevision" && c.key.name == revision && c.after.is_none() && !world.ours(c)
    };
    track.at(now.revision).is_none()
        && world.input.changes.iter().filter(theirs).any(|change| change.revision < now.revision)
}

fn size(deployment: &Deployment) -> i64 {
    deployment.replicas.unwrap_or(1)
}

/// S4 (after every revision). The operator never makes the stable revision, or one that is kept warm for a rollback, smaller
/// than full size (which is the user's or an autoscaler's: the smallest that could be read counts).
pub fn s4_stable_capacity(world: &World<'_>, out: &mut Findings) {
    for cut in cuts(world) {
        let status = &cut.model.status;
        let stable = status.stable_revision.as_ref() == Some(&cut.key.name);
        let warm = status.revisions.iter().any(|r| r.name == cut.key.name && r.used == RevisionUse::Warm);
        if !stable && !warm {
            continue;
        }
        let full = cut.track.during(world.read_from(cut.change), cut.change.revision).flatten();
        let full = full.map(|m| i64::from(m.spec.full_size())).min().unwrap_or(0);
        let role = if stable { "stable" } else { "warm" };
        out.expect(cut.to >= full, cut.change, || {
            format!("{}, but it is {role} and full size is {full}", cut.told())
        });
    }
    for write in super::trial::turns(world) {
        let status = &write.after.status;
        let trial =
            matches!(status.phase, Phase::Progressing | Phase::Paused | Phase::Watching | Phase::RollingBack);
        let Some(stable) = status.stable_revision.as_ref().filter(|_| trial) else { continue };
        let since = write.change.at.saturating_sub(Duration::from_mins(1));
        let full = write.track.during(since, write.change.revision).flatten();
        let full = full.map(|m| i64::from(m.spec.full_size())).min().unwrap_or(0);
        let track = world.deployment(&write.key.namespace, stable);
        let Some(track) = track
            .filter(|track| !is_lost(world, track, stable, write.change))
            .filter(|_| world.calm(since, write.change.at))
        else {
            continue;
        };
        let most = track.during(since, write.change.revision).flatten().map(size).max().unwrap_or(0);
        out.expect(most >= full, write.change, || {
            format!(
                "the stable revision {stable} has {most} pods in phase {:?}, full size is {full}",
                status.phase
            )
        });
    }
}

/// S16 (after every revision). No pod ends because of us until the data plane has sent its revision nothing for as long as a
/// request may take. Effective is what the proxies applied. A smaller size that the user asked for ends pods by the user's
/// will. Sharpened: the Service `<name>` counts like a proxy: callers in the cluster use it.
pub fn s16_drain(world: &World<'_>, out: &mut Findings) {
    for cut in cuts(world) {
        let (namespace, name, at) = (cut.key.namespace.as_str(), cut.key.name.as_str(), cut.change.at);
        let from = world.read_from(cut.change);
        if cut.to >= least_asked(cut.track, from, cut.change.revision) {
            continue;
        }
        let drain = drain(world, cut.model_key, cut.change, from);
        let carried = world.carried.get(&(namespace, name)).and_then(|c| c.last_carried(at));
        let quiet = carried.is_none_or(|last| at >= last + drain);
        out.expect(quiet, cut.change, || {
            let last = carried.unwrap_or_default().as_secs_f64();
            format!(
                "{}; a proxy sent to it until {last:.3} s, its requests need {} s from then",
                cut.told(),
                drain.as_secs_f64()
            )
        });
        let selected = last_selected(world, cut.model_key, name, at);
        out.expect(selected.is_none_or(|last| at >= last + drain), cut.change, || {
            let last = selected.unwrap_or_default().as_secs_f64();
            format!("{}; Service {} selected it until {last:.3} s", cut.told(), cut.model_key.name)
        });
    }
    left_behind(world, out);
    failed_after_end(world, out);
}

/// Pods of a model that its user deleted: as long as another of the route's models is there to take their traffic over,
/// they end like all others; else no sooner than a request may take.
fn left_behind(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.deployments {
        for step in track.steps().filter(|s| s.ours && s.after.is_none()) {
            let (Some(before), change) = (step.before, step.change) else { continue };
            let model = Key::new("ModelDeployment", &key.namespace, &before.model);
            let Some(models) = world.models.get(&model) else { continue };
            let Some(split) = kept_by(world, &model, change) else { continue };
            let sent = world.sent(change);
            if there(world, models, change) {
                continue;
            }
            let others = split.spec.backends.iter().map(|b| &b.model_deployment_ref.name);
            // One that its user has added just now takes nothing over yet.
            let from = world.read_from(change);
            let known = |name: &&String| {
                let mut all =
                    world.splits.values().flat_map(|track| track.during(from, change.revision).flatten());
                all.all(|then| then.uid != split.uid || then.names(name))
            };
            let replaced = others
                .filter(known)
                .filter_map(|name| world.models.get(&Key::new("ModelDeployment", &key.namespace, name)))
                .any(|other| there(world, other, change));
            let carried = world.carried.get(&(key.namespace.as_str(), key.name.as_str()));
            let ends = models.states.windows(2).filter(|pair| pair[1].change.at <= sent);
            // A life in which we wrote nothing about it was over before anybody of ours saw it.
            let seen = |pair: &&[super::tracks::State<'_, super::tracks::Model>]| {
                let before = pair[0].value.as_ref();
                before.is_some_and(|m| m.status.observed_generation > 0) && pair[1].value.is_none()
            };
            let went = ends.rev().find(seen).map(|pair| pair[1].change.at);
            let latest = carried.and_then(|c| c.last_carried(change.at));
            // One that no proxy sent to when its model went (a candidate that was starting) was needed until then at most.
            let last = if replaced { latest } else { latest.min(went) };
            // Callers in the cluster were led there until garbage collection took that Service.
            let last = last.max(last_selected(world, &model, &key.name, change.at));
            let quiet = last.is_none_or(|last| change.at >= last + split.drain());
            out.expect(quiet, change, || {
                let last = last.unwrap_or_default().as_secs_f64();
                format!(
                    "{} ended the pods of {}, whose model was deleted; they were needed until {last:.3} s, their requests \
                     need {} s from then",
                    change.by,
                    key.name,
                    split.drain().as_secs_f64()
                )
            });
        }
    }
}

/// The `TrafficSplit` that something is left to, which may yield to another one that names its model; else the one that names
/// its model.
fn kept_by<'w>(world: &'w World<'_>, model: &Key, change: &Change) -> Option<&'w Split> {
    let object = change.before.as_ref()?;
    let left_to = |split: &&Split| tracks::left_to(object).any(|uid| uid == split.uid);
    let mut all = world.splits.values().filter_map(|track| track.at(change.revision));
    let named = || world.split_of(model, change.revision).map(|(_, split)| split);
    all.find(left_to).or_else(named)
}

/// As the users saw it: a request that failed at a revision whose pods were told to end, or are gone, while its model is not.
fn failed_after_end(world: &World<'_>, out: &mut Findings) {
    for served in world.input.served.iter().filter(|s| s.failed > 0) {
        let Some(track) = world.deployment(&served.route.namespace, &served.backend) else { continue };
        let Some((key, model)) = world.model_of(&served.route.namespace, &served.backend) else { continue };
        let begun = served.at.saturating_sub(Duration::from_secs(1));
        // A model that its user has scaled to nothing has no pods because he wants none.
        let asks = |at| model.when(at).is_some_and(|m| m.spec.full_size() > 0);
        let alive = asks(served.at) && asks(begun);
        let ours = track
            .states
            .iter()
            .rfind(|s| s.change.at <= served.at)
            .is_some_and(|s| s.value.as_ref().is_none_or(|d| d.replicas == Some(0)));
        // What a deleted model left is `left_behind`'s.
        let owned = |s: &Step<'_, '_, Deployment>| there(world, model, s.change);
        // What ended because its user wanted no pods comes back only once the operator has heard that he wants some.
        let wanted = |s: &Step<'_, '_, Deployment>| {
            least_asked(model, world.read_from(s.change), s.change.revision) > 0
        };
        // One that somebody else deleted has no pods to end: it is made anew at the size that it has left.
        let ends = |s: &Step<'_, '_, Deployment>| {
            s.before.is_some_and(|d| size(d) > 0) && s.after.is_none_or(|d| d.replicas == Some(0))
        };
        let cut = track.steps().filter(|s| s.ours && s.change.at <= served.at && ends(s)).last();
        let cut = cut.is_some_and(|s| owned(&s) && wanted(&s));
        out.armed();
        if alive && ours && cut {
            out.missed(
                served.at,
                format!(
                    "{} requests of {} failed at {}, whose pods we ended",
                    served.failed, key.name, served.backend
                ),
            );
        }
    }
}

/// How long requests may take that a model's route carries; as it was when the change was planned, if that is less: its
/// `TrafficSplit` may have been edited since, or be gone. What was left to a `TrafficSplit` got its requests by that one's.
fn drain(world: &World<'_>, model: &Key, change: &Change, from: Duration) -> Duration {
    let now = world.split_of(model, change.revision).map_or(DRAIN, |(_, split)| split.drain());
    let near = world.splits.iter().filter(|(key, _)| key.namespace == model.namespace);
    let before = near.filter_map(|(_, track)| track.when(from)).filter(|split| split.names(&model.name));
    before.chain(kept_by(world, model, change)).map(Split::drain).chain([now]).min().unwrap_or(now)
}

/// When, up to a moment, Service `<name>` last selected a revision.
fn last_selected(world: &World<'_>, model: &Key, revision: &str, at: Duration) -> Option<Duration> {
    let track = world.services.get(&Key::new("Service", &model.namespace, &model.name))?;
    let end = track.states.partition_point(|s| s.change.at <= at);
    let selects = |s: &super::tracks::State<'_, super::tracks::Service>| {
        s.value.as_ref().is_some_and(|v| v.revision == revision)
    };
    let last = track.states[..end].iter().rposition(selects)?;
    Some(track.states[..end].get(last + 1).map_or(at, |s| s.change.at))
}

/// S5 (after every revision). The selector of a revision's own Service never changes. The Service `<name>` moves only to the
/// stable revision or, while nothing has ever served, to the first one at full size.
pub fn s5_no_repointing(world: &World<'_>, out: &mut Findings) {
    for (key, track) in &world.services {
        let model = world.models.get_key_value(&Key::new("ModelDeployment", &key.namespace, &key.name));
        for step in track.steps().filter(|s| s.ours) {
            let (Some(after), change) = (step.after, step.change) else { continue };
            let Some((_, models)) = model else {
                let same = step.before.is_none_or(|b| b.selector == after.selector);
                out.expect(same && after.revision == key.name, change, || {
                    format!("Service {} was pointed at {}: it stands for {0} alone", key.name, after.selector)
                });
                continue;
            };
            if step.before.is_some_and(|b| b.revision == after.revision) {
                continue;
            }
            let Some(now) = models.at(change.revision) else { continue };
            let from = world.read_from(change);
            let stable = now.status.stable_revision.as_ref() == Some(&after.revision);
            let ready = world.most_ready(&key.namespace, &after.revision, from, change.revision);
            let full = least_full(models, from, change.revision);
            let first = now.status.stable_revision.is_none() && ready >= full;
            out.expect(stable || first, change, || {
                format!(
                    "Service {} was pointed at {}, which is not stable and has {ready} of {full} pods ready",
                    key.name, after.revision
                )
            });
        }
    }
}
