//! Which specs are refused, and in which words.

#![allow(clippy::needless_pass_by_value)] // json!() makes values

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::{ModelDeploymentSpec, ModelRuntime};

fn runtime(change: Value) -> ModelRuntime {
    let mut spec = json!({"formats": ["sklearn", "onnx"], "template": {"spec": {"containers": [
        {"name": "model", "image": "server:1", "args": ["serve"], "ports": [{"name": "http", "containerPort": 8080}], "env": [{"name": "A", "value": "$(MODEL_NAME)"}]},
    ]}}});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": spec})).unwrap()
}

fn spec(model: Value, template: Value) -> ModelDeploymentSpec {
    let mut value = json!({"model": {"version": "1", "format": "sklearn"}, "runtimeRef": {"name": "r"}});
    for (key, field) in model.as_object().unwrap() {
        value["model"][key] = field.clone();
    }
    if !template.is_null() {
        value["template"] = template;
    }
    serde_json::from_value(value).unwrap()
}

fn alone(value: Value) -> ModelDeploymentSpec {
    serde_json::from_value(value).unwrap()
}

fn refused(
    spec: &ModelDeploymentSpec,
    runtime: Option<&ModelRuntime>,
) -> (&'static str, &'static str, String) {
    let refusal = snapshot("iris", spec, runtime).unwrap_err();
    (refusal.condition, refusal.reason, refusal.message)
}

fn container(spec: &ModelDeploymentSpec, runtime: &ModelRuntime) -> Value {
    let snapshot = snapshot("iris", spec, Some(runtime)).unwrap();
    serde_json::to_value(&snapshot.pod_template.spec.unwrap().containers[0]).unwrap()
}

#[rstest]
#[case::no_such_scheme(json!({"uri": "s3://b/k"}), json!(null), json!({}), ACCEPTED, "UnsupportedUri", "spec.model.uri: \"s3://b/k\" is not supported; write pvc://<claim>/<path>")]
#[case::out_of_the_claim(json!({"uri": "pvc://c/../x"}), json!(null), json!({}), ACCEPTED, "UnsupportedUri", "spec.model.uri: \"pvc://c/../x\"")]
#[case::no_claim(json!({"uri": "pvc:///x"}), json!(null), json!({}), ACCEPTED, "UnsupportedUri", "spec.model.uri")]
#[case::half_a_hub_name(json!({"uri": "hf://owner"}), json!(null), json!({"huggingFaceArgs": []}), ACCEPTED, "UnsupportedUri", "spec.model.uri")]
#[case::no_download(json!({"uri": "hf://o/n"}), json!(null), json!({}), ACCEPTED, "UnsupportedUri", "spec.model.uri: this runtime cannot download from hf://")]
#[case::format(json!({"format": "gguf"}), json!(null), json!({}), ACCEPTED, "UnsupportedFormat", "spec.model.format: runtime r does not serve \"gguf\"; it serves sklearn, onnx")]
#[case::no_format(json!({"format": null}), json!(null), json!({}), ACCEPTED, "UnsupportedFormat", "spec.model.format: missing; runtime r serves sklearn, onnx")]
#[case::template(json!({}), json!({"spec": {"containers": [{"name": "model", "imge": "x"}]}}), json!({}), ACCEPTED, "InvalidTemplate", "spec.template.spec.containers[0].imge: unknown field")]
#[case::the_volume_is_taken(json!({"uri": "pvc://c/p"}), json!({"spec": {"volumes": [{"name": "seatrial-model", "emptyDir": {}}]}}), json!({}), ACCEPTED, "InvalidTemplate", "spec.template.spec.volumes: the name seatrial-model is taken")]
#[case::the_place_is_taken(json!({"uri": "pvc://c/p"}), json!({"spec": {"containers": [{"name": "model", "volumeMounts": [{"name": "x", "mountPath": "/mnt/models"}]}]}}), json!({}), ACCEPTED, "InvalidTemplate", "spec.template: container `model` mounts something else at /mnt/models")]
#[case::two_http_ports(json!({}), json!({"spec": {"containers": [{"name": "x", "image": "y", "ports": [{"name": "http", "containerPort": 1}]}]}}), json!({}), ACCEPTED, "InvalidTemplate", "spec.template.spec.containers: port http is declared twice, in model and x")]
#[case::the_runtime_is_wrong(json!({}), json!(null), json!({"template": {"spec": {"contaners": []}}}), RESOLVED_REFS, "InvalidRuntime", "ModelRuntime r: spec.template.spec.contaners: unknown field; create a corrected one under a new name")]
#[case::the_runtime_has_no_model(json!({}), json!(null), json!({"template": {"spec": {"containers": [{"name": "server"}]}}}), RESOLVED_REFS, "InvalidRuntime", "the runtime's template has no container named `model`")]
fn a_spec_that_does_not_fit_is_refused(
    #[case] model: Value,
    #[case] template: Value,
    #[case] change: Value,
    #[case] condition: &str,
    #[case] reason: &str,
    #[case] message: &str,
) {
    let refused = refused(&spec(model, template), Some(&runtime(change)));
    assert_eq!((refused.0, refused.1), (condition, reason));
    assert!(refused.2.starts_with(message), "{}", refused.2);
}

