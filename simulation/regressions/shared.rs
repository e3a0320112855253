//! Worlds in which several write to the same objects: requests that come late or twice, replicas that know too little,
//! people who write over ours, `TrafficSplits` that name each other's models.

use std::time::Duration;

use seatrial::world::{
    history::Key,
    plant::user::{About, Deed},
};
use serde_json::json;

use crate::{
    draw::revision_of,
    faults::{Fault, What},
    objects::{Model, NAMESPACE, Split},
    plans::{bases::rollout, leftovers},
    scenario::{Scenario, Version, model_key, split_key},
};

/// As [`super::all`].
pub fn all() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "a request to make a route that came once more, later, took the route back to its first weights",
            vec![delivered_twice(), delivered_late()],
        ),
        ("time with somebody else's smaller weight counted as the step's", written_over()),
        (
            "the pods that a TrafficSplit sent to ended while it yielded to an older one that was edited",
            yields_under_traffic(),
        ),
        ("a version promoted twice got everything before one of its pods was ready", vec![promoted_twice()]),
        (
            "a TrafficSplit that had yielded was not looked at any more once it need not: the model of both stood still",
            (1..=16).map(yielded_unseen).collect(),
        ),
        (
            "pods that a yielding route had sent to ended before the last proxy had forgotten that it was deleted",
            (1..=24).map(yielding_deleted).collect(),
        ),
        (
            "while a TrafficSplit yielded, its users were never sent to a new version, and old pods stayed for ever",
            yields_for_ever(),
        ),
        (
            "a Service deleted by hand of a model that was made anew made the Gateways refuse its route for ever",
            service_deleted(),
        ),
        (
            "the pods of a deleted model ended at once when its route was deleted, too, under requests",
            vec![all_deleted(2), all_deleted(3)],
        ),
        (
            "pods of a deleted model stayed for ever where the route of a TrafficSplit that yields had never sent to anybody",
            (2..14).map(yields_before_any_traffic).collect(),
        ),
        (
            "pods that a deleted model had left ended under requests of a Service, of another route, or of its next life",
            [1108, 2136, 3285].map(leftovers::scenario).to_vec(),
        ),
        (
            "a yielding route went on to send to pods that had gone, or kept some for ever",
            [873, 1676, 2886, 3340, 7440, 8495, 8713, 8832].map(leftovers::scenario).to_vec(),
        ),
        (
            "a replica that was cut off while a model was made took it for deleted, and ended its pods",
            vec![cut_off_since_before()],
        ),
    ]
}

fn promoted_twice() -> Scenario {
    let mut scenario = rollout(Version::NeverReady);
    for second in [47, 52] {
        let model = model_key("iris");
        let deed = Deed::Verb { model, verb: "promote", about: About::Candidate, step: None };
        scenario.script.push((Duration::from_secs(second), deed));
    }
    scenario
}

/// The other one had made it all.
fn cut_off_since_before() -> Scenario {
    let fault = |id, what, replica, from, until| {
        let (from, until) = (Duration::from_millis(from), Duration::from_millis(until));
        Fault { id, what, replica, from, until, share: 1000 }
    };
    let mut scenario = rollout(Version::Good);
    scenario.script = vec![
        (Duration::from_millis(786), scenario.script[0].1.clone()),
        (Duration::from_millis(1387), scenario.script[1].1.clone()),
    ];
    scenario.faults = vec![
        fault(1, What::Deaf, None, 200, 31_700),
        fault(2, What::Stall, Some(0), 30_300, 53_600),
        fault(3, What::Deaf, Some(1), 37_800, 66_600),
        fault(4, What::Down, None, 50_000, 61_300),
    ];
    scenario
}

fn delivered_twice() -> Scenario {
    let (from, until) = (Duration::ZERO, Duration::from_secs(80));
    let twice = What::Twice(Duration::from_millis(2308));
    Scenario {
        faults: vec![Fault { id: 1, what: twice, replica: None, from, until, share: 1000 }],
        ..rollout(Version::Good)
    }
}

