//! The deployment controller: as many pods as a Deployment asks for, and a status that says how many there are.
//!
//! The `ReplicaSet` between the two is left out: a revision's template never changes, so a Deployment has one at most, and
//! Seatrial never looks at it.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Actor, Surroundings, agenda::Agenda, chance::Range};
use crate::{
    revision::VERSION_LABEL,
    world::{
        api_server::{Part, Propagation},
        history::{Change, Key},
    },
};

/// Who it is in the history.
pub const NAME: &str = "workloads";

/// The deployment controller.
pub struct Workloads {
    chance: Rng,
    delay: Range,
    due: Agenda<Key>,
    pods: BTreeMap<Key, PodView>,
}

/// A pod as the controller sees it.
#[derive(Clone, Debug)]
struct PodView {
    deployment: Key,
    owner: String,
    /// Rises with every pod.
    age: u64,
    ready: bool,
    ending: bool,
    failed: bool,
}

impl PodView {
    fn counts(&self) -> bool {
        !self.ending && !self.failed
    }
}

impl Workloads {
    /// One that takes `delay` to notice something.
    #[must_use]
    pub fn new(chance: Rng, delay: Range) -> Self {
        Self { chance, delay, due: Agenda::default(), pods: BTreeMap::new() }
    }

    fn look(&mut self, deployment: Key, now: Instant) {
        let at = now + self.delay.draw(&mut self.chance);
        self.due.add_once(at, deployment);
    }

    fn hear_pod(&mut self, change: &Change, now: Instant) {
        let Some(pod) = &change.after else {
            if let Some(gone) = self.pods.remove(&change.key) {
                self.look(gone.deployment, now);
            }
            return;
        };
        let Some((deployment, owner)) = owner(pod) else { return };
        let deployment = Key::new("Deployment", &change.key.namespace, &deployment);
        let age = self.pods.get(&change.key).map_or(change.revision, |known| known.age);
        let view = PodView {
            deployment: deployment.clone(),
            owner,
            age,
            ready: is_ready(pod),
            ending: !pod["metadata"]["deletionTimestamp"].is_null(),
            failed: pod["status"]["phase"] == "Failed",
        };
        self.pods.insert(change.key.clone(), view);
        self.look(deployment, now);
    }

    fn sync(&mut self, key: &Key, around: &mut Surroundings) {
        let live = around.api.get(key).filter(|d| d["metadata"]["deletionTimestamp"].is_null());
        let uid = live.as_ref().and_then(|d| d["metadata"]["uid"].as_str()).unwrap_or_default();
        let mine = |view: &PodView| view.deployment == *key;
        let orphans: Vec<Key> = self
            .pods
            .iter()
            .filter(|(_, view)| mine(view) && !view.ending && (live.is_none() || view.owner != uid))
            .map(|(pod, _)| pod.clone())
            .collect();
        for pod in &orphans {
            self.end(pod, around);
        }
        let Some(live) = &live else { return };
        self.resize(key, live, around);
        let views: Vec<&PodView> =
            self.pods.values().filter(|v| mine(v) && v.owner == uid && v.counts()).collect();
        let (count, ready) = (views.len(), views.iter().filter(|view| view.ready).count());
        let generation = live["metadata"]["generation"].as_i64().unwrap_or(0);
        let now = around.clock.now();
        // Gone meanwhile: the next change says so.
        let _ = around.api.edit(NAME, key, Part::Status, |deployment| {
            let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
            deployment["status"] = status(&deployment["status"], generation, count, ready, wanted, now);
        });
    }

