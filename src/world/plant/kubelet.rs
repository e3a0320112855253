//! The kubelet: starts containers, probes them, restarts what crashes, evicts, and ends pods with their grace period.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Actor, Surroundings,
    agenda::Agenda,
    behaviour::{Pods, Readiness},
    chance::Range,
    workloads::version,
};
use crate::world::{
    api_server::Part,
    history::{Change, Key},
};

/// Who it is in the history.
pub const NAME: &str = "kubelet";

/// A pod's container as it is on its node.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that come and go by themselves")]
pub struct Body {
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The version that it runs.
    pub version: String,
    /// Its readiness probe passes, and the API server was told so.
    pub ready: bool,
    /// It takes requests: from its first readiness on until it ends or crashes.
    pub listens: bool,
    /// It was told to end.
    pub ending: bool,
    /// From being told to end to being killed.
    pub grace: Duration,
    /// Requests that it got lately.
    pub sent: VecDeque<Sent>,
    /// It lost its readiness by itself: what does not reach it is its own fault.
    pub broke: bool,
    pods: Arc<Pods>,
    image: String,
    container: String,
    restarts: u32,
}

/// Requests that a pod got from one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// By which route.
    pub route: Key,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
    /// How many.
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The node has taken it.
    Begin,
    Ready(u32),
    NotReady(u32),
    Crash(u32),
    Restart(u32),
    Evict,
    /// It takes no more requests.
    Deaf,
    /// It is killed.
    Gone,
}

/// The kubelet of all nodes.
pub struct Kubelet {
    chance: Rng,
    delay: Range,
    due: Agenda<(Key, Step)>,
}

impl Kubelet {
    /// One that takes `delay` to notice something.
    #[must_use]
    pub fn new(chance: Rng, delay: Range) -> Self {
        Self { chance, delay, due: Agenda::default() }
    }

    fn take(&mut self, key: &Key, pod: &Value, around: &mut Surroundings, now: Instant) {
        let labels = &pod["metadata"]["labels"];
        let version = version(labels);
        let pods = Arc::new(around.versions.of(&version).pods.clone());
        let container = &pod["spec"]["containers"][0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let body = Body {
            labels: labels
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            version,
            ready: false,
            listens: false,
            ending: false,
            grace: pods.grace,
            sent: VecDeque::new(),
            broke: false,
            image: text(&container["image"]),
            container: text(&container["name"]),
            restarts: 0,
            pods: pods.clone(),
        };
        around.bodies.insert(key.clone(), body);
        self.due.add(now + self.delay.draw(&mut self.chance), (key.clone(), Step::Begin));
        if let Some(after) = pods.evict_after {
            self.due.add(now + after, (key.clone(), Step::Evict));
        }
    }

    fn end(&mut self, key: &Key, around: &mut Surroundings, now: Instant) {
        let Some(body) = around.bodies.get_mut(key).filter(|body| !body.ending) else { return };
        body.ending = true;
        let told = now + self.delay.draw(&mut self.chance);
        let deaf = told + body.pods.lingers.min(body.grace);
        // A little for the process itself to end.
        let gone = deaf + Duration::from_millis(50);
        self.due.add(deaf, (key.clone(), Step::Deaf));
        self.due.add(gone, (key.clone(), Step::Gone));
    }

    /// The container starts (again): when it will be ready, when it will crash.
    fn start(&mut self, key: &Key, body: &Body, now: Instant) {
        let run = body.restarts;
        let start = body.pods.start.draw(&mut self.chance);
        match body.pods.readiness {
            Readiness::Holds | Readiness::Flaps { .. } => {
                self.due.add(now + start, (key.clone(), Step::Ready(run)));
            }
            Readiness::Never | Readiness::NoImage => {}
        }
        if let Some(after) = body.pods.crash_after
            && body.pods.readiness != Readiness::NoImage
        {
            self.due.add(now + after, (key.clone(), Step::Crash(run)));
        }
    }

    fn step(&mut self, key: &Key, step: Step, around: &mut Surroundings, now: Instant) {
        let Some(mut body) = around.bodies.remove(key) else { return };
        let said = match step {
            Step::Begin => {
                self.start(key, &body, now);
                Some(if body.pods.readiness == Readiness::NoImage { no_image() } else { running(&body) })
            }
            Step::Ready(run) => self.ready(key, run, &mut body, now),
            Step::NotReady(run) => self.not_ready(key, run, &mut body, now),
            Step::Crash(run) => {
                let sent = std::mem::take(&mut body.sent);
                let said = self.crash(key, run, &mut body, now);
                if said.is_some() {
                    around.cut.push((sent, body.clone()));
                }
                said
            }
            Step::Restart(run) if run == body.restarts && !body.ending => {
                self.start(key, &body, now);
                Some(running(&body))
            }
            Step::Restart(_) => None,
            Step::Evict => {
                broke(&mut body);
                around.cut.push((std::mem::take(&mut body.sent), body.clone()));
                body.restarts += 1;
                Some(json!({}))
            }
            Step::Deaf => {
                if body.listens && !body.pods.finishes {
                    around.cut.push((std::mem::take(&mut body.sent), body.clone()));
                }
                body.listens = false;
                None
            }
            Step::Gone => {
                // Somebody else may have removed it.
                let _ = around.api.delete(NAME, key);
                return;
            }
        };
        if let Some(container) = said {
            let status = if step == Step::Evict { evicted() } else { status(&body, container) };
            let at = around.clock.now().to_string();
            let _ = around.api.edit(NAME, key, Part::Status, |pod| pod["status"] = stamped(status, pod, &at));
        }
        around.bodies.insert(key.clone(), body);
    }

    fn ready(&mut self, key: &Key, run: u32, body: &mut Body, now: Instant) -> Option<Value> {
        if run != body.restarts || body.ready {
            return None;
        }
        // A pod that is told to end starts no more traffic.
        (body.ready, body.listens) = (true, body.listens || !body.ending);
        if let Readiness::Flaps { up, .. } = body.pods.readiness {
            self.due.add(now + up, (key.clone(), Step::NotReady(run)));
        }
        Some(running(body))
    }

    fn not_ready(&mut self, key: &Key, run: u32, body: &mut Body, now: Instant) -> Option<Value> {
        if run != body.restarts || !body.ready {
            return None;
        }
        (body.ready, body.broke) = (false, true);
        if let Readiness::Flaps { down, .. } = body.pods.readiness {
            self.due.add(now + down, (key.clone(), Step::Ready(run)));
        }
        Some(running(body))
    }

    /// The first restart comes at once, the others after 10 s, 20 s, … 5 m.
    fn crash(&mut self, key: &Key, run: u32, body: &mut Body, now: Instant) -> Option<Value> {
        if run != body.restarts {
            return None;
        }
        broke(body);
        body.restarts += 1;
        if body.restarts == 1 {
            self.due.add(now + Duration::from_millis(200), (key.clone(), Step::Restart(1)));
            return Some(json!({"state": {"terminated": ended()}}));
        }
        let pause = Duration::from_secs(10 << (body.restarts - 2).min(5)).min(Duration::from_mins(5));
        self.due.add(now + pause, (key.clone(), Step::Restart(body.restarts)));
        Some(json!({
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}},
            "lastState": {"terminated": ended()},
        }))
    }
}

