//! Worlds in which a mutant's fault can matter at all: a seed's scenario, changed so far.

use std::time::Duration;

use seatrial::world::plant::{
    autoscaler, chance::Range, during::During, gateway, prometheus::wrong::Wrong, user::Deed,
};
use serde_json::json;

use crate::{
    faults::{Fault, What},
    objects::{NAMESPACE, Step},
    regressions::{old, refused, shared},
    scenario::{Scenario, Version, model_key, split_key},
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// No faults, and good versions only: what a hint does stands out.
fn plain(scenario: &mut Scenario) {
    scenario.faults.clear();
    scenario.answers.clear();
    scenario.stalls.clear();
    scenario.gateway.clear();
    scenario.gitops = None;
    scenario.scalers.clear();
    scenario.versions.values_mut().for_each(|version| *version = Version::Good);
}

fn first(scenario: &Scenario) -> &'static str {
    scenario.models[0].name
}

/// The model's version 1 from a moment on.
fn roll(scenario: &mut Scenario, at: u64, version: Version) {
    scenario.script.retain(|(_, deed)| matches!(deed, Deed::Create(_)));
    scenario.script.iter_mut().for_each(|(at, _)| *at = (*at).min(seconds(2)));
    scenario.versions.insert("0.1.0".to_owned(), version);
    scenario.script.push((seconds(at), Deed::Version(model_key(first(scenario)), "0.1.0".to_owned())));
    scenario.quiet = scenario.quiet.max(seconds(150));
}

/// A good version 1, and nothing else that happens.
fn good(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
}

/// Every step takes long.
fn linger(scenario: &mut Scenario, bake: u64) {
    for step in scenario.splits.iter_mut().flat_map(|split| &mut split.steps) {
        (step.bake, step.longest) = (bake, 200);
    }
}

fn then(scenario: &mut Scenario, at: u64, version: &str) {
    scenario.versions.insert(version.to_owned(), Version::Good);
    scenario.script.push((seconds(at), Deed::Version(model_key(first(scenario)), version.to_owned())));
}

fn verb(scenario: &mut Scenario, at: u64, verb: &'static str) {
    let model = model_key(first(scenario));
    let about = seatrial::world::plant::user::About::Candidate;
    scenario.script.push((seconds(at), Deed::Verb { model, verb, about, step: None }));
}

pub fn newer_while_watching(scenario: &mut Scenario) {
    good(scenario);
    for at in [45, 50, 55] {
        verb(scenario, at, "promote");
    }
    for split in &mut scenario.splits {
        split.window = 25;
    }
    scenario.rewrite();
    then(scenario, 62 + scenario.seed % 12, "0.2.0");
}

pub fn newer(scenario: &mut Scenario) {
    good(scenario);
    then(scenario, 45 + scenario.seed % 40, "0.2.0");
}

pub fn scaled(scenario: &mut Scenario) {
    plain(scenario);
    let every = Range { least: seconds(3), most: seconds(20) };
    let (model, until) = (model_key(first(scenario)), scenario.quiet);
    scenario.scalers.push(autoscaler::Setting { model, every, least: 1, most: 5, until });
}

fn fault(what: What, replica: Option<usize>, from: u64, until: u64) -> Fault {
    Fault { id: 990 + from, what, replica, from: seconds(from), until: seconds(until), share: 1000 }
}

pub fn lagging(scenario: &mut Scenario) {
    for (index, from) in (30..scenario.quiet.as_secs().saturating_sub(10)).step_by(12).enumerate() {
        let what = if index % 2 == 0 { What::Slow(seconds(8)) } else { What::Skip(seconds(9)) };
        scenario.faults.push(fault(what, None, from, from + 10));
    }
    for (index, version) in scenario.versions.values_mut().enumerate() {
        *version = if index % 2 == 0 { Version::Flapping } else { Version::Evicted(seconds(20)) };
    }
}

pub fn foreign(scenario: &mut Scenario) {
    let name = first(scenario);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"selector": {"app": "foreign"}, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
    scenario.script.push((Duration::ZERO, Deed::Create(service)));
}

pub fn few_requests(scenario: &mut Scenario) {
    good(scenario);
    scenario.rate = 2;
}

pub fn unmeasured(scenario: &mut Scenario) {
    good(scenario);
    scenario.quiet = seconds(220);
    for split in &mut scenario.splits {
        split.holds = false;
        split.budget = 25;
        split.window = 25;
    }
    scenario.rewrite();
    let what = Wrong::all()[usize::try_from(scenario.seed).unwrap_or(0) % Wrong::all().len()].clone();
    let from = seconds(48 + scenario.seed % 20);
    scenario.answers.push(During { from, until: seconds(215), what });
}

pub fn bad_and_paused(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::ErrorsFrom(seconds(75), 0.4));
    scenario.quiet = seconds(260);
    scenario.rate = 200;
    linger(scenario, 60);
    scenario.rewrite();
    verb(scenario, 70, "pause");
}

pub fn bad_and_promoted(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::ErrorsFrom(seconds(70), 0.4));
    scenario.quiet = seconds(260);
    scenario.rate = 200;
    scenario.splits.iter_mut().for_each(|split| split.window = 150);
    linger(scenario, 60);
    scenario.rewrite();
    for at in [55, 60, 65] {
        verb(scenario, at, "promote");
    }
}