    fn resize(&mut self, key: &Key, live: &Value, around: &mut Surroundings) {
        let wanted = usize::try_from(live["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        let mut present: Vec<(bool, u64, Key)> = self
            .pods
            .iter()
            .filter(|(_, v)| v.deployment == *key && v.owner == uid && v.counts())
            .map(|(pod, view)| (view.ready, u64::MAX - view.age, pod.clone()))
            .collect();
        // Those that are not ready go first, then the youngest.
        present.sort();
        for (_, _, pod) in present.iter().take(present.len().saturating_sub(wanted)) {
            self.end(pod, around);
        }
        let version = version(&live["spec"]["template"]["metadata"]["labels"]);
        let grace = around.versions.of(&version).pods.grace;
        for _ in present.len()..wanted {
            let suffix: String = (0..5).map(|_| self.chance.char('a'..='z')).collect();
            let Ok(pod) = around.api.create(NAME, pod(key, live, &suffix, grace)) else { continue };
            let name = Key::new("Pod", &key.namespace, pod["metadata"]["name"].as_str().unwrap_or_default());
            let view = PodView {
                deployment: key.clone(),
                owner: uid.to_owned(),
                age: around.api.revision(),
                ready: false,
                ending: false,
                failed: false,
            };
            self.pods.insert(name, view);
        }
    }

    fn end(&mut self, pod: &Key, around: &mut Surroundings) {
        if let Some(view) = self.pods.get_mut(pod) {
            view.ending = true;
        }
        end_pod(NAME, pod, around);
    }
}

impl Actor for Workloads {
    fn hear(&mut self, change: &Change, _: &mut Surroundings, now: Instant) {
        match change.key.kind.as_str() {
            "Pod" => self.hear_pod(change, now),
            "Deployment" => {
                let shape = |o: &Option<std::sync::Arc<Value>>| {
                    o.as_ref().map(|o| {
                        let meta = &o["metadata"];
                        let ends = !meta["deletionTimestamp"].is_null();
                        (meta["uid"].clone(), meta["generation"].clone(), ends)
                    })
                };
                if shape(&change.before) != shape(&change.after) {
                    self.look(change.key.clone(), now);
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        while let Some((_, key)) = self.due.due(now) {
            self.sync(&key, around);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}

/// Tells a pod to end, as `who`: it gets its grace period, then the kubelet removes it.
pub fn end_pod(who: &str, pod: &Key, around: &Surroundings) {
    // Gone already: nothing to end.
    let _ = around.api.delete_with(who, pod, Propagation::Background);
}

/// Name and uid of the Deployment that a pod belongs to.
fn owner(pod: &Value) -> Option<(String, String)> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == "Deployment")?;
    Some((owner["name"].as_str()?.to_owned(), owner["uid"].as_str()?.to_owned()))
}

/// Whether a pod's condition `Ready` is true.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A pod of a Deployment. Of the template only what somebody looks at: thousands of worlds keep every version of it.
fn pod(deployment: &Key, live: &Value, suffix: &str, grace: Duration) -> Value {
    let template = &live["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let name = container["name"].as_str().unwrap_or("model");
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{}-{suffix}", deployment.name),
            "namespace": deployment.namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name,
                "uid": live["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": "node",
            "terminationGracePeriodSeconds": grace.as_secs(),
            "containers": [{"name": name, "image": container["image"].as_str().unwrap_or("model")}],
        },
    })
}

/// What people call the version of a labelled object.
#[must_use]
pub fn version(labels: &Value) -> String {
    labels[VERSION_LABEL].as_str().unwrap_or_default().to_owned()
}

fn status(
    before: &Value,
    generation: i64,
    count: usize,
    ready: usize,
    wanted: u64,
    now: jiff::Timestamp,
) -> Value {
    let enough = u64::try_from(ready).unwrap_or(0) >= wanted;
    let word = if enough { "True" } else { "False" };
    let old = before["conditions"].as_array().and_then(|all| all.iter().find(|c| c["type"] == "Available"));
    let condition = match old {
        Some(old) if old["status"] == word => old.clone(),
        _ => json!({
            "type": "Available", "status": word,
            "reason": if enough { "MinimumReplicasAvailable" } else { "MinimumReplicasUnavailable" },
            "lastTransitionTime": now.to_string(), "lastUpdateTime": now.to_string(),
        }),
    };
    let mut status = json!({"observedGeneration": generation, "conditions": [condition]});
    let counts = [("replicas", count), ("updatedReplicas", count), ("readyReplicas", ready)];
    // The real controller leaves zeros out.
    for (field, number) in counts.into_iter().chain([("availableReplicas", ready)]).filter(|(_, n)| *n > 0) {
        status[field] = json!(number);
    }
    let missing = wanted.saturating_sub(u64::try_from(ready).unwrap_or(0));
    if missing > 0 {
        status["unavailableReplicas"] = json!(missing);
    }
    status
}
