//! What a deleted model leaves, beside everybody who may still send to it: its route, that of a `TrafficSplit` which yields,
//! Service `<name>`. The faults that random worlds found last were all of this family, one in ten thousand of them; here every
//! world is of it, and `make sim-leftovers` plays more of them. Within a few seconds models, `TrafficSplits`, routes and
//! Services are deleted and made anew, a `TrafficSplit` claims what is another's, a gateway refuses. In the first ten thousand
//! nothing fails between the operator and its API server; in those after them, what fails in `make sim` does.

use std::time::Duration;

use fastrand::Rng;
use seatrial::world::{
    history::Key,
    plant::{
        chance::source,
        during::During,
        gateway::{self, Wrong},
        user::Deed,
    },
};
use serde_json::json;

use super::bases;
use crate::{
    draw::revision_of,
    faults::draw::swarm,
    objects::{Model, NAMESPACE, Split},
    scenario::{Scenario, Version, model_key, split_key},
};

/// In so many nothing else fails.
const CALM: u64 = 10_000;

/// "iris" with one model, or two; "flowers" with "digits", which may name the other's model from the beginning.
pub fn scenario(seed: u64) -> Scenario {
    let chance = &mut source(seed, "leftovers");
    let mut scenario = bases::rollout(Version::Good);
    scenario.seed = seed;
    scenario.propagation = Duration::from_secs(chance.u64(1..=6));
    scenario.rate = 100;
    scenario.quiet = Duration::from_secs(90);
    scenario.script.clear();
    if seed > CALM {
        scenario.faults = swarm(&mut source(seed, "faults"), scenario.quiet);
    }
    for (name, index) in [("wine", 1), ("digits", 2)] {
        scenario.models.push(Model { name, replicas: chance.i64(1..=2), ..scenario.models[0].clone() });
        scenario.versions.insert(format!("{index}.1.0"), Version::Good);
    }
    let iris = Split {
        backends: [&[("iris", 10)][..], &[("iris", 10), ("wine", 30)]][chance.usize(..2)].to_vec(),
        parents: chance.usize(1..=2),
        timeout: chance.u64(1..=5),
        ..scenario.splits[0].clone()
    };
    let flowers = Split {
        name: "flowers",
        backends: [&[("digits", 10)][..], &[("digits", 10), ("wine", 10)]][chance.usize(..2)].to_vec(),
        timeout: chance.u64(1..=5),
        ..iris.clone()
    };
    scenario.splits = vec![iris, flowers];
    for (index, model) in scenario.models.iter().enumerate() {
        let at = Duration::from_millis(chance.u64(..1500));
        scenario.script.push((at, Deed::Create(model.object(&format!("{index}.0.0")))));
    }
    for split in &scenario.splits {
        let at = Duration::from_millis(chance.u64(..1500));
        scenario.script.push((at, Deed::Create(split.object())));
    }
    // Before anybody is served, in the middle of the rollouts, or after them.
    let about = [4, 12, 25, 45, 56, 70][chance.usize(..6)];
    for index in 0..scenario.models.len() {
        if chance.bool() {
            let deed = Deed::Version(model_key(scenario.models[index].name), format!("{index}.1.0"));
            scenario.script.push((Duration::from_secs(chance.u64(2..about + 5)), deed));
        }
    }
    let mut at = Duration::from_millis(chance.u64(about * 1000..about * 1000 + 4000));
    for _ in 0..chance.u8(2..=5) {
        deed(&mut scenario, at, chance);
        at += soon(chance);
    }
    scenario.script.sort_by_key(|(at, _)| *at);
    scenario
}

/// At once, within what proxies and garbage collection take, or after that.
fn soon(chance: &mut Rng) -> Duration {
    let most = [300, 3000, 12_000][chance.usize(..3)];
    Duration::from_millis(chance.u64(0..=most))
}

/// Something is taken away, and may come back.
fn deed(scenario: &mut Scenario, at: Duration, chance: &mut Rng) {
    let index = chance.usize(..scenario.models.len());
    let version = format!("{index}.{}.0", chance.u8(..2));
    let (model, split) = (&scenario.models[index], &scenario.splits[chance.usize(..2)]);
    let back = at + soon(chance);
    let again = chance.u8(..3) > 0;
    let (first, second) = match chance.u8(..12) {
        0..=4 => (Deed::Delete(model_key(model.name)), Deed::Create(model.object(&version))),
        5 | 6 => (Deed::Delete(split_key(split.name)), Deed::Create(split.object())),
        7 | 8 => (claim(split, model).edit(), split.edit()),
        9 => {
            let route = Key::new("HTTPRoute", NAMESPACE, split.name);
            (Deed::Delete(route), Deed::Merge(model_key(model.name), json!({"spec": {"replicas": 3}})))
        }
        10 => {
            let name = if again { revision_of(model, &version) } else { model.name.to_owned() };
            let service = Deed::Delete(Key::new("Service", NAMESPACE, &name));
            (service, Deed::Version(model_key(model.name), version))
        }
        _ => {
            let what = gateway::Fault { parent: None, what: Wrong::Refuses };
            scenario.gateway.push(During { from: at, until: back + Duration::from_secs(2), what });
            return;
        }
    };
    scenario.script.push((at, first));
    if again {
        scenario.script.push((back, second));
    }
}

/// The split names that model, too.
fn claim(split: &Split, model: &Model) -> Split {
    let mut more = split.clone();
    more.backends.retain(|(name, _)| *name != model.name);
    more.backends.push((model.name, 20));
    more
}
