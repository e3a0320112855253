//! Nothing can be measured for a while.

use seatrial::api::v1alpha1::{Outcome as End, Phase};

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, failed, failures},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "prometheus_away",
    claim: "without_measurements_a_candidate_is_withdrawn_not_rejected_and_starts_again_when_they_are_back",
    yaml: include_str!("prometheus_away.yaml"),
    alone: true,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a trial under load
    scene.given_stable().await?;
    let load = scene.load(60);
    let mark = scene.timeline.mark();
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;

    // When Prometheus goes away
    scene.cluster.script(&["service", "prometheus", "stop"]).await?;
    scene.until_route("2.0.0 has no weight", 60, |r| r.is_some_and(|r| r.is_only("1.0.0"))).await?;
    let out = scene.until_status("2.0.0 is withdrawn", 30, |s| s.phase == Phase::Preparing).await?;
    ensure!(out.rejected.is_empty(), "it was rejected: {:?}", out.rejected);
    ensure!(
        out.candidate_version.as_deref() == Some("2.0.0"),
        "the candidate is {:?}",
        out.candidate_version
    );
    let record = out.history.first().map(|r| r.outcome);
    ensure!(
        record.is_none_or(|o| matches!(o, End::Withdrawn | End::Promoted)),
        "the history begins with {record:?}"
    );
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.ends_with(&[2000, 0]), "the weights of 2.0.0 were {weights:?}");

    // and stays away, nothing starts
    let _ = load.next(300).await?;
    let weight = scene.route().await?.weight("2.0.0");
    ensure!(weight == 0, "2.0.0 has weight {weight} while nothing can be measured");

    // When it is back, the trial starts again and ends well.
    scene.cluster.script(&["service", "prometheus", "start"]).await?;
    scene.until_step(0, 2000, 60).await?;
    let status = scene.until_phase(Phase::Stable, 180).await?;
    ensure!(status.stable_version.as_deref() == Some("2.0.0"), "stable is {:?}", status.stable_version);
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}
