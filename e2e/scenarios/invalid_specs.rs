//! Specs that cannot be right: each is refused, or reported by a condition, with a sentence that says what to write;
//! the neighbour does not notice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use seatrial::api::v1alpha1::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, apply, eventually, failed, failures, parse},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "invalid_specs",
    claim: "every_wrong_spec_is_answered_with_what_to_write_and_harms_nobody",
    yaml: include_str!("invalid_specs.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

/// A row of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrong {
    name: String,
    kind: String,
    change: Value,
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

async fn run(scene: &Scene) -> Outcome {
    // Given a healthy model under load
    scene.given_stable().await?;
    let load = scene.load(10);
    let rows: Vec<Wrong> = serde_saphyr::from_str(include_str!("invalid_specs_table.yaml"))?;
    ensure!(rows.len() >= 30, "the table has {} rows", rows.len());

    // When somebody applies what cannot be right, then it is said so
    let mut unanswered = vec![];
    for (index, row) in rows.iter().enumerate() {
        let outcome = match (&row.refused, &row.condition, &row.message) {
            (Some(text), None, None) => is_refused(scene, row, text).await,
            (None, Some(kind), Some(text)) => is_reported(scene, index, row, kind, text).await,
            _ => Err(crate::harness::Broken::new("the row needs `refused`, or `condition` with `message`")),
        };
        if let Err(broken) = outcome {
            unanswered.push(format!("{}: {broken}", row.name));
        }
    }
    ensure!(unanswered.is_empty(), "{} of {} rows:\n{}", unanswered.len(), rows.len(), unanswered.join("\n"));

    // and the neighbour serves on.
    ensure!(
        scene.status().await?.phase == Phase::Stable,
        "the neighbour is {:?}",
        scene.status().await?.phase
    );
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    scene.note(format!("{} wrong specs", rows.len()));
    Ok(())
}

/// The valid object of the row's kind with the row's change.
fn object(scene: &Scene, row: &Wrong) -> Outcome<Value> {
    let mut object = if row.kind == "ModelRuntime" {
        parse(include_str!("../runtimes/mlserver.yaml"))?.remove(0)
    } else {
        scene.object(&row.kind, MODEL)?
    };
    json_patch::merge(&mut object, &row.change);
    Ok(object)
}

async fn is_refused(scene: &Scene, row: &Wrong, text: &str) -> Outcome {
    let object = object(scene, row)?;
    match apply(&scene.cluster.client, &object, &scene.namespace, true).await {
        Ok(_) => Err(crate::harness::Broken::new("the API server takes it")),
        Err(refusal) => {
            let said = refusal.to_string();
            ensure!(said.contains(text), "the refusal does not say {text:?}: {said}");
            Ok(())
        }
    }
}

async fn is_reported(scene: &Scene, index: usize, row: &Wrong, kind: &str, text: &str) -> Outcome {
    let name = format!("wrong-{index}");
    let mut object = object(scene, row)?;
    object["metadata"]["name"] = json!(name);
    if row.kind == "TrafficSplit" {
        if row.change["spec"].get("backends").is_none() {
            object["spec"]["backends"] = json!([{"modelDeploymentRef": {"name": name}}]);
        }
        scene.apply_object(&idle_model(&name)).await?;
    }
    scene.apply_object(&object).await?;
    let (api, _) = crate::harness::dynamic(
        &scene.cluster.client,
        &kube::core::TypeMeta { api_version: "seatrial.dev/v1alpha1".into(), kind: row.kind.clone() },
        &scene.namespace,
    )
    .await?;
    let sentence = format!("condition {kind} is False and says {text:?}");
    let mut last = vec![];
    let found = eventually(Duration::from_secs(20), &sentence, async || {
        let object = api.get(&name).await.ok()?;
        last = serde_json::from_value(object.data["status"]["conditions"].clone()).unwrap_or_default();
        let says = |c: &Condition| c.type_ == kind && c.status == "False" && c.message.contains(text);
        last.iter().any(says).then_some(())
    })
    .await;
    let said: Vec<String> = last
        .iter()
        .map(|c: &Condition| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message))
        .collect();
    found.map_err(|e| e.of(format!("the conditions are {said:?}")))
}

/// A model that costs nothing: a pod that only waits.
fn idle_model(name: &str) -> Value {
    let container = json!({"name": "model", "image": "localhost/pause:1", "imagePullPolicy": "Never",
        "ports": [{"name": "http", "containerPort": 8080}]});
    json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name},
        "spec": {"model": {"version": "1.0.0"}, "template": {"spec": {"containers": [container]}}}})
}