impl Actor for Kubelet {
    fn hear(&mut self, change: &Change, around: &mut Surroundings, now: Instant) {
        if change.key.kind != "Pod" {
            return;
        }
        match (&change.before, &change.after) {
            (None, Some(pod)) => self.take(&change.key, pod, around, now),
            (_, Some(pod)) if !pod["metadata"]["deletionTimestamp"].is_null() => {
                self.end(&change.key, around, now);
            }
            // Removed without a word to the kubelet: its container is killed at once.
            (Some(_), None) if change.by != NAME => {
                if let Some(mut body) = around.bodies.remove(&change.key) {
                    around.cut.push((std::mem::take(&mut body.sent), body));
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        while let Some((at, (key, step))) = self.due.due(now) {
            self.step(&key, step, around, at);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}

fn broke(body: &mut Body) {
    (body.ready, body.listens, body.broke) = (false, false, true);
}

fn no_image() -> Value {
    json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image: not found"}}})
}

fn running(body: &Body) -> Value {
    let mut state = json!({"state": {"running": {}}, "ready": body.ready, "started": body.listens});
    if body.restarts > 0 {
        state["lastState"] = json!({"terminated": ended()});
    }
    state
}

fn ended() -> Value {
    json!({"exitCode": 1, "reason": "Error", "message": "RuntimeError: the model cannot be loaded"})
}

fn evicted() -> Value {
    json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})
}

fn status(body: &Body, container: Value) -> Value {
    let mut one = json!({
        "name": body.container, "image": body.image, "imageID": "", "ready": false, "started": false,
        "restartCount": body.restarts,
    });
    if let (Some(one), Value::Object(fields)) = (one.as_object_mut(), container) {
        one.extend(fields);
    }
    let phase = if body.pods.readiness == Readiness::NoImage { "Pending" } else { "Running" };
    let word = if body.ready { "True" } else { "False" };
    let conditions = ["Ready", "ContainersReady"].map(|kind| json!({"type": kind, "status": word}));
    json!({"phase": phase, "conditions": conditions, "containerStatuses": [one]})
}

/// With the time of each condition's last change.
fn stamped(mut status: Value, pod: &Value, at: &str) -> Value {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        let old = pod["status"]["conditions"].as_array().into_iter().flatten();
        let same =
            old.into_iter().find(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
        condition["lastTransitionTime"] = same.map_or_else(|| json!(at), |c| c["lastTransitionTime"].clone());
    }
    status
}
