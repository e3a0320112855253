//! The endpoints controller: the ready pods of every Service.
//!
//! It keeps them in the plant and not as `EndpointSlice`s in the API server: only the proxies read them, and a history with
//! every slice would be twice as long. A checker that asks "was anything ready" finds the pods themselves in the history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fastrand::Rng;
use serde_json::Value;
use tokio::time::Instant;

use super::{Actor, Surroundings, agenda::Agenda, chance::Range, workloads::is_ready};
use crate::world::history::{Change, Key};

/// The ready pods of a Service, in order.
pub type Ready = Arc<Vec<Key>>;

/// The endpoints controller.
pub struct Endpoints {
    chance: Rng,
    delay: Range,
    due: Agenda<Key>,
    selectors: BTreeMap<Key, BTreeMap<String, String>>,
    ready: BTreeSet<Key>,
}

impl Endpoints {
    /// One that takes `delay` to notice something.
    #[must_use]
    pub fn new(chance: Rng, delay: Range) -> Self {
        Self { chance, delay, due: Agenda::default(), selectors: BTreeMap::new(), ready: BTreeSet::new() }
    }

    fn hear_pod(&mut self, change: &Change, now: Instant) {
        let serves = |pod: &Arc<Value>| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null();
        let is = change.after.as_ref().is_some_and(serves);
        let changed = if is { self.ready.insert(change.key.clone()) } else { self.ready.remove(&change.key) };
        if !changed {
            return;
        }
        let Some(pod) = change.after.as_ref().or(change.before.as_ref()) else { return };
        let labels = &pod["metadata"]["labels"];
        let touched: Vec<Key> = self
            .selectors
            .iter()
            .filter(|(service, selector)| {
                service.namespace == change.key.namespace
                    && selector.iter().all(|(name, value)| labels[name] == **value)
            })
            .map(|(service, _)| service.clone())
            .collect();
        for service in touched {
            self.look(service, now);
        }
    }

    fn hear_service(&mut self, change: &Change, now: Instant) {
        let selector = change.after.as_ref().map(|service| {
            let selector = service["spec"]["selector"].as_object();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            selector.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
        });
        let changed = match selector {
            Some(selector) if self.selectors.get(&change.key) == Some(&selector) => false,
            Some(selector) => {
                self.selectors.insert(change.key.clone(), selector);
                true
            }
            None => self.selectors.remove(&change.key).is_some(),
        };
        if changed {
            self.look(change.key.clone(), now);
        }
    }

    fn look(&mut self, service: Key, now: Instant) {
        let at = now + self.delay.draw(&mut self.chance);
        self.due.add_once(at, service);
    }

    fn sync(&self, service: &Key, around: &mut Surroundings) {
        let Some(selector) = self.selectors.get(service).filter(|selector| !selector.is_empty()) else {
            around.endpoints.remove(service);
            around.endpoint_news.push(service.clone());
            return;
        };
        let matches = |pod: &&Key| {
            pod.namespace == service.namespace
                && around.bodies.get(*pod).is_some_and(|body| {
                    selector.iter().all(|(name, value)| body.labels.get(name) == Some(value))
                })
        };
        let ready: Vec<Key> = self.ready.iter().filter(matches).cloned().collect();
        if around.endpoints.get(service).is_none_or(|known| **known != ready) {
            around.endpoints.insert(service.clone(), Arc::new(ready));
            around.endpoint_news.push(service.clone());
        }
    }
}

impl Actor for Endpoints {
    fn hear(&mut self, change: &Change, _: &mut Surroundings, now: Instant) {
        match change.key.kind.as_str() {
            "Pod" => self.hear_pod(change, now),
            "Service" => self.hear_service(change, now),
            _ => {}
        }
    }

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        while let Some((_, service)) = self.due.due(now) {
            self.sync(&service, around);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}
