//! One seed, from its beginning to its verdict.

use std::{cell::RefCell, collections::BTreeMap, panic, thread, time::Duration};

use seatrial::world::history::Change;
use tokio::runtime::Builder;

use crate::{
    checker::{self, Invariant, Violation},
    entropy,
    scenario::Scenario,
    stage::Stage,
    story,
};

thread_local! {
    /// What panicked in this thread since it began.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What one run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the checker says.
    pub report: checker::Report,
    /// Every change.
    pub history: Vec<Change>,
    /// How many there were.
    pub changes: u64,
    /// What the operator's replicas asked for.
    pub asked: Vec<checker::Request>,
    /// Requests of the operator's replicas.
    pub requests: u64,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// Virtual time.
    pub lived: Duration,
    /// Writes of each replica, as crashes count them.
    pub writes: [u32; 2],
    /// When which replica was told of something by a watch.
    pub events: Vec<(usize, Duration)>,
}

impl Outcome {
    /// A number for the whole history.
    pub fn hash(&self) -> u64 {
        story::hash(&self.history)
    }
}

/// From now on a panic is remembered in its thread and not printed: the controllers catch those of their reconciles.
pub fn catch_panics() {
    panic::set_hook(Box::new(|info| PANICS.with_borrow_mut(|panics| panics.push(info.to_string()))));
}

/// Runs a scenario from its beginning to the checker's verdict, in a thread of its own.
pub fn play(scenario: &Scenario) -> Outcome {
    apart(scenario, |outcome| outcome)
}

/// As [`play`], but the history ends where it began: megabytes that one thread makes and another frees cost the allocator
/// much more.
pub fn verdict(scenario: &Scenario) -> Outcome {
    apart(scenario, |outcome| Outcome { history: vec![], ..outcome })
}

fn apart(scenario: &Scenario, end: impl Fn(Outcome) -> Outcome + Send + 'static) -> Outcome {
    let scenario = scenario.clone();
    let seed = scenario.seed;
    #[cfg(feature = "mutants")]
    let mutant = seatrial::mutant::chosen();
    let thread = thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        #[cfg(feature = "mutants")]
        seatrial::mutant::choose(mutant);
        entropy::seed(seed);
        PANICS.take();
        let runtime = match Builder::new_current_thread().enable_time().start_paused(true).build() {
            Ok(runtime) => runtime,
            Err(error) => unreachable!("no runtime: {error}"),
        };
        end(runtime.block_on(live(&scenario)))
    });
    match thread.map(thread::JoinHandle::join) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => broken(format!("the world panicked: {:?}", panic.downcast_ref::<String>())),
        Err(error) => broken(format!("no thread: {error}")),
    }
}

/// A world that could not be run to its end is a failure, whatever the reason.
fn broken(message: String) -> Outcome {
    let violation = Violation { invariant: Invariant::S28, at: Duration::ZERO, revision: None, message };
    Outcome {
        report: checker::Report { violations: vec![violation], ..Default::default() },
        ..Outcome::default()
    }
}

/// Lives through a scenario, and has its history checked.
async fn live(scenario: &Scenario) -> Outcome {
    let stage = Stage::build(scenario);
    let lived = stage.run(scenario).await;
    let panics = PANICS.take();
    let input = stage.input(scenario, panics);
    let report = checker::check(&input);
    Outcome {
        report,
        changes: input.changes.len() as u64,
        requests: stage.weather.requests(),
        faults: stage.weather.fired(),
        history: input.changes,
        asked: input.requests,
        lived,
        writes: stage.weather.writes(),
        events: stage.weather.events(),
    }
}
