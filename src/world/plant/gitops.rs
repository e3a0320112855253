//! A GitOps tool: what is in its repository is applied again and again; what differs is set back, and once or more also
//! what it does not own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{Actor, Surroundings};
use crate::{
    workload::covers,
    world::{
        api_server::Part,
        history::{Change, Key},
    },
};

/// Who it is in the history.
pub const NAME: &str = "gitops";

/// What it applies.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The objects in its repository, whole: their `spec` is what it compares.
    pub manifests: Vec<Value>,
    /// How often it compares.
    pub every: Duration,
    /// How often it sets a generated route back to what it saw first, in all.
    pub reverts: u32,
    /// It does nothing after this.
    pub until: Duration,
}

/// The GitOps tool.
pub struct Gitops {
    setting: Setting,
    next: Option<Instant>,
    routes: BTreeMap<Key, Arc<Value>>,
}

impl Gitops {
    /// One with this setting, in a world that began at `began`.
    #[must_use]
    pub fn new(setting: Setting, began: Instant) -> Self {
        let next = Some(began + setting.every);
        Self { setting, next, routes: BTreeMap::new() }
    }

    fn compare(&mut self, around: &Surroundings) {
        for manifest in &self.setting.manifests {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, meta) = (text(&manifest["kind"]), &manifest["metadata"]);
            let key = Key::new(&kind, &text(&meta["namespace"]), &text(&meta["name"]));
            // Refused: it tries again next time.
            let _ = match around.api.get(&key) {
                None => around.api.create(NAME, manifest.clone()),
                Some(live) if covers(&live["spec"], &manifest["spec"]) => continue,
                Some(_) => around.api.edit(NAME, &key, Part::Object, |live| {
                    json_patch::merge(&mut live["spec"], &manifest["spec"]);
                }),
            };
        }
        for (key, first) in &self.routes {
            let differs = around.api.get(key).is_some_and(|live| live["spec"] != first["spec"]);
            if differs && self.setting.reverts > 0 {
                self.setting.reverts -= 1;
                let _ = around.api.edit(NAME, key, Part::Object, |live| live["spec"] = first["spec"].clone());
            }
        }
    }
}

impl Actor for Gitops {
    fn hear(&mut self, change: &Change, _: &mut Surroundings, _: Instant) {
        if change.key.kind == "HTTPRoute" && self.setting.reverts > 0 {
            match &change.after {
                Some(route) => drop(self.routes.entry(change.key.clone()).or_insert_with(|| route.clone())),
                None => drop(self.routes.remove(&change.key)),
            }
        }
    }

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        if self.next.is_some_and(|at| at <= now) {
            self.compare(around);
            self.next = (around.elapsed() < self.setting.until).then_some(now + self.setting.every);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.next
    }
}
