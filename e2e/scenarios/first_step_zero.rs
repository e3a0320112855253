//! A first step without traffic, for tests from CI.

use seatrial::api::v1alpha1::{Phase, RequestOutcome};
use serde_json::json;

use crate::{
    ensure,
    harness::{Load, MODEL, Outcome, Scenario, Scene, failed, served_by},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "first_step_zero",
    claim: "at_0_percent_the_candidate_is_reached_by_its_own_service_only_until_it_is_approved",
    yaml: include_str!("first_step_zero.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a candidate at the step of 0 %
    scene.given_stable().await?;
    let public = scene.load(10);
    let mark = scene.timeline.mark();
    scene.when_version("2.0.0").await?;
    let held = |p: Phase| matches!(p, Phase::Progressing | Phase::Paused);
    let at_zero = "it waits at the step of 0 %";
    let status = scene
        .until_status(at_zero, 60, |s| held(s.phase) && s.step.as_ref().is_some_and(|s| s.index == 0))
        .await?;
    let revision = status.candidate_revision.unwrap_or_default();

    // then CI reaches it, and nobody else does
    let ci = Load::start(scene.service_target(&revision).await?, 10);
    let tested = ci.next(20).await?;
    ensure!(failed(&tested) == 0, "its own Service answered {:?}", tested.iter().find(|a| !a.is_good()));
    drop(ci);
    let seen = public.stop().await?;
    ensure!(
        served_by(&seen).keys().eq(["1.0.0"]) && failed(&seen) == 0,
        "the public got {:?}",
        served_by(&seen)
    );
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.iter().all(|w| *w == 0), "its weights were {weights:?}");

    // When the tests have passed and CI approves, it gets the next step's weight.
    scene.request("approve", json!({"step": 0, "by": "ci"})).await?;
    let status = scene.until_step(1, 2000, 30).await?;
    let request = status.requests.first();
    ensure!(request.is_some_and(|r| r.outcome == RequestOutcome::Done), "the approval came to {request:?}");
    Ok(())
}
