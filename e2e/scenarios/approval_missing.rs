//! A step that nobody approves.

use seatrial::api::v1alpha1::{PauseReason, Phase};

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, failed, failures},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "approval_missing",
    claim: "a_step_without_its_approval_is_held_and_still_judged",
    yaml: include_str!("approval_missing.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a healthy candidate that lacks only an approval
    scene.given_stable().await?;
    let load = scene.load(30);
    let mark = scene.timeline.mark();
    scene.when_version("2.0.0").await?;
    let status = scene.until_phase(Phase::Paused, 120).await?;
    let why = status.pause.as_ref().map(|p| p.reason);
    ensure!(why == Some(PauseReason::ApprovalMissing), "the pause is {:?}", status.pause);

    // then it is held
    let _ = load.next(150).await?;
    let status = scene.status().await?;
    ensure!(status.phase == Phase::Paused, "it went on by itself to {:?}", status.phase);
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.ends_with(&[5000]), "the weights of 2.0.0 were {weights:?}");

    // When an objective is broken meanwhile, it is rolled back all the same.
    let more = scene.load(60);
    let status = scene.until_phase(Phase::RolledBack, 60).await?;
    let slo = status.history.first().and_then(|r| r.slo.clone());
    ensure!(slo.as_deref() == Some("calm"), "the breached SLO is {slo:?}");
    let mut answers = more.stop().await?;
    answers.extend(load.stop().await?);
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}
