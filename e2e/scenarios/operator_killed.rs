//! SIGKILL to the operator, in every phase.

use kube::ResourceExt;
use seatrial::api::v1alpha1::{ModelDeploymentStatus, Phase};
use serde_json::json;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, failed, failures},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "operator_killed",
    claim: "an_operator_killed_in_any_phase_goes_on_with_the_same_step_none_skipped_or_repeated",
    yaml: include_str!("operator_killed.yaml"),
    alone: true,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Pending
    scene.apply_all().await?;
    scene.until_status("something is said about it", 30, |s| !s.message.is_empty()).await?;
    kill_in(scene, Phase::Pending).await?;
    scene.until_phase(Phase::Stable, 120).await?;
    // Stable
    kill_in(scene, Phase::Stable).await?;
    scene.operator.settled().await?;
    let load = scene.load(60);
    promotion(scene).await?;
    rollback(scene).await?;
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    scene.note(format!("{} requests, 0 failed", answers.len()));
    Ok(())
}

/// Kills the leader while the model is in this phase.
async fn kill_in(scene: &Scene, phase: Phase) -> Outcome {
    let pod = scene.operator.leader().await?.name_any();
    let sentence = format!("phase {phase:?}, to kill the operator in it");
    scene.until_status(&sentence, 150, |s| s.phase == phase).await?;
    scene.operator.kill_and_bury(&pod).await
}

async fn promotion(scene: &Scene) -> Outcome {
    let mark = scene.timeline.mark();
    scene.when_version("2.0.0").await?;
    kill_in(scene, Phase::Preparing).await?;
    scene.operator.settled().await?;

    let pod = scene.operator.leader().await?.name_any();
    scene.until_step(0, 2000, 90).await?;
    scene.operator.kill_and_bury(&pod).await?;
    scene.operator.settled().await?;

    // The step at 50 % waits for an approval.
    kill_in(scene, Phase::Paused).await?;
    scene.operator.settled().await?;
    let at = |s: &ModelDeploymentStatus| s.step.as_ref().map(|s| s.index);
    let status = scene.status().await?;
    ensure!(
        status.phase == Phase::Paused && at(&status) == Some(1),
        "after it {:?}, {:?}",
        status.phase,
        at(&status)
    );
    scene.request("approve", json!({"step": 1})).await?;

    kill_in(scene, Phase::Watching).await?;
    let status = scene.until_phase(Phase::Stable, 120).await?;
    scene.operator.settled().await?;
    ensure!(status.stable_version.as_deref() == Some("2.0.0"), "stable is {:?}", status.stable_version);

    let steps: Vec<i32> = scene.timeline.steps(mark, MODEL);
    let expected = steps.iter().copied().eq(0..3);
    ensure!(expected, "the steps were {steps:?}, not 0, 1, 2");
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.ends_with(&[2000, 5000, 10_000]), "the weights of 2.0.0 were {weights:?}");
    let mut rising = weights.clone();
    rising.sort_unstable();
    ensure!(weights == rising, "the weights of 2.0.0 fell in between: {weights:?}");
    Ok(())
}

async fn rollback(scene: &Scene) -> Outcome {
    let mark = scene.timeline.mark();
    scene.when_version("4.0.0").await?;
    scene.until_step(0, 2000, 90).await?;
    let pod = scene.operator.leader().await?.name_any();
    scene.request("abort", json!({})).await?;
    scene.until_status("it is being rolled back", 20, |s| s.phase == Phase::RollingBack).await?;
    scene.operator.kill_and_bury(&pod).await?;
    scene.until_phase(Phase::RolledBack, 120).await?;
    kill_in(scene, Phase::RolledBack).await?;
    scene.operator.settled().await?;

    let status = scene.status().await?;
    ensure!(status.phase == Phase::RolledBack, "after it the phase is {:?}", status.phase);
    ensure!(status.rejected.iter().any(|r| r.version == "4.0.0"), "rejected: {:?}", status.rejected);
    let weights = scene.timeline.weights(mark, MODEL, "4.0.0");
    ensure!(weights.ends_with(&[2000, 0]), "the weights of 4.0.0 were {weights:?}");
    let records = status.history.iter().filter(|r| r.version == "4.0.0").count();
    ensure!(records == 1, "the rollback is recorded {records} times");
    Ok(())
}
