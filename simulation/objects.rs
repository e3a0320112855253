//! What people write in a scenario, as data, and the objects that it becomes.

use std::time::Duration;

use fastrand::Rng;
use seatrial::world::plant::user::Deed;
use serde_json::{Value, json};

use crate::scenario::split_key;

/// Where everything happens.
pub const NAMESPACE: &str = "ml";
/// The namespace of the Gateways.
pub const INFRA: &str = "infra";
/// The Gateways that exist.
pub const GATEWAYS: [&str; 2] = ["public", "inner"];

/// A `ModelDeployment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// Full size.
    pub replicas: i64,
    /// `progressDeadline` in seconds.
    pub deadline: u64,
    /// `revisionHistoryLimit`.
    pub kept: i64,
    /// It names the runtime instead of being complete by itself.
    pub runtime: bool,
}

/// One step of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In per cent.
    pub weight: u32,
    /// In seconds.
    pub bake: u64,
    /// In seconds.
    pub longest: u64,
    /// The candidate's size, if it is not left to the weight.
    pub replicas: Option<i64>,
    /// Somebody must approve.
    pub approval: bool,
}

/// A `TrafficSplit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Its name, which its route gets too.
    pub name: &'static str,
    /// The models that it names, with their weights.
    pub backends: Vec<(&'static str, u32)>,
    /// How many of the Gateways it hangs on.
    pub parents: usize,
    /// The canary.
    pub steps: Vec<Step>,
    /// `rollbackWindow` in seconds.
    pub window: u64,
    /// A latency objective too.
    pub latency: bool,
    /// `analysis.interval` in seconds.
    pub interval: u64,
    /// `onInconclusive: Rollback` instead of `Pause`.
    pub strict: bool,
    /// `onUnobservable: Hold` instead of `Withdraw`.
    pub holds: bool,
    /// `holdBudget` in seconds.
    pub budget: u64,
    /// `timeouts.request` in seconds.
    pub timeout: u64,
}

impl Model {
    /// By chance.
    pub fn draw(name: &'static str, chance: &mut Rng) -> Self {
        Self {
            name,
            replicas: chance.i64(1..=4),
            deadline: chance.u64(25..=50),
            kept: chance.i64(0..=2),
            runtime: chance.u8(..4) == 0,
        }
    }

    /// The object, at a version.
    pub fn object(&self, version: &str) -> Value {
        json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelDeployment",
               "metadata": {"namespace": NAMESPACE, "name": self.name}, "spec": self.spec(version)})
    }

    fn spec(&self, version: &str) -> Value {
        let mut spec = json!({"replicas": self.replicas, "progressDeadline": format!("{}s", self.deadline),
                              "revisionHistoryLimit": self.kept});
        if self.runtime {
            spec["model"] = json!({"version": version, "uri": format!("pvc://models/{}/{version}", self.name), "format": "sklearn"});
            spec["runtimeRef"] = json!({"name": RUNTIME});
        } else {
            spec["model"] = json!({"version": version});
            spec["template"] = json!({"spec": {"containers": [{"name": "model", "image": format!("localhost/model:{version}"),
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}}}]}});
        }
        spec
    }
}

impl Step {
    fn draw(weight: u32, chance: &mut Rng) -> Self {
        let bake = chance.u64(2..=12);
        Self {
            weight,
            bake,
            longest: bake + chance.u64(20..=60),
            replicas: (chance.u8(..4) == 0).then(|| chance.i64(1..=3)),
            approval: weight == 0,
        }
    }
}

impl Split {
    /// The `TrafficSplit` of this name is edited to name what this one names.
    pub fn edit(&self) -> Deed {
        let backends = json!({"spec": {"backends": self.object()["spec"]["backends"]}});
        Deed::Merge(split_key(self.name), backends)
    }

