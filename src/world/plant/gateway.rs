//! The gateway's controllers: take routes over, hand them to the proxies, and say so in the routes' status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Actor, Surroundings,
    agenda::Agenda,
    chance::Range,
    during::{self, During},
};
use crate::{
    route::{HTTPRoute, ParentReference, observe},
    world::{
        api_server::Part,
        history::{Change, Key},
    },
};

/// Who it is in the history.
pub const NAME: &str = "gateway";

/// How it names itself in `status.parents`.
const CONTROLLER: &str = "example.com/gateway";

/// How fast it is, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// From a route's change until it is taken over and on its way to the proxies.
    pub hears: Range,
    /// From there until the status says so.
    pub reports: Range,
    /// What is wrong, for a while; the first that holds for a parent counts.
    pub faults: Vec<During<Fault>>,
}

impl Default for Setting {
    fn default() -> Self {
        Self { hears: Range::millis(20, 200), reports: Range::millis(10, 300), faults: vec![] }
    }
}

/// Something wrong with the controller of one parent, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The index in `parentRefs`; absent: all.
    pub parent: Option<usize>,
    /// What.
    pub what: Wrong,
}

/// What may be wrong with a gateway's controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does nothing. What it missed it does when it is back.
    Away,
    /// It hands routes to the proxies and never says so.
    Silent,
    /// It hears so much later.
    Slow(Duration),
    /// Its status speaks of the generation before.
    Stale,
    /// It does not accept any route; the proxies keep what they have.
    Refuses,
}

/// A route as the proxies get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The route's generation.
    pub generation: i64,
    /// Services with traffic and their weights.
    pub shares: Vec<(String, i64)>,
    /// Services that the proxies are to know without sending them anything.
    pub idle: BTreeSet<String>,
    /// The longest that a request may take.
    pub timeout: Option<Duration>,
}

/// A route on its way to the proxies of one parent.
#[derive(Clone, Debug)]
pub struct News {
    /// The route.
    pub route: Key,
    /// Which of its parents.
    pub parent: usize,
    /// How many parents it has; 0: it is gone, and every proxy hears of it.
    pub parents: usize,
    /// What to apply; absent: the route is gone.
    pub config: Option<Arc<Config>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    Take(Key, usize),
    Report(Report),
}

/// What a parent's controller has to say about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    route: Key,
    parent: ParentReference,
    index: usize,
    taken: Taken,
    resolved: bool,
}

/// What was decided about a route when it was looked at. One that was refused then, and so given to no proxy, is not called
/// accepted because it would be by now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    uid: String,
    generation: i64,
    accepted: bool,
}

/// The controllers of all Gateways.
pub struct Gateway {
    chance: Rng,
    setting: Setting,
    due: Agenda<Task>,
    routes: BTreeMap<Key, usize>,
    /// What each parent has taken over or refused last: that is what it reports, never what was before.
    taken: BTreeMap<(Key, usize), Taken>,
}

impl Gateway {
    /// One with this setting.
    #[must_use]
    pub fn new(chance: Rng, setting: Setting) -> Self {
        Self { chance, setting, due: Agenda::default(), routes: BTreeMap::new(), taken: BTreeMap::new() }
    }

    fn look(&mut self, route: &Key, around: &Surroundings, now: Instant) {
        for parent in 0..self.routes.get(route).copied().unwrap_or(0) {
            let late = match self.wrong(parent, around.elapsed()) {
                Some((Wrong::Slow(by), _)) => by,
                _ => Duration::ZERO,
            };
            let at = now + late + self.setting.hears.draw(&mut self.chance);
            self.due.add_once(at, Task::Take(route.clone(), parent));
        }
    }

    /// What is wrong with a parent's controller at a moment since the beginning, and until when.
    fn wrong(&self, parent: usize, at: Duration) -> Option<(Wrong, Duration)> {
        let concerns = |one: &&During<Fault>| one.what.parent.is_none_or(|index| index == parent);
        let all: Vec<During<Fault>> = self.setting.faults.iter().filter(concerns).cloned().collect();
        during::now(&all, at).map(|one| (one.what.what, one.until))
    }

    /// Does a task once a fault is over; never, if it is for ever.
    fn after(&mut self, around: &Surroundings, until: Duration, task: Task) {
        if let Some(at) = around.began.checked_add(until) {
            self.due.add_once(at, task);
        }
    }

