//! Two `TrafficSplit`s want one model.

use kube::ResourceExt;
use seatrial::api::v1alpha1::TrafficSplit;
use serde_json::json;
use std::time::Duration;

use crate::{
    ensure,
    harness::{Audit, MODEL, Outcome, Scenario, Scene, until},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "second_split",
    claim: "a_second_split_on_a_model_is_refused_as_a_whole_and_writes_nothing",
    yaml: include_str!("second_split.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a TrafficSplit with a trial
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    let before = scene.routes().get(MODEL).await?;

    // When another one names the same model
    let audit = Audit::here()?;
    let mut later = scene.object("TrafficSplit", MODEL)?;
    later["metadata"]["name"] = json!("later");
    later["spec"]["route"]["httpRoute"]["hostnames"] = json!([format!("later-{}", scene.host())]);
    scene.apply_object(&later).await?;
    let conflict = |s: Option<&TrafficSplit>| {
        let conditions = s.and_then(|s| s.status.as_ref()).map(|s| &s.conditions);
        let refused = |c: &&_| is_conflict(c);
        conditions.into_iter().flatten().any(|c| refused(&c))
    };
    let show = |s: &TrafficSplit| format!("{:?}", s.status);
    let sentence = "Accepted is False with reason Conflict";
    let refused = until(&scene.splits(), "later", Duration::from_secs(30), sentence, conflict, show).await?;

    // Then it says whose the model is
    let status = refused.and_then(|s| s.status).unwrap_or_default();
    let says =
        status.conditions.iter().find(|c| is_conflict(c)).map(|c| c.message.clone()).unwrap_or_default();
    ensure!(says.contains(MODEL), "the message names nobody: {says}");

    // and nothing was written for it but its own status.
    ensure!(scene.routes().get_opt("later").await?.is_none(), "it got a route");
    let writes = audit.writes_in(&scene.namespace)?;
    let own = |r: &crate::harness::Request| r.name == "later" && r.resource == "trafficsplits/status";
    let others: Vec<String> = writes
        .iter()
        .filter(|r| !own(r) && !r.resource.ends_with("/status"))
        .map(crate::harness::Request::line)
        .collect();
    ensure!(others.is_empty(), "the operator wrote {others:?}");
    let after = scene.routes().get(MODEL).await?;
    ensure!(before.metadata.generation == after.metadata.generation, "route {} changed", after.name_any());
    Ok(())
}

fn is_conflict(condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> bool {
    condition.type_ == "Accepted" && condition.status == "False" && condition.reason == "Conflict"
}
