//! A scenario: everything that a seed decides, as data. A failing one is made smaller by leaving parts out.

use std::{collections::BTreeMap, fmt, time::Duration};

use seatrial::world::{
    history::Key,
    plant::{autoscaler, during::During, gateway, gitops, prometheus::wrong::Wrong, user::Deed},
};

use crate::{
    checker::Quality,
    faults::Fault,
    objects::{Model, NAMESPACE, Split},
};

/// Everything that a seed decides. The same scenario always gives the same history.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed: of the scenario itself, and of all chance within the world.
    pub seed: u64,
    /// The models.
    pub models: Vec<Model>,
    /// The `TrafficSplits`.
    pub splits: Vec<Split>,
    /// What people do, and when.
    pub script: Vec<(Duration, Deed)>,
    /// What each version is like.
    pub versions: BTreeMap<String, Version>,
    /// What goes wrong between and inside the replicas.
    pub faults: Vec<Fault>,
    /// What is wrong with the gateways.
    pub gateway: Vec<During<gateway::Fault>>,
    /// What is wrong with Prometheus' answers.
    pub answers: Vec<During<Wrong>>,
    /// When Prometheus does not scrape.
    pub stalls: Vec<During<()>>,
    /// When which proxy is restarted.
    pub proxies: Vec<(Duration, usize)>,
    /// Autoscalers.
    pub scalers: Vec<autoscaler::Setting>,
    /// The GitOps tool.
    pub gitops: Option<gitops::Setting>,
    /// Requests per second to each route.
    pub rate: u64,
    /// Prometheus' scrape interval.
    pub scrape: Duration,
    /// The propagation allowance.
    pub propagation: Duration,
    /// From here on nobody does anything and nothing goes wrong.
    pub quiet: Duration,
}

/// What a version is like.
#[derive(Clone, Debug, PartialEq)]
pub enum Version {
    /// Good.
    Good,
    /// This share of its answers are errors.
    Errors(f64),
    /// As before, but only from this virtual time on.
    ErrorsFrom(Duration, f64),
    /// So slow that it breaks a latency objective.
    Slow,
    /// Never ready.
    NeverReady,
    /// Its image cannot be pulled.
    NoImage,
    /// Its container ends so long after each start.
    Crashing(Duration),
    /// Its readiness goes up and down.
    Flapping,
    /// Good, and takes long to start.
    Late(Duration),
    /// Good, but its pods are evicted so long after their creation.
    Evicted(Duration),
}

impl Version {
    /// What the checker may expect of it; `latency`: whether every `TrafficSplit` has a latency objective.
    pub fn quality(&self, latency: bool) -> Quality {
        match self {
            Self::Good | Self::Late(_) => Quality::Good,
            Self::Errors(share) if *share >= 0.15 => Quality::Bad,
            Self::ErrorsFrom(_, share) if *share >= 0.15 => Quality::Sours,
            Self::Slow if latency => Quality::Bad,
            Self::NeverReady | Self::NoImage => Quality::NeverReady,
            Self::Crashing(_) => Quality::Crashing,
            Self::Flapping | Self::Evicted(_) => Quality::Restless,
            _ => Quality::Unclear,
        }
    }
}

impl Scenario {
    /// How long after `quiet` everything has surely ended: rollouts of one `TrafficSplit` wait for each other.
    pub fn settle(&self) -> Duration {
        let split = self.splits.iter().map(Split::longest).max().unwrap_or_default();
        let deadline = self.models.iter().map(|model| model.deadline).max().unwrap_or(0);
        let once = split + Duration::from_secs(3 * deadline + 60);
        once * u32::try_from(self.models.len().max(1)).unwrap_or(1)
    }

