//! The API server: objects, their rules, and who is told of changes.
//!
//! ```text
//! kube::Client ─► service ─► respond ─┬─ request   path and query → kind, name, verb
//!                                     ├─ list, watch            what lives, what happens
//!      actors ─► ApiServer::edit … ───┴─ write, delete, gc      rules of all kinds
//!                                          ├─ managed, merge, fields   who owns which field; server-side apply
//!                                          ├─ decode, builtin          unknown fields go, defaults come
//!                                          └─ validate, rules, checks  schemas, CEL, what is built in
//!                                       store                    every version of every object
//! ```
//!
//! It says what the API server of Kubernetes 1.36 says, for the kinds and requests that Seatrial and its users make;
//! `simulation/conformance` compares the two and lists the known differences.

mod builtin;
mod call;
mod checks;
mod decode;
mod delete;
mod fields;
mod gc;
mod kind;
mod labels;
mod list;
mod managed;
mod matching;
mod merge;
mod metadata;
mod misfits;
mod named;
mod patch;
mod path;
mod quantity;
mod refused;
mod request;
mod respond;
mod rules;
mod schema;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod validate;
mod watch;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::{sync::watch as channel, time::Instant};

use self::{
    delete::Options,
    kind::Kind,
    store::{Place, Store},
    write::{Draft, Pen},
};
use super::history::{Change, Key};
use crate::controller::clock::Clock;

pub use delete::Propagation;
pub use refused::{Cause, Refused};
pub use store::Forbidden;

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but `status`.
    Object,
    /// `status` alone.
    Status,
}

/// An API server. Clones are the same one.
#[derive(Clone)]
pub struct ApiServer {
    store: Arc<Mutex<Store>>,
    clock: Clock,
    began: Instant,
    news: channel::Sender<u64>,
}

impl ApiServer {
    /// An empty one. Timestamps come from `clock`; the history's times count from now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { store: Arc::default(), clock, began: Instant::now(), news: channel::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How `who` writes now.
    fn hand(&self, who: &str) -> Pen {
        let now = jiff::Timestamp::from_second(self.clock.now().as_second()).unwrap_or_default();
        Pen {
            who: who.to_owned(),
            manager: who.to_owned(),
            dry_run: false,
            now: now.to_string(),
            at: self.began.elapsed(),
        }
    }

