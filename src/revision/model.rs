//! Where a model's files are, and how they get into container `model`.

use k8s_openapi::api::core::v1::{
    Container, EnvVar, PersistentVolumeClaimVolumeSource, PodSpec, Volume, VolumeMount,
};

use super::Refusal;
use crate::api::v1alpha1::{Model, ModelRuntimeSpec};

/// The container of a runtime that serves the model.
pub(super) const CONTAINER: &str = "model";
/// Name of the volume that holds a `pvc://` model.
const VOLUME: &str = "seatrial-model";

/// Where the files are.
enum Source<'a> {
    /// `pvc://claim/path`; the path without slashes at its ends, empty for the whole claim.
    Claim { claim: &'a str, path: &'a str },
    /// `hf://owner/name`.
    HuggingFace(&'a str),
    /// No URI: the files are in the image.
    Image,
}

/// Puts `model` into the merged `pod` of a runtime: volume, mount, arguments and environment.
pub(super) fn place(
    model: &Model,
    name: &str,
    runtime: &ModelRuntimeSpec,
    pod: &mut PodSpec,
) -> Result<(), Refusal> {
    let source = source(model)?;
    let volumes = pod.volumes.get_or_insert_default();
    let Some(container) = pod.containers.iter_mut().find(|c| c.name == CONTAINER) else {
        return Err(Refusal::reference(
            "InvalidRuntime",
            "the runtime's template has no container named `model`",
        ));
    };
    let mut env = vec![variable("MODEL_NAME", name), variable("MODEL_VERSION", &model.version)];
    match source {
        Source::Claim { claim, path } => {
            mount(claim, path, &runtime.mount_path, container, volumes)?;
            env.push(variable("MODEL_PATH", &runtime.mount_path));
        }
        Source::HuggingFace(id) => {
            let Some(args) = &runtime.hugging_face_args else {
                return Err(Refusal::spec(
                    "UnsupportedUri",
                    "spec.model.uri: this runtime cannot download from hf://; copy the model to a PersistentVolumeClaim and write pvc://<claim>/<path>, or name a runtime with huggingFaceArgs",
                ));
            };
            container.args.get_or_insert_default().extend(args.iter().cloned());
            env.push(variable("MODEL_ID", id));
        }
        Source::Image => env.push(variable("MODEL_PATH", &runtime.mount_path)),
    }
    if volumes.is_empty() {
        pod.volumes = None;
    }
    announce(env, container);
    Ok(())
}

/// Our variables come first, so that all others may refer to them; one that the runtime or the user sets stays theirs.
fn announce(ours: Vec<EnvVar>, container: &mut Container) {
    let given = container.env.take().unwrap_or_default();
    let mut env: Vec<EnvVar> =
        ours.into_iter().filter(|our| given.iter().all(|theirs| theirs.name != our.name)).collect();
    env.extend(given);
    container.env = Some(env);
}

fn mount(
    claim: &str,
    path: &str,
    mount_path: &str,
    container: &mut Container,
    volumes: &mut Vec<Volume>,
) -> Result<(), Refusal> {
    let mounts = container.volume_mounts.get_or_insert_default();
    if mounts.iter().any(|m| m.mount_path == mount_path) {
        return Err(Refusal::spec(
            "InvalidTemplate",
            format!(
                "spec.template: container `model` mounts something else at {mount_path}, where the runtime expects model.uri; mount it elsewhere, or leave out model.uri"
            ),
        ));
    }
    if volumes.iter().any(|v| v.name == VOLUME) {
        return Err(Refusal::spec(
            "InvalidTemplate",
            format!(
                "spec.template.spec.volumes: the name {VOLUME} is taken by the mount of model.uri; rename the volume"
            ),
        ));
    }
    mounts.push(VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: mount_path.to_owned(),
        sub_path: (!path.is_empty()).then(|| path.to_owned()),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    let claim = PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
    volumes.push(Volume {
        name: VOLUME.to_owned(),
        persistent_volume_claim: Some(claim),
        ..Volume::default()
    });
    Ok(())
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// The schema refuses other forms already; an object stored before that rule gets the same answer here.
fn source(model: &Model) -> Result<Source<'_>, Refusal> {
    let Some(uri) = &model.uri else { return Ok(Source::Image) };
    if let Some(id) = uri.strip_prefix("hf://")
        && id.split('/').filter(|part| !part.is_empty()).count() == 2
        && id.split('/').count() == 2
    {
        return Ok(Source::HuggingFace(id));
    }
    if let Some(place) = uri.strip_prefix("pvc://") {
        let (claim, path) = place.split_once('/').unwrap_or((place, ""));
        let path = path.trim_matches('/');
        if !claim.is_empty()
            && path.split('/').all(|part| part != ".." && (path.is_empty() || !part.is_empty()))
        {
            return Ok(Source::Claim { claim, path });
        }
    }
    Err(Refusal::spec(
        "UnsupportedUri",
        format!(
            "spec.model.uri: {uri:?} is not supported; write pvc://<claim>/<path> or hf://<owner>/<name>, or bake the files into an image named in `template`"
        ),
    ))
}
