//! The simulated rollouts: one hour, 5/10/25/50/75 % for twelve minutes each, four groups of stable pods.

use fastrand::Rng;
use seatrial::analysis::counts::Counts;
use seatrial::analysis::slowness::{Arms, FURTHER};

use super::random::{Noise, poisson};

/// Length of a block.
pub const BLOCK_SECONDS: f64 = 15.0;
/// Blocks of a rollout.
pub const BLOCKS: usize = 240;
/// Blocks of stable's history before it: four hours.
pub const HISTORY: usize = 960;
/// Groups of stable pods.
pub const GROUPS: usize = 4;

/// The candidate's share of the traffic in each step.
pub const WEIGHTS: [f64; 5] = [0.05, 0.1, 0.25, 0.5, 0.75];
/// Blocks of a step.
pub const BLOCKS_PER_STEP: usize = BLOCKS / WEIGHTS.len();

/// How the world behaves; shares are of all requests.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in statistics.md.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Bad requests of stable.
    pub base: f64,
    /// Bad requests that the objective allows.
    pub limit: f64,
    /// How much worse than stable the judge is told to tolerate.
    pub tolerance: f64,
    /// The candidate's bad requests as a multiple of stable's, from `since` on.
    pub factor: f64,
    /// Block in which the candidate turns bad.
    pub since: usize,
    /// Noise of all requests: deviation and correlation time in seconds.
    pub shared: (f64, f64),
    /// Noise of each group of pods by itself.
    pub own: (f64, f64),
    /// Bursts an hour: one block with 10 % more errors in a third of the pods, or in the candidate.
    pub bursts: f64,
    /// Three minutes with 3 % more errors for everybody.
    pub incident: bool,
    /// So few errors by themselves that every second history of stable shows none, whatever the traffic.
    pub quiet: bool,
}

impl Scenario {
    /// Its name and what it is.
    pub fn title(&self) -> (&'static str, &'static str) {
        (self.name, self.about)
    }

    /// The scenario at so many requests a second.
    pub fn at(&self, rps: f64) -> Self {
        let hours = rps * BLOCK_SECONDS * 960.0;
        Self { base: if self.quiet { 0.5 / hours } else { self.base }, ..*self }
    }
}

/// One block of a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Step of the schedule.
    pub step: usize,
    /// The candidate.
    pub candidate: Counts,
    /// All of stable.
    pub stable: Counts,
    /// A part of stable as large as the candidate, as Kayenta's users are told to deploy (drawn for it only).
    pub twin: Counts,
    /// Both arms at the settings' further limits.
    pub further: [Option<Arms>; FURTHER],
}

/// The state of the noise.
struct Weather {
    shared: Noise,
    stable: [Noise; GROUPS],
    candidate: Noise,
    twin: Noise,
}

impl Weather {
    fn new(rng: &mut Rng, scenario: &Scenario) -> Self {
        let mut own = || Noise::new(rng, scenario.own.0, scenario.own.1);
        let (stable, candidate, twin) = (std::array::from_fn(|_| own()), own(), own());
        Self { shared: Noise::new(rng, scenario.shared.0, scenario.shared.1), stable, candidate, twin }
    }
}

/// Whom a burst hits: the candidate or one of two halves of stable.
#[derive(Clone, Copy, PartialEq)]
enum Hit {
    Candidate,
    Half(usize),
}

fn burst(rng: &mut Rng, scenario: &Scenario) -> Option<Hit> {
    let chance = scenario.bursts * BLOCK_SECONDS / 3600.0;
    (rng.f64() < chance).then(|| match rng.u8(0..3) {
        0 => Hit::Candidate,
        half => Hit::Half(usize::from(half) - 1),
    })
}

/// Four hours of stable alone, one row per group of pods.
pub fn history(rng: &mut Rng, scenario: &Scenario, rps: f64) -> Vec<Vec<Counts>> {
    let mut weather = Weather::new(rng, scenario);
    let mut rows = vec![Vec::new(); GROUPS];
    let each = rps * BLOCK_SECONDS / 4.0;
    for _ in 0..HISTORY {
        let shared = weather.shared.next(rng);
        let hit = burst(rng, scenario);
        for (group, row) in rows.iter_mut().enumerate() {
            let rate = scenario.base * shared * weather.stable[group].next(rng);
            row.push(requests(rng, each, rate + extra(hit == Some(Hit::Half(group / 2)))));
        }
    }
    rows
}

/// All groups of a history together, block by block.
pub fn together(history: &[Vec<Counts>]) -> Vec<Counts> {
    let row = |block: usize| history.iter().map(move |row| row[block]);
    (0..HISTORY).map(|block| row(block).fold(Counts::exact(0.0, 0.0), sum)).collect()
}

/// One hour of a rollout.
pub fn rollout(rng: &mut Rng, scenario: &Scenario, rps: f64) -> Vec<Moment> {
    let mut traffic = Live::new(rng, scenario, rps);
    let incident = rng.usize(0..BLOCKS - 12);
    (0..BLOCKS)
        .map(|block| {
            let during = scenario.incident && (incident..incident + 12).contains(&block);
            let factor = if block >= scenario.since { scenario.factor } else { 1.0 };
            traffic.block(rng, block / BLOCKS_PER_STEP, factor, if during { 0.03 } else { 0.0 })
        })
        .collect()
}

/// Requests to both versions, block after block.
pub struct Live<'a> {
    weather: Weather,
    scenario: &'a Scenario,
    rps: f64,
}

impl<'a> Live<'a> {
    /// Before the first block.
    pub fn new(rng: &mut Rng, scenario: &'a Scenario, rps: f64) -> Self {
        Self { weather: Weather::new(rng, scenario), scenario, rps }
    }

