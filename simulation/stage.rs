//! The stage of one seed: the world, two replicas of the operator in it, and what the checker is told about both.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use seatrial::{
    api::v1alpha1::Duration as Length,
    controller::{Source, clock::Clock},
    prometheus::{
        client::TOTAL,
        provider::{Provider, Settings},
    },
    world::{
        api_server::ApiServer,
        plant::{during, prometheus::wrong::Wrong},
    },
};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use crate::{
    checker::{Facts, Input, Span},
    faults::{Fault, What, weather::Weather},
    objects,
    plant::Plant,
    replica::{Life, NAMES, Replica},
    scenario::Scenario,
};

/// How often it is looked at whether everything has ended.
const LOOK: Duration = Duration::from_secs(5);
/// Nothing more is expected when nothing has changed for so long after the quiet began: longer than the drain of a model
/// without a route.
const STILL: Duration = Duration::from_secs(45);
/// When worlds begin: in the middle of an interval, of a day and of a year.
const NOON: &str = "2026-11-21T12:00:07.3Z";

/// A world with its replicas, not yet running.
pub struct Stage {
    api: ApiServer,
    /// What goes wrong.
    pub weather: Arc<Weather>,
    plant: Plant,
    replicas: [Replica; 2],
    lives: Arc<Mutex<Vec<Life>>>,
}

impl Stage {
    /// Builds it. Virtual time begins now.
    pub fn build(scenario: &Scenario) -> Self {
        let noon: Timestamp = NOON.parse().unwrap_or_default();
        let clock = Clock::at(noon);
        let api = ApiServer::new(clock.clone());
        // The operator throws them away unread.
        api.hide_owners();
        for object in objects::before() {
            if let Err(refused) = api.create("admin", object) {
                unreachable!("the admin's own objects are refused: {refused}");
            }
        }
        let weather = Arc::new(Weather::new(scenario.seed, scenario.faults.clone()));
        let plant = Plant::build(scenario, &api, &clock);
        let lives = Arc::<Mutex<Vec<Life>>>::default();
        let provider = provider(scenario);
        let replica = |index: usize| Replica {
            index,
            seed: scenario.seed,
            api: api.clone(),
            weather: weather.clone(),
            clock: Clock::at(noon),
            providers: BTreeMap::from([(
                "default".to_owned(),
                Source { provider: provider.clone(), transport: plant.transport() },
            )]),
            lives: lives.clone(),
        };
        let replicas = [replica(0), replica(1)];
        Self { api, weather, plant, replicas, lives }
    }

    /// Runs it until everything has ended; how long that took.
    pub async fn run(&self, scenario: &Scenario) -> Duration {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.plant.run());
        for replica in &self.replicas {
            tasks.spawn(replica.clone().run());
            let mine = |fault: &&Fault| fault.replica.is_none_or(|r| r == replica.index);
            for fault in scenario.faults.iter().filter(mine) {
                if let What::Clock(seconds) = fault.what {
                    tasks.spawn(wrong_clock(
                        self.weather.clone(),
                        replica.clock.clone(),
                        fault.clone(),
                        seconds,
                    ));
                }
            }
        }
        let latest = scenario.quiet + scenario.settle();
        sleep_until(self.weather.at(scenario.quiet)).await;
        while self.weather.now() < latest && !self.is_still(scenario) {
            sleep(LOOK).await;
        }
        tasks.abort_all();
        // Everything that is dropped now is dropped before the history is read.
        while tasks.join_next().await.is_some() {}
        self.weather.now()
    }

    /// Whether nothing has changed for a while, and nothing is under way.
    fn is_still(&self, scenario: &Scenario) -> bool {
        let now = self.weather.now();
        if now < scenario.quiet + STILL {
            return false;
        }
        let last = self.api.last(|change| change.key.kind != "Lease");
        let still = last.is_none_or(|change| change.at + STILL <= now);
        still && self.api.list("ModelDeployment", None).iter().all(|model| has_ended(model))
    }

    /// What the checker is told.
    pub fn input(&self, scenario: &Scenario, panics: Vec<String>) -> Input {
        let (applied, served) = self.plant.records();
        Input {
            changes: self.api.since(0),
            applied,
            served,
            requests: self.weather.sent(),
            facts: self.facts(scenario, panics),
        }
    }

    fn facts(&self, scenario: &Scenario, panics: Vec<String>) -> Facts {
        let end = self.weather.now();
        let latency = scenario.splits.iter().all(|split| split.latency);
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let between = |from: Duration, until: Duration| Span { from, until };
        Facts {
            operators: NAMES.iter().map(ToString::to_string).collect(),
            propagation: scenario.propagation,
            scrape: scenario.scrape,
            end,
            faults_end: scenario.quiet,
            quiet_since: scenario.quiet,
            settle: scenario.settle(),
            // Nothing that is promised needs a list of pods.
            faults: (scenario.faults.iter().filter(|fault| fault.what != What::Forbidden("pods")))
                .map(|fault| between(fault.from, fault.until))
                .collect(),
            blind: (scenario.answers.iter().map(|fault| between(fault.from, fault.until)))
                .chain(scenario.stalls.iter().map(|stall| between(stall.from, stall.until)))
                .collect(),
            unanswered: unanswered(scenario),
            deaf: scenario.gateway.iter().map(|fault| between(fault.from, fault.until)).collect(),
            absent: absences(scenario, &lives, end),
            crashes: lives.iter().filter(|life| life.crashed).map(|life| life.ended).collect(),
            jumps: jumps(scenario),
            versions: (scenario.versions.iter())
                .map(|(name, version)| (name.clone(), version.quality(latency)))
                .collect(),
            rate: f64::from(u32::try_from(scenario.rate).unwrap_or(u32::MAX)),
            panics,
            broken: vec![],
        }
    }
}

