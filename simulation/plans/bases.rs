//! The rollouts that are recorded.

use std::{collections::BTreeMap, time::Duration};

use seatrial::world::plant::user::{About, Deed};
use serde_json::json;

use crate::{
    objects::{Model, Split, Step},
    scenario::{Scenario, Version, model_key, split_key},
};

/// A rollout without faults.
pub struct Base {
    /// What it shows.
    pub name: &'static str,
    /// It.
    pub scenario: Scenario,
    /// Its end does not depend on when what happens: a person's word may come too late.
    pub determined: bool,
}

/// All of them.
pub fn all() -> Vec<Base> {
    let mut all = vec![];
    let mut add = |name, determined, scenario| all.push(Base { name, scenario, determined });
    for (name, version) in [
        ("promotion", Version::Good),
        ("breach", Version::Errors(0.4)),
        ("slow answers", Version::Slow),
        ("never ready", Version::NeverReady),
        ("no image", Version::NoImage),
        ("slow start", Version::Late(Duration::from_secs(9))),
    ] {
        add(name, true, rollout(version));
    }
    add("crashing", false, rollout(Version::Crashing(Duration::from_secs(4))));
    add(
        "superseded",
        true,
        then(rollout(Version::Good), 51, Deed::Version(model_key("iris"), "0.2.0".to_owned())),
    );
    add(
        "set back",
        true,
        then(rollout(Version::Good), 51, Deed::Version(model_key("iris"), "0.0.0".to_owned())),
    );
    add("scaled in mid-rollout", true, then(rollout(Version::Good), 52, scale(4)));
    add("scaled down in mid-rollout", true, then(rollout(Version::Good), 54, scale(1)));
    add("aborted", false, then(rollout(Version::Good), 52, ask("abort")));
    add("promoted by hand", false, then(rollout(Version::Good), 52, ask("promote")));
    let paused = then(rollout(Version::Good), 52, ask("pause"));
    add("paused and resumed", false, then(paused, 61, ask("resume")));
    add("split deleted", false, then(rollout(Version::Good), 52, Deed::Delete(split_key("iris"))));
    // The route stays as it was just then.
    add("model deleted", false, then(rollout(Version::Good), 81, Deed::Delete(model_key("iris"))));
    let mut alone = rollout(Version::Good);
    alone.splits.clear();
    alone
        .script
        .retain(|(_, deed)| !matches!(deed, Deed::Create(object) if object["kind"] == "TrafficSplit"));
    add("a model by itself", true, alone);
    let mut two = rollout(Version::Good);
    two.models.push(model("wine"));
    two.splits[0].backends.push(("wine", 30));
    two.script.retain(|(at, _)| *at > Duration::ZERO);
    two.script.extend(
        two.models
            .iter()
            .enumerate()
            .map(|(index, model)| (Duration::ZERO, Deed::Create(model.object(&format!("{index}.0.0"))))),
    );
    two.script.push((Duration::ZERO, Deed::Create(two.splits[0].object())));
    add("two variants", true, then(two, 51, Deed::Version(model_key("wine"), "1.1.0".to_owned())));
    all
}

fn model(name: &'static str) -> Model {
    Model { name, replicas: 2, deadline: 25, kept: 1, runtime: false }
}

/// One model with one split; a new version after 45 s, so that the first one serves whatever happens to it before.
pub fn rollout(version: Version) -> Scenario {
    let step = |weight| Step { weight, bake: 3, longest: 40, replicas: None, approval: false };
    let split = Split {
        name: "iris",
        backends: vec![("iris", 10)],
        parents: 1,
        steps: vec![step(20), step(60)],
        window: 6,
        latency: true,
        interval: 1,
        strict: true,
        holds: false,
        budget: 20,
        timeout: 2,
    };
    let model = model("iris");
    let script = vec![
        (Duration::ZERO, Deed::Create(model.object("0.0.0"))),
        (Duration::ZERO, Deed::Create(split.object())),
        (Duration::from_secs(45), Deed::Version(model_key("iris"), "0.1.0".to_owned())),
    ];
    Scenario {
        seed: 1,
        models: vec![model],
        splits: vec![split],
        script,
        versions: BTreeMap::from([("0.1.0".to_owned(), version)]),
        faults: vec![],
        gateway: vec![],
        answers: vec![],
        stalls: vec![],
        proxies: vec![],
        scalers: vec![],
        gitops: None,
        rate: 200,
        scrape: Duration::from_secs(1),
        propagation: Duration::from_secs(2),
        quiet: Duration::from_secs(86),
    }
}

fn then(mut scenario: Scenario, second: u64, deed: Deed) -> Scenario {
    scenario.script.push((Duration::from_secs(second), deed));
    scenario
}

fn ask(verb: &'static str) -> Deed {
    Deed::Verb { model: model_key("iris"), verb, about: About::Candidate, step: None }
}

fn scale(replicas: i64) -> Deed {
    Deed::Merge(model_key("iris"), json!({"spec": {"replicas": replicas}}))
}
