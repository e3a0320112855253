//! `seatrial controller`: the operator.

use std::{collections::BTreeMap, env, fs, io, net::SocketAddr, path::PathBuf, pin::Pin, time::Duration};

use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::{
        self, Context, Source,
        clock::{Clock, Jitter},
        lanes::{lanes, lease_client, pool},
        metrics::Metrics,
    },
    process::{
        admin::Admin,
        config::{self, Config, ProviderConfig},
        epoch,
        leader::Contender,
        log,
        shutdown::{self, BoxError, Ended, Part},
    },
    prometheus::{
        Refused,
        client::{Endpoint, Limits, connect},
        provider::{Provider, Settings},
    },
};

/// How often the clock is compared with the machine's.
const FOLLOW: Duration = Duration::from_secs(30);

/// The flags of `seatrial controller`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration: which Prometheus servers (providers) answer for SLOs. Without it there are none
    #[arg(long, env = "SEATRIAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are answered. They are open to whoever reaches this address
    #[arg(long, env = "SEATRIAL_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The Lease that decides which replica writes. Two installations in one namespace need two names
    #[arg(long, env = "SEATRIAL_LEASE_NAME", value_name = "NAME", default_value = "seatrial")]
    lease_name: String,
    /// The Lease's namespace. Default: the one of the service account or of the kubeconfig
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// What this replica is called in the Lease; no two replicas may share it. Default: the host's name and some letters
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
    /// How lines of the log are written
    #[arg(long, env = "SEATRIAL_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t)]
    log_format: log::Format,
    /// How much is logged: error, warn, info, debug or trace, also per module as in info,seatrial=debug
    #[arg(long, env = "RUST_LOG", value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

/// Why the operator did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--log-level` is not one.
    #[error("cannot start the log at level {level:?}")]
    Log {
        /// As given.
        level: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A provider in it.
    #[error("providers.{name}.{source}")]
    Provider {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: Refused,
    },
    /// Neither a kubeconfig nor a service account.
    #[error("cannot find the cluster")]
    Cluster(#[source] Box<kube::config::InferConfigError>),
    /// The credentials or certificates of the cluster.
    #[error("cannot use the credentials of the cluster")]
    Credentials(#[from] Box<kube::Error>),
    /// `--listen` is taken or not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// As given.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
    /// A part of the process ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl Args {
    /// Runs the operator until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When it cannot start, or one of its parts ended by itself.
    pub async fn run(self) -> Result<(), Error> {
        let level = self.log_level;
        log::start(self.log_format, &level).map_err(|source| Error::Log { level, source })?;
        let config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let providers = sources(&config)?;
        let cluster = kube::Config::infer().await.map_err(|error| Error::Cluster(Box::new(error)))?;
        let (clock, jitter, metrics) = (Clock::system(), Jitter::random(), Metrics::new());
        let ((seat, tenure), (filled, ready)) = (watch::channel(None), watch::channel(false));
        let outranking = watch::Sender::new(0);

        let asked = shutdown::asked().map_err(Error::Signals)?;
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|source| Error::Listen { address: self.listen, source })?;

        let namespace = self.lease_namespace.unwrap_or_else(|| cluster.default_namespace.clone());
        let identity = self.identity.unwrap_or_else(|| default_identity(&jitter));
        let lease = (namespace.as_str(), self.lease_name.as_str());
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            namespace = lease.0,
            lease = lease.1,
            identity,
            providers = config.providers.len(),
            "seatrial starts"
        );
        let client = lease_client(pool(cluster.clone())?, &jitter);
        let api = lanes(|| pool(cluster.clone()), &tenure, &jitter)?;
        let contender = Contender::new(client, lease, &identity, clock.clone(), jitter.clone())
            .with_floor(epoch::floor(api.reads.clone()))
            .with_outranking(outranking.subscribe());

        let leader = part("the leader election", |stop| async move {
            contender.contend(seat, stop).await;
            Ok(())
        });
        let endpoints = Admin { ready, tenure: tenure.clone(), metrics: metrics.clone() };
        let admin =
            part("the admin endpoints", |stop| async move { Ok(endpoints.serve(listener, stop).await?) });
        let cx = Context { api, providers, clock, jitter, tenure, outranking, metrics, synced: filled };
        let work = part("the controller", |stop| work(cx, stop));
        Ok(shutdown::run(asked, work, leader, admin).await?)
    }
}

fn part<F>(name: &'static str, task: impl FnOnce(CancellationToken) -> F) -> Part<Pin<Box<F>>> {
    let stop = CancellationToken::new();
    Part { name, task: Box::pin(task(stop.clone())), stop }
}

/// A pod's name is unique; a host may run several processes.
fn default_identity(jitter: &Jitter) -> String {
    let host = env::var("HOSTNAME").or_else(|_| fs::read_to_string("/proc/sys/kernel/hostname"));
    format!("{}-{}", host.as_deref().map_or("seatrial", str::trim), jitter.suffix(6))
}

/// Follows the machine's clock, which may be set or go on while this process is suspended.
async fn follow(clock: Clock) {
    loop {
        sleep(FOLLOW).await;
        if let Some(by) = clock.follow() {
            tracing::warn!(seconds = by.as_secs_f64(), "the machine's clock was set or went on without us");
        }
    }
}

/// The controllers, and the clock beside them.
async fn work(cx: Context, stop: CancellationToken) -> Result<(), BoxError> {
    let clock = cx.clock.clone();
    tokio::join!(controller::run(cx, stop.clone()), stop.run_until_cancelled(follow(clock)));
    Ok(())
}

/// The Prometheus servers of the configuration. Nothing is sent to them yet.
fn sources(config: &Config) -> Result<BTreeMap<String, Source>, Error> {
    let source = |(name, given): (&String, &ProviderConfig)| {
        let settings = Settings {
            metrics: given.metrics.name().to_owned(),
            revision_label: given.revision_label.clone(),
            scrape_interval: given.scrape_interval,
            propagation: given.propagation,
        };
        let endpoint = Endpoint {
            url: given.url.clone(),
            bearer_token_file: given.bearer_token_file.clone(),
            ca_file: given.ca_file.clone(),
        };
        let unusable = |source| Error::Provider { name: name.clone(), source };
        let provider = Provider::new(name, &settings).map_err(unusable)?;
        let transport = connect(&endpoint, Limits::default()).map_err(unusable)?;
        Ok((name.clone(), Source { provider, transport }))
    };
    config.providers.iter().map(source).collect()
}