    /// The next block at the weight of `step`: the candidate has `factor` times the bad requests, and `everybody` as
    /// many more as an incident makes.
    pub fn block(&mut self, rng: &mut Rng, step: usize, factor: f64, everybody: f64) -> Moment {
        let (scenario, weather) = (self.scenario, &mut self.weather);
        let (all, weight) = (self.rps * BLOCK_SECONDS, WEIGHTS[step.min(WEIGHTS.len() - 1)]);
        let base = scenario.base * weather.shared.next(rng);
        let hit = burst(rng, scenario);
        let mut stable = Counts::exact(0.0, 0.0);
        for (group, noise) in weather.stable.iter_mut().enumerate() {
            let rate = base * noise.next(rng) + everybody + extra(hit == Some(Hit::Half(group / 2)));
            stable = sum(stable, requests(rng, all * (1.0 - weight) / 4.0, rate));
        }
        let own = base * weather.candidate.next(rng) * factor + everybody;
        let candidate = requests(rng, all * weight, own + extra(hit == Some(Hit::Candidate)));
        let twin = base * weather.twin.next(rng) + everybody + extra(hit == Some(Hit::Half(0)));
        Moment { step, candidate, stable, twin: requests(rng, all * weight, twin), further: [None; FURTHER] }
    }
}

fn extra(burst: bool) -> f64 {
    if burst { 0.1 } else { 0.0 }
}

/// Poisson arrivals, each bad with chance `rate`: two independent Poisson counts.
fn requests(rng: &mut Rng, mean: f64, rate: f64) -> Counts {
    let rate = rate.min(1.0);
    let bad = poisson(rng, mean * rate);
    Counts::exact(bad, bad + poisson(rng, mean * (1.0 - rate)))
}

fn sum(a: Counts, b: Counts) -> Counts {
    Counts::exact(a.bad + b.bad, a.total + b.total)
}

/// A healthy candidate among independent requests.
pub const CALM: Scenario = Scenario {
    name: "N1",
    about: "healthy, independent requests",
    base: 0.001,
    limit: 0.003,
    tolerance: 1.25,
    factor: 1.0,
    since: 0,
    shared: (0.0, 0.0),
    own: (0.0, 0.0),
    bursts: 0.0,
    incident: false,
    quiet: false,
};

/// Candidates that must not be rolled back.
pub const NULLS: [Scenario; 10] = [
    CALM,
    Scenario {
        name: "N2",
        about: "exactly at the objective, tolerance 1",
        limit: 0.001,
        tolerance: 1.0,
        ..CALM
    },
    Scenario { name: "N3", about: "shared noise, sd 0.7, 2 min", shared: (0.7, 120.0), ..CALM },
    Scenario { name: "N4", about: "noise of each group, sd 0.5, 2 min", own: (0.5, 120.0), ..CALM },
    Scenario { name: "N5", about: "noise of each group, sd 0.7, 5 min", own: (0.7, 300.0), ..CALM },
    Scenario { name: "N6", about: "bursts of 10 % errors in one arm, 6/h", bursts: 6.0, ..CALM },
    Scenario { name: "N7", about: "shared incident, 3 min, +3 % errors", incident: true, ..CALM },
    Scenario {
        name: "Q5",
        about: "hardly an error before, noise of each group, sd 0.7, 5 min",
        own: (0.7, 300.0),
        quiet: true,
        ..CALM
    },
    Scenario {
        name: "Q6",
        about: "hardly an error before, bursts in one arm, one in 4 h",
        bursts: 0.25,
        quiet: true,
        ..CALM
    },
    Scenario {
        name: "Q7",
        about: "hardly an error before, shared incident",
        incident: true,
        quiet: true,
        ..CALM
    },
];

/// Candidates that should be.
pub const FAULTS: [Scenario; 8] = [
    Scenario { name: "A1", about: "2x errors, within the objective", factor: 2.0, ..CALM },
    Scenario { name: "A2", about: "5x errors", factor: 5.0, ..CALM },
    Scenario { name: "A3", about: "10x errors", factor: 10.0, ..CALM },
    Scenario { name: "A4", about: "10x errors from minute 30", factor: 10.0, since: 120, ..CALM },
    Scenario {
        name: "A5",
        about: "5x, shared noise 0.7 and own 0.3",
        factor: 5.0,
        shared: (0.7, 120.0),
        own: (0.3, 120.0),
        ..CALM
    },
    Scenario {
        name: "A6",
        about: "10x, same noise",
        factor: 10.0,
        shared: (0.7, 120.0),
        own: (0.3, 120.0),
        ..CALM
    },
    Scenario { name: "A7", about: "10x among the bursts of N6", factor: 10.0, bursts: 6.0, ..CALM },
    Scenario { name: "A8", about: "50 % errors", factor: 500.0, ..CALM },
];

/// Candidates beyond their objective that must not be promoted, and healthy ones that should be.
pub const PROMOTIONS: [Scenario; 6] = [
    Scenario { name: "P0", about: "healthy, objective 99 %", limit: 0.01, ..CALM },
    Scenario { name: "P1", about: "exactly at the objective", base: 0.003, ..CALM },
    Scenario { name: "P2", about: "1.5x the objective", base: 0.0045, ..CALM },
    Scenario { name: "P3", about: "3x the objective", base: 0.009, ..CALM },
    Scenario {
        name: "P4",
        about: "at the objective on average, noise of each group, sd 0.7, 5 min",
        base: 0.003,
        own: (0.7, 300.0),
        ..CALM
    },
    Scenario {
        name: "P5",
        about: "at the objective on average, shared noise, sd 0.7, 2 min",
        base: 0.003,
        shared: (0.7, 120.0),
        ..CALM
    },
];
