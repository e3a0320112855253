//! `ModelRuntime`: how a model server is run. Data, not code.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model_deployment::raw_object;

/// How a model server is run. Immutable: its name carries its version (`mlserver-1.7.1`), a fix is a new name, so that
/// no edit here can restart a pod or change what a revision means.
///
/// Container `model` gets these variables, which `args` and `env` may use as `$(NAME)`: `MODEL_NAME` (the
/// `ModelDeployment`), `MODEL_VERSION`, `MODEL_PATH` (where `pvc://` is mounted) or `MODEL_ID` (what stands after `hf://`).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "seatrial.dev",
    version = "v1alpha1",
    kind = "ModelRuntime",
    doc = "How a model server is run: image, arguments, ports, probes. Immutable data; a fix is a new name.",
    shortname = "mrt",
    category = "seatrial",
    derive = "PartialEq",
    cel,
    printcolumn(name = "Formats", type_ = "string", json_path = ".spec.formats"),
    printcolumn(name = "Experimental", type_ = "boolean", json_path = ".spec.experimental"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a ModelRuntime is immutable: create a new one under a new name (its name carries its version, for instance mlserver-1.7.2) and point runtimeRef there")
)]
#[serde(rename_all = "camelCase")]
pub struct ModelRuntimeSpec {
    /// The formats that `model.format` may name. Example: `[sklearn, xgboost]`. Refused when empty.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub formats: Vec<String>,
    /// Where a `pvc://` model is mounted in container `model`. Default `/mnt/models`.
    #[serde(default = "default_mount_path")]
    #[schemars(length(min = 1, max = 256))]
    pub mount_path: String,
    /// Arguments added to container `model` for an `hf://` model. Absent: `hf://` is refused for this runtime.
    /// Example: `["--model", "$(MODEL_ID)"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 1024)))]
    pub hugging_face_args: Option<Vec<String>>,
    /// Not run in our own tests yet. Default false.
    #[serde(default)]
    pub experimental: bool,
    /// The pod template. It needs a container `model` with a port named `http` or `grpc` (the revision's Service sends
    /// 80 and 9000 there) and, where it has metrics, one named `metrics`; and a readiness probe that is true only once
    /// the model is loaded.
    #[schemars(schema_with = "raw_object")]
    pub template: Value,
}

fn default_mount_path() -> String {
    "/mnt/models".to_owned()
}
