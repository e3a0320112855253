//! Watches: what happened since a revision, line by line, and then what happens.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    kind::Kind,
    labels::Selector,
    list::{metadata_of, wants_metadata},
    refused::Refused,
    request::{Query, Target},
    store::{Event, Store, Version, line},
};

/// How often a watcher that wants bookmarks hears how far it is.
const BOOKMARK: Duration = Duration::from_mins(1);
/// How long a watch lasts that does not say.
const LASTS: Duration = Duration::from_mins(30);

/// Begins a watch.
pub(super) fn watch(
    store: &Arc<Mutex<Store>>,
    target: &Target,
    query: &Query,
    accept: &str,
) -> Result<Body, Refused> {
    let mut locked = store.lock().unwrap_or_else(PoisonError::into_inner);
    let selector = Selector::new(query.get("labelSelector"), query.get("fieldSelector"))?;
    let given = query.get("resourceVersion");
    let from: u64 = match given {
        "" => 0,
        text => text.parse().map_err(|_| Refused::bad(format!("invalid resource version {text:?}")))?,
    };
    let initial = query.flag("sendInitialEvents") || from == 0;
    if !initial && from < locked.compacted {
        let gone = Refused::expired(&format!("too old resource version: {from} ({})", locked.compacted));
        if locked.gone_as_http {
            return Err(gone);
        }
        return Ok(Body::from(line("ERROR", gone.status(None, "").to_string().as_bytes())));
    }
    let lasts = query.number("timeoutSeconds").filter(|s| *s > 0).map_or(LASTS, Duration::from_secs);
    let now = Instant::now();
    let revision = locked.revision;
    let news = locked.kinds.entry(target.kind.name.to_owned()).or_default().news.clone();
    let mut watcher = Watcher {
        store: store.clone(),
        kind: target.kind,
        namespace: target.namespace.clone(),
        selector,
        partial: wants_metadata(accept),
        seen: if initial { revision } else { from },
        news,
        ends: now + lasts,
        bookmark: query.flag("allowWatchBookmarks").then_some(now + BOOKMARK),
        alarm: None,
        ready: vec![],
    };
    if initial {
        watcher.begin(&locked, query.flag("sendInitialEvents"));
    }
    drop(locked);
    Ok(Body::from_stream(stream::unfold(watcher, Watcher::next)))
}

struct Watcher {
    store: Arc<Mutex<Store>>,
    kind: &'static Kind,
    namespace: String,
    selector: Selector,
    partial: bool,
    /// Everything up to here was told.
    seen: u64,
    news: Arc<Notify>,
    ends: Instant,
    bookmark: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Not yet sent.
    ready: Vec<u8>,
}

impl Watcher {
    /// What lives, as if it had just been made.
    fn begin(&mut self, store: &Store, says_when_done: bool) {
        let objects = store.kinds.get(self.kind.name).into_iter().flat_map(|objects| &objects.live);
        let mut ready = vec![];
        for ((namespace, _), version) in objects {
            if (self.namespace.is_empty() || *namespace == self.namespace)
                && self.selector.takes(&version.value)
            {
                ready.extend(self.line("ADDED", version));
            }
        }
        if says_when_done {
            let mut bookmark = self.bookmark(store.revision);
            bookmark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            ready.extend(line("BOOKMARK", bookmark.to_string().as_bytes()));
        }
        self.ready = ready;
    }

    fn bookmark(&self, revision: u64) -> serde_json::Value {
        json!({"kind": self.kind.name, "apiVersion": self.kind.api_version(),
               "metadata": {"resourceVersion": revision.to_string()}})
    }

    fn line(&self, name: &str, version: &Version) -> Bytes {
        if self.partial { line(name, &metadata_of(version)) } else { line(name, &version.bytes()) }
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if !self.ready.is_empty() {
                let ready = std::mem::take(&mut self.ready);
                return Some((Ok(Bytes::from(ready)), self));
            }
            // It hears of everything that is written from here on.
            let news = self.news.clone();
            let mut news = pin!(news.notified());
            if !self.gather() || Instant::now() >= self.ends {
                return None;
            }
            if !self.ready.is_empty() {
                continue;
            }
            let until = self.bookmark.map_or(self.ends, |bookmark| bookmark.min(self.ends));
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if alarm.deadline() != until {
                alarm.as_mut().reset(until);
            }
            tokio::select! {
                biased;
                () = &mut news => {}
                () = alarm => {}
            }
        }
    }

    /// Fetches what is new. `false`: the kind is not served any more.
    fn gather(&mut self) -> bool {
        let store = self.store.clone();
        let store = store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.absent.contains(self.kind.name) {
            return false;
        }
        let mut ready = vec![];
        if let Some(objects) = store.kinds.get(self.kind.name) {
            let first = objects.log.partition_point(|event| event.revision <= self.seen);
            for event in &objects.log[first..] {
                if let Some(line) = self.told(event) {
                    ready.extend_from_slice(&line);
                }
            }
        }
        self.seen = self.seen.max(store.revision);
        if self.bookmark.is_some_and(|due| Instant::now() >= due) {
            ready.extend(line("BOOKMARK", self.bookmark(self.seen).to_string().as_bytes()));
            self.bookmark = Some(Instant::now() + BOOKMARK);
        }
        self.ready = ready;
        true
    }

    /// An event as this watcher sees it: what begins to fit its selector is new, what ends to is gone.
    fn told(&self, event: &Event) -> Option<Bytes> {
        if !self.namespace.is_empty() && event.namespace != self.namespace {
            return None;
        }
        if self.selector.is_all() {
            return Some(if self.partial { self.line(event.name(), &event.object) } else { event.line() });
        }
        let before = event.before.as_ref().is_some_and(|before| self.selector.takes(&before.value));
        let after = !event.gone && self.selector.takes(&event.object.value);
        match (before, after) {
            (false, false) => None,
            (true, true) if !self.partial => Some(event.line()),
            (true, true) => Some(self.line("MODIFIED", &event.object)),
            (false, true) => Some(self.line("ADDED", &event.object)),
            (true, false) => {
                // As it was when it still fitted, with the number of the change.
                let last = event.before.as_ref().filter(|_| !event.gone);
                let last = last.map_or_else(|| event.object.clone(), |last| renumbered(last, event.revision));
                Some(self.line("DELETED", &last))
            }
        }
    }
}

fn renumbered(version: &Version, revision: u64) -> Arc<Version> {
    let mut value = (*version.value).clone();
    value["metadata"]["resourceVersion"] = json!(revision.to_string());
    Version::new(revision, Arc::new(value), version.managed.clone())
}
