//! A revision's pod template, rendered at first sight and stored whole: every later release reads it as it is.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    core::v1::{PodSpec, PodTemplateSpec},
};
use serde_json::{Value, json};

use super::{MODEL_LABEL, REVISION_LABEL, Refusal, VERSION_LABEL, identity, merge::merge, model, template};
use crate::api::v1alpha1::{Model, ModelDeploymentSpec, ModelRuntime};

/// A revision as it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// `<name>-<hash8>`.
    pub revision: String,
    /// Full hash of what the user asked to run.
    pub hash: String,
    /// Number of the algorithm that made the hash.
    pub algorithm: i32,
    /// What people call it; empty when the spec names none.
    pub version: String,
    /// The pod template, complete: labels, model and environment included.
    pub pod_template: PodTemplateSpec,
}

/// Why a stored snapshot cannot be used. Its revision is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ControllerRevision {revision}: {what}")]
pub struct SnapshotError {
    /// Name of the `ControllerRevision`.
    pub revision: String,
    /// What is wrong with it.
    pub what: String,
}

/// The snapshot of what `spec` asks to run, for the `ModelDeployment` called `name`. `runtime` is the one that
/// `runtimeRef` names, if it was found. Refused with a sentence when the spec, the template or the runtime do not fit.
pub fn snapshot(
    name: &str,
    spec: &ModelDeploymentSpec,
    runtime: Option<&ModelRuntime>,
) -> Result<Snapshot, Refusal> {
    check_name(name)?;
    let identity = identity(name, spec);
    let patch = match &spec.template {
        Some(raw) => template::parse(raw, "spec.template")
            .map_err(|problems| Refusal::spec("InvalidTemplate", template::sentence(&problems)))?,
        None => PodTemplateSpec::default(),
    };
    let mut pod_template = match &spec.runtime_ref {
        None => alone(spec, patch)?,
        Some(wanted) => {
            let found = runtime.filter(|r| r.metadata.name.as_ref() == Some(&wanted.name));
            let runtime = found.ok_or_else(|| {
                Refusal::reference(
                    "RuntimeNotFound",
                    format!(
                        "spec.runtimeRef.name: there is no ModelRuntime {:?}; `kubectl get modelruntimes` lists those that exist",
                        wanted.name
                    ),
                )
            })?;
            served(name, spec, runtime, &wanted.name, &patch)?
        }
    };
    check_ports(pod_template.spec.as_ref())?;
    let version = spec.version().to_owned();
    let labels = pod_template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for (key, value) in self::labels(name, &identity.name, &version) {
        labels.entry(key).or_insert(value);
    }
    Ok(Snapshot {
        revision: identity.name,
        hash: identity.hash,
        algorithm: identity.algorithm,
        version,
        pod_template,
    })
}

/// The labels of everything that belongs to one revision.
pub(crate) fn labels(model: &str, revision: &str, version: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), model.to_owned()),
        ("app.kubernetes.io/instance".to_owned(), revision.to_owned()),
        ("app.kubernetes.io/part-of".to_owned(), model.to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), "seatrial".to_owned()),
        (MODEL_LABEL.to_owned(), model.to_owned()),
        (REVISION_LABEL.to_owned(), revision.to_owned()),
    ]);
    if !version.is_empty() {
        labels.insert("app.kubernetes.io/version".to_owned(), version.to_owned());
        labels.insert(VERSION_LABEL.to_owned(), version.to_owned());
    }
    labels
}

impl Snapshot {
    /// What is stored in the `ControllerRevision`.
    #[must_use]
    pub fn to_data(&self) -> Value {
        json!({
            "algorithm": self.algorithm,
            "hash": self.hash,
            "version": self.version,
            "template": self.pod_template,
        })
    }

    /// Reads a stored snapshot back. Refused when it is not one of ours, or when a newer release wrote fields that this
    /// one would lose: rendering it would restart pods.
    pub fn from_controller_revision(stored: &ControllerRevision) -> Result<Self, SnapshotError> {
        let revision = stored.metadata.name.clone().unwrap_or_default();
        let wrong = |what: String| SnapshotError { revision: revision.clone(), what };
        let data = stored.data.as_ref().map_or(&Value::Null, |raw| &raw.0);
        let text = |key: &str| data[key].as_str().map(str::to_owned);
        let algorithm = data["algorithm"].as_i64().and_then(|number| i32::try_from(number).ok());
        let (Some(algorithm), Some(hash), Some(version)) = (algorithm, text("hash"), text("version")) else {
            return Err(wrong("its data is not a snapshot of seatrial's".to_owned()));
        };
        let pod_template = template::read(&data["template"]).map_err(|problems| {
            wrong(format!("this release cannot read it: {}", template::sentence(&problems)))
        })?;
        Ok(Self { revision, hash, algorithm, version, pod_template })
    }
}

