//! `ModelDeployment`: what runs, and how far its newest revision has got.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Duration, LocalRef, ModelDeploymentStatus, common::rule_if};

/// What a team wants to run: one model at one version. A change of `model`, `runtimeRef` or `template` is a new
/// revision; `replicas`, `progressDeadline` and `revisionHistoryLimit` are not part of it.
///
/// No schema default may ever stand under `model`, `runtimeRef` or `template`: the API server would fill it in on
/// read, and the identity of every revision would move (design §1).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "seatrial.dev",
    version = "v1alpha1",
    kind = "ModelDeployment",
    doc = "A model at one version: what runs, and how far its newest revision has got.",
    namespaced,
    shortname = "mdep",
    category = "seatrial",
    status = "ModelDeploymentStatus",
    derive = "PartialEq",
    cel,
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stableVersion"),
    printcolumn(name = "Candidate", type_ = "string", json_path = ".status.candidateVersion"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step.progress"),
    printcolumn(name = "Weight", type_ = "string", json_path = ".status.step.weight"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = "1"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,52}[a-z0-9])?$')").message("metadata.name must be a DNS-1035 label of at most 54 characters (a-z, 0-9 and -, starting with a letter), because children are named <name>-<8 characters>: choose a shorter or simpler name")
)]
#[x_kube(
    validation = Rule::new("has(self.model) || has(self.template)").message("spec needs `model` (with `runtimeRef`), or a `template` that is complete by itself")
)]
#[x_kube(
    validation = Rule::new("has(self.runtimeRef) || has(self.template)").message("without `runtimeRef`, `template` must be a complete pod template: name a ModelRuntime in `runtimeRef.name` (kubectl get modelruntimes) or write `template`")
)]
#[x_kube(
    validation = Rule::new("!has(self.runtimeRef) || has(self.model)").message("`runtimeRef` needs `model`: write model.version, model.uri and model.format, so that the runtime knows what to serve")
)]
#[serde(rename_all = "camelCase")]
pub struct ModelDeploymentSpec {
    /// The model. Required with `runtimeRef`; without it, only `version` is used (for people and pod labels).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The `ModelRuntime` (cluster-scoped) that serves it. Absent: `template` is complete by itself.
    /// Example: `{name: mlserver-1.7.1}`. A runtime that does not exist gives `ResolvedRefs=False`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_ref: Option<LocalRef>,
    /// A pod template (`metadata`, `spec`), merged over the runtime's: containers, volumes and environment by name;
    /// probes, resources lists and volumes whole. `null` and `$patch` are refused, and every unknown field is
    /// reported with its path. Example: `{spec: {containers: [{name: model, resources: {requests: {cpu: 500m}}}]}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "raw_object")]
    pub template: Option<Value>,
    /// Full size of a revision: what 100 % of the traffic needs. Not part of a revision; served by `/scale`.
    /// Absent: 1. Refused outside 0..=1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// How long a candidate may take to become ready, or a weight to become effective, before it is rolled back.
    /// Default `10m`. Refused when zero.
    #[serde(default = "default_progress_deadline")]
    #[x_kube(validation = Rule::new(rule_if!(duration "self" => "duration(self) >= duration('1s')")).message("progressDeadline must be at least 1s, for instance 10m"))]
    pub progress_deadline: Duration,
    /// How many revisions that serve no more are kept (their snapshot and Service, at 0 replicas), the newest first.
    /// Default 3. Refused outside 0..=20.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 0, max = 20))]
    pub revision_history_limit: i32,
}

/// A model version as people call it, and where its files are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// What people call it. A label value: at most 63 of `A-Z a-z 0-9 - _ .`. Example: `"2.1.0"`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub version: String,
    /// Where the files are. `pvc://claim/path` is mounted read-only; `hf://owner/name` is handed to a server that
    /// downloads by itself. Other schemes are refused until they work. Example: `pvc://models/iris/2.1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[-A-Za-z0-9_.]+)*/?|hf://[-A-Za-z0-9_.]+/[-A-Za-z0-9_.]+)$') && !self.contains('/../') && !self.endsWith('/..')").message("model.uri must be pvc://<claim>/<path> or hf://<owner>/<name>; other schemes are not supported yet: copy the files to a PersistentVolumeClaim, or bake them into an image named in `template`"))]
    pub uri: Option<String>,
    /// The format, one of those that the runtime lists. Example: `sklearn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub format: Option<String>,
}

impl ModelDeploymentSpec {
    /// Full size: `spec.replicas`, or 1.
    #[must_use]
    pub fn full_size(&self) -> i32 {
        self.replicas.unwrap_or(1).max(0)
    }

    /// What people call the version; empty when the spec names none.
    #[must_use]
    pub fn version(&self) -> &str {
        self.model.as_ref().map_or("", |m| m.version.as_str())
    }
}

fn default_progress_deadline() -> Duration {
    Duration::from_secs(600)
}

fn default_history_limit() -> i32 {
    3
}

/// A raw object: the typed schema of a pod template is 337 KB and breaks client-side apply (design §1).
pub(super) fn raw_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "nullable": true})
}
