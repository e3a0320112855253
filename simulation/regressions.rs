//! Worlds that found bugs. Each says what would have happened to a user; they run first.

pub mod lost;
pub mod old;
pub mod refused;
pub mod shared;

use std::{
    env,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use seatrial::world::{
    history::Key,
    plant::user::{About, Deed},
};
use serde_json::json;

use crate::{
    beside,
    draw::revision_of,
    faults::{Fault, What},
    objects::{Model, NAMESPACE, Split},
    plans::bases::rollout,
    replica::LEASE,
    report::Report,
    scenario::{Scenario, Version, model_key, split_key},
    seed, story,
};

/// What would have happened to a user, and the worlds that showed it.
fn all() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "the first revision lost its traffic to a newer spec before it was Stable; nobody was served",
            moved_on(),
        ),
        ("pause rejected the new version of a model without a TrafficSplit", vec![paused_by_itself()]),
        (
            "with a stalled watch, a status was refused again and again, and a rollback waited",
            vec![stalled()],
        ),
        (
            "a model that was deleted and made anew left its route to nobody for some seconds, or gave its share to no pod",
            vec![made_anew(35, 60, "0.1.0"), made_anew(54, 59, "0.0.0"), made_anew(57, 62, "0.0.0")],
        ),
        (
            "a version promoted by hand before its first step got requests that no proxy could send",
            promoted(),
        ),
        (
            "a clock that was set by an hour ended a deadline early, and a healthy version was rejected; or it never ended",
            clocks(),
        ),
        (
            "where the API server's answers were cut off, statuses were sent again on versions that were refused",
            vec![cut_off()],
        ),
        (
            "with its snapshot deleted, the stable revision was taken for gone: no rollback, and pods that stayed for ever",
            snapshot_deleted(),
        ),
        (
            "a TrafficSplit that was made anew before its old route had gone started a candidate that it could not route to",
            vec![route_left()],
        ),
        (
            "a TrafficSplit that yields to an older one went on saying that a model is missing which is there",
            vec![yields()],
        ),
        (
            "a model that only a yielding TrafficSplit names was never looked at again: a new version did not start",
            vec![left_alone()],
        ),
        ("a route that was deleted and made anew got traffic before every proxy knew it", routes_deleted()),
        (
            "a new version that had to wait for its turn was shown as rejected, for no reason, and failed its GitOps sync",
            vec![waits()],
        ),
        (
            "a model without replicas got pods for a new version, and traffic to none; then it was stuck in RollingBack",
            parked(),
        ),
        (
            "a first revision whose pods came and went wrote its route each time, and never served",
            vec![flaps()],
        ),
        ("a replica that had just started took a deleted Lease while another led", lease_deleted()),
    ]
}

/// As [`all`].
fn more() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "a model whose TrafficSplit was deleted while its candidate was withdrawn started no version any more",
            withdrawn_without_split(),
        ),
        (
            "a leader whose epoch was lower than that of an object led for ever, and wrote no status any more",
            outranked(),
        ),
        (
            "a candidate with more pods than full size lost some when it got all traffic, and was rejected for their requests",
            vec![shrinks()],
        ),
    ]
}

/// Runs them; of what fails again `TELL=1` tells the history.
pub fn run(report: &Mutex<Report>) {
    let all: Vec<_> = all()
        .into_iter()
        .chain(more())
        .chain(lost::all())
        .chain(refused::all())
        .chain(shared::all())
        .chain(old::all())
        .collect();
    let worlds: Vec<(&str, usize, &Scenario)> = (all.iter())
        .flat_map(|(about, worlds)| worlds.iter().enumerate().map(|(number, world)| (*about, number, world)))
        .collect();
    beside(0..worlds.len() as u64, |index| {
        let Some((about, number, world)) = usize::try_from(index).ok().and_then(|index| worlds.get(index))
        else {
            return false;
        };
        let mut scenario = (*world).clone();
        scenario.script.sort_by_key(|(at, _)| *at);
        let tells = env::var_os("TELL").is_some();
        let outcome = if tells { seed::play(&scenario) } else { seed::verdict(&scenario) };
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.add(&outcome);
        if let Some(first) = outcome.report.violations.first() {
            println!("regression ({about}, {number}): {first}");
            if tells {
                outcome.history.iter().for_each(|change| println!("{}", story::line(change)));
            }
            report.failed.push((format!("regression: {about}, {number}"), first.to_string()));
        }
        true
    });
}

