//! What is stored: objects by kind, every version that they had, and who is told of the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tokio::sync::Notify;

use super::{
    kind::Kind,
    managed::{Managed, Manager},
    rules::Rules,
};
use crate::world::history::{Change, Key};

/// An object as it was for a while.
#[derive(Debug)]
pub(super) struct Version {
    /// When it became so.
    pub revision: u64,
    /// All of it but who owns what.
    pub value: Arc<Value>,
    /// Who owns what.
    pub managed: Managed,
    /// Readers are told nothing of that.
    hidden: bool,
    bytes: OnceLock<Bytes>,
}

impl Version {
    /// A version that nothing else shares yet.
    pub fn new(revision: u64, value: Arc<Value>, managed: Managed) -> Arc<Self> {
        Arc::new(Self { revision, value, managed, hidden: false, bytes: OnceLock::new() })
    }

    /// Who owns what, as far as readers are told.
    pub fn owners(&self) -> &[Manager] {
        if self.hidden { &[] } else { &self.managed }
    }

    /// As JSON, written once for all who ask.
    pub fn bytes(&self) -> Bytes {
        let write = || Bytes::from(serde_json::to_vec(&Whole(self)).unwrap_or_default());
        self.bytes.get_or_init(write).clone()
    }

    /// With who owns what, as clients see it.
    pub fn whole(&self) -> Value {
        let mut value = (*self.value).clone();
        if !self.owners().is_empty() {
            value["metadata"]["managedFields"] = serde_json::to_value(self.owners()).unwrap_or_default();
        }
        value
    }
}

struct Whole<'a>(&'a Version);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.value.as_object().into_iter().flatten() {
            if name == "metadata" && !self.0.owners().is_empty() {
                map.serialize_entry(name, &Metadata(value, self.0.owners()))?;
            } else {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// Metadata and the owners in it.
pub(super) struct Metadata<'a>(pub &'a Value, pub &'a [Manager]);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.as_object().into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        if !self.1.is_empty() {
            map.serialize_entry("managedFields", self.1)?;
        }
        map.end()
    }
}

/// A change as watchers hear of it.
#[derive(Debug)]
pub(super) struct Event {
    /// Its number.
    pub revision: u64,
    /// Where the object lives.
    pub namespace: String,
    /// What it was; `None`: it was made.
    pub before: Option<Arc<Version>>,
    /// What it is; the last that it was, if it is gone.
    pub object: Arc<Version>,
    /// Whether it is gone.
    pub gone: bool,
    line: OnceLock<Bytes>,
}

impl Event {
    /// `ADDED`, `MODIFIED` or `DELETED`, for a watcher that sees all of them.
    pub fn name(&self) -> &'static str {
        match (&self.before, self.gone) {
            (_, true) => "DELETED",
            (None, false) => "ADDED",
            (Some(_), false) => "MODIFIED",
        }
    }

    /// As a line of a watch, written once for all watchers.
    pub fn line(&self) -> Bytes {
        self.line.get_or_init(|| line(self.name(), &self.object.bytes())).clone()
    }
}

/// A line of a watch.
pub(super) fn line(name: &str, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 40);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}

/// The objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// By namespace and name.
    pub live: BTreeMap<(String, String), Arc<Version>>,
    /// All that happened to them, in order.
    pub log: Vec<Arc<Event>>,
    /// Tells of new entries: watchers hear of them in the order in which they began to wait (in a `watch` channel of tokio's
    /// that is left to chance, and no seed decides it).
    pub news: Arc<Notify>,
}

/// All that an API server knows.
#[derive(Default)]
pub(super) struct Store {
    /// By `kind:`.
    pub kinds: BTreeMap<String, Objects>,
    /// All that happened.
    pub history: Vec<Change>,
    /// The number of the last change.
    pub revision: u64,
    /// What was before it is forgotten.
    pub compacted: u64,
    /// Whether a watch from before that is told so at once, by the status code.
    pub gone_as_http: bool,
    /// Kinds that are not served just now: their CRD is away.
    pub absent: BTreeSet<String>,
    /// Who may not do what.
    pub forbidden: Vec<Forbidden>,
    /// Whether watchers and readers are told who owns what.
    pub without_owners: bool,
    /// Whether only readers are not told.
    pub hides_owners: bool,
    /// CEL.
    pub rules: Rules,
}

/// Somebody may not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Who.
    pub who: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`; `*`: all.
    pub verb: String,
    /// As in `kind:`; with `/status` behind it for the subresource; `*`: all.
    pub kind: String,
    /// In which namespace; `None`: in all.
    pub namespace: Option<String>,
}

/// Who writes what.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub kind: &'static Kind,
    /// As in `kind:`, also of kinds that are not served.
    pub kind_name: String,
    pub namespace: String,
    pub name: String,
}

impl Place {
    pub fn of(key: &Key) -> Self {
        Self {
            kind: Kind::named(&key.kind),
            kind_name: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }
    }

    pub fn key(&self) -> Key {
        Key::new(&self.kind_name, &self.namespace, &self.name)
    }
}

impl Store {
    /// The object as it is.
    pub fn live(&self, place: &Place) -> Option<&Arc<Version>> {
        self.kinds.get(&place.kind_name)?.live.get(&(place.namespace.clone(), place.name.clone()))
    }

    /// Writes a change down: the object as it is from now on, or none.
    pub fn commit(
        &mut self,
        who: &str,
        at: Duration,
        place: &Place,
        object: Option<(Value, Managed)>,
    ) -> Arc<Version> {
        self.revision += 1;
        let revision = self.revision;
        let objects = self.kinds.entry(place.kind_name.clone()).or_default();
        let name = (place.namespace.clone(), place.name.clone());
        let before = objects.live.get(&name).cloned();
        let gone = object.is_none();
        let (mut value, managed) = object.unwrap_or_else(|| match &before {
            Some(last) => ((*last.value).clone(), last.managed.clone()),
            None => (Value::Null, Managed::default()),
        });
        if value.is_object() {
            value["metadata"]["resourceVersion"] = Value::from(revision.to_string());
        }
        let managed = if self.without_owners { Managed::default() } else { managed };
        let (value, hidden) = (Arc::new(value), self.hides_owners && place.kind_name != "Lease");
        let version = Arc::new(Version { revision, value, managed, hidden, bytes: OnceLock::new() });
        if gone {
            objects.live.remove(&name);
        } else {
            objects.live.insert(name, version.clone());
        }
        self.history.push(Change {
            revision,
            at,
            by: who.to_owned(),
            key: place.key(),
            before: before.as_ref().map(|version| version.value.clone()),
            after: (!gone).then(|| version.value.clone()),
        });
        let namespace = place.namespace.clone();
        let event =
            Event { revision, namespace, before, object: version.clone(), gone, line: OnceLock::new() };
        objects.log.push(Arc::new(event));
        objects.news.notify_waiters();
        version
    }

    /// Whether somebody may do something; by the kind's name, `/status` behind it for the subresource.
    pub fn permits(&self, who: &str, verb: &str, kind: &str, namespace: &str) -> bool {
        let is = |rule: &str, what: &str| rule == "*" || rule == what;
        !self.forbidden.iter().any(|rule| {
            rule.who == who
                && is(&rule.verb, verb)
                && is(&rule.kind, kind)
                && rule.namespace.as_ref().is_none_or(|only| only == namespace)
        })
    }
}
