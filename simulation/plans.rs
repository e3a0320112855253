//! Systematic plans: rollouts are recorded without faults, then run again with a crash at every write (before it is sent,
//! after it is applied, after it is answered), with two, and with every watch event late, unobserved or followed by a list
//! from the past, and must end where the recorded one ended. Then specs go through generated changes and must end where they
//! would have begun; and models are deleted while others send to them.

pub mod bases;
pub mod leftovers;
mod transitions;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use seatrial::world::history::Change;
use serde_json::{Value, json};

use crate::{
    beside,
    checker::{Invariant, Violation},
    faults::{Fault, Moment, What},
    number,
    replica::NAMES,
    report::Report,
    scenario::Scenario,
    seed::{self, Outcome},
    story,
};
use bases::Base;

/// The same process again at once, or the other replica.
const AWAY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(25)];
const MOMENTS: [Moment; 3] = [Moment::BeforeSend, Moment::AfterApply, Moment::AfterAnswer];
/// Which part of the budget is for spec changes.
const TRANSITIONS: u64 = 12;
/// Which part is for what deleted models leave.
const LEFTOVERS: u64 = 4;

/// A recorded rollout and one way to disturb it.
struct Plan {
    base: usize,
    faults: Vec<Fault>,
}

/// How many plans of a kind there are, and how many of them run.
struct Tally {
    kind: &'static str,
    all: usize,
    run: usize,
}

