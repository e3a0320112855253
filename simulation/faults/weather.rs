//! The faults of a world, their chance, and what they did.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::time::Instant;

use super::{Fault, What};
use crate::checker::Request as Logged;

/// The faults of a world, their chance, and what they did.
pub struct Weather {
    /// All of them.
    pub faults: Vec<Fault>,
    chance: Mutex<Vec<Rng>>,
    latency: Mutex<Rng>,
    began: Instant,
    fired: Mutex<BTreeMap<&'static str, u64>>,
    sent: Mutex<Vec<Logged>>,
    requests: AtomicU64,
    /// Writes of each replica since the world began: crashes count them.
    writes: [AtomicU32; 2],
    /// When which replica was told of something by a watch.
    events: Mutex<Vec<(usize, Duration)>>,
}

impl Weather {
    /// These faults, by the chance of `seed`, from now on.
    pub fn new(seed: u64, faults: Vec<Fault>) -> Self {
        let chance =
            faults.iter().map(|fault| Rng::with_seed(seed ^ fault.id.wrapping_mul(0x9E37))).collect();
        Self {
            faults,
            chance: Mutex::new(chance),
            latency: Mutex::new(Rng::with_seed(seed ^ 0x1A7E)),
            began: Instant::now(),
            fired: Mutex::default(),
            sent: Mutex::default(),
            requests: AtomicU64::new(0),
            writes: [AtomicU32::new(0), AtomicU32::new(0)],
            events: Mutex::default(),
        }
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// That virtual time, as an instant.
    pub fn at(&self, time: Duration) -> Instant {
        self.began + time
    }

    /// How often each kind of fault happened.
    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.fired).clone()
    }

    /// Counts a request.
    pub fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes a request down; returns where.
    pub fn log(&self, request: Logged) -> usize {
        let mut sent = lock(&self.sent);
        sent.push(request);
        sent.len() - 1
    }

    /// Writes down what became of a request.
    pub fn amend(&self, index: usize, what: impl FnOnce(&mut Logged)) {
        if let Some(request) = lock(&self.sent).get_mut(index) {
            what(request);
        }
    }

    /// Counts a write of a replica: the how manieth it is.
    pub fn next_write(&self, replica: usize) -> u32 {
        self.writes[replica.min(1)].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The requests so far, in the order in which they were sent; watches are left out.
    pub fn sent(&self) -> Vec<Logged> {
        std::mem::take(&mut lock(&self.sent))
    }

    /// Requests of all replicas so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Writes of each replica, as crashes count them.
    pub fn writes(&self) -> [u32; 2] {
        [self.writes[0].load(Ordering::Relaxed), self.writes[1].load(Ordering::Relaxed)]
    }

    /// Notes that a watch brought something.
    pub fn saw(&self, replica: usize) {
        lock(&self.events).push((replica, self.now()));
    }

    /// When which replica was told of something by a watch.
    pub fn events(&self) -> Vec<(usize, Duration)> {
        lock(&self.events).clone()
    }

    /// Counts a fault that happened.
    pub fn fire(&self, what: What) {
        *lock(&self.fired).entry(what.name()).or_default() += 1;
    }

    /// The first fault that is on for `replica`, of the wanted kinds, and that chance chooses.
    pub fn draw(&self, replica: usize, wanted: impl Fn(What) -> bool) -> Option<&Fault> {
        let now = self.now();
        let chosen = self.faults.iter().enumerate().find(|(index, fault)| {
            fault.is_on(replica, now)
                && wanted(fault.what)
                && (fault.share >= 1000 || lock(&self.chance)[*index].u32(..1000) < fault.share)
        });
        chosen.map(|(_, fault)| {
            self.fire(fault.what);
            fault
        })
    }

    /// Whether chance, that of `fault`, says yes to one of two.
    pub fn toss(&self, fault: &Fault) -> bool {
        let index = self.faults.iter().position(|other| other.id == fault.id).unwrap_or(0);
        lock(&self.chance)[index].bool()
    }

    /// When the next window of a fault begins for `replica`.
    pub fn next_begin(&self, replica: usize) -> Option<Duration> {
        let now = self.now();
        let mine = self.faults.iter().filter(|f| f.replica.is_none_or(|r| r == replica));
        mine.map(|f| f.from).filter(|from| *from > now).min()
    }

    /// How long the wire takes one way.
    pub fn latency(&self) -> Duration {
        Duration::from_micros(lock(&self.latency).u64(200..4000))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