/// The next version comes at every moment of the first one's start.
fn moved_on() -> Vec<Scenario> {
    let at = |millis| {
        let mut scenario = rollout(Version::NeverReady);
        if let Some((when, _)) = scenario.script.last_mut() {
            *when = Duration::from_millis(millis);
        }
        scenario
    };
    (6..26).map(|half| at(half * 500)).collect()
}

/// A good version of a model without a `TrafficSplit`.
fn by_itself() -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.splits.clear();
    scenario.script.retain(|(_, deed)| !makes_split(deed));
    scenario
}

fn makes_split(deed: &Deed) -> bool {
    matches!(deed, Deed::Create(object) if object["kind"] == "TrafficSplit")
}

fn paused_by_itself() -> Scenario {
    let mut scenario = by_itself();
    for (second, verb) in [(46, "pause"), (61, "resume")] {
        let model = model_key("iris");
        let deed = Deed::Verb { model, verb, about: About::Candidate, step: None };
        scenario.script.push((Duration::from_secs(second), deed));
    }
    scenario
}

fn made_anew(deleted: u64, made: u64, version: &str) -> Scenario {
    let mut scenario = rollout(Version::Good);
    let Some(mut anew) = scenario.script.iter().find_map(|(_, deed)| match deed {
        Deed::Create(object) if object["kind"] == "ModelDeployment" => Some(object.clone()),
        _ => None,
    }) else {
        return scenario;
    };
    anew["spec"]["model"]["version"] = version.into();
    let (deleted, made) = (Duration::from_secs(deleted), Duration::from_secs(made));
    scenario.script.retain(|(at, _)| *at < deleted);
    scenario.script.push((deleted, Deed::Delete(model_key("iris"))));
    scenario.script.push((made, Deed::Create(anew)));
    scenario
}

/// At every moment of the candidate's start.
fn promoted() -> Vec<Scenario> {
    let at = |millis| {
        let mut scenario = rollout(Version::Good);
        let model = model_key("iris");
        let deed = Deed::Verb { model, verb: "promote", about: About::Candidate, step: None };
        scenario.script.push((Duration::from_millis(millis), deed));
        scenario
    };
    (91..103).map(|half| at(half * 500)).collect()
}

/// The clock is an hour ahead, or behind, in the middle of a slow start; the leader begins anew meanwhile, or does not, or
/// once more before it has renewed its Lease.
fn clocks() -> Vec<Scenario> {
    let fault = |id, what, from, until| {
        let (from, until) = (Duration::from_secs(from), Duration::from_secs(until));
        Fault { id, what, replica: None, from, until, share: 1000 }
    };
    let at = |hour: i64, again: bool| {
        let mut faults = vec![fault(1, What::Clock(hour * 3600), 47, 80)];
        if again {
            faults.push(fault(2, What::Kill, 49, 50));
        }
        Scenario { faults, ..rollout(Version::Late(Duration::from_secs(12))) }
    };
    let twice = |again: u64| {
        let mut scenario = at(1, true);
        let (from, until) = (Duration::from_millis(again), Duration::from_secs(53));
        scenario.faults.push(Fault { from, until, ..fault(3, What::Kill, 0, 0) });
        scenario
    };
    let again = (0..8).map(|quarter| twice(50_100 + quarter * 250));
    [at(1, false), at(-1, false), at(1, true), at(-1, true)].into_iter().chain(again).collect()
}