/// Whether a container has a port of this name (`http`, `grpc` or `metrics`).
#[must_use]
pub(crate) fn has_port(template: &PodTemplateSpec, name: &str) -> bool {
    template.spec.as_ref().is_some_and(|pod| port_owners(pod, name).next().is_some())
}

/// The template by itself: nothing is added but labels.
fn alone(spec: &ModelDeploymentSpec, patch: PodTemplateSpec) -> Result<PodTemplateSpec, Refusal> {
    if let Some(Model { uri, format, .. }) = &spec.model
        && (uri.is_some() || format.is_some())
    {
        let field = if uri.is_some() { "uri" } else { "format" };
        return Err(Refusal::spec(
            "InvalidModel",
            format!(
                "spec.model.{field}: only a runtime knows what to do with it; name one in spec.runtimeRef, or remove it and mount the files in spec.template"
            ),
        ));
    }
    if spec.template.is_none() {
        return Err(Refusal::spec(
            "InvalidTemplate",
            "spec: name a ModelRuntime in `runtimeRef`, or write a complete pod template in `template`",
        ));
    }
    Ok(patch)
}

/// The runtime's template, the user's over it, and the model in it.
fn served(
    name: &str,
    spec: &ModelDeploymentSpec,
    runtime: &ModelRuntime,
    runtime_name: &str,
    patch: &PodTemplateSpec,
) -> Result<PodTemplateSpec, Refusal> {
    let Some(model) = &spec.model else {
        return Err(Refusal::spec(
            "InvalidModel",
            "spec.model: `runtimeRef` needs it; write model.version, model.uri and model.format",
        ));
    };
    check_format(model, runtime, runtime_name)?;
    let base = template::parse(&runtime.spec.template, "spec.template").map_err(|problems| {
        Refusal::reference(
            "InvalidRuntime",
            format!(
                "ModelRuntime {runtime_name}: {}; create a corrected one under a new name",
                template::sentence(&problems)
            ),
        )
    })?;
    let mut merged = merge(&base, patch);
    model::place(model, name, &runtime.spec, merged.spec.get_or_insert_default())?;
    Ok(merged)
}

fn check_format(model: &Model, runtime: &ModelRuntime, runtime_name: &str) -> Result<(), Refusal> {
    let formats = &runtime.spec.formats;
    let known = formats.join(", ");
    match &model.format {
        Some(format) if formats.contains(format) => Ok(()),
        Some(format) => Err(Refusal::spec(
            "UnsupportedFormat",
            format!("spec.model.format: runtime {runtime_name} does not serve {format:?}; it serves {known}"),
        )),
        None if formats.len() == 1 => Ok(()),
        None => Err(Refusal::spec(
            "UnsupportedFormat",
            format!("spec.model.format: missing; runtime {runtime_name} serves {known}"),
        )),
    }
}

/// The schema refuses other names already; an object stored before that rule gets a sentence instead of an error 422.
fn check_name(name: &str) -> Result<(), Refusal> {
    let inner = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if inner && ends && name.len() <= 54 {
        return Ok(());
    }
    Err(Refusal::spec(
        "InvalidName",
        format!(
            "metadata.name: {name:?} must be a DNS-1035 label of at most 54 characters, because children are named <name>-<8 characters>"
        ),
    ))
}

/// The revision's Service sends 80 to `http` and 9000 to `grpc`: one of them must be there, and none twice.
fn check_ports(pod: Option<&PodSpec>) -> Result<(), Refusal> {
    let owners = |name| pod.into_iter().flat_map(move |pod| port_owners(pod, name)).collect::<Vec<_>>();
    if owners("http").is_empty() && owners("grpc").is_empty() {
        return Err(Refusal::spec(
            "InvalidTemplate",
            "spec.template.spec.containers: no container has a port named http or grpc; add for instance ports: [{name: http, containerPort: 8080}]",
        ));
    }
    for name in ["http", "grpc", "metrics"] {
        if let [first, second, ..] = owners(name)[..] {
            return Err(Refusal::spec(
                "InvalidTemplate",
                format!(
                    "spec.template.spec.containers: port {name} is declared twice, in {first} and {second}, and the Service could not tell them apart; rename one of them"
                ),
            ));
        }
    }
    Ok(())
}

/// Names of the containers that have a port called `name`.
fn port_owners<'a>(pod: &'a PodSpec, name: &'a str) -> impl Iterator<Item = &'a str> {
    pod.containers.iter().flat_map(move |container| {
        let ports = container.ports.iter().flatten().filter(move |port| port.name.as_deref() == Some(name));
        ports.map(|_| container.name.as_str())
    })
}
