//! Simulated latencies: log-normal, half within 80 ms and 99 % within 250 ms, judged by "99 % within 300 ms"
//! (statistics.md, 9.4). The same hour of five steps as elsewhere.

use fastrand::Rng;
use libm::erfc;
use seatrial::analysis::counts::Counts;
use seatrial::analysis::settings::Settings;
use seatrial::analysis::slowness::{Arms, FURTHER, Limit, limits};

use super::random::{Noise, poisson};
use super::rules::{self, Outcome, PODS_RATIO};
use super::world::{
    BLOCK_SECONDS, BLOCKS, BLOCKS_PER_STEP, CALM, GROUPS, HISTORY, Moment, Scenario, WEIGHTS,
};

/// The rules that are compared.
pub const RULES: [&str; 4] = [
    "Flagger-like (p99 at most 300 ms)",
    "Seatrial, alpha 1%",
    "alpha 1%, compared at 300 ms only",
    "alpha 1%, nothing known of stable's past",
];

const MEDIAN: f64 = 0.08;
/// ln(250/80) over the 99th percentile of the standard normal distribution.
const DEVIATION: f64 = 0.489_78;
/// The edges of the buckets in seconds; the last one is the objective's.
const EDGES: [f64; 4] = [0.1, 0.16, 0.26, 0.3];
const ALLOWED: f64 = 0.01;
/// Blocks of the piece of stable's past in which the operator looks for its percentiles.
const PIECE: usize = 240;

/// How the latencies behave.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    /// Its name in statistics.md.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// How many times longer the candidate takes.
    pub slower: f64,
    /// Noise of all requests: deviation and correlation time in seconds.
    pub shared: (f64, f64),
    /// Noise of each group of pods by itself.
    pub own: (f64, f64),
    /// Median seconds until the rollback in statistics.md, from 10 requests a second on; infinite: nothing is promised.
    pub published: [f64; 3],
}

const QUIET: Latencies = Latencies {
    name: "L1",
    about: "healthy, independent requests",
    slower: 1.0,
    shared: (0.0, 0.0),
    own: (0.0, 0.0),
    published: [f64::INFINITY; 3],
};

const NOISY: Latencies = Latencies {
    name: "L2",
    about: "healthy, noise of the latencies: shared sd 0.1, own 0.05, 2 min",
    shared: (0.1, 120.0),
    own: (0.05, 120.0),
    ..QUIET
};

/// Candidates that are as fast as stable, and slower ones.
pub const LATENCIES: [Latencies; 7] = [
    QUIET,
    NOISY,
    Latencies { name: "L3", about: "1.3x as slow", slower: 1.3, published: [705.0, 105.0, 45.0], ..QUIET },
    Latencies { name: "L4", about: "1.5x as slow", slower: 1.5, published: [255.0, 60.0, 45.0], ..QUIET },
    Latencies { name: "L5", about: "2x as slow", slower: 2.0, published: [90.0, 45.0, 45.0], ..QUIET },
    // statistics.md learns how much the arms vary from groups of pods, which a gateway's metrics do not tell apart.
    Latencies { name: "L6", about: "1.5x as slow, noise of L2", slower: 1.5, ..NOISY },
    Latencies { name: "L7", about: "2x as slow, noise of L2", slower: 2.0, ..NOISY },
];

impl Latencies {
    /// Whether the candidate is no slower than stable.
    pub fn is_healthy(&self) -> bool {
        self.slower <= 1.0
    }
}

/// Requests of a block: all, and those beyond each edge.
#[derive(Clone, Copy, Default)]
struct Requests {
    total: f64,
    beyond: [f64; EDGES.len()],
}

impl Requests {
    /// Poisson arrivals whose latencies are `factor` times stable's usual ones.
    fn draw(rng: &mut Rng, mean: f64, factor: f64) -> Self {
        let share =
            |edge: f64| erfc((edge / (MEDIAN * factor)).ln() / DEVIATION / std::f64::consts::SQRT_2) / 2.0;
        let mut requests = Self::default();
        let mut within = 1.0;
        for (at, edge) in EDGES.into_iter().enumerate() {
            let beyond = share(edge);
            let here = poisson(rng, mean * (within - beyond));
            requests.total += here;
            requests.beyond[..at].iter_mut().for_each(|count| *count += here);
            within = beyond;
        }
        let slowest = poisson(rng, mean * within);
        requests.total += slowest;
        requests.beyond.iter_mut().for_each(|count| *count += slowest);
        requests
    }

