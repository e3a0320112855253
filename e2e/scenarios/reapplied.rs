//! Git applies what was rolled back, again and again.

use kube::api::DeleteParams;
use seatrial::api::v1alpha1::Phase;
use serde_json::json;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, until_gone},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "reapplied",
    claim: "a_rejected_revision_is_not_tried_again_whatever_is_re_applied",
    yaml: include_str!("reapplied.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a version that was taken out
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    let revision = scene.revision_of("2.0.0").await?;
    scene.request("abort", json!({"reason": "wrong answers"})).await?;
    scene.until_phase(Phase::RolledBack, 60).await?;
    scene.until_no_pods(&revision, 60).await?;
    let mark = scene.timeline.mark();

    // When the same YAML is applied again, also by way of another version
    scene.when_version("2.0.0").await?;
    is_left_alone(scene, &revision).await?;
    scene.when_version("1.0.0").await?;
    let status = scene.until_phase(Phase::Stable, 30).await?;
    ensure!(status.rejected.iter().any(|r| r.revision == revision), "setting the spec back made it forget");
    scene.when_version("2.0.0").await?;
    is_left_alone(scene, &revision).await?;

    // and when the TrafficSplit is made anew
    scene.splits().delete(MODEL, &DeleteParams::default()).await?;
    until_gone(&scene.splits(), MODEL, std::time::Duration::from_secs(30)).await?;
    scene.until_route("the route is gone", 30, |r| r.is_none()).await?;
    let split = scene.object("TrafficSplit", MODEL)?;
    scene.apply_object(&split).await?;
    scene.until_route("1.0.0 has everything", 30, |r| r.is_some_and(|r| r.is_only("1.0.0"))).await?;
    is_left_alone(scene, &revision).await?;

    // Then it never had traffic again.
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.iter().all(|w| *w == 0), "its weights were {weights:?}");
    let phases = scene.timeline.phases(mark, MODEL);
    ensure!(!phases.contains(&Phase::Preparing), "the phases were {phases:?}");
    Ok(())
}

/// The operator has seen this spec, and starts nothing.
async fn is_left_alone(scene: &Scene, revision: &str) -> Outcome {
    let status = scene.until_phase(Phase::RolledBack, 30).await?;
    ensure!(status.candidate_revision.is_none(), "{:?} is on trial again", status.candidate_version);
    ensure!(status.message.contains("2.0.0"), "the status does not say what is refused: {}", status.message);
    let size = scene.sizes().await?.get(revision).copied().unwrap_or(0);
    ensure!(size == 0, "{revision} has {size} replicas");
    Ok(())
}