/// Whoever sent it has given up and done it again by then.
fn delivered_late() -> Scenario {
    let (from, until) = (Duration::ZERO, Duration::from_secs(80));
    let late = What::Late(Duration::from_secs(9));
    Scenario {
        faults: vec![Fault { id: 1, what: late, replica: None, from, until, share: 200 }],
        ..rollout(Version::Good)
    }
}

/// At every moment of the last step, somebody gives the candidate the first one's weight.
fn written_over() -> Vec<Scenario> {
    let at = |second| {
        let mut scenario = rollout(Version::Good);
        scenario.splits[0].steps[1].bake = 12;
        scenario.rewrite();
        let backend = |version, weight: i64| json!({"name": revision_of(&scenario.models[0], version), "port": 80, "weight": weight});
        let rule = json!({"backendRefs": [backend("0.0.0", 8000), backend("0.1.0", 2000)]});
        let less = Deed::Merge(Key::new("HTTPRoute", NAMESPACE, "iris"), json!({"spec": {"rules": [rule]}}));
        scenario.script.push((Duration::from_secs(second), less));
        scenario
    };
    (57..75).step_by(3).map(at).collect()
}

/// "iris" is the older one; either of the two is edited to name a model of the other. Then all models get new versions.
fn yields_under_traffic() -> Vec<Scenario> {
    let of = |older: bool, second: u64, end: u64| {
        let mut scenario = yields_at(older, second);
        scenario.script.push((Duration::from_secs(end), Deed::Delete(split_key("flowers"))));
        scenario.quiet = Duration::from_secs(150);
        scenario
    };
    vec![of(true, 40, 130), of(true, 53, 130), of(true, 60, 130), of(false, 40, 130), of(false, 53, 130)]
}

/// The same, and nobody ever resolves the conflict; "wine", or "digits", is deleted and made anew as a third version.
fn yields_for_ever() -> Vec<Scenario> {
    let of = |older: bool, second: u64, deleted: Option<&'static str>| {
        let mut scenario = yields_at(older, second);
        if let Some(name) = deleted
            && let Some(model) = scenario.models.iter().find(|model| model.name == name)
        {
            let anew = model.object(if name == "wine" { "1.2.0" } else { "2.2.0" });
            for (after, deed) in [(20, Deed::Delete(model_key(name))), (24, Deed::Create(anew))] {
                scenario.script.push((Duration::from_secs(second + after), deed));
            }
        }
        scenario.quiet = Duration::from_secs(150);
        scenario
    };
    let mut all = vec![];
    for (older, second) in [(true, 40), (true, 53), (true, 60), (false, 40), (false, 53)] {
        all.extend([None, Some("wine"), Some("digits")].map(|deleted| of(older, second, deleted)));
    }
    all
}

/// "flowers" names "iris" for a while. A new version of that comes before the watch tells that it does so no more, and a
/// reconcile of "flowers" fails, so that it is read live.
pub fn yielded_unseen(seed: u64) -> Scenario {
    let seconds = Duration::from_secs;
    let mut scenario = rollout(Version::Good);
    scenario.seed = seed;
    let wine = Model { name: "wine", ..scenario.models[0].clone() };
    let alone = Split { name: "flowers", backends: vec![("wine", 10)], ..scenario.splits[0].clone() };
    let both = Split { backends: vec![("wine", 10), ("iris", 10)], ..alone.clone() };
    scenario.script = vec![
        (Duration::ZERO, Deed::Create(alone.object())),
        (Duration::ZERO, Deed::Create(wine.object("1.0.0"))),
        (seconds(2), Deed::Create(scenario.splits[0].object())),
        (seconds(2), Deed::Create(scenario.models[0].object("0.0.0"))),
        (seconds(35), both.edit()),
        (seconds(60), alone.edit()),
        (seconds(61), Deed::Version(model_key("iris"), "0.1.0".to_owned())),
    ];
    scenario.models.push(wine);
    scenario.splits.push(alone);
    let fault =
        |id, what| Fault { id, what, replica: None, from: seconds(59), until: seconds(70), share: 500 };
    scenario.faults = vec![fault(1, What::Status(500)), fault(2, What::Slow(seconds(8)))];
    scenario
}