    fn and(mut self, other: Self) -> Self {
        self.total += other.total;
        self.beyond.iter_mut().zip(other.beyond).for_each(|(count, more)| *count += more);
        self
    }

    fn at(&self, limit: f64) -> Counts {
        let beyond = EDGES.iter().zip(self.beyond).find(|(edge, _)| edge.total_cmp(&limit).is_eq());
        Counts::exact(beyond.map_or(0.0, |(_, count)| count), self.total)
    }
}

/// What the rules make of one rollout: its moments, and when each of [`RULES`] rolls it back.
pub fn play(rng: &mut Rng, latencies: &Latencies, rps: f64) -> (Vec<Moment>, [Outcome; RULES.len()]) {
    let settings = learned(&past(rng, latencies, rps));
    let moments = rollout(rng, latencies, rps, settings.further);
    let scenario = Scenario { limit: ALLOWED, ..CALM };
    let judged = |settings: &Settings| rules::ours(&scenario, settings, &moments);
    let at_objective = Settings { further: [None; FURTHER], ..settings };
    let outcomes = [
        rules::flagger(&scenario, &moments),
        judged(&settings),
        judged(&at_objective),
        judged(&rules::unknown(&at_objective)),
    ];
    (moments, outcomes)
}

/// Four hours of stable alone, all its pods together.
fn past(rng: &mut Rng, latencies: &Latencies, rps: f64) -> Vec<Requests> {
    let mut noise = Weather::new(rng, latencies);
    (0..HISTORY).map(|_| noise.stable(rng, rps * BLOCK_SECONDS)).collect()
}

/// The settings as the operator learns them.
fn learned(past: &[Requests]) -> Settings {
    let rows = |limit: f64| -> Vec<Counts> { past.iter().map(|requests| requests.at(limit)).collect() };
    let piece = past[..PIECE].iter().copied().fold(Requests::default(), Requests::and);
    let beyond: Vec<(f64, f64)> = EDGES.into_iter().zip(piece.beyond).collect();
    let objective = EDGES[EDGES.len() - 1];
    let slower: Vec<(f64, Vec<Counts>)> =
        limits(&beyond, piece.total, objective).into_iter().map(|limit| (limit, rows(limit))).collect();
    let settings = Settings::default().learned_from(rows(objective), ALLOWED, PODS_RATIO);
    settings.compared_at(&slower, PODS_RATIO)
}

fn rollout(rng: &mut Rng, latencies: &Latencies, rps: f64, further: [Option<Limit>; FURTHER]) -> Vec<Moment> {
    let mut noise = Weather::new(rng, latencies);
    let objective = EDGES[EDGES.len() - 1];
    (0..BLOCKS)
        .map(|block| {
            let (step, all) = (block / BLOCKS_PER_STEP, rps * BLOCK_SECONDS);
            let stable = noise.stable(rng, all * (1.0 - WEIGHTS[step]));
            let factor = noise.now * noise.candidate.next(rng) * latencies.slower;
            let candidate = Requests::draw(rng, all * WEIGHTS[step], factor);
            let arms = |limit: f64| -> Arms { (candidate.at(limit), stable.at(limit)) };
            let (of_candidate, of_stable) = arms(objective);
            Moment {
                step,
                candidate: of_candidate,
                stable: of_stable,
                twin: Counts::exact(0.0, 0.0),
                further: further.map(|limit| Some(arms(limit?.seconds))),
            }
        })
        .collect()
}

/// The state of the noise.
struct Weather {
    shared: Noise,
    groups: [Noise; GROUPS],
    candidate: Noise,
    now: f64,
}

impl Weather {
    fn new(rng: &mut Rng, latencies: &Latencies) -> Self {
        let mut own = || Noise::new(rng, latencies.own.0, latencies.own.1);
        let (groups, candidate) = (std::array::from_fn(|_| own()), own());
        Self { shared: Noise::new(rng, latencies.shared.0, latencies.shared.1), groups, candidate, now: 1.0 }
    }

    /// The next block's noise, and stable's requests in it.
    fn stable(&mut self, rng: &mut Rng, mean: f64) -> Requests {
        self.now = self.shared.next(rng);
        let mut sum = Requests::default();
        for group in &mut self.groups {
            let factor = self.now * group.next(rng);
            sum = sum.and(Requests::draw(rng, mean / 4.0, factor));
        }
        sum
    }
}