#[rstest]
#[case::uri_without_runtime(json!({"model": {"version": "1", "uri": "pvc://c/p"}, "template": {"spec": {}}}), "InvalidModel", "spec.model.uri: only a runtime")]
#[case::format_without_runtime(json!({"model": {"version": "1", "format": "x"}, "template": {"spec": {}}}), "InvalidModel", "spec.model.format: only a runtime")]
#[case::nothing(json!({"model": {"version": "1"}}), "InvalidTemplate", "spec: name a ModelRuntime")]
#[case::runtime_without_model(json!({"runtimeRef": {"name": "r"}}), "InvalidModel", "spec.model: `runtimeRef` needs it")]
#[case::no_port(json!({"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}), "InvalidTemplate", "spec.template.spec.containers: no container has a port named http or grpc")]
#[case::empty(json!({"template": {}}), "InvalidTemplate", "spec.template.spec.containers: no container has a port named http or grpc")]
fn a_spec_that_is_not_whole_is_refused(#[case] given: Value, #[case] reason: &str, #[case] message: &str) {
    let refused = refused(&alone(given), Some(&runtime(json!({}))));
    assert_eq!((refused.0, refused.1), (ACCEPTED, reason));
    assert!(refused.2.starts_with(message), "{}", refused.2);
}

#[rstest]
#[case::absent(None)]
#[case::another_one(Some("s"))]
fn a_missing_runtime_is_an_unresolved_reference(#[case] found: Option<&str>) {
    let found = found.map(|name| {
        let mut other = runtime(json!({}));
        other.metadata.name = Some(name.to_owned());
        other
    });
    let refused = refused(&spec(json!({}), json!(null)), found.as_ref());
    assert_eq!((refused.0, refused.1), (RESOLVED_REFS, "RuntimeNotFound"));
    assert!(refused.2.contains("there is no ModelRuntime \"r\""), "{}", refused.2);
}

#[rstest]
#[case("Iris")]
#[case("9iris")]
#[case("iris-")]
#[case("")]
#[case("a23456789012345678901234567890123456789012345678901234x")]
fn a_name_that_leaves_no_room_is_refused(#[case] name: &str) {
    let refusal = snapshot(name, &spec(json!({}), json!(null)), Some(&runtime(json!({})))).unwrap_err();
    assert_eq!((refusal.condition, refusal.reason), (ACCEPTED, "InvalidName"));
}