    /// The object as it is, without `managedFields`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().live(&Place::of(key)).map(|version| version.value.clone())
    }

    /// All objects of a kind, of one namespace or of all, in order.
    #[must_use]
    pub fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let store = self.lock();
        let all = store.kinds.get(kind).into_iter().flat_map(|objects| &objects.live);
        let inside = all.filter(|((of, _), _)| namespace.is_none_or(|namespace| of == namespace));
        inside.map(|(_, version)| version.value.clone()).collect()
    }

    /// Makes an object, as `who`. An actor's kind that the API server does not serve has no rules.
    ///
    /// # Errors
    /// It exists, or its kind's rules refuse it.
    pub fn create(&self, who: &str, mut object: Value) -> Result<Arc<Value>, Refused> {
        let place = Place::of(&key_of(&object));
        if place.kind.is_served() && object["apiVersion"].is_null() {
            object["apiVersion"] = json!(place.kind.api_version());
        }
        let mut store = self.lock();
        let version =
            store.make(&self.hand(who), &place, Draft { value: object, managed: None, posted: true })?;
        self.tell(&store);
        Ok(version.value.clone())
    }

    /// Changes an object, as `who`: reads it, hands it over and writes what comes back, in one. What comes back with another
    /// `metadata.resourceVersion` is refused, like any write onto another version.
    ///
    /// # Errors
    /// It does not exist, or its kind's rules refuse what comes back.
    pub fn edit(
        &self,
        who: &str,
        key: &Key,
        part: Part,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Refused> {
        let place = Place::of(key);
        let mut store = self.lock();
        let live = store.live(&place).cloned().ok_or_else(|| Refused::not_found(place.kind, &place.name))?;
        let mut value = (*live.value).clone();
        change(&mut value);
        let version = store.change(
            &self.hand(who),
            &place,
            part,
            &live,
            Draft { value, managed: None, posted: false },
        )?;
        self.tell(&store);
        Ok(version.value.clone())
    }

    /// Deletes an object, as `who`, a pod without grace. With finalizers it is only marked as going.
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete(&self, who: &str, key: &Key) -> Result<(), Refused> {
        self.remove(who, &Place::of(key), &Options { grace: Some(0), ..Options::default() })
    }

    /// Deletes an object, as `who`, with a word on what becomes of the objects that it owns.
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete_with(&self, who: &str, key: &Key, propagation: Propagation) -> Result<(), Refused> {
        self.remove(who, &Place::of(key), &Options { propagation: Some(propagation), ..Options::default() })
    }

    fn remove(&self, who: &str, place: &Place, options: &Options) -> Result<(), Refused> {
        let mut store = self.lock();
        store.remove(&self.hand(who), place, options)?;
        self.tell(&store);
        Ok(())
    }

    /// The number of the last change; 0 when nothing ever happened.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Tells of every new revision.
    #[must_use]
    pub fn news(&self) -> channel::Receiver<u64> {
        self.news.subscribe()
    }

    /// The changes after a revision, in order.
    #[must_use]
    pub fn since(&self, revision: u64) -> Vec<Change> {
        let store = self.lock();
        let first = store.history.partition_point(|change| change.revision <= revision);
        store.history[first..].to_vec()
    }

    /// Forgets how things were before a revision: watches and pages from before it are answered with 410, by the status
    /// code if `as_http`, otherwise, like the real one, by an `ERROR` in the stream. Watches that run go on.
    pub fn compact(&self, revision: u64, as_http: bool) {
        let mut store = self.lock();
        store.compacted = store.compacted.max(revision.min(store.revision));
        store.gone_as_http = as_http;
    }

    /// Serves a kind or stops to: its CRD is away, requests find nothing (404), watches end. Its objects are there again
    /// when it is.
    pub fn serve(&self, kind: &str, served: bool) {
        let mut store = self.lock();
        if served {
            store.absent.remove(kind);
        } else {
            store.absent.insert(kind.to_owned());
            if let Some(objects) = store.kinds.get(kind) {
                objects.news.notify_waiters();
            }
        }
    }

    /// Who may not do what, from now on (403). Concerns requests, not actors. Empty: everybody may do everything.
    pub fn forbid(&self, rules: Vec<Forbidden>) {
        self.lock().forbidden = rules;
    }

    /// Leaves `managedFields` out of everything written from now on. Who owns what is then not known: server-side apply
    /// takes nothing away and meets no conflicts. For speed, where neither matters.
    pub fn without_owners(&self) {
        self.lock().without_owners = true;
    }

    /// Keeps `managedFields` to itself from now on: readers are not told, but the rules of server-side apply hold, except
    /// that nobody is known to own what is in a status. For speed, where no reader looks at them and nobody applies a status.
    /// Those of Leases are told: a leader takes the API server's time from them.
    pub fn hide_owners(&self) {
        self.lock().hides_owners = true;
    }

    /// The last change that `which` accepts.
    pub fn last(&self, which: impl FnMut(&&Change) -> bool) -> Option<Change> {
        self.lock().history.iter().rev().find(which).cloned()
    }

    fn tell(&self, store: &Store) {
        if *self.news.borrow() != store.revision {
            self.news.send_replace(store.revision);
        }
    }
}

fn key_of(object: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    Key { kind: text(&object["kind"]), namespace: text(&meta["namespace"]), name: text(&meta["name"]) }
}

/// Whether the kind is one that the API server serves over HTTP.
#[must_use]
pub fn serves(kind: &str) -> bool {
    Kind::named(kind).is_served()
}
