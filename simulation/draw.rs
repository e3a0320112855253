//! A seed becomes a scenario.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use seatrial::{
    api::v1alpha1::ModelDeploymentSpec,
    revision,
    world::{
        history::Key,
        plant::{
            autoscaler,
            chance::{Range, source},
            during::During,
            gateway, gitops,
            prometheus::wrong::Wrong,
            user::{About, Deed},
        },
    },
};
use serde_json::{Value, json};

use crate::{
    faults::draw::swarm,
    objects::{Model, NAMESPACE, Split},
    scenario::{Scenario, Version, model_key, split_key},
};

const MODELS: [&str; 3] = ["iris", "wine", "digits"];
const SPLITS: [&str; 2] = ["iris", "flowers"];

/// How many times as much happens in a busy world.
const ROUNDS: usize = 6;

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = source(seed, "scenario");
        let (models, splits) = shapes(&mut chance);
        let quiet = Duration::from_secs(chance.u64(40..=100));
        let mut scenario = Self {
            seed,
            models,
            splits,
            script: vec![],
            versions: BTreeMap::new(),
            faults: swarm(&mut source(seed, "faults"), quiet),
            gateway: vec![],
            answers: vec![],
            stalls: vec![],
            proxies: vec![],
            scalers: vec![],
            gitops: None,
            rate: [20, 50, 100, 200][chance.usize(..4)],
            scrape: Duration::from_secs(chance.u64(1..=2)),
            propagation: Duration::from_secs(chance.u64(2..=6)),
            quiet,
        };
        scenario.begin(&mut chance);
        scenario.roll(&mut chance);
        scenario.deeds(&mut source(seed, "deeds"));
        scenario.claims(&mut source(seed, "claims"));
        scenario.blunders(&mut source(seed, "blunders"));
        scenario.actors(&mut source(seed, "actors"));
        scenario.script.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// As [`Self::of`], but people do, and actors break, many times as much.
    pub fn busy(seed: u64) -> Self {
        let mut scenario = Self::of(seed);
        for round in 0..ROUNDS {
            let chance = |of: &str| source(seed, &format!("{of} {round}"));
            scenario.deeds(&mut chance("deeds"));
            scenario.claims(&mut chance("claims"));
            scenario.blunders(&mut chance("blunders"));
            scenario.actors(&mut chance("actors"));
        }
        scenario.script.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// Everybody makes their objects, in any order.
    fn begin(&mut self, chance: &mut Rng) {
        for (index, model) in self.models.iter().enumerate() {
            let version = format!("{index}.0.0");
            let kind = if chance.u8(..15) == 0 { version_of(chance, self.quiet) } else { Version::Good };
            self.versions.insert(version.clone(), kind);
            self.script.push((millis(chance, 0, 1500), Deed::Create(model.object(&version))));
        }
        for split in &self.splits {
            let late = if chance.u8(..5) == 0 { 30_000 } else { 1500 };
            self.script.push((millis(chance, 0, late), Deed::Create(split.object())));
        }
    }

    /// New versions.
    fn roll(&mut self, chance: &mut Rng) {
        for (index, model) in self.models.iter().enumerate() {
            let versions = if chance.u8(..10) < 7 { 1 } else { 2 };
            for number in 1..=versions {
                let version = format!("{index}.{number}.0");
                self.versions.insert(version.clone(), version_of(chance, self.quiet));
                let at = self.within(chance, 12);
                self.script.push((at, Deed::Version(model_key(model.name), version.clone())));
                match chance.u8(..12) {
                    // Set back in mid-rollout.
                    0 => {
                        let back = Deed::Version(model_key(model.name), format!("{index}.{}.0", number - 1));
                        self.script.push((self.after(at, chance), back));
                    }
                    // An impatient or a careful person.
                    1..=3 => {
                        let verb = ["promote", "abort", "pause"][chance.usize(..3)];
                        self.script.push((self.after(at, chance), ask(model, verb, About::Candidate, None)));
                    }
                    4 => {
                        let after = self.after(at, chance);
                        self.script.push((after, ask(model, "pause", About::Candidate, None)));
                        self.script
                            .push((self.after(after, chance), ask(model, "resume", About::Candidate, None)));
                    }
                    5 => {
                        self.script
                            .push((self.after(at, chance), ask(model, "retry", About::Rejected, None)));
                    }
                    _ => {}
                }
                for (step, _) in self.steps_of(model.name).filter(|(_, approval)| *approval) {
                    let step = i32::try_from(step).unwrap_or(0);
                    for _ in 0..2 {
                        let approve = ask(model, "approve", About::Candidate, Some(step));
                        self.script.push((self.after(at, chance), approve));
                    }
                }
            }
        }
    }

    /// The steps of the split that names a model: their index, and whether they need an approval.
    fn steps_of(&self, model: &str) -> impl Iterator<Item = (usize, bool)> + use<> {
        let split = self.splits.iter().find(|split| split.backends.iter().any(|(name, _)| *name == model));
        let steps: Vec<bool> =
            split.map(|s| s.steps.iter().map(|step| step.approval).collect()).unwrap_or_default();
        steps.into_iter().enumerate()
    }

    /// What else people do.
    fn deeds(&mut self, chance: &mut Rng) {
        let count = if chance.u8(..3) == 0 { chance.u8(1..=4) } else { 0 };
        for _ in 0..count {
            let at = self.within(chance, 5);
            let model = self.models[chance.usize(..self.models.len())].clone();
            let split = self.splits.get(chance.usize(..2)).cloned();
            match (chance.u8(..10), split) {
                (0, Some(split)) => {
                    self.script.push((at, Deed::Delete(split_key(split.name))));
                    if chance.bool() {
                        self.script.push((self.after(at, chance), Deed::Create(split.object())));
                    }
                }
                (1, _) => {
                    self.script.push((at, Deed::Delete(model_key(model.name))));
                    if chance.u8(..3) > 0 {
                        let version = self.any_version(&model, chance);
                        self.script.push((self.after(at, chance), Deed::Create(model.object(&version))));
                    }
                }
                (2, Some(mut split)) => {
                    split.steps = Split::draw(split.name, &[], chance).steps;
                    let patch = json!({"spec": {"strategy": {"canary": {"steps": split.steps()}}}});
                    self.script.push((at, Deed::Merge(split_key(split.name), patch)));
                }
                (3 | 4, _) => {
                    let patch = json!({"spec": {"replicas": chance.i64(0..=5)}});
                    self.script.push((at, Deed::Merge(model_key(model.name), patch)));
                }
                (5, Some(split)) => {
                    self.script.push((at, Deed::Delete(Key::new("HTTPRoute", NAMESPACE, split.name))));
                }
                (6, _) => {
                    let version = self.any_version(&model, chance);
                    let kind = ["Deployment", "Service", "ControllerRevision"][chance.usize(..3)];
                    let key = Key::new(kind, NAMESPACE, &revision_of(&model, &version));
                    self.script.push((at, Deed::Delete(key)));
                }
                (7, _) => {
                    let version = self.any_version(&model, chance);
                    let key = Key::new("Deployment", NAMESPACE, &revision_of(&model, &version));
                    let patch = json!({"spec": {"replicas": chance.i64(1..=6)}});
                    self.script.push((at, Deed::Merge(key, patch)));
                }
                (8, _) => self.script.push((at, Deed::Delete(Key::new("Service", NAMESPACE, model.name)))),
                _ => {
                    let key = Key::new("Lease", "seatrial", "seatrial");
                    self.script.push((at, Deed::Delete(key)));
                }
            }
        }
    }

    /// Of two `TrafficSplits` that carry traffic, one is edited to name a model of the other; the younger yields. Somebody may
    /// take that back, or out of the other one.
    fn claims(&mut self, chance: &mut Rng) {
        let [one, other] = &self.splits[..] else { return };
        if chance.u8(..3) > 0 {
            return;
        }
        let (by, of) =
            if chance.bool() { (one.clone(), other.clone()) } else { (other.clone(), one.clone()) };
        let named = |split: &Split, name: &str| split.backends.iter().any(|(model, _)| *model == name);
        let Some((model, _)) = of.backends.iter().find(|(model, _)| !named(&by, model)).copied() else {
            return;
        };
        let more =
            Split { backends: by.backends.iter().copied().chain([(model, 20)]).collect(), ..by.clone() };
        let at = self.within(chance, 8);
        self.script.push((at, more.edit()));
        let after = self.after(at, chance);
        match chance.u8(..3) {
            0 => self.script.push((after, by.edit())),
            1 => self.script.push((after, Deed::Delete(split_key(of.name)))),
            _ => {}
        }
    }

    /// Somebody writes what the schema takes and nobody can act on, and may notice it.
    fn blunders(&mut self, chance: &mut Rng) {
        if chance.u8(..8) > 0 || self.splits.is_empty() {
            return;
        }
        let split = &self.splits[chance.usize(..self.splits.len())];
        let (model, split, spec) = (self.models[0].name, split.name, &split.object()["spec"]);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let parents = list(&spec["route"]["httpRoute"]["parentRefs"]);
        let route = |parents: &[Value]| json!({"route": {"httpRoute": {"parentRefs": parents}}});
        let slos = list(&spec["slos"]);
        let slo = json!({"name": "confidence", "query": "avg(model_confidence", "threshold": {"min": "0.7"}});
        let more = [&slos[..], &[slo]].concat();
        let provider = |name: Value| json!({"analysis": {"provider": name}});
        let template = |nonsense: Value| json!({"template": {"spec": {"nonsense": nonsense}}});
        let (key, wrong, right) = match chance.u8(..5) {
            0 => (split_key(split), route(&[&parents[..], &parents].concat()), route(&parents)),
            1 => (split_key(split), route(&[json!({"name": "nowhere"})]), route(&parents)),
            2 => (split_key(split), json!({"slos": more}), json!({"slos": slos})),
            3 => (split_key(split), provider(json!("nobody")), provider(Value::Null)),
            _ => (model_key(model), template(json!(true)), template(Value::Null)),
        };
        let at = self.within(chance, 8);
        self.script.push((at, Deed::Merge(key.clone(), json!({"spec": wrong}))));
        if chance.u8(..3) > 0 {
            self.script.push((self.after(at, chance), Deed::Merge(key, json!({"spec": right}))));
        }
    }

    fn any_version(&self, model: &Model, chance: &mut Rng) -> String {
        let index = self.models.iter().position(|other| other.name == model.name).unwrap_or(0);
        let all: Vec<&String> =
            self.versions.keys().filter(|v| v.starts_with(&format!("{index}."))).collect();
        all[chance.usize(..all.len())].clone()
    }

    /// What is wrong with everything else, and who else writes.
    fn actors(&mut self, chance: &mut Rng) {
        let quiet = self.quiet;
        if chance.u8(..5) == 0 {
            use gateway::Wrong::{Away, Refuses, Silent, Slow, Stale};
            let what = [Away, Silent, Slow(millis(chance, 500, 8000)), Stale, Refuses][chance.usize(..5)];
            let parent = if chance.bool() { None } else { Some(chance.usize(..2)) };
            let (from, until) = window(chance, quiet, 40_000);
            self.gateway.push(During { from, until, what: gateway::Fault { parent, what } });
        }
        if chance.u8(..4) == 0 {
            let all = Wrong::all();
            for _ in 0..chance.u8(1..=2) {
                let (from, until) = window(chance, quiet, 60_000);
                self.answers.push(During { from, until, what: all[chance.usize(..all.len())].clone() });
            }
        }
        if chance.u8(..8) == 0 {
            let (from, until) = window(chance, quiet, 40_000);
            self.stalls.push(During { from, until, what: () });
        }
        if chance.u8(..6) == 0 {
            self.proxies.push((self.within(chance, 5), chance.usize(..3)));
        }
        if chance.u8(..6) == 0 {
            let model = model_key(self.models[chance.usize(..self.models.len())].name);
            let every = Range { least: Duration::from_secs(3), most: Duration::from_secs(20) };
            self.scalers.push(autoscaler::Setting { model, every, least: 1, most: 5, until: quiet });
        }
        if chance.u8(..10) == 0 {
            let manifests = self.splits.iter().map(Split::object).collect();
            let every = millis(chance, 3000, 20_000);
            self.gitops = Some(gitops::Setting { manifests, every, reverts: chance.u32(..4), until: quiet });
        }
    }

    /// A moment between so many seconds and the quiet.
    fn within(&self, chance: &mut Rng, least: u64) -> Duration {
        Duration::from_millis(
            chance.u64(least * 1000..u64::try_from(self.quiet.as_millis()).unwrap_or(50_000)),
        )
    }

    /// Some time after `at`.
    fn after(&self, at: Duration, chance: &mut Rng) -> Duration {
        (at + millis(chance, 100, 30_000)).min(self.quiet)
    }
}

