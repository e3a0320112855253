//! A world that has begun: the API server with its first objects, and the actors around it.

use std::{collections::BTreeMap, convert::Infallible, future::Future, time::Duration};

use kube::Client;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    api_server::{ApiServer, Refused},
    history::Change,
    plant::{
        Actor, Plant, Records, Surroundings, autoscaler::Autoscaler, chance::source, endpoints::Endpoints,
        garbage::Garbage, gateway::Gateway, gitops::Gitops, kubelet::Kubelet, prometheus::Prometheus,
        proxies::Proxies, user::User, workloads::Workloads,
    },
    setting::Setting,
};
use crate::{
    controller::{
        self, Context, Source,
        clock::{Clock, Jitter},
        lanes::{Tenure, lanes},
        metrics::Metrics,
    },
    prometheus::provider::Provider,
};

/// Starts replicas of the operator.
#[derive(Clone)]
pub struct Replicas {
    providers: BTreeMap<String, Source>,
    world: Clock,
    seed: u64,
}

impl Replicas {
    /// A wall clock of a replica's own: it shows the world's time until it is made to jump.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::at(self.world.now())
    }

    /// Runs a replica that leads for as long as it is polled; `client` makes its clients. Dropping the future is a crash.
    /// `epoch` must be higher than that of every replica before it.
    pub async fn run(&self, epoch: i64, mut client: impl FnMut() -> Client) {
        let until = Instant::now() + Duration::from_hours(24 * 365);
        let (_seat, tenure) = watch::channel(Some(Tenure { epoch, until }));
        let jitter = Jitter::seeded(self.seed ^ epoch.unsigned_abs());
        let Ok(api) = lanes(|| Ok::<_, Infallible>(client()), &tenure, &jitter);
        let cx = Context {
            api,
            providers: self.providers.clone(),
            clock: self.clock(),
            jitter,
            tenure,
            outranking: watch::Sender::new(0),
            metrics: Metrics::new(),
            synced: watch::Sender::new(false),
        };
        controller::run(cx, CancellationToken::new()).await;
    }
}

/// Why a world cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The API server refuses one of the objects.
    #[error("{0}")]
    Object(#[from] Refused),
    /// The provider's settings cannot be used.
    #[error("{0}")]
    Provider(#[from] crate::prometheus::Refused),
}

/// A world. Make it within a tokio runtime whose time is paused.
pub struct World {
    /// The API server.
    pub api: ApiServer,
    /// The wall time of everybody but Seatrial's replicas.
    pub clock: Clock,
    /// When it began, in tokio's time.
    pub began: Instant,
    /// What happened in the data plane.
    pub records: Records,
    /// The Prometheus.
    pub prometheus: Prometheus,
    /// The actors.
    pub plant: Plant,
    provider: Provider,
    provider_name: String,
    seed: u64,
}

impl World {
    /// Makes the objects and the actors; nothing has acted yet.
    ///
    /// # Errors
    /// An object is refused, or the provider's settings cannot be used.
    pub fn begin(setting: Setting) -> Result<Self, Unfit> {
        let clock = Clock::at(setting.starts);
        let api = ApiServer::new(clock.clone());
        let began = Instant::now();
        for object in setting.complete() {
            api.create("user", object)?;
        }
        let provider = Provider::new(&setting.provider_name, &setting.provider)?;
        let chance = |actor| source(setting.seed, actor);
        let prometheus = Prometheus::new(chance("prometheus"), setting.prometheus, began);
        let mut actors: Vec<Box<dyn Actor>> = vec![
            Box::new(Workloads::new(chance("workloads"), setting.notices)),
            Box::new(Kubelet::new(chance("kubelet"), setting.notices)),
            Box::new(Endpoints::new(chance("endpoints"), setting.notices)),
            Box::new(Garbage::new(chance("garbage"), setting.notices)),
            Box::new(Gateway::new(chance("gateway"), setting.gateway)),
            Box::new(Proxies::new(chance("proxies"), setting.proxies, began)),
            Box::new(prometheus.scraper()),
        ];
        if let Some(setting) = setting.autoscaler {
            actors.push(Box::new(Autoscaler::new(chance("autoscaler"), setting, began)));
        }
        if let Some(setting) = setting.gitops {
            actors.push(Box::new(Gitops::new(setting, began)));
        }
        for (who, script) in setting.users {
            actors.push(Box::new(User::new(who, began, script)));
        }
        let records = Records::default();
        let around = Surroundings {
            api: api.clone(),
            clock: clock.clone(),
            began,
            versions: setting.versions,
            bodies: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            cut: vec![],
            counters: vec![],
            endpoint_news: vec![],
            config_news: vec![],
            records: records.clone(),
        };
        let plant = Plant::new(around, actors);
        let Setting { seed, provider_name, .. } = setting;
        Ok(Self { api, clock, began, records, prometheus, plant, provider, provider_name, seed })
    }

    /// The providers of the operator's configuration: one, with a transport to this world's Prometheus.
    #[must_use]
    pub fn providers(&self) -> BTreeMap<String, Source> {
        let source = Source { provider: self.provider.clone(), transport: self.prometheus.transport() };
        BTreeMap::from([(self.provider_name.clone(), source)])
    }

    /// What a replica of the operator needs from this world.
    #[must_use]
    pub fn replicas(&self) -> Replicas {
        Replicas { providers: self.providers(), world: self.clock.clone(), seed: self.seed }
    }

    /// Lets the world and `others` (the replicas) go on until `end` says so of a change, at most for `limit`; whether it did.
    pub async fn play(
        &mut self,
        others: impl Future<Output = ()>,
        mut end: impl FnMut(&Change) -> bool,
        limit: Duration,
    ) -> bool {
        let (api, mut news) = (self.api.clone(), self.api.news());
        let mut seen = api.revision();
        let ended = async {
            loop {
                news.borrow_and_update();
                let changes = api.since(seen);
                seen = changes.last().map_or(seen, |change| change.revision);
                if changes.iter().any(&mut end) || news.changed().await.is_err() {
                    return;
                }
            }
        };
        // Replicas may end; the world goes on without them.
        let others = async {
            others.await;
            std::future::pending::<()>().await;
        };
        let whole = async {
            tokio::select! {
                biased;
                () = ended => {}
                () = others => {}
                () = self.plant.run() => {}
            }
        };
        timeout(limit, whole).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
