//! The main job, its good end: with every default of the judge.

use seatrial::api::v1alpha1::{Outcome as End, Phase};

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, failed, failures, served_by},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "good_canary",
    claim: "a_better_model_takes_over_step_by_step_and_no_request_fails",
    yaml: include_str!("good_canary.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given 1.0.0 under load
    scene.given_stable().await?;
    let load = scene.load(60);
    let mark = scene.timeline.mark();

    // When the team applies 2.0.0
    scene.when_version("2.0.0").await?;
    scene.until_phase(Phase::Watching, 240).await?;
    let full = scene.sizes().await?;
    let status = scene.until_phase(Phase::Stable, 60).await?;

    // Then it went through every step, in order
    let phases = scene.timeline.phases(mark, MODEL);
    ensure!(
        phases.ends_with(&[Phase::Preparing, Phase::Progressing, Phase::Watching, Phase::Stable]),
        "the phases were {phases:?}"
    );
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.ends_with(&[2000, 5000, 10_000]), "the weights of 2.0.0 were {weights:?}");
    let record = status.history.first().ok_or_else(|| crate::harness::Broken::new("the history is empty"))?;
    ensure!(
        record.outcome == End::Promoted && record.version == "2.0.0",
        "the history begins with {record:?}"
    );
    ensure!(status.stable_version.as_deref() == Some("2.0.0"), "stable is {:?}", status.stable_version);
    ensure!(status.rejected.is_empty(), "rejected: {:?}", status.rejected);

    // and the old revision was at full size as long as it might have been needed
    ensure!(
        full.len() == 2 && full.values().all(|size| *size == 1),
        "while watching, the sizes were {full:?}"
    );

    // and nobody noticed but by better answers.
    let tail = load.next(60).await?;
    ensure!(
        served_by(&tail).keys().eq(["2.0.0"]),
        "after the promotion answers came from {:?}",
        served_by(&tail)
    );
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    scene.note(format!("{} requests, 0 failed", answers.len()));
    Ok(())
}
