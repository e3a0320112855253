//! Which units are due, and when. One at a time per unit, in one order, urgent by nature: what is due earliest goes first.
//!
//! Our own hundred lines instead of two `kube::runtime::Controller`s: those key by kind, so a unit (two kinds) would
//! need a lock across them, and the order in which they poll is random, so no simulation could be replayed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::cache::Key;

/// What is reconciled as one: a `TrafficSplit` with the models that it names, or a model that no `TrafficSplit` names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A `TrafficSplit` and its models.
    Split(Key),
    /// A model by itself, or one whose unit is to be found out.
    Model(Key),
}

#[derive(Debug, Default)]
struct State {
    due: BTreeMap<Unit, Instant>,
    running: BTreeSet<Unit>,
}

/// The units that are due.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// Wants `unit` looked at, at `at` or earlier. One that runs is looked at again after it.
    pub fn add(&self, unit: Unit, at: Instant) {
        let mut state = self.lock();
        let due = state.due.entry(unit).or_insert(at);
        *due = (*due).min(at);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for a unit that is due and not running, and marks it as running.
    pub async fn next(&self) -> Unit {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            match self.take() {
                Ok(unit) => return unit,
                Err(None) => changed.await,
                Err(Some(at)) => {
                    tokio::select! {
                        biased;
                        () = &mut changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// `unit` is done; whatever was wanted of it meanwhile is due now.
    pub fn done(&self, unit: &Unit) {
        self.lock().running.remove(unit);
        self.changed.notify_one();
    }

    /// Nothing runs any more: what did was given up, and is due at once.
    pub fn abandon(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        for unit in std::mem::take(&mut state.running) {
            state.due.insert(unit, now);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn take(&self) -> Result<Unit, Option<Instant>> {
        let mut state = self.lock();
        let waiting = state.due.iter().filter(|(unit, _)| !state.running.contains(*unit));
        let Some((unit, at)) = waiting.min_by_key(|(_, at)| **at).map(|(u, at)| (u.clone(), *at)) else {
            return Err(None);
        };
        if at > Instant::now() {
            return Err(Some(at));
        }
        state.due.remove(&unit);
        state.running.insert(unit.clone());
        Ok(unit)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