    fn take(&mut self, route: Key, parent: usize, around: &mut Surroundings, now: Instant) {
        let wrong = self.wrong(parent, around.elapsed());
        if let Some((Wrong::Away, until)) = wrong {
            return self.after(around, until, Task::Take(route, parent));
        }
        let Some(typed) = around.api.get(&route).and_then(|live| HTTPRoute::deserialize(&*live).ok()) else {
            return;
        };
        let Some(reference) = typed.spec.parent_refs.get(parent).cloned() else { return };
        if !exists(&reference, &route, around) {
            return;
        }
        let view = observe(&typed);
        let is_there = |name: &str| around.api.get(&Key::new("Service", &route.namespace, name)).is_some();
        let resolved = view.shares.keys().chain(&view.idle).all(|name| is_there(name));
        let timeouts = typed.spec.rules.first().and_then(|rule| rule.timeouts.as_ref());
        let timeout = timeouts.and_then(|t| t.request.as_ref()).and_then(|text| {
            let length: crate::api::v1alpha1::Duration = text.parse().ok()?;
            Duration::try_from(length.signed()).ok().filter(|length| !length.is_zero())
        });
        let config = Config {
            generation: view.generation,
            shares: view
                .shares
                .into_iter()
                .map(|(name, weight)| (name, i64::from(weight)))
                .filter(|s| s.1 > 0)
                .collect(),
            idle: view.idle,
            timeout,
        };
        let refused = match wrong {
            Some((Wrong::Refuses, until)) => Some(until),
            _ => None,
        };
        if let Some(until) = refused {
            self.after(around, until, Task::Take(route.clone(), parent));
        } else {
            let parents = typed.spec.parent_refs.len();
            let config = Some(Arc::new(config));
            around.config_news.push(News { route: route.clone(), parent, parents, config });
        }
        let at = now + self.setting.reports.draw(&mut self.chance);
        let taken = Taken { uid: view.uid, generation: view.generation, accepted: refused.is_none() };
        self.taken.insert((route.clone(), parent), taken.clone());
        let report = Report { route, parent: reference, index: parent, taken, resolved };
        self.due.add(at, Task::Report(report));
    }

    fn report(&mut self, report: Report, around: &mut Surroundings) {
        if self.taken.get(&(report.route.clone(), report.index)) != Some(&report.taken) {
            return;
        }
        let mut generation = report.taken.generation;
        match self.wrong(report.index, around.elapsed()) {
            Some((Wrong::Away | Wrong::Silent, until)) => {
                return self.after(around, until, Task::Report(report));
            }
            Some((Wrong::Stale, until)) => {
                generation -= 1;
                self.after(around, until, Task::Report(report.clone()));
            }
            Some((Wrong::Slow(_) | Wrong::Refuses, _)) | None => {}
        }
        let Report { route, parent, taken, resolved, .. } = report;
        let at = around.clock.now().to_string();
        // The route may be gone.
        let _ = around.api.edit(NAME, &route, Part::Status, |route| {
            write(route, &parent, generation, taken.accepted, resolved, &at);
        });
    }
}

impl Actor for Gateway {
    fn hear(&mut self, change: &Change, around: &mut Surroundings, now: Instant) {
        match change.key.kind.as_str() {
            "HTTPRoute" => {
                let shape = |route: &Option<Arc<Value>>| {
                    route.as_ref().map(|r| {
                        (r["metadata"]["uid"].clone(), r["metadata"]["generation"].as_i64().unwrap_or(0))
                    })
                };
                if shape(&change.before) == shape(&change.after) {
                    return;
                }
                let Some(route) = &change.after else {
                    self.routes.remove(&change.key);
                    let route = change.key.clone();
                    around.config_news.push(News { route, parent: 0, parents: 0, config: None });
                    return;
                };
                let parents = route["spec"]["parentRefs"].as_array().map_or(0, Vec::len);
                self.routes.insert(change.key.clone(), parents);
                self.look(&change.key, around, now);
            }
            // A route may name what comes later.
            "Gateway" | "Service" if change.before.is_none() => {
                for route in self.routes.keys().cloned().collect::<Vec<_>>() {
                    self.look(&route, around, now);
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        while let Some((at, task)) = self.due.due(now) {
            match task {
                Task::Take(route, parent) => self.take(route, parent, around, at),
                Task::Report(report) => self.report(report, around),
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}

fn exists(parent: &ParentReference, route: &Key, around: &Surroundings) -> bool {
    let namespace = parent.namespace.as_deref().unwrap_or(&route.namespace);
    around.api.get(&Key::new(&parent.kind, namespace, &parent.name)).is_some()
}

/// Puts this controller's word on a parent into a route's status. Its conditions keep their times while they stay the same.
fn write(
    route: &mut Value,
    parent: &ParentReference,
    generation: i64,
    accepted: bool,
    resolved: bool,
    at: &str,
) {
    let reference = serde_json::to_value(parent).unwrap_or_default();
    if !route["status"]["parents"].is_array() {
        route["status"] = json!({"parents": []});
    }
    let Some(parents) = route["status"]["parents"].as_array_mut() else { return };
    let ours = |entry: &Value| entry["controllerName"] == CONTROLLER && entry["parentRef"] == reference;
    let index = parents.iter().position(ours).unwrap_or_else(|| {
        parents.push(json!({"parentRef": reference, "controllerName": CONTROLLER, "conditions": []}));
        parents.len() - 1
    });
    let old = parents[index]["conditions"].take();
    let condition = |kind: &str, holds: bool, otherwise: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let same = old
            .as_array()
            .into_iter()
            .flatten()
            .find(|c| c["type"] == kind && c["status"] == status)
            .map(|c| c["lastTransitionTime"].clone());
        json!({
            "type": kind, "status": status, "observedGeneration": generation,
            "reason": if holds { kind } else { otherwise }, "message": if holds { "" } else { message },
            "lastTransitionTime": same.unwrap_or_else(|| json!(at)),
        })
    };
    parents[index]["conditions"] = json!([
        condition("Accepted", accepted, "NotAllowedByListeners", "no listener allows this route"),
        condition("ResolvedRefs", resolved, "BackendNotFound", "a Service does not exist"),
    ]);
}