/// Runs about `budget` plans; `PLAN=n` runs one of them and tells its history, `CHANGES=n` one sequence of spec changes.
pub fn run(budget: u64) -> Report {
    let bases = bases::all();
    let recorded: Vec<Outcome> = bases.iter().map(|base| seed::play(&base.scenario)).collect();
    let report = Mutex::new(Report::default());
    for (base, outcome) in bases.iter().zip(&recorded) {
        note(&report, &format!("the recorded rollout \"{}\"", base.name), outcome);
    }
    let (plans, tallies) = plans(&bases, &recorded, usize::try_from(budget).unwrap_or(usize::MAX));
    if let Some(number) = number("PLAN") {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        tell(&plans[index.min(plans.len() - 1)], &bases, &recorded);
        return report.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
    if let Some(seed) = number("CHANGES") {
        transitions::tell(seed);
        return report.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
    for tally in tallies {
        println!("{}: {} of {}", tally.kind, tally.run, tally.all);
    }
    beside(0..plans.len() as u64, |number| {
        let Some(plan) = usize::try_from(number).ok().and_then(|index| plans.get(index)) else {
            return false;
        };
        let outcome = play(plan, &bases, &recorded);
        let name = &bases[plan.base].name;
        note(&report, &format!("PLAN={number} make sim-plans (\"{name}\")"), &outcome);
        true
    });
    println!("spec changes: {}", budget / TRANSITIONS);
    transitions::run(budget / TRANSITIONS, &report);
    println!("what deleted models leave: {}", budget / LEFTOVERS);
    leftovers(budget / LEFTOVERS, &report);
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The first so many of [`leftovers::scenario`].
fn leftovers(count: u64, report: &Mutex<Report>) {
    beside(1..count + 1, |seed| {
        let outcome = seed::verdict(&leftovers::scenario(seed));
        note(report, &format!("SEED={seed} make sim-leftovers"), &outcome);
        true
    });
}

/// Counts a run, and says what failed in it.
fn note(report: &Mutex<Report>, what: &str, outcome: &Outcome) {
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    report.add(outcome);
    if let Some(first) = outcome.report.violations.first() {
        println!("{what}: {first}");
        report.failed.push((what.to_owned(), first.to_string()));
    }
}

fn scenario(plan: &Plan, bases: &[Base]) -> Scenario {
    let mut scenario = bases[plan.base].scenario.clone();
    scenario.faults.clone_from(&plan.faults);
    // What is lost is time: the rollout is given it back.
    scenario.quiet += Duration::from_secs(30);
    scenario
}

fn play(plan: &Plan, bases: &[Base], recorded: &[Outcome]) -> Outcome {
    let mut outcome = seed::play(&scenario(plan, bases));
    let (wanted, came) = (serving(&recorded[plan.base].history), serving(&outcome.history));
    *outcome.report.evaluated.entry(Invariant::L1).or_default() += 1;
    if bases[plan.base].determined && wanted != came {
        outcome.report.violations.push(Violation {
            invariant: Invariant::L1,
            at: outcome.lived,
            revision: None,
            message: format!("ended otherwise than without the fault: {came} instead of {wanted}"),
        });
    }
    outcome
}

fn tell(plan: &Plan, bases: &[Base], recorded: &[Outcome]) {
    told(&scenario(plan, bases), &play(plan, bases, recorded));
}

/// Tells what was to happen, what did, and what was wrong with it.
fn told(scenario: &Scenario, outcome: &Outcome) {
    println!("{scenario}");
    for change in &outcome.history {
        println!("{}", story::line(change));
    }
    for violation in &outcome.report.violations {
        println!("VIOLATED {violation}");
    }
}

/// What serves at the end of a history: the models' phases, routes, and the stable revisions. What is kept of older revisions
/// depends on how far each of them got.
fn serving(history: &[Change]) -> Value {
    let mut all = end(history);
    let models: Vec<(String, Value)> = all
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, told)| Some((name.strip_prefix("ModelDeployment/")?.to_owned(), told.clone())))
        .collect();
    let matters = |name: &str| {
        models.iter().any(|(model, told)| {
            let stable = told[1].as_str().unwrap_or_default();
            name == format!("Service/{model}") || name == format!("Deployment/{stable}")
        })
    };
    if let Some(all) = all.as_object_mut() {
        all.retain(|name, _| {
            name.starts_with("ModelDeployment/") || name.starts_with("HTTPRoute/") || matters(name)
        });
    }
    all
}

/// What a history ended in, as far as people would notice: which revision serves, at which size, with which weight.
pub fn end(history: &[Change]) -> Value {
    let mut objects = std::collections::BTreeMap::new();
    for change in history {
        let told = change.after.as_ref().and_then(|object| match change.key.kind.as_str() {
            "ModelDeployment" => {
                let status = &object["status"];
                Some(json!([status["phase"], status["stableRevision"], status["candidateRevision"]]))
            }
            "Deployment" => Some(object["spec"]["replicas"].clone()),
            "HTTPRoute" => {
                let backends = object["spec"]["rules"][0]["backendRefs"].as_array();
                let weights = backends.into_iter().flatten().filter(|b| b["weight"] != 0);
                Some(weights.map(|b| json!([b["name"], b["weight"]])).collect())
            }
            "Service" => Some(object["spec"]["selector"].clone()),
            _ => None,
        });
        let name = format!("{}/{}", change.key.kind, change.key.name);
        match told {
            Some(told) => objects.insert(name, told),
            None => objects.remove(&name),
        };
    }
    json!(objects)
}

/// All single disturbances, then pairs until the budget is spent; what does not fit is left out by a fixed chance.
fn plans(bases: &[Base], recorded: &[Outcome], budget: usize) -> (Vec<Plan>, Vec<Tally>) {
    let mut chance = Rng::with_seed(7);
    let (mut crashes, mut events, mut pairs) = (vec![], vec![], vec![]);
    for (base, outcome) in recorded.iter().enumerate() {
        let leader = usize::from(outcome.writes[1] > outcome.writes[0]);
        let (writes, until) = (outcome.writes[leader], bases[base].scenario.quiet);
        for (after, moment) in (1..=writes).flat_map(|after| MOMENTS.map(|moment| (after, moment))) {
            for away in AWAY {
                crashes.push(Plan { base, faults: vec![crash(leader, after, moment, away, until)] });
            }
            for (second, other) in (1..=writes).flat_map(|second| MOMENTS.map(|moment| (second, moment))) {
                let first = |away| crash(leader, after, moment, away, until);
                if second > after {
                    let again = crash(leader, second, other, AWAY[0], until);
                    pairs.push(Plan { base, faults: vec![first(AWAY[0]), again] });
                }
                let taken_over = crash(1 - leader, second, other, AWAY[0], until);
                pairs.push(Plan { base, faults: vec![first(AWAY[1]), taken_over] });
            }
        }
        let mut moments: Vec<Duration> =
            outcome.events.iter().filter(|(replica, _)| *replica == leader).map(|(_, at)| *at).collect();
        moments.dedup();
        for at in moments {
            for seconds in [2, 9] {
                events.push(Plan {
                    base,
                    faults: vec![moment(leader, at, What::Skip(Duration::from_secs(seconds)))],
                });
            }
            let stale = Fault {
                until: at + Duration::from_secs(4),
                ..moment(leader, at, What::Stale(Duration::from_secs(5)))
            };
            events.push(Plan { base, faults: vec![moment(leader, at, What::Gone), stale] });
        }
    }
    let mut left = budget.saturating_sub(crashes.len());
    let crash_tally = Tally { kind: "crash at one write", all: crashes.len(), run: crashes.len() };
    let event_tally =
        sample(&mut events, "a watch event late, unobserved or stale", left * 3 / 4, &mut chance);
    left = left.saturating_sub(events.len());
    let pair_tally = sample(&mut pairs, "crashes at two writes", left, &mut chance);
    crashes.append(&mut events);
    crashes.append(&mut pairs);
    (crashes, vec![crash_tally, event_tally, pair_tally])
}

fn sample(plans: &mut Vec<Plan>, kind: &'static str, most: usize, chance: &mut Rng) -> Tally {
    let all = plans.len();
    if all > most {
        chance.shuffle(plans);
        plans.truncate(most);
    }
    Tally { kind, all, run: plans.len() }
}

fn crash(replica: usize, after: u32, moment: Moment, away: Duration, until: Duration) -> Fault {
    let what = What::Crash { after, moment, away };
    Fault { id: u64::from(after), what, replica: Some(replica), from: Duration::ZERO, until, share: 1000 }
}

/// What happens to the event of exactly this moment.
fn moment(replica: usize, at: Duration, what: What) -> Fault {
    assert!(replica < NAMES.len());
    Fault { id: 1, what, replica: Some(replica), from: at, until: at + Duration::from_millis(1), share: 1000 }
}
