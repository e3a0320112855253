//! A gateway that does not answer for its routes.

use seatrial::api::v1alpha1::Phase;
use serde_json::json;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "gateway_never_accepts",
    claim: "a_weight_that_no_gateway_takes_over_does_not_rise_and_is_rolled_back_at_the_deadline",
    yaml: include_str!("gateway_never_accepts.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a model that serves, and then a gateway that says nothing
    scene.given_stable().await?;
    let mut split = scene.object("TrafficSplit", MODEL)?;
    split["spec"]["route"]["httpRoute"]["parentRefs"] = json!([{"name": "nobody"}]);
    scene.apply_object(&split).await?;
    let mark = scene.timeline.mark();

    // When the team applies 2.0.0
    scene.when_version("2.0.0").await?;
    let ended = |p: Phase| matches!(p, Phase::RollingBack | Phase::RolledBack);
    let status = scene.until_status("it is rolled back", 90, |s| ended(s.phase)).await?;

    // Then it never rose above its first step, and is out again.
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.iter().all(|w| *w <= 2000), "the weights of 2.0.0 were {weights:?}");
    let steps = scene.timeline.steps(mark, MODEL);
    ensure!(steps.iter().all(|s| *s == 0), "it went through steps {steps:?}");
    scene.until_route("1.0.0 has everything", 20, |r| r.is_some_and(|r| r.is_only("1.0.0"))).await?;
    let split = scene.splits().get_status(MODEL).await?.status.unwrap_or_default();
    let programmed = split.conditions.iter().find(|c| c.type_ == "Programmed");
    ensure!(programmed.is_some_and(|c| c.status == "False"), "Programmed is {programmed:?}");
    scene.note(status.message);
    Ok(())
}
