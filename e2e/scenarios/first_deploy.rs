//! The first revision of a model, while callers already knock.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use seatrial::api::v1alpha1::Phase;

use crate::{
    ensure,
    harness::{Answer, Broken, MODEL, Outcome, Scenario, Scene, pods_of},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "first_deploy",
    claim: "a_route_appears_only_once_the_first_revision_is_ready",
    yaml: include_str!("first_deploy.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given callers that ask for a model which is not there
    let load = scene.load(20);
    load.next(5).await?;

    // When the team applies it
    scene.apply_all().await?;
    let status = scene.until_phase(Phase::Stable, 90).await?;
    load.next(40).await?;
    let answers = load.stop().await?;

    // Then the gateway said "no such route" until it could be served, and never an error of a server
    let first =
        answers.iter().position(Answer::is_good).ok_or_else(|| Broken::new("nobody was ever served"))?;
    let (before, after) = answers.split_at(first);
    let early = before.iter().find(|a| a.status != Ok(404));
    ensure!(early.is_none(), "before the model was ready a caller got {:?}", early.map(|a| &a.status));
    let late = after.iter().find(|a| !a.is_good() || !a.is_by("1.0.0"));
    ensure!(late.is_none(), "after the first good answer a caller got {late:?}");

    // and the route is not older than the readiness of the pod behind it.
    let revision = status.stable_revision.unwrap_or_default();
    let pods = pods_of(&scene.cluster.client, &scene.namespace, &revision).await?;
    let ready =
        pods.first().and_then(ready_since).ok_or_else(|| Broken::new("no pod of the revision is ready"))?;
    let route = scene.routes().get(MODEL).await?;
    let created = route.creation_timestamp().map(|t| t.0).unwrap_or_default();
    ensure!(created >= ready, "the route came at {created}, the pod was ready at {ready}");
    scene.note(format!("{} callers turned away, then {} served", before.len(), after.len()));
    Ok(())
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    ready.last_transition_time.as_ref().map(|t| t.0)
}
