//! The API server: objects, their rules, and who is told of changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::history::{Change, Key};
use crate::controller::clock::Clock;

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but `status`.
    Object,
    /// `status` alone.
    Status,
}

/// Why a request was refused, as Kubernetes says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refused {
    /// The HTTP status code.
    pub code: u16,
    /// `Status.reason`.
    pub reason: &'static str,
    /// `Status.message`.
    pub message: String,
}

/// An API server. Clones are the same one.
#[derive(Clone)]
pub struct ApiServer {
    store: Arc<Mutex<Store>>,
    clock: Clock,
    began: Instant,
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    history: Vec<Change>,
}

impl ApiServer {
    /// An empty one. Timestamps come from `clock`; the history's times count from now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { store: Arc::default(), clock, began: Instant::now(), news: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object as it is.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().objects.get(key).cloned()
    }

    /// All objects of a kind, of one namespace or of all, in order.
    #[must_use]
    pub fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let store = self.lock();
        let of_kind = store.objects.iter().filter(|(key, _)| key.kind == kind);
        of_kind
            .filter(|(key, _)| namespace.is_none_or(|n| n == key.namespace))
            .map(|(_, o)| o.clone())
            .collect()
    }

    /// Makes an object, as `who`.
    ///
    /// # Errors
    /// It exists, or its kind's rules refuse it.
    pub fn create(&self, who: &str, mut object: Value) -> Result<Arc<Value>, Refused> {
        let key = key_of(&object);
        if let Some(live) = self.get(&key) {
            return Err(Refused { code: 409, reason: "AlreadyExists", message: format!("{live} exists") });
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.revision() + 1));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] = json!(self.clock.now().to_string());
        Ok(self.commit(who, key, Some(object)))
    }

    /// Changes an object, as `who`: reads it, hands it over and writes what comes back, in one.
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
        let Some(live) = self.get(key) else { return Err(not_found(key)) };
        let mut object = (*live).clone();
        change(&mut object);
        if part == Part::Object && object["spec"] != live["spec"] {
            object["metadata"]["generation"] =
                json!(live["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        if object == *live {
            return Ok(live);
        }
        Ok(self.commit(who, key.clone(), Some(object)))
    }

    /// Deletes an object, as `who`.
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete(&self, who: &str, key: &Key) -> Result<(), Refused> {
        self.get(key).ok_or_else(|| not_found(key))?;
        self.commit(who, key.clone(), None);
        Ok(())
    }

    /// The number of the last change; 0 when nothing ever happened.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.lock().history.last().map_or(0, |change| change.revision)
    }

    /// Tells of every new revision.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The changes after a revision, in order.
    #[must_use]
    pub fn since(&self, revision: u64) -> Vec<Change> {
        self.lock().history.iter().filter(|change| change.revision > revision).cloned().collect()
    }

    fn commit(&self, who: &str, key: Key, object: Option<Value>) -> Arc<Value> {
        let mut store = self.lock();
        let revision = store.history.last().map_or(0, |change| change.revision) + 1;
        let before = store.objects.get(&key).cloned();
        let after = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(revision.to_string());
            Arc::new(object)
        });
        match &after {
            Some(after) => store.objects.insert(key.clone(), after.clone()),
            None => store.objects.remove(&key),
        };
        let given = after.clone().or_else(|| before.clone()).unwrap_or_default();
        let at = self.began.elapsed();
        store.history.push(Change { revision, at, by: who.to_owned(), key, before, after });
        drop(store);
        self.news.send_replace(revision);
        given
    }
}

fn key_of(object: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    Key { kind: text(&object["kind"]), namespace: text(&meta["namespace"]), name: text(&meta["name"]) }
}

fn not_found(key: &Key) -> Refused {
    let message = format!("{} {:?} not found", key.kind, key.name);
    Refused { code: 404, reason: "NotFound", message }
}
