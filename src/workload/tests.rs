//! From what a user writes to what the API server gets: every runtime of the chart, as snapshots, and the proof on what
//! a real API server made of them.

use std::{fs, path::Path};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::v1alpha1::{ModelDeploymentSpec, ModelRuntime},
    revision::{Snapshot, snapshot},
};

fn spec(value: Value) -> ModelDeploymentSpec {
    serde_json::from_value(value).unwrap()
}

fn runtime(name: &str) -> ModelRuntime {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/seatrial/runtimes").join(format!("{name}.yaml"));
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn owner() -> Owner {
    Owner {
        name: "iris".to_owned(),
        namespace: "render".to_owned(),
        uid: "6f9e0000-0000-4000-8000-000000000000".to_owned(),
    }
}

fn rendered(snapshot: &Snapshot) -> [Value; 4] {
    let owner = owner();
    [
        serde_json::to_value(controller_revision(&owner, snapshot, 1)).unwrap(),
        serde_json::to_value(deployment(&owner, snapshot, 2, None)).unwrap(),
        serde_json::to_value(service(&owner, Pods::of(snapshot), None)).unwrap(),
        serde_json::to_value(stable_service(&owner, Pods::of(snapshot))).unwrap(),
    ]
}

/// The specs that the snapshots and the fixtures are made of: (runtime, spec).
fn example(name: &str) -> (Option<ModelRuntime>, ModelDeploymentSpec) {
    let model =
        |version: &str, uri: &str, format: &str| json!({"version": version, "uri": uri, "format": format});
    let (runtime_name, value) = match name {
        "mlserver" => (
            Some("mlserver-1.7.1"),
            json!({"model": model("2.1.0", "pvc://models/iris/2.1.0", "sklearn"), "template": {
                "metadata": {"annotations": {"team": "flowers"}},
                "spec": {
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "containers": [
                        {"name": "model", "resources": {"requests": {"cpu": "0.05"}, "limits": {"memory": "1024Mi"}}},
                        {"name": "log", "image": "localhost/pause:1", "ports": [{"containerPort": 9999}],
                         "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
                    ],
                    "volumes": [{"name": "extra", "configMap": {"name": "extra", "optional": true}}],
                },
            }}),
        ),
        "triton" => (Some("triton-25.08"), json!({"model": model("7", "pvc://models/ranker/", "onnx")})),
        "vllm" => (Some("vllm-0.11.0"), json!({"model": model("r3", "hf://Qwen/Qwen3-0.6B", "huggingface")})),
        "tfserving" => {
            (Some("tfserving-2.18.0"), json!({"model": model("1", "pvc://models/resnet", "savedmodel")}))
        }
        "alone" => (
            None,
            json!({"template": {"spec": {"hostNetwork": false, "containers": [{
                "name": "server", "image": "registry.example/server:4", "args": [],
                "ports": [{"name": "grpc", "containerPort": 50051, "protocol": "TCP"}],
                "readinessProbe": {"grpc": {"port": 50051}, "initialDelaySeconds": 0},
            }]}}}),
        ),
        other => panic!("no example {other}"),
    };
    let mut spec = spec(value);
    spec.runtime_ref = runtime_name.map(|name| crate::api::v1alpha1::LocalRef { name: name.to_owned() });
    (runtime_name.map(runtime), spec)
}

fn snapshot_of(name: &str) -> Snapshot {
    let (runtime, spec) = example(name);
    snapshot("iris", &spec, runtime.as_ref()).unwrap()
}

#[rstest]
fn a_runtime_is_rendered(#[values("mlserver", "triton", "vllm", "tfserving", "alone")] name: &str) {
    let [_, deployment, service, _] = rendered(&snapshot_of(name));
    insta::assert_yaml_snapshot!(name, json!([deployment, service]));
}

#[test]
fn the_stable_service_has_the_models_own_name_and_selects_one_revision() {
    let snapshot = snapshot_of("mlserver");
    let [_, deployment, own, stable] = rendered(&snapshot);
    assert_eq!(stable["metadata"]["name"], "iris");
    assert_eq!(own["metadata"]["name"], snapshot.revision.as_str());
    assert_eq!(stable["spec"], own["spec"]);
    assert_eq!(stable["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);
    let (labels, selector) =
        (&deployment["spec"]["template"]["metadata"]["labels"], &own["spec"]["selector"]);
    assert!(covers(labels, selector), "{labels} {selector}");
}

#[rstest]
fn what_is_stored_reads_back(#[values("mlserver", "vllm", "alone")] name: &str) {
    let snapshot = snapshot_of(name);
    let stored = controller_revision(&owner(), &snapshot, 7);
    let wire = serde_json::to_string(&stored).unwrap();
    let back: ControllerRevision = serde_json::from_str(&wire).unwrap();
    assert_eq!(Snapshot::from_controller_revision(&back), Ok(snapshot));
}

#[test]
fn only_the_size_of_a_deployment_depends_on_anything_but_the_snapshot() {
    let snapshot = snapshot_of("mlserver");
    let (mut two, five) =
        (deployment(&owner(), &snapshot, 2, None), deployment(&owner(), &snapshot, 5, None));
    two.spec.as_mut().unwrap().replicas = Some(5);
    assert_eq!(two, five);
}

#[test]
fn a_snapshot_that_this_release_would_cut_is_left_alone() {
    let stored = |change: fn(&mut Value)| {
        let mut value =
            serde_json::to_value(controller_revision(&owner(), &snapshot_of("alone"), 1)).unwrap();
        change(&mut value["data"]);
        let revision: ControllerRevision = serde_json::from_value(value).unwrap();
        Snapshot::from_controller_revision(&revision).unwrap_err().what
    };
    assert_eq!(
        stored(|data| data["template"]["spec"]["fieldOf2030"] = json!(1)),
        "this release cannot read it: data.template.spec.fieldOf2030: unknown field"
    );
    assert_eq!(stored(|data| *data = json!({"spec": {}})), "its data is not a snapshot of seatrial's");
    assert_eq!(stored(|data| *data = Value::Null), "its data is not a snapshot of seatrial's");
}

/// What a real API server (1.36) makes of each example: no write is due. To record it anew, apply each file that
/// `RECORD=<folder>` writes by `kubectl apply --server-side -o json` into a namespace `render`, and store the answer
/// under `fixtures/` (at once: its owner does not exist, and the garbage collector takes it away).
#[rstest]
fn a_converged_workload_costs_no_write(
    #[values("mlserver", "triton", "vllm", "tfserving", "alone")] name: &str,
) {
    let kinds = ["controllerrevision", "deployment", "service", "stable-service"];
    let objects = || kinds.into_iter().zip(rendered(&snapshot_of(name)));
    for (kind, desired) in objects() {
        if let Some(folder) = std::env::var_os("RECORD") {
            fs::write(Path::new(&folder).join(format!("{name}.{kind}.json")), desired.to_string()).unwrap();
        }
    }
    for (kind, desired) in objects() {
        let fixture = format!("{}/src/workload/fixtures/{name}.{kind}.json", env!("CARGO_MANIFEST_DIR"));
        let live: Value = serde_json::from_str(&fs::read_to_string(fixture).unwrap()).unwrap();
        assert!(covers(&live, &desired), "{kind} of {name} would be written again and again");
        assert!(covers(&as_cached(kind, live), &desired), "{kind} of {name}, read by its type");
    }
}

/// The object as a typed store hands it out.
fn as_cached(kind: &str, live: Value) -> Value {
    fn through<T: serde::Serialize + serde::de::DeserializeOwned>(live: Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(live).unwrap()).unwrap()
    }
    match kind {
        "controllerrevision" => through::<ControllerRevision>(live),
        "deployment" => through::<Deployment>(live),
        _ => through::<Service>(live),
    }
}

/// The same fixture, changed in one place that matters: the comparison is not simply true.
#[rstest]
#[case::image("/spec/template/spec/containers/0/image", json!("other:1"))]
#[case::size("/spec/replicas", json!(1))]
#[case::quantity("/spec/template/spec/containers/0/resources/limits/memory", json!("1Mi"))]
#[case::read_only("/spec/template/spec/containers/0/volumeMounts/0/readOnly", json!(null))]
#[case::label("/metadata/labels/seatrial.dev~1model", json!("other"))]
#[case::selector("/spec/selector/matchLabels", json!({}))]
#[case::privilege("/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(null))]
#[case::arguments("/spec/template/spec/containers/0/args", json!(["mlserver", "start"]))]
fn a_change_by_hand_is_written_over(#[case] place: &str, #[case] value: Value) {
    let [_, desired, ..] = rendered(&snapshot_of("mlserver"));
    let mut live: Value = serde_json::from_str(include_str!("fixtures/mlserver.deployment.json")).unwrap();
    assert!(covers(&live, &desired));
    *live.pointer_mut(place).unwrap() = value;
    assert!(!covers(&live, &desired));
}
