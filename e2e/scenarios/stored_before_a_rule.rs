//! Objects that are older than the rule that would have refused them.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams, TypeMeta},
};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{
    ensure,
    harness::{Broken, MODEL, Outcome, Scenario, Scene, dynamic, eventually, failed, failures},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "stored_before_a_rule",
    claim: "an_object_older_than_its_rule_is_reported_and_harms_nobody",
    yaml: include_str!("stored_before_a_rule.yaml"),
    alone: true,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a healthy neighbour, and two objects that were stored while there was no rule
    scene.given_stable().await?;
    let mut model = scene.object("ModelDeployment", MODEL)?;
    model["metadata"]["name"] = json!("old");
    model["spec"]["progressDeadline"] = json!("soon");
    let mut split = scene.object("TrafficSplit", MODEL)?;
    split["metadata"]["name"] = json!("old");
    split["spec"]["backends"] = json!([{"modelDeploymentRef": {"name": "old"}}]);
    split["spec"]["strategy"]["canary"]["steps"] = json!([{"weight": "a little"}]);
    store(scene, "modeldeployments.seatrial.dev", &model).await?;
    store(scene, "trafficsplits.seatrial.dev", &split).await?;

    // When somebody changes something else in them, now that the rules are in force
    change(scene, "ModelDeployment", &json!({"spec": {"replicas": 2}})).await?;
    change(scene, "TrafficSplit", &json!({"spec": {"analysis": {"interval": "2s"}}})).await?;

    // Then each says which field is wrong
    says(scene, "ModelDeployment", "progressDeadline").await?;
    says(scene, "TrafficSplit", "weight").await?;

    // and the neighbour goes on: also with a rollout.
    let load = scene.load(60);
    scene.when_version("2.0.0").await?;
    scene.until_phase(seatrial::api::v1alpha1::Phase::Watching, 120).await?;
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    let restarts = scene.operator.restarts().await?;
    ensure!(restarts == 0, "the operator restarted {restarts} times");
    Ok(())
}

/// Stores an object while its CRD has no rules, puts the rules back and waits until they are in force.
async fn store(scene: &Scene, crd: &str, object: &Value) -> Outcome {
    let crds: Api<CustomResourceDefinition> = Api::all(scene.cluster.client.clone());
    let before = crds.get(crd).await?;
    let mut loose = serde_json::to_value(&before)?;
    forget_rules(&mut loose["spec"]["versions"]);
    crds.replace(crd, &PostParams::default(), &serde_json::from_value(loose)?).await?;
    // The API server takes the new definition over in its own time.
    let stored = eventually(Duration::from_secs(30), "the object is stored", async || {
        scene.apply_object(object).await.ok()
    })
    .await;
    let mut strict = before;
    strict.metadata.resource_version = crds.get(crd).await?.resource_version();
    crds.replace(crd, &PostParams::default(), &strict).await?;
    stored?;
    let kind = object["kind"].as_str().unwrap_or_default();
    let mut another: DynamicObject = serde_json::from_value(object.clone())?;
    another.metadata.name = Some("another".to_owned());
    let api = api(scene, kind).await?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let sentence = format!("another {kind} like it is refused");
    eventually(Duration::from_secs(30), &sentence, async || api.create(&dry_run, &another).await.err())
        .await
        .map(drop)
}

async fn change(scene: &Scene, kind: &str, patch: &Value) -> Outcome {
    let params = PatchParams::default();
    api(scene, kind).await?.patch("old", &params, &Patch::Merge(patch)).await?;
    Ok(())
}

async fn api(scene: &Scene, kind: &str) -> Result<Api<DynamicObject>, Broken> {
    let types = TypeMeta { api_version: "seatrial.dev/v1alpha1".into(), kind: kind.to_owned() };
    Ok(dynamic(&scene.cluster.client, &types, &scene.namespace).await?.0)
}

fn forget_rules(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("x-kubernetes-validations");
            // A property may be called `pattern`; a rule is a text.
            if map.get("pattern").is_some_and(Value::is_string) {
                map.remove("pattern");
            }
            if map.get("maxLength").is_some_and(Value::is_number) {
                map.remove("maxLength");
            }
            map.values_mut().for_each(forget_rules);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_rules),
        _ => {}
    }
}

/// Of the generation that was made while the rules were in force.
async fn says(scene: &Scene, kind: &str, field: &str) -> Outcome {
    let api = api(scene, kind).await?;
    let sentence = format!("Accepted of {kind} old is False and names {field}");
    eventually(Duration::from_secs(30), &sentence, async || {
        let object = api.get("old").await.ok()?;
        let conditions: Vec<Condition> =
            serde_json::from_value(object.data["status"]["conditions"].clone()).ok()?;
        let says = |c: &Condition| {
            c.type_ == "Accepted"
                && c.status == "False"
                && c.message.contains(field)
                && c.observed_generation == object.metadata.generation
        };
        conditions.iter().any(says).then_some(())
    })
    .await
    .map_err(|e: Broken| e.of(kind))
}
