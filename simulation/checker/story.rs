//! Histories made by hand: an orderly world, told step by step, so that a test can let one thing go wrong in it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use seatrial::world::history::{Applied, Change, Key, Served};
use serde_json::{Value, json};

use super::input::{Facts, Input, Request};

/// The replica that leads.
pub const LEADER: &str = "seatrial-a";
/// The first revision.
pub const A: &str = "iris-aaaaaaaa";
/// The second.
pub const B: &str = "iris-bbbbbbbb";

/// A history in the making.
pub struct Story {
    /// What was told so far.
    pub input: Input,
    /// Who leads.
    pub leader: String,
    /// Writes of ours carry what they were guarded by.
    pub guarded: bool,
    /// Share of the second revision's requests that fail by its own fault.
    pub bad: f64,
    store: BTreeMap<Key, Value>,
    at: Duration,
    revision: u64,
    shares: BTreeMap<usize, Vec<(String, i64)>>,
    renewed: Duration,
    ticked: Duration,
    resting: bool,
}

pub fn key(kind: &str, name: &str) -> Key {
    Key::new(kind, "ml", name)
}

pub fn model() -> Key {
    key("ModelDeployment", "iris")
}

pub fn split() -> Key {
    key("TrafficSplit", "iris")
}

pub fn route() -> Key {
    key("HTTPRoute", "iris")
}

pub fn deployment(name: &str) -> Key {
    key("Deployment", name)
}

