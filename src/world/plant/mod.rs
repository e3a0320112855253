//! What stands around the API server: everything that acts in a cluster besides Seatrial.
//!
//! ```text
//! workloads ── Deployments → pods          kubelet ── pods → ready, crashed, evicted, ended
//! endpoints ── Services → ready pods       gateway ── HTTPRoutes → accepted, handed to the proxies
//! proxies   ── apply both late; serve the traffic, count requests and failures
//! prometheus ─ scrapes the proxies         autoscaler, gitops, user ── write what people and their tools write
//! ```
//!
//! One scheduler ([`Plant::run`]) drives all actors in one order: each hears of every change of the API server and acts when
//! its own time has come. Nothing here is a task of its own, so one seed gives one history.

pub mod agenda;
pub mod autoscaler;
pub mod behaviour;
pub mod chance;
pub mod during;
pub mod endpoints;
pub mod garbage;
pub mod gateway;
pub mod gitops;
pub mod kubelet;
pub mod prometheus;
pub mod proxies;
pub mod traffic;
pub mod user;
pub mod workloads;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use self::{
    behaviour::Versions,
    endpoints::Ready,
    kubelet::{Body, Sent},
    traffic::Counters,
};
use super::{
    api_server::ApiServer,
    history::{Applied, Change, Key, Served},
};
use crate::controller::clock::Clock;

/// What all actors share: the API server, and what passes between them outside of it.
pub struct Surroundings {
    /// The API server, without a network in between.
    pub api: ApiServer,
    /// The time that everybody but Seatrial's replicas reads: it does not jump.
    pub clock: Clock,
    /// When the world began.
    pub began: Instant,
    /// How each version of a model behaves.
    pub versions: Versions,
    /// Containers that run, by pod: what is so, whatever the API server says.
    pub bodies: BTreeMap<Key, Body>,
    /// The ready pods of each Service, as the endpoints actor has them.
    pub endpoints: BTreeMap<Key, Ready>,
    /// Containers that ended with requests under way, and what they got lately: not counted yet.
    pub cut: Vec<(VecDeque<Sent>, Body)>,
    /// What each proxy has counted since it started, by Service.
    pub counters: Vec<BTreeMap<Key, Counters>>,
    /// Services whose ready pods changed: on their way to the proxies.
    pub endpoint_news: Vec<Key>,
    /// Routes that the gateway took over: on their way to the proxies.
    pub config_news: Vec<gateway::News>,
    /// What happened in the data plane.
    pub records: Records,
}

impl Surroundings {
    /// Virtual time since the world began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// What happened in the data plane. Clones are the same records.
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<Mutex<Recorded>>);

/// See [`Records`].
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// When which proxy began to apply which generation of a route.
    pub applied: Vec<Applied>,
    /// Requests and what became of them.
    pub served: Vec<Served>,
}

impl Records {
    /// The records so far. Held only for a moment: the proxies write them.
    pub fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who acts in the cluster.
pub trait Actor: Send {
    /// Takes in one change of the API server, its own ones too. Must not write.
    fn hear(&mut self, change: &Change, around: &mut Surroundings, now: Instant);

    /// Does everything that is due at `now`, and nothing else.
    fn act(&mut self, around: &mut Surroundings, now: Instant);

    /// When something is due next, if nobody does anything.
    fn next(&self) -> Option<Instant>;
}

/// All actors and what they share.
pub struct Plant {
    around: Surroundings,
    actors: Vec<Box<dyn Actor>>,
    heard: u64,
}

impl Plant {
    /// A plant with these actors, in the order in which they act.
    #[must_use]
    pub fn new(around: Surroundings, actors: Vec<Box<dyn Actor>>) -> Self {
        Self { around, actors, heard: 0 }
    }

    /// What the actors share.
    #[must_use]
    pub fn around(&self) -> &Surroundings {
        &self.around
    }

    /// Drives the actors. Never ends; dropping the future stops the world.
    pub async fn run(&mut self) {
        let mut news = self.around.api.news();
        loop {
            news.borrow_and_update();
            let next = self.round();
            tokio::select! {
                biased;
                // The sender lives in `around`.
                _ = news.changed() => {}
                () = until(next) => {}
            }
        }
    }

    /// Lets everybody hear and act until nothing is due; says when something will be.
    pub fn round(&mut self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            let revision = self.around.api.revision();
            if revision > self.heard {
                for change in self.around.api.since(self.heard) {
                    for actor in &mut self.actors {
                        actor.hear(&change, &mut self.around, now);
                    }
                }
                self.heard = revision;
            }
            for actor in &mut self.actors {
                actor.act(&mut self.around, now);
            }
            if self.around.api.revision() == self.heard {
                return self.actors.iter().filter_map(|actor| actor.next()).min();
            }
        }
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