#[test]
fn a_claim_is_mounted_read_only_and_announced_first() {
    let given = spec(json!({"uri": "pvc://models/iris/2.1.0/"}), json!(null));
    let made = container(&given, &runtime(json!({})));
    assert_eq!(
        made["volumeMounts"],
        json!([{"name": "seatrial-model", "mountPath": "/mnt/models", "subPath": "iris/2.1.0", "readOnly": true}])
    );
    assert_eq!(
        made["env"],
        json!([
            {"name": "MODEL_NAME", "value": "iris"}, {"name": "MODEL_VERSION", "value": "1"},
            {"name": "MODEL_PATH", "value": "/mnt/models"}, {"name": "A", "value": "$(MODEL_NAME)"},
        ])
    );
    let whole = container(&spec(json!({"uri": "pvc://models"}), json!(null)), &runtime(json!({})));
    assert_eq!(whole["volumeMounts"][0].get("subPath"), None);
}

#[test]
fn a_hub_model_is_an_argument_after_all_others() {
    let patch = json!({"spec": {"containers": [{"name": "model", "args": ["mine"]}]}});
    let made = container(
        &spec(json!({"uri": "hf://owner/name"}), patch),
        &runtime(json!({"huggingFaceArgs": ["--model", "$(MODEL_ID)"]})),
    );
    assert_eq!(made["args"], json!(["mine", "--model", "$(MODEL_ID)"]));
    assert_eq!(made["env"][2], json!({"name": "MODEL_ID", "value": "owner/name"}));
    assert_eq!(made.get("volumeMounts"), None);
}

#[test]
fn a_model_in_the_image_is_looked_for_where_a_claim_would_be() {
    let snapshot =
        snapshot("iris", &spec(json!({}), json!(null)), Some(&runtime(json!({"mountPath": "/m"})))).unwrap();
    let pod = snapshot.pod_template.spec.unwrap();
    assert_eq!(pod.volumes, None);
    assert_eq!(pod.containers[0].env.as_ref().unwrap()[2].value.as_deref(), Some("/m"));
}

#[test]
fn a_variable_that_the_user_sets_stays_theirs() {
    let patch = json!({"spec": {"containers": [{"name": "model", "env": [{"name": "MODEL_NAME", "value": "mine"}]}]}});
    let made = container(&spec(json!({}), patch), &runtime(json!({})));
    let names: Vec<_> = made["env"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["MODEL_VERSION", "MODEL_PATH", "A", "MODEL_NAME"]);
}

#[test]
fn a_format_may_be_left_out_where_there_is_one() {
    let only = runtime(json!({"formats": ["onnx"]}));
    snapshot("iris", &spec(json!({"format": null}), json!(null)), Some(&only)).unwrap();
}

#[test]
fn a_template_alone_gets_labels_and_nothing_else() {
    let template = json!({"metadata": {"labels": {"app.kubernetes.io/name": "mine"}}, "spec": {"containers": [
        {"name": "a", "image": "b", "ports": [{"name": "grpc", "containerPort": 1}]}]}});
    let given = alone(json!({"model": {"version": "v1"}, "template": template}));
    let made = snapshot("iris", &given, None).unwrap();
    let mut pod = serde_json::to_value(&made.pod_template).unwrap();
    assert_eq!(
        pod["metadata"].take(),
        json!({"labels": {
            "app.kubernetes.io/name": "mine", "app.kubernetes.io/instance": made.revision, "app.kubernetes.io/version": "v1",
            "app.kubernetes.io/part-of": "iris", "app.kubernetes.io/managed-by": "seatrial",
            "seatrial.dev/model": "iris", "seatrial.dev/revision": made.revision, "seatrial.dev/version": "v1",
        }})
    );
    assert_eq!(pod["spec"], template_spec(&given));
    assert!(has_port(&made.pod_template, "grpc") && !has_port(&made.pod_template, "http"));
}

fn template_spec(given: &ModelDeploymentSpec) -> Value {
    given.template.as_ref().unwrap()["spec"].clone()
}
