//! A candidate that serves for a while and then dies, again and again.

use seatrial::api::v1alpha1::Phase;

use crate::{
    ensure,
    harness::{Answer, MODEL, Outcome, Scenario, Scene},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "crash_loop",
    claim: "a_model_that_crashes_in_mid_step_is_rolled_back",
    yaml: include_str!("crash_loop.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given 1.0.0 under load
    scene.given_stable().await?;
    let load = scene.load(50);
    let mark = scene.timeline.mark();

    // When the team applies a version that ends itself after 40 requests
    scene.when_version("3.2.0-crash").await?;
    scene.until_step(0, 3000, 60).await?;
    let status = scene.until_phase(Phase::RolledBack, 180).await?;

    // Then it is out and remembered, and only its own callers were hit.
    ensure!(status.rejected.iter().any(|r| r.version == "3.2.0-crash"), "rejected: {:?}", status.rejected);
    let weights = scene.timeline.weights(mark, MODEL, "3.2.0-crash");
    ensure!(weights.ends_with(&[3000, 0]), "its weights were {weights:?}");
    let answers = load.stop().await?;
    let outside: Vec<&Answer> = answers.iter().filter(|a| !a.is_good() && !a.is_by("3.2.0-crash")).collect();
    ensure!(
        outside.is_empty(),
        "{} requests failed outside the candidate: {:?}",
        outside.len(),
        outside.first()
    );
    scene.note(format!("{}: {}", status.rejected[0].reason, status.rejected[0].message));
    Ok(())
}