/// The stable revision crashes again and again; the new one comes while it is away for longest.
pub fn broken_stable(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 92 + scenario.seed % 8, Version::Good);
    scenario.versions.insert("0.0.0".to_owned(), Version::Crashing(seconds(14)));
}

/// A trial is given up at any moment of a stable revision that crashes again and again.
pub fn aborted_over_nothing(scenario: &mut Scenario) {
    good(scenario);
    scenario.versions.insert("0.0.0".to_owned(), Version::Crashing(seconds(40)));
    linger(scenario, 100);
    scenario.rewrite();
    verb(scenario, 60 + scenario.seed * 7 % 60, "abort");
}

/// Gateways take over what they are told much later than the allowance; until then their word is about what was before.
pub fn slow_gateway(scenario: &mut Scenario) {
    good(scenario);
    scenario.propagation = seconds(2);
    let what = gateway::Fault { parent: None, what: gateway::Wrong::Slow(seconds(9)) };
    scenario.gateway.push(During { from: seconds(28), until: scenario.quiet, what });
}

/// The API server takes no write of workloads for a while.
pub fn refused(scenario: &mut Scenario) {
    good(scenario);
    scenario.faults.push(fault(What::Forbidden("services"), None, 28, 60));
}

pub fn route_refused(scenario: &mut Scenario) {
    *scenario = Scenario { seed: scenario.seed, ..refused::route_refused(53 + scenario.seed % 8) };
}

pub fn moved(scenario: &mut Scenario) {
    *scenario = Scenario { seed: scenario.seed, ..refused::moves() };
}

pub fn no_pods_listed(scenario: &mut Scenario) {
    *scenario = Scenario { seed: scenario.seed, ..refused::no_pods_listed(8 + scenario.seed % 12) };
}

pub fn seldom_read(scenario: &mut Scenario) {
    *scenario = old::seldom_read(scenario.seed);
}

pub fn yielded_unseen(scenario: &mut Scenario) {
    *scenario = shared::yielded_unseen(scenario.seed);
}

/// Pods of what serves come and go.
pub fn flapping(scenario: &mut Scenario) {
    plain(scenario);
    scenario.script.retain(|(_, deed)| matches!(deed, Deed::Create(_)));
    scenario.versions.values_mut().for_each(|version| *version = Version::Flapping);
    scenario.models.iter_mut().for_each(|model| model.replicas = 3);
    scenario.rewrite();
}

pub fn never_ready(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::NeverReady);
}

pub fn evicted(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Crashing(seconds(20 + scenario.seed % 20)));
    scenario.models.iter_mut().for_each(|m| m.replicas = 1);
    linger(scenario, 60);
    scenario.splits.iter_mut().flat_map(|s| &mut s.steps).for_each(|step| step.replicas = Some(1));
    scenario.rewrite();
}

pub fn asked(scenario: &mut Scenario) {
    roll(scenario, 30, Version::Good);
    verb(scenario, 50, "pause");
    verb(scenario, 60, "resume");
}

/// One who writes without an end is to be seen before the history fills the memory: its model goes.
pub fn soon_over(scenario: &mut Scenario) {
    good(scenario);
    verb(scenario, 40, "pause");
    scenario.script.push((seconds(50), Deed::Delete(model_key(first(scenario)))));
}

pub fn partition(scenario: &mut Scenario) {
    good(scenario);
    for replica in [0, 1] {
        scenario.faults.push(fault(
            What::Forbidden("leases"),
            Some(replica),
            40 + 60 * replica as u64,
            75 + 60 * replica as u64,
        ));
    }
}

pub fn split_deleted(scenario: &mut Scenario) {
    good(scenario);
    if let Some(split) = scenario.splits.first() {
        scenario.script.push((seconds(45 + scenario.seed % 30), Deed::Delete(split_key(split.name))));
    }
}

pub fn child_deleted(scenario: &mut Scenario) {
    good(scenario);
    let key = seatrial::world::history::Key::new(
        "HTTPRoute",
        NAMESPACE,
        scenario.splits.first().map_or("", |s| s.name),
    );
    scenario.script.push((seconds(100 + scenario.seed % 20), Deed::Delete(key)));
}

pub fn unapproved(scenario: &mut Scenario) {
    good(scenario);
    scenario.splits.iter_mut().flat_map(|s| &mut s.steps).for_each(|step| step.approval = true);
    scenario.rewrite();
}

pub fn edited(scenario: &mut Scenario) {
    good(scenario);
    linger(scenario, 60);
    let Some(split) = scenario.splits.first() else { return };
    let mut edited = split.clone();
    for step in &mut edited.steps {
        step.weight = (step.weight + 7).min(97);
    }
    // One more before them, so that the present weight belongs to the second.
    let first = Step { weight: 1, ..edited.steps[0].clone() };
    edited.steps.insert(0, first);
    let patch = json!({"spec": {"strategy": {"canary": {"steps": edited.steps()}}}});
    let key = split_key(split.name);
    scenario.rewrite();
    scenario.script.push((seconds(70), Deed::Merge(key, patch)));
}

pub fn paused_early(scenario: &mut Scenario) {
    good(scenario);
    for at in (40..80).step_by(3) {
        verb(scenario, at + scenario.seed % 3, "pause");
        verb(scenario, at + 1 + scenario.seed % 3, "resume");
    }
    verb(scenario, 82, "pause");
}