/// When Prometheus said nothing that is true. Of several things that are wrong with it at a time it does one: where that is to
/// be slow, or a scrape behind, it answers.
fn unanswered(scenario: &Scenario) -> Vec<Span> {
    let tells =
        |what: &Wrong| matches!(what, Wrong::Late(_)) || matches!(what, Wrong::Slow(by) if *by < TOTAL);
    let mut edges: Vec<Duration> =
        scenario.answers.iter().flat_map(|fault| [fault.from, fault.until]).collect();
    edges.sort();
    edges.dedup();
    let mut silent: Vec<Span> = vec![];
    for (from, until) in edges.iter().copied().zip(edges.iter().copied().skip(1)) {
        if during::now(&scenario.answers, from).is_none_or(|fault| tells(&fault.what)) {
            continue;
        }
        match silent.last_mut() {
            Some(before) if before.until == from => before.until = until,
            _ => silent.push(Span { from, until }),
        }
    }
    let stalls = scenario.stalls.iter().map(|stall| Span { from: stall.from, until: stall.until });
    silent.into_iter().chain(stalls).collect()
}

/// Whether nothing is expected of a model any more.
fn has_ended(model: &Value) -> bool {
    let status = &model["status"];
    let phase = status["phase"].as_str().unwrap_or_default();
    // A refused spec has no phase to reach; a pause waits for somebody.
    let ends = matches!(phase, "Stable" | "RolledBack" | "Paused" | "Pending" | "");
    ends && (status["observedGeneration"] == model["metadata"]["generation"])
}

/// How the operator is told to read the world's Prometheus.
fn provider(scenario: &Scenario) -> Provider {
    let length =
        |duration: Duration| Length::from_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    let settings = Settings {
        metrics: "contour".to_owned(),
        revision_label: None,
        scrape_interval: length(scenario.scrape),
        propagation: length(scenario.propagation),
    };
    match Provider::new("default", &settings) {
        Ok(provider) => provider,
        Err(refused) => unreachable!("the simulation's own provider: {refused}"),
    }
}

async fn wrong_clock(weather: Arc<Weather>, clock: Clock, fault: Fault, seconds: i64) {
    sleep_until(weather.at(fault.from)).await;
    weather.fire(fault.what);
    clock.jump(SignedDuration::from_secs(seconds));
    sleep_until(weather.at(fault.until)).await;
    clock.jump(SignedDuration::from_secs(-seconds));
}

fn jumps(scenario: &Scenario) -> Vec<(Duration, i64)> {
    let mut jumps = vec![];
    for fault in &scenario.faults {
        if let What::Clock(seconds) = fault.what {
            jumps.extend([(fault.from, seconds), (fault.until, -seconds)]);
        }
    }
    jumps.sort_unstable();
    jumps
}

/// When no replica may have led: the first seconds, and after each end of a process for as long as a takeover takes.
fn absences(scenario: &Scenario, lives: &[Life], end: Duration) -> Vec<Span> {
    let takeover = Duration::from_secs(20);
    let mut spans = vec![Span { from: Duration::ZERO, until: takeover.min(end) }];
    spans.extend(
        lives.iter().map(|life| Span { from: life.ended, until: life.ended.max(life.back) + takeover }),
    );
    let stops = |what: What| {
        matches!(what, What::Suspended | What::CutOff | What::Deaf | What::Down)
            || matches!(what, What::Forbidden("leases"))
    };
    let stopped = scenario.faults.iter().filter(|fault| stops(fault.what));
    spans.extend(stopped.map(|fault| Span { from: fault.from, until: fault.until + takeover }));
    spans
}