fn cut_off() -> Scenario {
    let (from, until) = (Duration::from_secs(44), Duration::from_secs(70));
    let fault = Fault { id: 1, what: What::Truncated, replica: None, from, until, share: 500 };
    Scenario { faults: vec![fault], ..rollout(Version::Errors(0.4)) }
}

/// Before the rollout, in the middle of it, and after it.
fn snapshot_deleted() -> Vec<Scenario> {
    let at = |version, second| {
        let mut scenario = rollout(version);
        let name = revision_of(&scenario.models[0], "0.0.0");
        let snapshot = Key::new("ControllerRevision", NAMESPACE, &name);
        scenario.script.push((Duration::from_secs(second), Deed::Delete(snapshot)));
        scenario
    };
    vec![
        at(Version::Errors(0.4), 44),
        at(Version::Errors(0.4), 52),
        at(Version::Good, 52),
        at(Version::Good, 75),
    ]
}

fn route_left() -> Scenario {
    let mut scenario = rollout(Version::Good);
    let split = scenario.splits[0].object();
    scenario.script.push((Duration::from_millis(44_950), Deed::Delete(split_key("iris"))));
    scenario.script.push((Duration::from_millis(44_960), Deed::Create(split)));
    scenario
}

/// Of two that were made in the same second, the one whose name comes first is the older.
fn yields() -> Scenario {
    let mut scenario = rollout(Version::Good);
    let elder = Split { name: "flowers", ..scenario.splits[0].clone() };
    scenario.script[0].0 = Duration::from_secs(3);
    scenario.script.push((Duration::from_millis(200), Deed::Create(elder.object())));
    scenario.splits.push(elder);
    scenario
}

/// Between the idle route and its first traffic, at every moment.
fn routes_deleted() -> Vec<Scenario> {
    let at = |millis: u64| {
        let mut scenario = rollout(Version::Good);
        let route = || Deed::Delete(Key::new("HTTPRoute", NAMESPACE, "iris"));
        for again in [0, 1900, 2300] {
            scenario.script.push((Duration::from_millis(millis + again), route()));
        }
        scenario
    };
    (6..14).map(|second| at(second * 1000)).collect()
}

/// "wine" gets a newer version while one of it is taken out, and "iris" has the next turn, which waits for an approval.
fn waits() -> Scenario {
    let mut scenario = rollout(Version::Good);
    let wine = Model { name: "wine", ..scenario.models[0].clone() };
    scenario.splits[0].backends.push(("wine", 10));
    scenario.splits[0].steps[1].approval = true;
    scenario.rewrite();
    scenario.script.push((Duration::ZERO, Deed::Create(wine.object("1.0.0"))));
    let version = |name: &str| Deed::Version(model_key("wine"), name.to_owned());
    let abort = Deed::Verb { model: model_key("wine"), verb: "abort", about: About::Candidate, step: None };
    for (second, deed) in [(40, version("1.1.0")), (53, abort), (54, version("1.2.0"))] {
        scenario.script.push((Duration::from_secs(second), deed));
    }
    scenario.models.push(wine);
    scenario
}

/// At every moment of a rollout, and before it; somebody deletes the route meanwhile.
fn parked() -> Vec<Scenario> {
    let at = |second: u64| {
        let mut scenario = rollout(Version::Good);
        let scale = |replicas: i64| Deed::Merge(model_key("iris"), json!({"spec": {"replicas": replicas}}));
        let route = Deed::Delete(Key::new("HTTPRoute", NAMESPACE, "iris"));
        for (after, deed) in [(0_u64, scale(0)), (8, route), (16, scale(2))] {
            scenario.script.push((Duration::from_secs(second + after), deed));
        }
        scenario
    };
    (42..74).step_by(3).map(at).collect()
}