    /// By chance, for these models.
    pub fn draw(name: &'static str, models: &[&'static str], chance: &mut Rng) -> Self {
        let mut weights: Vec<u32> = (0..chance.usize(1..=3)).map(|_| chance.u32(1..=9) * 10).collect();
        if chance.u8(..10) == 0 {
            weights.push(0);
        }
        weights.sort_unstable();
        weights.dedup();
        Self {
            name,
            backends: models.iter().map(|model| (*model, chance.u32(1..=5) * 10)).collect(),
            parents: if chance.u8(..4) == 0 { 2 } else { 1 },
            steps: weights.into_iter().map(|weight| Step::draw(weight, chance)).collect(),
            window: chance.u64(5..=25),
            latency: chance.bool(),
            interval: chance.u64(2..=4),
            strict: chance.u8(..3) == 0,
            holds: chance.u8(..3) == 0,
            budget: chance.u64(10..=30),
            timeout: chance.u64(1..=5),
        }
    }

    /// The object.
    pub fn object(&self) -> Value {
        json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "TrafficSplit",
               "metadata": {"namespace": NAMESPACE, "name": self.name}, "spec": self.spec()})
    }

    fn spec(&self) -> Value {
        let parents: Vec<Value> = GATEWAYS[..self.parents.clamp(1, GATEWAYS.len())]
            .iter()
            .map(|name| json!({"name": name, "namespace": INFRA}))
            .collect();
        let backends: Vec<Value> = match &self.backends[..] {
            [(model, _)] => vec![json!({"modelDeploymentRef": {"name": model}})],
            several => several
                .iter()
                .map(|(model, weight)| json!({"name": model, "weight": weight, "modelDeploymentRef": {"name": model}}))
                .collect(),
        };
        let mut slos = vec![json!({"name": "availability", "objective": "97%", "errors": {}})];
        if self.latency {
            slos.push(json!({"name": "latency", "objective": "95%", "latency": {"below": "250ms"}}));
        }
        json!({
            "route": {"httpRoute": {"parentRefs": parents, "hostnames": [format!("{}.example.com", self.name)],
                      "timeouts": {"request": seconds(self.timeout)}}},
            "backends": backends,
            "strategy": {"canary": {"steps": self.steps(), "rollbackWindow": seconds(self.window)}},
            "slos": slos,
            "analysis": {"interval": seconds(self.interval), "holdBudget": seconds(self.budget),
                "onInconclusive": if self.strict { "Rollback" } else { "Pause" },
                "onUnobservable": if self.holds { "Hold" } else { "Withdraw" },
                "dispersion": "0", "ignoredBursts": 0},
        })
    }

    /// `spec.strategy.canary.steps`.
    pub fn steps(&self) -> Value {
        let step = |step: &Step| {
            let mut value = json!({"weight": format!("{}%", step.weight), "bake": seconds(step.bake),
                                   "maxDuration": seconds(step.longest)});
            if let Some(replicas) = step.replicas {
                value["replicas"] = json!(replicas);
            }
            if step.approval {
                value["approval"] = json!("Required");
            }
            value
        };
        self.steps.iter().map(step).collect()
    }

    /// The longest that a rollout of one of its models may take if everything is undecided, pods not counted.
    pub fn longest(&self) -> Duration {
        let steps: u64 = self.steps.iter().map(|step| step.longest).sum();
        Duration::from_secs(steps + self.window + self.budget)
    }
}

/// The runtime that models may name.
pub const RUNTIME: &str = "mlserver-1.7.1";

/// What an admin made before: Gateways and the runtime.
pub fn before() -> Vec<Value> {
    let gateway = |name: &&str| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
               "metadata": {"namespace": INFRA, "name": name},
               "spec": {"gatewayClassName": "example", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}})
    };
    let mut all: Vec<Value> = GATEWAYS.iter().map(gateway).collect();
    let runtime = include_str!("../charts/seatrial/runtimes/mlserver-1.7.1.yaml");
    match serde_saphyr::from_str::<Value>(runtime) {
        Ok(runtime) => all.push(runtime),
        Err(error) => unreachable!("the chart's own runtime is no YAML: {error}"),
    }
    all
}

fn seconds(count: u64) -> String {
    format!("{count}s")
}
