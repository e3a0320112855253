//! What a world is made of: the seed, the objects that people wrote, and how everything around Seatrial behaves.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    history::Key,
    plant::{
        autoscaler, behaviour::Versions, chance::Range, gateway, gitops, prometheus, proxies, user::Deed,
    },
};
use crate::{api::v1alpha1, prometheus::provider};

/// A world before it begins. Everything that is not about the users' objects has a usual value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where all chance comes from.
    pub seed: u64,
    /// The wall time when it begins.
    pub starts: Timestamp,
    /// What people have applied, in order; Gateways and `ModelRuntime`s that these name are made up where they are missing.
    pub objects: Vec<Value>,
    /// How each version of a model behaves.
    pub versions: Versions,
    /// How long the deployment controller, the kubelet and the endpoints controller take to notice something.
    pub notices: Range,
    /// The gateway's controllers.
    pub gateway: gateway::Setting,
    /// The data plane.
    pub proxies: proxies::Setting,
    /// The Prometheus. Its scrape interval is the provider's.
    pub prometheus: prometheus::Setting,
    /// The name of the operator's only provider.
    pub provider_name: String,
    /// What the operator's configuration says of it.
    pub provider: provider::Settings,
    /// An autoscaler, if there is one.
    pub autoscaler: Option<autoscaler::Setting>,
    /// A GitOps tool, if there is one.
    pub gitops: Option<gitops::Setting>,
    /// What people do: who, and what when.
    pub users: Vec<(&'static str, Vec<(Duration, Deed)>)>,
}

impl Setting {
    /// A usual cluster with these objects: Contour, three proxies, 50 requests a second, scraped every 5 s, and an allowance
    /// of 5 s, which the proxies keep.
    #[must_use]
    pub fn usual(seed: u64, objects: Vec<Value>) -> Self {
        let scrape = Duration::from_secs(5);
        Self {
            seed,
            // 2026-11-21T12:00:00Z
            starts: Timestamp::constant(1_795_262_400, 0),
            objects,
            versions: Versions::default(),
            notices: Range::millis(5, 100),
            gateway: gateway::Setting::default(),
            proxies: proxies::Setting::default(),
            prometheus: prometheus::Setting { scrape, ..prometheus::Setting::default() },
            provider_name: "default".to_owned(),
            provider: provider::Settings {
                metrics: "contour".to_owned(),
                revision_label: None,
                scrape_interval: v1alpha1::Duration::from_secs(5),
                propagation: v1alpha1::Duration::from_secs(5),
            },
            autoscaler: None,
            gitops: None,
            users: vec![],
        }
    }

    /// All objects to begin with: what is named and missing is made up and stands first.
    #[must_use]
    pub fn complete(&self) -> Vec<Value> {
        let mut made: BTreeMap<Key, Value> = BTreeMap::new();
        for object in &self.objects {
            let spec = &object["spec"];
            let namespace = text(&object["metadata"]["namespace"]);
            let parents = spec["route"]["httpRoute"]["parentRefs"].as_array();
            for parent in parents.into_iter().flatten().filter(|parent| parent["kind"] != "Service") {
                let home = parent["namespace"].as_str().map_or(namespace.clone(), str::to_owned);
                let key = Key::new("Gateway", &home, &text(&parent["name"]));
                made.entry(key.clone()).or_insert_with(|| gateway(&key));
            }
            if let Some(name) = spec["runtimeRef"]["name"].as_str() {
                let key = Key::new("ModelRuntime", "", name);
                let runtime = made.entry(key).or_insert_with(|| runtime(name));
                let format = spec["model"]["format"].clone();
                if let Some(formats) = runtime["spec"]["formats"].as_array_mut()
                    && format.is_string()
                    && !formats.contains(&format)
                {
                    formats.push(format);
                }
            }
        }
        for object in &self.objects {
            made.remove(&key_of(object));
        }
        made.into_values().chain(self.objects.iter().cloned()).collect()
    }
}

/// The key of an object.
#[must_use]
pub fn key_of(object: &Value) -> Key {
    let meta = &object["metadata"];
    Key::new(&text(&object["kind"]), &text(&meta["namespace"]), &text(&meta["name"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn gateway(key: &Key) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {"gatewayClassName": "made-up", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    })
}

fn runtime(name: &str) -> Value {
    let ports = json!([{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 8082}]);
    json!({
        "apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelRuntime", "metadata": {"name": name},
        "spec": {
            "formats": ["any"], "mountPath": "/mnt/models", "huggingFaceArgs": ["serve", "$(MODEL_ID)"],
            "template": {"spec": {"containers": [{"name": "model", "image": "server:1", "args": ["serve"], "ports": ports}]}},
        },
    })
}
