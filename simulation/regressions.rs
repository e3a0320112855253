//! Worlds that found bugs. Each says what would have happened to a user; they run first.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use seatrial::world::plant::user::{About, Deed};

use crate::{
    faults::{Fault, What},
    plans::bases::rollout,
    report::Report,
    scenario::{Scenario, Version, model_key},
    seed,
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
            "a model that was deleted and made anew left its route to nobody for some seconds",
            vec![made_anew()],
        ),
        (
            "a version promoted by hand before its first step got requests that no proxy could send",
            promoted(),
        ),
    ]
}

/// Runs them; what fails again is told with its story.
pub fn run(report: &Mutex<Report>) {
    for (story, scenarios) in all() {
        for (number, scenario) in scenarios.iter().enumerate() {
            let outcome = seed::play(scenario);
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(&outcome);
            if let Some(first) = outcome.report.violations.first() {
                println!("regression ({story}, {number}): {first}");
                report.failed.push((format!("regression: {story}, {number}"), first.to_string()));
            }
        }
    }
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

fn paused_by_itself() -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.splits.clear();
    scenario
        .script
        .retain(|(_, deed)| !matches!(deed, Deed::Create(object) if object["kind"] == "TrafficSplit"));
    for (second, verb) in [(46, "pause"), (61, "resume")] {
        let model = model_key("iris");
        let deed = Deed::Verb { model, verb, about: About::Candidate, step: None };
        scenario.script.push((Duration::from_secs(second), deed));
    }
    scenario
}

fn made_anew() -> Scenario {
    let mut scenario = rollout(Version::Good);
    let Some(mut anew) = scenario.script.iter().find_map(|(_, deed)| match deed {
        Deed::Create(object) if object["kind"] == "ModelDeployment" => Some(object.clone()),
        _ => None,
    }) else {
        return scenario;
    };
    anew["spec"]["model"]["version"] = "0.1.0".into();
    scenario.script.pop();
    scenario.script.push((Duration::from_secs(35), Deed::Delete(model_key("iris"))));
    scenario.script.push((Duration::from_mins(1), Deed::Create(anew)));
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

fn stalled() -> Scenario {
    let (from, until) = (Duration::from_secs(49), Duration::from_secs(81));
    let fault = Fault { id: 1, what: What::Stall, replica: None, from, until, share: 1000 };
    Scenario { faults: vec![fault], ..rollout(Version::Errors(0.4)) }
}
