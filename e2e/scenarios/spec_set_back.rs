//! The team takes its change back.

use seatrial::api::v1alpha1::{Outcome as End, Phase};

use crate::{
    ensure,
    harness::{Outcome, Scenario, Scene, failed, failures},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "spec_set_back",
    claim: "a_spec_set_back_to_the_stable_revision_ends_the_trial_without_a_rejection",
    yaml: include_str!("spec_set_back.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given 2.0.0 on trial
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    let revision = scene.revision_of("2.0.0").await?;
    let load = scene.load(20);

    // When the team applies 1.0.0 again
    scene.when_version("1.0.0").await?;
    let status = scene.until_phase(Phase::Stable, 60).await?;

    // Then 1.0.0 serves alone, and 2.0.0 may come again.
    ensure!(scene.route().await?.is_only("1.0.0"), "the route is {:?}", scene.route().await?.weights);
    let record = status.history.first();
    ensure!(record.is_some_and(|r| r.outcome == End::Reverted), "the history begins with {record:?}");
    ensure!(status.rejected.is_empty(), "rejected: {:?}", status.rejected);
    scene.until_no_pods(&revision, 60).await?;
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await.map(drop)
}