/// While the candidate is taken out because nobody wants pods for a while, at every moment.
fn withdrawn_without_split() -> Vec<Scenario> {
    let at = |second: u64| {
        let mut scenario = rollout(Version::Good);
        let scale = |replicas: i64| Deed::Merge(model_key("iris"), json!({"spec": {"replicas": replicas}}));
        for (second, deed) in [(53, scale(0)), (second, Deed::Delete(split_key("iris"))), (66, scale(2))] {
            scenario.script.push((Duration::from_secs(second), deed));
        }
        scenario
    };
    (53..62).step_by(2).map(at).collect()
}

fn shrinks() -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.models[0].replicas = 1;
    scenario.splits[0].steps[0].replicas = Some(3);
    scenario.rewrite();
    let deed = Deed::Verb { model: model_key("iris"), verb: "promote", about: About::Candidate, step: None };
    scenario.script.push((Duration::from_secs(55), deed));
    scenario
}

fn flaps() -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.script.pop();
    scenario.models[0].replicas = 4;
    let first = scenario.models[0].object("0.0.0");
    scenario.script[0].1 = Deed::Create(first);
    scenario.versions.insert("0.0.0".to_owned(), Version::Flapping);
    scenario
}

/// The leader hears nothing, and its standby begins anew.
fn lease_deleted() -> Vec<Scenario> {
    let at = |leader: usize| {
        let (seconds, mut scenario) = (Duration::from_secs, rollout(Version::Good));
        let fault = |id, what, replica, from, until| {
            let (from, until) = (seconds(from), seconds(until));
            Fault { id, what, replica: Some(replica), from, until, share: 1000 }
        };
        scenario.faults =
            vec![fault(1, What::Kill, 1 - leader, 40, 48), fault(2, What::Deaf, leader, 46, 53)];
        scenario.script.push((seconds(47), Deed::Delete(Key::new("Lease", LEASE.0, LEASE.1))));
        scenario
    };
    vec![at(0), at(1)]
}

/// The Lease is deleted while nobody leads, and whoever leads next is told of epochs from before the last two leaders.
fn outranked() -> Vec<Scenario> {
    let at = |ago: u64| {
        let (seconds, mut scenario) = (Duration::from_secs, rollout(Version::Good));
        let fault = |id, what, from, until| {
            let (from, until) = (seconds(from), seconds(until));
            Fault { id, what, replica: None, from, until, share: 1000 }
        };
        let kill = |(from, until)| fault(1, What::Kill, from, until);
        scenario.faults = [(25, 26), (35, 36), (46, 48)].map(kill).into();
        scenario.faults.push(fault(2, What::Stale(seconds(ago)), 48, 70));
        scenario.script.push((seconds(47), Deed::Delete(Key::new("Lease", LEASE.0, LEASE.1))));
        scenario
    };
    vec![at(45), at(60)]
}

/// "flowers" yields to "iris", so "wine" is by itself.
fn left_alone() -> Scenario {
    let mut scenario = rollout(Version::Good);
    let wine = Model { name: "wine", ..scenario.models[0].clone() };
    let later =
        Split { name: "flowers", backends: vec![("iris", 10), ("wine", 10)], ..scenario.splits[0].clone() };
    scenario.script.push((Duration::ZERO, Deed::Create(wine.object("1.0.0"))));
    scenario.script.push((Duration::from_secs(5), Deed::Create(later.object())));
    scenario.script.push((Duration::from_secs(50), Deed::Version(model_key("wine"), "1.1.0".to_owned())));
    scenario.models.push(wine);
    scenario.splits.push(later);
    scenario
}

fn stalled() -> Scenario {
    let (from, until) = (Duration::from_secs(49), Duration::from_secs(81));
    let fault = Fault { id: 1, what: What::Stall, replica: None, from, until, share: 1000 };
    Scenario { faults: vec![fault], ..rollout(Version::Errors(0.4)) }
}