fn time(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("2026-11-21T{:02}:{:02}:{:02}Z", 8 + seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn micro(at: Duration) -> String {
    time(at).replace('Z', ".000000Z")
}

impl Story {
    /// An empty world with a leader.
    pub fn new() -> Self {
        let facts = Facts {
            operators: vec![LEADER.to_owned(), "seatrial-b".to_owned()],
            propagation: Duration::from_secs(10),
            scrape: Duration::from_secs(5),
            settle: Duration::from_mins(5),
            rate: 100.0,
            ..Facts::default()
        };
        let mut story = Self {
            input: Input { facts, ..Input::default() },
            leader: LEADER.to_owned(),
            guarded: true,
            bad: 0.0,
            store: BTreeMap::new(),
            at: Duration::ZERO,
            revision: 0,
            shares: BTreeMap::new(),
            renewed: Duration::ZERO,
            ticked: Duration::ZERO,
            resting: false,
        };
        story.renew();
        story
    }

    /// Time goes by; the leader renews its lease, requests are served.
    pub fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.at += Duration::from_secs(1);
            if self.at >= self.renewed + Duration::from_secs(5) && !self.leader.is_empty() {
                self.renew();
            }
            if self.at >= self.ticked + Duration::from_secs(5) {
                self.tick();
            }
        }
        self.input.facts.end = self.at;
        if !self.resting {
            self.input.facts.quiet_since = self.at;
        }
    }

    /// The moment.
    pub fn now(&self) -> Duration {
        self.at
    }

    pub fn renew(&mut self) {
        self.renewed = self.at;
        let (leader, at) = (self.leader.clone(), micro(self.at));
        self.write(&leader.clone(), &Key::new("Lease", "seatrial", "seatrial"), |v| {
            v["spec"] = json!({"holderIdentity": leader, "renewTime": at});
        });
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn tick(&mut self) {
        self.ticked = self.at;
        for (backend, weight) in self.shares.get(&0).cloned().unwrap_or_default() {
            let requests = u64::try_from(weight).unwrap_or(0) / 20;
            let errors = if backend == B { (requests as f64 * self.bad) as u64 } else { 0 };
            self.input.served.push(Served {
                at: self.at,
                route: route(),
                backend,
                requests,
                errors,
                slow: 0,
                failed: 0,
            });
        }
    }

    /// An object as it is.
    pub fn get(&self, key: &Key) -> Value {
        self.store.get(key).cloned().unwrap_or_default()
    }

    /// Somebody writes an object, or makes it.
    pub fn write(&mut self, by: &str, key: &Key, change: impl FnOnce(&mut Value)) {
        let before = self.store.get(key).cloned();
        let mut after = before.clone().unwrap_or_else(|| {
            json!({"kind": key.kind, "metadata": {"name": key.name, "namespace": key.namespace,
                "uid": format!("uid-{}", self.revision + 1), "generation": 1, "creationTimestamp": time(self.at)}})
        });
        change(&mut after);
        if let Some(before) = &before
            && before["spec"] != after["spec"]
        {
            after["metadata"]["generation"] =
                json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        self.put(by, key, before, Some(after));
    }

    /// Somebody deletes an object.
    pub fn remove(&mut self, by: &str, key: &Key) {
        let before = self.store.get(key).cloned();
        self.put(by, key, before, None);
    }

    fn put(&mut self, by: &str, key: &Key, before: Option<Value>, mut after: Option<Value>) {
        self.revision += 1;
        if let Some(after) = &mut after {
            after["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            self.store.insert(key.clone(), after.clone());
        } else {
            self.store.remove(key);
        }
        if self.input.facts.operators.iter().any(|o| o == by) {
            let text =
                |part: &str| before.as_ref().and_then(|b| b["metadata"][part].as_str()).map(str::to_owned);
            let method = match (&before, &after) {
                (_, None) => "DELETE",
                (_, Some(_)) if key.kind == "ModelDeployment" || key.kind == "TrafficSplit" => "PUT",
                _ => "PATCH",
            };
            self.input.requests.push(Request {
                who: by.to_owned(),
                sent: self.at,
                method,
                key: Some(key.clone()),
                uid: text("uid").filter(|_| self.guarded),
                resource_version: text("resourceVersion").filter(|_| self.guarded),
                code: Some(200),
                told: true,
                revision: Some(self.revision),
                ..Request::default()
            });
        }
        self.input.changes.push(Change {
            revision: self.revision,
            at: self.at,
            by: by.to_owned(),
            key: key.clone(),
            before: before.map(Arc::new),
            after: after.map(Arc::new),
        });
    }

    /// The leader writes the model's status.
    pub fn status(&mut self, change: impl FnOnce(&mut Value)) {
        let leader = self.leader.clone();
        self.status_by(&leader, change);
    }

    /// A replica writes the model's status.
    pub fn status_by(&mut self, by: &str, change: impl FnOnce(&mut Value)) {
        let at = time(self.at);
        self.write(by, &model(), |v| {
            let generation = v["metadata"]["generation"].clone();
            if v["status"].is_null() {
                v["status"] = json!({"attempt": 0, "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted",
                    "message": "", "lastTransitionTime": at}]});
            }
            change(&mut v["status"]);
            v["status"]["observedGeneration"] = generation.clone();
            for condition in v["status"]["conditions"].as_array_mut().unwrap() {
                condition["observedGeneration"] = generation.clone();
            }
        });
    }

    /// The leader writes the route: weights, and names without traffic.
    pub fn route(&mut self, shares: &[(&str, i64)], idle: &[&str]) {
        let leader = self.leader.clone();
        self.route_by(&leader, shares, idle);
    }

    /// Somebody writes the route.
    pub fn route_by(&mut self, by: &str, shares: &[(&str, i64)], idle: &[&str]) {
        let owner = self.get(&split())["metadata"]["uid"].clone();
        let refs = |all: Vec<(&str, i64)>| -> Vec<Value> {
            all.iter().map(|(name, weight)| json!({"name": name, "weight": weight, "port": 80})).collect()
        };
        let mut rules = vec![];
        if !shares.is_empty() {
            rules.push(json!({"backendRefs": refs(shares.to_vec())}));
        }
        if !idle.is_empty() {
            let names = idle.iter().map(|name| (*name, 1)).collect();
            rules.push(json!({"matches": [{"headers": [{"name": "x-seatrial-idle", "value": "x"}]}], "backendRefs": refs(names)}));
        }
        self.write(by, &route(), |v| {
            v["metadata"]["ownerReferences"] =
                json!([{"kind": "TrafficSplit", "name": "iris", "uid": owner, "controller": true}]);
            v["spec"] = json!({"rules": rules});
        });
    }

    /// Both proxies apply the route as it is now, one two seconds after the other.
    pub fn propagate(&mut self) {
        self.wait(2);
        self.apply(0);
        self.wait(2);
        self.apply(1);
    }

    /// One proxy applies the route as it is now.
    pub fn apply(&mut self, proxy: usize) {
        let live = self.get(&route());
        let shares: Vec<(String, i64)> = super::tracks::rules(&live)
            .filter(|rule| !super::tracks::is_idle(rule))
            .flat_map(super::tracks::backends)
            .map(|b| (b["name"].as_str().unwrap().to_owned(), b["weight"].as_i64().unwrap()))
            .collect();
        let generation = live["metadata"]["generation"].as_i64();
        self.shares.insert(proxy, shares.clone());
        self.input.applied.push(Applied { at: self.at, proxy, route: route(), generation, shares });
    }

    /// A replica makes a revision's objects, or changes their size.
    pub fn size(&mut self, revision: &str, replicas: i64) {
        let (leader, owner) = (self.leader.clone(), self.get(&model())["metadata"]["uid"].clone());
        let owners = json!([{"kind": "ModelDeployment", "name": "iris", "uid": owner, "controller": true}]);
        let labels = json!({"seatrial.dev/model": "iris", "seatrial.dev/revision": revision});
        if self.get(&key("Service", revision)).is_null() {
            self.write(&leader, &key("ControllerRevision", revision), |v| {
                v["metadata"]["ownerReferences"] = owners.clone();
                v["data"] = json!({"template": revision});
            });
            self.service(revision, revision);
        }
        self.write(&leader, &deployment(revision), |v| {
            v["metadata"]["ownerReferences"] = owners;
            v["metadata"]["labels"] = labels.clone();
            v["spec"] = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"image": revision}});
        });
    }

    /// A replica points a Service at a revision.
    pub fn service(&mut self, name: &str, revision: &str) {
        let (leader, owner) = (self.leader.clone(), self.get(&model())["metadata"]["uid"].clone());
        self.write(&leader, &key("Service", name), |v| {
            v["metadata"]["ownerReferences"] =
                json!([{"kind": "ModelDeployment", "name": "iris", "uid": owner, "controller": true}]);
            v["metadata"]["labels"] =
                json!({"seatrial.dev/model": "iris", "seatrial.dev/revision": revision});
            v["spec"] = json!({"selector": {"seatrial.dev/model": "iris", "seatrial.dev/revision": revision},
                "ports": [{"name": "http", "port": 80}]});
        });
    }

    /// So many pods of a revision are ready.
    pub fn ready(&mut self, revision: &str, pods: i64) {
        self.write("kubelet", &deployment(revision), |v| v["status"] = json!({"readyReplicas": pods}));
    }

    /// The user asks for a version.
    pub fn ask(&mut self, version: &str) {
        self.write("user", &model(), |v| {
            v["spec"] = json!({"model": {"version": version, "uri": "pvc://m/x", "format": "sklearn"},
                "runtimeRef": {"name": "r"}, "replicas": 2, "progressDeadline": "2m"});
        });
    }

    /// The user makes a `TrafficSplit` with steps at 5 % and 50 %.
    pub fn make_split(&mut self, name: &str) {
        self.write("user", &key("TrafficSplit", name), |v| {
            v["spec"] = json!({
                "route": {"httpRoute": {"parentRefs": [{"name": "public", "namespace": "infra"}]}},
                "backends": [{"modelDeploymentRef": {"name": "iris"}}],
                "strategy": {"canary": {"steps": [{"weight": "5%", "bake": "60s"}, {"weight": "50%", "bake": "60s"}],
                    "rollbackWindow": "120s"}},
                "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
                "analysis": {"interval": "15s", "holdBudget": "60s"},
            });
        });
    }

    /// The leader writes what it thinks of the `TrafficSplit`.
    pub fn split_status(&mut self, resolved: &str) {
        let (leader, at) = (self.leader.clone(), time(self.at));
        self.write(&leader, &split(), |v| {
            let generation = v["metadata"]["generation"].clone();
            v["status"] = json!({"observedGeneration": generation, "conditions": [{"type": "ResolvedRefs", "status": resolved,
                "reason": "X", "message": "", "lastTransitionTime": at, "observedGeneration": generation}]});
        });
    }

    /// Version 1 serves.
    pub fn serve(&mut self) {
        self.write("user", &Key::new("Gateway", "infra", "public"), |_| {});
        self.make_split("iris");
        self.ask("1.0");
        self.wait(1);
        self.status(|s| {
            s["phase"] = json!("Pending");
            s["latestRevision"] = json!(A);
        });
        self.size(A, 2);
        self.wait(20);
        self.ready(A, 2);
        self.service("iris", A);
        self.route(&[], &[A]);
        self.split_status("True");
        self.propagate();
        self.wait(10);
        self.route(&[(A, 10_000)], &[]);
        self.propagate();
        self.wait(10);
        let at = time(self.at);
        self.status(|s| {
            s["phase"] = json!("Stable");
            s["stableRevision"] = json!(A);
            s["stableVersion"] = json!("1.0");
            s["revisions"] =
                json!([{"name": A, "version": "1.0", "used": "Stable", "replicas": 2, "readyReplicas": 2}]);
            s["conditions"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": "Ready", "status": "True", "reason": "Serving",
                "message": "", "lastTransitionTime": at}));
        });
        self.wait(60);
    }

    /// Version 2 is asked for, starts, is ready and known to every proxy.
    pub fn prepare(&mut self) {
        self.ask("2.0");
        self.wait(1);
        self.begin_attempt();
        self.size(B, 1);
        self.wait(20);
        self.ready(B, 1);
        self.route(&[(A, 10_000)], &[B]);
        self.propagate();
        self.wait(10);
    }

    /// The record of a new attempt of version 2.
    pub fn begin_attempt(&mut self) {
        let at = micro(self.at);
        self.status(|s| {
            s["phase"] = json!("Preparing");
            s["attempt"] = json!(s["attempt"].as_i64().unwrap() + 1);
            s["latestRevision"] = json!(B);
            s["candidateRevision"] = json!(B);
            s["candidateVersion"] = json!("2.0");
            s["step"] = json!({"index": 0, "progress": "1/2", "weight": "5%", "since": at});
            s["revisions"] = json!([
                {"name": A, "version": "1.0", "used": "Stable", "replicas": 2, "readyReplicas": 2},
                {"name": B, "version": "2.0", "used": "Candidate", "replicas": 1, "readyReplicas": 0}]);
        });
    }

    /// The record of a step.
    pub fn take(&mut self, index: i64, weight: &str, phase: &str) {
        let at = micro(self.at);
        self.status(|s| {
            s["phase"] = json!(phase);
            s["step"]["index"] = json!(index);
            s["step"]["weight"] = json!(weight);
            if s["step"]["entered"].is_null() {
                s["step"]["entered"] = json!(at);
            }
        });
    }

    /// The record that a step's weight is effective.
    pub fn begin(&mut self) {
        let at = micro(self.at);
        self.status(|s| {
            let index = s["step"]["index"].clone();
            if s["step"]["starts"].is_null() {
                s["step"]["starts"] = json!([]);
            }
            s["step"]["starts"].as_array_mut().unwrap().push(json!({"index": index, "since": at}));
        });
    }

    /// Version 2 has 5 %.
    pub fn enter(&mut self) {
        self.prepare();
        self.take(0, "5%", "Progressing");
        self.route(&[(A, 9500), (B, 500)], &[]);
        self.propagate();
        self.wait(8);
        self.begin();
        self.wait(70);
    }

    /// Version 2 has 50 %, then everything.
    pub fn climb(&mut self) {
        self.take(1, "50%", "Progressing");
        self.route(&[(A, 5000), (B, 5000)], &[]);
        self.propagate();
        self.wait(8);
        self.begin();
        self.wait(70);
        self.take(2, "100%", "Watching");
        self.size(B, 2);
        self.wait(10);
        self.ready(B, 2);
        self.route(&[(B, 10_000)], &[A]);
        self.propagate();
        self.wait(8);
        self.begin();
    }

    /// Version 2 is stable; version 1 goes.
    pub fn promote(&mut self) {
        self.wait(130);
        self.promoted();
        self.service("iris", B);
        self.route(&[(B, 10_000)], &[]);
        self.wait(35);
        self.size(A, 0);
        self.ready(A, 0);
    }

    /// The record of a promotion.
    pub fn promoted(&mut self) {
        let at = micro(self.at);
        self.status(|s| {
            s["phase"] = json!("Stable");
            s["stableRevision"] = json!(B);
            s["stableVersion"] = json!("2.0");
            for part in ["candidateRevision", "candidateVersion", "step"] {
                s.as_object_mut().unwrap().remove(part);
            }
            s["history"] = json!([{"revision": B, "version": "2.0", "from": A, "outcome": "Promoted", "reason": "Promoted",
                "message": "", "at": at}]);
            s["revisions"] = json!([
                {"name": B, "version": "2.0", "used": "Stable", "replicas": 2, "readyReplicas": 2},
                {"name": A, "version": "1.0", "used": "Draining", "replicas": 2, "readyReplicas": 2}]);
        });
    }

    /// The record of a rollback.
    pub fn decide(&mut self, reason: &str) {
        let at = micro(self.at);
        self.status(|s| {
            s["phase"] = json!("RollingBack");
            s["rollback"] = json!({"outcome": "RolledBack", "reason": reason, "message": "", "since": at});
            s["rejected"] = json!([{"revision": B, "version": "2.0", "outcome": "RolledBack", "reason": reason, "message": "",
                "at": at}]);
        });
    }

    /// The record that a rollback is over.
    pub fn settle(&mut self) {
        let at = micro(self.at);
        self.status(|s| {
            s["phase"] = json!("RolledBack");
            let reason = s["rollback"]["reason"].clone();
            for part in ["candidateRevision", "candidateVersion", "step", "rollback"] {
                s.as_object_mut().unwrap().remove(part);
            }
            s["history"] = json!([{"revision": B, "version": "2.0", "from": A, "outcome": "RolledBack", "reason": reason,
                "message": "", "at": at}]);
            s["revisions"] = json!([
                {"name": A, "version": "1.0", "used": "Stable", "replicas": 2, "readyReplicas": 2},
                {"name": B, "version": "2.0", "used": "Draining", "replicas": 1, "readyReplicas": 1}]);
        });
    }

    /// Version 2 is taken out.
    pub fn roll_back(&mut self) {
        self.decide("Breach");
        self.route(&[(A, 10_000)], &[B]);
        self.propagate();
        self.wait(35);
        self.settle();
        self.route(&[(A, 10_000)], &[]);
        self.size(B, 0);
        self.ready(B, 0);
    }

    /// Nobody disturbs the world any more, for long.
    pub fn rest(&mut self) {
        self.resting = true;
        self.wait(700);
    }
}

/// Version 1 serves.
pub fn served() -> Story {
    let mut story = Story::new();
    story.serve();
    story
}

/// Version 2 is at 5 %.
pub fn entered() -> Story {
    let mut story = served();
    story.enter();
    story
}

/// Version 2 took over.
pub fn promoted() -> Story {
    let mut story = entered();
    story.climb();
    story.promote();
    story.rest();
    story
}

/// Version 2 was bad.
pub fn rolled_back() -> Story {
    let mut story = served();
    story.bad = 0.5;
    story.input.facts.versions.insert("2.0".to_owned(), super::input::Quality::Bad);
    story.enter();
    story.roll_back();
    story.rest();
    story
}
