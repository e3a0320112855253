//! A candidate that starts and never becomes ready.

use seatrial::api::v1alpha1::Phase;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, failed, failures, served_by},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "never_ready",
    claim: "a_model_that_never_loads_is_rolled_back_at_the_deadline_without_a_single_request",
    yaml: include_str!("never_ready.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given 1.0.0 under load
    scene.given_stable().await?;
    let load = scene.load(20);
    let mark = scene.timeline.mark();

    // When the team applies a version that loads for ever
    scene.when_version("3.3.0-never").await?;
    let begun = scene.until_phase(Phase::Preparing, 20).await.map(|_| load.now())?;
    let status = scene.until_phase(Phase::RolledBack, 60).await?;
    let waited = load.now().saturating_sub(begun).as_secs();

    // Then the deadline ended it, no sooner
    ensure!((17..=45).contains(&waited), "it was given {waited} s, the deadline is 20 s");
    let rejection = status.rejected.first();
    ensure!(
        rejection.is_some_and(|r| r.version == "3.3.0-never" && r.reason.contains("Deadline")),
        "it is remembered as {rejection:?}"
    );
    scene.until_no_pods(&scene.revision_of("3.3.0-never").await?, 60).await?;

    // and it never had any traffic.
    let weights = scene.timeline.weights(mark, MODEL, "3.3.0-never");
    ensure!(weights.iter().all(|w| *w == 0), "its weights were {weights:?}");
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    ensure!(served_by(&answers).keys().eq(["1.0.0"]), "answers came from {:?}", served_by(&answers));
    scene.note(format!("rolled back after {waited} s"));
    Ok(())
}
