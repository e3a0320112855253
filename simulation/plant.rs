//! The plant of a scenario: the library's actors, set as the scenario says.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use seatrial::{
    controller::clock::Clock,
    prometheus::client::Transport,
    world::{
        api_server::ApiServer,
        history::{Applied, Served},
        plant::{
            Actor, Plant as Actors, Records, Surroundings,
            autoscaler::Autoscaler,
            behaviour::{Answers, Behaviour, Latency, Pods, Readiness, Versions},
            chance::{Range, source},
            endpoints::Endpoints,
            garbage::Garbage,
            gateway::{self, Gateway},
            gitops::Gitops,
            kubelet::Kubelet,
            prometheus::{self, Prometheus},
            proxies::{self, Proxies},
            user::User,
            workloads::Workloads,
        },
    },
};
use tokio::time::Instant;

use crate::scenario::{Scenario, Version};

/// The actors of a scenario, not yet running.
pub struct Plant {
    actors: Mutex<Option<Actors>>,
    records: Records,
    prometheus: Prometheus,
}

impl Plant {
    /// Builds them around `api`; virtual time begins now.
    pub fn build(scenario: &Scenario, api: &ApiServer, clock: &Clock) -> Self {
        let (began, seed) = (Instant::now(), scenario.seed);
        let records = Records::default();
        let setting = prometheus::Setting {
            scrape: scenario.scrape,
            faults: scenario.answers.clone(),
            stalls: scenario.stalls.clone(),
            ..prometheus::Setting::default()
        };
        let prometheus = Prometheus::new(source(seed, "prometheus"), setting, began);
        let gateway = gateway::Setting { faults: scenario.gateway.clone(), ..gateway::Setting::default() };
        let proxies = proxies::Setting {
            rate: scenario.rate,
            // The allowance is a promise that the data plane keeps.
            longest: scenario.propagation.mul_f64(0.9),
            // Shorter than any bake: whether a step had requests is told from these records.
            record: Duration::from_secs(2),
            restarts: scenario.proxies.clone(),
            ..proxies::Setting::default()
        };
        let soon = Range::millis(5, 100);
        let mut actors: Vec<Box<dyn Actor>> = vec![
            Box::new(User::new("user", began, scenario.script.clone())),
            Box::new(Workloads::new(source(seed, "workloads"), soon)),
            Box::new(Kubelet::new(source(seed, "kubelet"), soon)),
            Box::new(Endpoints::new(source(seed, "endpoints"), soon)),
            Box::new(Garbage::new(source(seed, "garbage"), Range::millis(20, 2000))),
            Box::new(Gateway::new(source(seed, "gateway"), gateway)),
            Box::new(Proxies::new(source(seed, "proxies"), proxies, began)),
            Box::new(prometheus.scraper()),
        ];
        for (index, scaler) in scenario.scalers.iter().enumerate() {
            let chance = source(seed, &format!("autoscaler {index}"));
            actors.push(Box::new(Autoscaler::new(chance, scaler.clone(), began)));
        }
        if let Some(gitops) = &scenario.gitops {
            actors.push(Box::new(Gitops::new(gitops.clone(), began)));
        }
        let named = scenario.versions.iter().map(|(name, version)| (name.clone(), behaviour(version)));
        let around = Surroundings {
            api: api.clone(),
            clock: clock.clone(),
            began,
            versions: Versions { usual: Behaviour::default(), named: named.collect() },
            bodies: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            cut: vec![],
            counters: vec![],
            endpoint_news: vec![],
            config_news: vec![],
            records: records.clone(),
        };
        Self { actors: Mutex::new(Some(Actors::new(around, actors))), records, prometheus }
    }

    /// The way to its Prometheus.
    pub fn transport(&self) -> Transport {
        self.prometheus.transport()
    }

    /// Drives the actors, for ever. Once.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        let actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            if let Some(mut actors) = actors {
                actors.run().await;
            }
        }
    }

    /// What happened in the data plane.
    pub fn records(&self) -> (Vec<Applied>, Vec<Served>) {
        let records = self.records.lock();
        (records.applied.clone(), records.served.clone())
    }
}

fn behaviour(version: &Version) -> Behaviour {
    let (mut pods, mut answers) = (Pods::default(), Answers::default());
    match version {
        Version::Good => {}
        Version::Errors(share) => answers.errors = *share,
        Version::ErrorsFrom(from, share) => answers.errors_from = Some((*from, *share)),
        Version::Slow => answers.latency = Latency::always(Duration::from_millis(700)),
        Version::NeverReady => pods.readiness = Readiness::Never,
        Version::NoImage => pods.readiness = Readiness::NoImage,
        Version::Crashing(after) => pods.crash_after = Some(*after),
        Version::Flapping => {
            pods.readiness = Readiness::Flaps { up: Duration::from_secs(7), down: Duration::from_secs(3) };
        }
        Version::Late(by) => pods.start = Range { least: *by, most: *by + Duration::from_secs(5) },
        Version::Evicted(after) => pods.evict_after = Some(*after),
    }
    Behaviour { pods, answers }
}