/// "flowers" yields; the model that only it names is deleted, then its route.
fn yielding_deleted(seed: u64) -> Scenario {
    let (second, mut scenario) = (56 + seed % 8, yields_at(false, 40));
    scenario.seed = seed;
    let route = Key::new("HTTPRoute", NAMESPACE, "flowers");
    scenario.propagation = Duration::from_secs(6);
    scenario.script.retain(|(_, deed)| !matches!(deed, Deed::Version(..)));
    for (at, key) in [(44, model_key("wine")), (44, model_key("digits")), (second, route)] {
        scenario.script.push((Duration::from_secs(at), Deed::Delete(key)));
    }
    scenario.quiet = Duration::from_secs(150);
    scenario
}

/// "flowers" yields from so many seconds on; both models that only it names are deleted and made anew as another version.
fn yields_before_any_traffic(second: u64) -> Scenario {
    let mut scenario = yields_at(false, second);
    scenario.propagation = Duration::from_secs(6);
    scenario.script.retain(|(_, deed)| !matches!(deed, Deed::Version(..)));
    for (name, version) in [("wine", "1.2.0"), ("digits", "2.2.0")] {
        let model = scenario.models.iter().find(|model| model.name == name);
        let anew = model.map(|model| Deed::Create(model.object(version)));
        scenario.script.push((Duration::from_secs(30), Deed::Delete(model_key(name))));
        scenario.script.extend(anew.map(|deed| (Duration::from_secs(45), deed)));
    }
    scenario
}

/// "flowers" and "iris", of which one is edited to name a model of the other.
fn yields_at(older: bool, second: u64) -> Scenario {
    let mut scenario = rollout(Version::Good);
    for (number, name) in ["wine", "digits"].into_iter().enumerate() {
        let model = Model { name, ..scenario.models[0].clone() };
        let version = |minor: usize| format!("{}.{minor}.0", number + 1);
        scenario.script.push((Duration::ZERO, Deed::Create(model.object(&version(0)))));
        let at = Duration::from_secs(54 - 9 * u64::try_from(number).unwrap_or(0));
        scenario.script.push((at, Deed::Version(model_key(name), version(1))));
        scenario.models.push(model);
    }
    let mut flowers =
        Split { name: "flowers", backends: vec![("wine", 10), ("digits", 10)], ..scenario.splits[0].clone() };
    scenario.script.push((Duration::from_secs(2), Deed::Create(flowers.object())));
    scenario.splits.push(flowers.clone());
    let mut iris = scenario.splits[0].clone();
    iris.backends.push(("wine", 10));
    flowers.backends.push(("iris", 10));
    let edited = if older { iris } else { flowers };
    scenario.script.push((Duration::from_secs(second), edited.edit()));
    scenario
}

/// At every moment between the deletion of a model and the time when another version of it serves.
fn service_deleted() -> Vec<Scenario> {
    let at = |second: u64| {
        let mut scenario = rollout(Version::Good);
        let (model, service) = (model_key("iris"), revision_of(&scenario.models[0], "0.0.0"));
        let anew = scenario.models[0].object("0.1.0");
        scenario.script.retain(|(at, _)| *at < Duration::from_secs(30));
        let deeds = [
            (35, Deed::Delete(model)),
            (40, Deed::Create(anew)),
            (second, Deed::Delete(Key::new("Service", NAMESPACE, &service))),
        ];
        scenario.script.extend(deeds.map(|(second, deed)| (Duration::from_secs(second), deed)));
        scenario
    };
    (36..58).step_by(3).map(at).collect()
}

/// The route so many seconds after the model.
fn all_deleted(after: u64) -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.script.retain(|(at, _)| *at < Duration::from_secs(30));
    let route = Key::new("HTTPRoute", NAMESPACE, "iris");
    for (second, key) in [(35, model_key("iris")), (35 + after, route)] {
        scenario.script.push((Duration::from_secs(second), Deed::Delete(key)));
    }
    scenario
}
