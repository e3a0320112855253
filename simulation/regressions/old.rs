//! Worlds in which what somebody acts on is older than it seems: a read, a verdict, a beginning, a clock.

use std::time::Duration;

use seatrial::world::plant::{during::During, user::Deed};
use serde_json::json;

use crate::{
    faults::{Fault, What},
    objects::Model,
    plans::bases::rollout,
    scenario::{Scenario, Version, model_key, split_key},
};

/// As [`super::all`].
pub fn all() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "a leader that had just begun passed a step on what was measured before Prometheus had stopped scraping",
            blind_since(),
        ),
        (
            "pods ended too early: their drain counted from the decision once their TrafficSplit was deleted",
            deleted_while_draining(),
        ),
        (
            "stable was made smaller by a plan that had waited for seconds, when its user wanted more again",
            scaled_meanwhile(),
        ),
    ]
}

/// At every moment of the two steps and of the watch, the leader goes, and its successor finds its Prometheus blind.
fn blind_since() -> Vec<Scenario> {
    let at = |second| {
        let mut scenario = rollout(Version::Good);
        scenario.splits[0].holds = true;
        scenario.rewrite();
        let (from, until) = (Duration::from_secs(second), Duration::from_secs(second + 10));
        scenario.faults = vec![Fault { id: 1, what: What::Kill, replica: None, from, until, share: 1000 }];
        let from = Duration::from_secs(second + 4);
        scenario.stalls = vec![During { from, until: Duration::from_secs(second + 16), what: () }];
        scenario
    };
    (56..66).map(at).collect()
}

/// A candidate with weight gives way to the next; its `TrafficSplit` goes once the route without it is effective.
fn deleted_while_draining() -> Vec<Scenario> {
    let at = |millis: u64| {
        let mut scenario = rollout(Version::Good);
        scenario.script.push((Duration::from_mins(1), Deed::Version(model_key("iris"), "0.2.0".to_owned())));
        scenario.script.push((Duration::from_millis(millis), Deed::Delete(split_key("iris"))));
        scenario.quiet = Duration::from_secs(100);
        scenario
    };
    vec![at(62_600), at(63_000), at(63_500)]
}

/// One write of a plan takes three seconds; the leader reads something else live meanwhile.
fn scaled_meanwhile() -> Vec<Scenario> {
    let at = |millis: u64| {
        let mut scenario = rollout(Version::Good);
        let wish = |replicas: i64| json!({"spec": {"replicas": replicas}});
        let wine = Model { name: "wine", ..scenario.models[0].clone() };
        scenario.script.push((Duration::ZERO, Deed::Create(wine.object("1.0.0"))));
        scenario.models.push(wine);
        scenario.models[0].replicas = 4;
        scenario.script[0].1 = Deed::Create(scenario.models[0].object("0.0.0"));
        let less = json!({"spec": {"replicas": 2, "model": {"version": "0.1.0"}}});
        scenario.script[2].1 = Deed::Merge(model_key("iris"), less);
        scenario.script.push((Duration::from_millis(45_900), Deed::Merge(model_key("iris"), wish(3))));
        scenario.script.push((Duration::from_secs(47), Deed::Merge(model_key("wine"), wish(1))));
        let what = What::Late(Duration::from_millis(3100));
        let (from, until) = (Duration::from_millis(45_000 + millis), Duration::from_millis(45_004 + millis));
        scenario.faults = vec![Fault { id: 1, what, replica: None, from, until, share: 1000 }];
        scenario
    };
    (0..12).map(|step| at(step * 4)).collect()
}
