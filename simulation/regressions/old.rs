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
        (
            "a request that came once more pointed callers of a model without a TrafficSplit back at the revision before",
            pointed_back(),
        ),
        (
            "where a third of all answers was cut off, a failing candidate kept its traffic for most of a minute",
            (1..=10).map(seldom_read).collect(),
        ),
        (
            "a new version got traffic with too few pods: its model had been scaled while the rest of its unit was read",
            scaled_while_read(),
        ),
        (
            "after lists that were older than a TrafficSplit, its status was written on versions that had passed",
            [130, 242, 292].map(listed_late).into(),
        ),
        (
            "a reconcile that had waited for another one of its model wrote on the version that this was refused",
            refused_meanwhile(),
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

/// The next version comes soon after the one before is ready, and every request arrives once more seconds later.
fn pointed_back() -> Vec<Scenario> {
    let at = |second| {
        let mut scenario = super::by_itself();
        let back = Deed::Version(model_key("iris"), "0.0.0".to_owned());
        scenario.script.push((Duration::from_secs(second), back));
        let (from, until) = (Duration::from_secs(44), Duration::from_secs(80));
        let what = What::Twice(Duration::from_millis(2700));
        scenario.faults = vec![Fault { id: 1, what, replica: None, from, until, share: 1000 }];
        scenario
    };
    (50..62).step_by(2).map(at).collect()
}

/// Reads of a unit take several requests: most of them fail. The candidate fails after a while, in a long step.
pub fn seldom_read(seed: u64) -> Scenario {
    let mut scenario = rollout(Version::ErrorsFrom(Duration::from_secs(66), 0.4));
    scenario.seed = seed;
    scenario.splits[0].steps.iter_mut().for_each(|step| (step.bake, step.longest) = (60, 200));
    scenario.rewrite();
    let (from, until) = (Duration::from_secs(52), Duration::from_secs(140));
    scenario.faults = vec![Fault { id: 1, what: What::Truncated, replica: None, from, until, share: 300 }];
    scenario
}

/// Reads of the unit are lost, and sent again seconds later, while its first weights are due; a user asks for more pods of
/// the model that was read first.
fn scaled_while_read() -> Vec<Scenario> {
    let of = |seed| {
        let (seconds, mut scenario) = (Duration::from_secs, rollout(Version::Good));
        scenario.seed = seed;
        let wine = Model { name: "wine", ..scenario.models[0].clone() };
        scenario.splits[0].backends.push(("wine", 10));
        scenario.rewrite();
        scenario.script.pop();
        scenario.script.push((Duration::ZERO, Deed::Create(wine.object("1.0.0"))));
        let more = json!({"spec": {"replicas": 4}});
        scenario.script.push((seconds(9 + seed % 8), Deed::Merge(model_key("iris"), more)));
        scenario.models.push(wine);
        let (from, until) = (seconds(6), seconds(40));
        scenario.faults = vec![Fault { id: 1, what: What::Lost, replica: None, from, until, share: 300 }];
        scenario
    };
    [54, 102, 165].map(of).into()
}

/// The watches begin anew again and again, with lists of long ago.
fn listed_late(seed: u64) -> Scenario {
    let seconds = Duration::from_secs;
    let mut scenario = rollout(Version::Good);
    scenario.seed = seed;
    scenario.script[1].0 = seconds(20);
    let fault =
        |id, what, share| Fault { id, what, replica: None, from: seconds(44), until: seconds(80), share };
    scenario.faults = vec![fault(1, What::Stale(seconds(40)), 1000), fault(2, What::Gone, 300)];
    scenario
}

/// What a stalled watch brings at last, one kind after the other: another size is asked for, and the `TrafficSplit` is gone.
fn refused_meanwhile() -> Vec<Scenario> {
    let of = |seed| {
        let mut scenario = rollout(Version::Good);
        scenario.seed = seed;
        scenario.script.pop();
        scenario.script.push((Duration::from_secs(50), Deed::Delete(split_key("iris"))));
        let more = json!({"spec": {"replicas": 5}});
        scenario.script.push((Duration::from_secs(55), Deed::Merge(model_key("iris"), more)));
        let (from, until) = (Duration::from_secs(44), Duration::from_secs(70));
        scenario.faults = vec![Fault { id: 1, what: What::Stall, replica: None, from, until, share: 1000 }];
        scenario
    };
    [245, 301].map(of).into()
}