/// Which models there are, and which `TrafficSplits` name them.
fn shapes(chance: &mut Rng) -> (Vec<Model>, Vec<Split>) {
    let (count, splits): (usize, Vec<Vec<&'static str>>) = match chance.u8(..20) {
        0..12 => (1, vec![vec!["iris"]]),
        12 | 13 => (1, vec![]),
        14 | 15 => (2, vec![vec!["iris", "wine"]]),
        16 | 17 => (2, vec![vec!["iris"], vec!["wine"]]),
        18 => (2, vec![vec!["iris"], vec!["iris", "wine"]]),
        _ => (3, vec![vec!["iris", "wine"], vec!["digits"]]),
    };
    let models = MODELS[..count].iter().map(|name| Model::draw(name, chance)).collect();
    let splits = SPLITS.iter().zip(&splits).map(|(name, models)| Split::draw(name, models, chance)).collect();
    (models, splits)
}

fn version_of(chance: &mut Rng, quiet: Duration) -> Version {
    match chance.u8(..20) {
        0..9 => Version::Good,
        9..12 => Version::Errors(0.3),
        12 => Version::Errors(0.035),
        13 => Version::ErrorsFrom(
            millis(chance, 20_000, u64::try_from(quiet.as_millis()).unwrap_or(60_000)),
            0.3,
        ),
        14 => Version::Slow,
        15 => Version::NeverReady,
        16 => Version::NoImage,
        17 => Version::Crashing(millis(chance, 500, 15_000)),
        18 => Version::Late(millis(chance, 8000, 20_000)),
        _ => [Version::Flapping, Version::Evicted(millis(chance, 10_000, 60_000))][chance.usize(..2)].clone(),
    }
}

fn ask(model: &Model, verb: &'static str, about: About, step: Option<i32>) -> Deed {
    Deed::Verb { model: model_key(model.name), verb, about, step }
}

/// The name of a model's revision at a version.
pub fn revision_of(model: &Model, version: &str) -> String {
    let spec = serde_json::from_value::<ModelDeploymentSpec>(model.object(version)["spec"].clone());
    spec.map(|spec| revision::identity(model.name, &spec).name).unwrap_or_default()
}

fn window(chance: &mut Rng, end: Duration, longest: u64) -> (Duration, Duration) {
    let from = millis(chance, 0, u64::try_from(end.as_millis()).unwrap_or(1));
    (from, (from + millis(chance, 500, longest)).min(end))
}

fn millis(chance: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(chance.u64(least..=most.max(least)))
}