    /// Every scenario that is smaller by one thing: first without a fault, then without an actor, then without a deed, then
    /// with a step less.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = vec![];
        less(&mut all, self, |s| &mut s.faults);
        less(&mut all, self, |s| &mut s.answers);
        less(&mut all, self, |s| &mut s.stalls);
        less(&mut all, self, |s| &mut s.gateway);
        less(&mut all, self, |s| &mut s.proxies);
        less(&mut all, self, |s| &mut s.scalers);
        if self.gitops.is_some() {
            all.push(Self { gitops: None, ..self.clone() });
        }
        less(&mut all, self, |s| &mut s.script);
        for index in 0..self.splits.len() {
            let steps = self.splits[index].steps.len();
            for step in (0..steps).filter(|_| steps > 1) {
                let mut smaller = self.clone();
                smaller.splits[index].steps.remove(step);
                smaller.rewrite();
                all.push(smaller);
            }
        }
        all
    }

    /// Puts the models and splits, as they are now, into the deeds that make them; versions stay.
    pub fn rewrite(&mut self) {
        for (_, deed) in &mut self.script {
            let Deed::Create(object) = deed else { continue };
            let name = object["metadata"]["name"].as_str();
            let anew = match object["kind"].as_str() {
                Some("TrafficSplit") => self.splits.iter().find(|s| name == Some(s.name)).map(Split::object),
                Some("ModelDeployment") => {
                    let version = object["spec"]["model"]["version"].as_str().unwrap_or_default();
                    self.models.iter().find(|m| name == Some(m.name)).map(|model| model.object(version))
                }
                _ => None,
            };
            if let Some(anew) = anew {
                *object = anew;
            }
        }
    }
}

/// The scenario without each element of a list, one at a time.
fn less<T>(all: &mut Vec<Scenario>, whole: &Scenario, list: impl Fn(&mut Scenario) -> &mut Vec<T>) {
    let count = list(&mut whole.clone()).len();
    for index in 0..count {
        let mut smaller = whole.clone();
        list(&mut smaller).remove(index);
        all.push(smaller);
    }
}

/// The key of a `ModelDeployment`.
pub fn model_key(name: &str) -> Key {
    Key::new("ModelDeployment", NAMESPACE, name)
}

/// The key of a `TrafficSplit`.
pub fn split_key(name: &str) -> Key {
    Key::new("TrafficSplit", NAMESPACE, name)
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} requests/s, scraped every {:?}, propagation {:?}, quiet from {:?}",
            self.seed, self.rate, self.scrape, self.propagation, self.quiet
        )?;
        for model in &self.models {
            writeln!(f, "  model {model:?}")?;
        }
        for split in &self.splits {
            writeln!(f, "  split {split:?}")?;
        }
        for (name, version) in &self.versions {
            writeln!(f, "  version {name}: {version:?}")?;
        }
        for (at, deed) in &self.script {
            writeln!(f, "  at {:.1} s: {}", at.as_secs_f64(), told(deed))?;
        }
        for fault in &self.faults {
            writeln!(f, "  fault: {fault}")?;
        }
        for fault in &self.gateway {
            writeln!(f, "  gateway: {:?} from {:?} to {:?}", fault.what, fault.from, fault.until)?;
        }
        for fault in &self.answers {
            writeln!(f, "  Prometheus: {:?} from {:?} to {:?}", fault.what, fault.from, fault.until)?;
        }
        for stall in &self.stalls {
            writeln!(f, "  Prometheus does not scrape from {:?} to {:?}", stall.from, stall.until)?;
        }
        for (at, proxy) in &self.proxies {
            writeln!(f, "  proxy {proxy} restarts at {at:?}")?;
        }
        for scaler in &self.scalers {
            writeln!(f, "  autoscaler {scaler:?}")?;
        }
        if let Some(gitops) = &self.gitops {
            writeln!(
                f,
                "  GitOps every {:?}, {} reverts, until {:?}",
                gitops.every, gitops.reverts, gitops.until
            )?;
        }
        Ok(())
    }
}

fn told(deed: &Deed) -> String {
    match deed {
        Deed::Create(object) => {
            format!("create {} {}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"])
        }
        other => format!("{other:?}"),
    }
}
