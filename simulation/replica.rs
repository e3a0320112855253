//! One of the operator's replicas: the real controllers and the real leader election, as `seatrial controller` starts them,
//! in a process that can end at any moment.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as Task, Poll},
    time::Duration,
};

use seatrial::{
    controller::{
        self, Context, Source,
        clock::{Clock, Jitter},
        lanes::{lanes, lease_client},
        metrics::Metrics,
    },
    process::{
        epoch,
        leader::Contender,
        shutdown::{self, BoxError, Part},
    },
    world::api_server::ApiServer,
};
use tokio::{
    sync::watch,
    time::{Sleep, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::faults::{What, weather::Weather, wire::Wire};

/// What the replicas are called, as users of the API server and in the Lease.
pub const NAMES: [&str; 2] = ["seatrial-a", "seatrial-b"];
/// Where the Lease is.
pub const LEASE: (&str, &str) = ("seatrial", "seatrial");

/// What a replica is made of.
#[derive(Clone)]
pub struct Replica {
    /// Which one.
    pub index: usize,
    /// The seed of its chance.
    pub seed: u64,
    /// The API server.
    pub api: ApiServer,
    /// What goes wrong.
    pub weather: Arc<Weather>,
    /// Its wall clock, which may jump.
    pub clock: Clock,
    /// The Prometheus servers.
    pub providers: BTreeMap<String, Source>,
    /// When it was away, for the checker.
    pub lives: Arc<Mutex<Vec<Life>>>,
}

/// One process of a replica, from its begin to its end.
#[derive(Clone, Debug)]
pub struct Life {
    /// When it ended.
    pub ended: Duration,
    /// When the next one began.
    pub back: Duration,
    /// It ended without a chance to give the Lease back.
    pub crashed: bool,
}

impl Replica {
    /// Runs one process after the other, for ever.
    pub async fn run(self) {
        for life in 0_u64.. {
            let away = Arc::new(Mutex::new(Duration::ZERO));
            let crash = CancellationToken::new();
            let (restart, kill) = (self.next(What::Restart), self.next(What::Kill));
            tokio::select! {
                biased;
                () = crash.cancelled() => {}
                () = self.reached(kill) => {
                    self.weather.fire(What::Kill);
                    crash.cancel();
                }
                () = self.process(life, &crash, &away) => {}
            }
            let ended = self.weather.now();
            let planned = if crash.is_cancelled() { kill } else { restart };
            let back = match planned {
                Some((from, until)) if ended >= from => until.max(ended),
                _ => ended + *away.lock().unwrap_or_else(PoisonError::into_inner),
            };
            self.lives.lock().unwrap_or_else(PoisonError::into_inner).push(Life {
                ended,
                back,
                crashed: crash.is_cancelled(),
            });
            // A process that ends at once must not begin at once: a kubelet waits too.
            sleep_until(self.weather.at(back)).await;
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// When this next happens to the replica, and until when it is away then.
    fn next(&self, what: What) -> Option<(Duration, Duration)> {
        let now = self.weather.now();
        let mine = self.weather.faults.iter().filter(|fault| {
            fault.what == what && fault.replica.is_none_or(|r| r == self.index) && fault.from > now
        });
        mine.map(|fault| (fault.from, fault.until)).min()
    }

    fn reached(&self, moment: Option<(Duration, Duration)>) -> impl Future<Output = ()> + use<> {
        let at = moment.map(|(from, _)| self.weather.at(from));
        async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    /// One process, until SIGTERM.
    async fn process(&self, life: u64, crash: &CancellationToken, away: &Arc<Mutex<Duration>>) {
        let jitter = Jitter::seeded(self.seed ^ (life << 8) ^ (self.index as u64 + 1));
        let (seat, tenure) = watch::channel(None);
        let wire = Wire {
            replica: self.index,
            who: NAMES[self.index],
            weather: self.weather.clone(),
            api: self.api.clone(),
            tenure: tenure.clone(),
            crash: crash.clone(),
            away: away.clone(),
        };
        let pool = || wire.client();
        let (client, outranking) = (lease_client(pool(), &jitter), watch::Sender::new(0));
        let Ok(api) = lanes(|| Ok::<_, Infallible>(pool()), &tenure, &jitter);
        let clock = self.clock.anew();
        let contender = Contender::new(client, LEASE, NAMES[self.index], clock.clone(), jitter.clone())
            .with_floor(epoch::floor(api.reads.clone()))
            .with_outranking(outranking.subscribe());
        let cx = Context {
            api,
            providers: self.providers.clone(),
            clock,
            jitter,
            tenure: tenure.clone(),
            outranking,
            metrics: Metrics::new(),
            synced: watch::Sender::new(false),
        };
        let leader = self.part("the leader election", |stop| async move {
            contender.contend(seat, stop).await;
            Ok(())
        });
        let work = self.part("the controller", |stop| async move {
            controller::run(cx, stop).await;
            Ok(())
        });
        let admin = self.part("the admin endpoints", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        let asked = self.asked();
        // It ends by itself only when a part panicked; then the process is gone, and begins again.
        let _ = shutdown::run(asked, work, leader, admin).await;
    }

    /// SIGTERM.
    fn asked(&self) -> impl Future<Output = ()> + use<> {
        let (weather, asked) = (self.weather.clone(), self.reached(self.next(What::Restart)));
        async move {
            asked.await;
            weather.fire(What::Restart);
        }
    }

    fn part<F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F) -> Part<Suspended<F>>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = Suspended {
            task: Box::pin(task(stop.clone())),
            replica: self.index,
            weather: self.weather.clone(),
            until: None,
        };
        Part { name, task, stop }
    }
}

/// A task that does nothing while its process is suspended: timers run out and answers come meanwhile, nobody looks.
struct Suspended<F> {
    task: Pin<Box<F>>,
    replica: usize,
    weather: Arc<Weather>,
    until: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Future for Suspended<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<F::Output> {
        let now = self.weather.now();
        let on =
            |fault: &&crate::faults::Fault| fault.what == What::Suspended && fault.is_on(self.replica, now);
        if let Some(fault) = self.weather.faults.iter().find(on) {
            if self.until.is_none() {
                self.weather.fire(What::Suspended);
                self.until = Some(Box::pin(sleep_until(self.weather.at(fault.until))));
            }
            if let Some(until) = &mut self.until
                && until.as_mut().poll(task).is_pending()
            {
                return Poll::Pending;
            }
        }
        self.until = None;
        self.task.as_mut().poll(task)
    }
}
