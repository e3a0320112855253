//! The `TrafficSplit` goes in the middle of a trial.

use kube::api::DeleteParams;
use seatrial::api::v1alpha1::{Outcome as End, Phase};

use crate::{
    ensure,
    harness::{Load, MODEL, Outcome, Scenario, Scene, failed, failures, served_by},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "split_deleted",
    claim: "without_its_split_the_stable_revision_serves_and_the_candidate_is_withdrawn_and_remembered",
    yaml: include_str!("split_deleted.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a trial, and a caller of the model's Service inside the cluster
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    let candidate = scene.revision_of("2.0.0").await?;
    let load = Load::start(scene.service_target(MODEL).await?, 20);

    // When the TrafficSplit is deleted
    scene.splits().delete(MODEL, &DeleteParams::default()).await?;
    let cancelled = |s: &seatrial::api::v1alpha1::ModelDeploymentStatus| {
        s.candidate_revision.is_none()
            && s.rejected.iter().any(|r| r.version == "2.0.0" && r.outcome == End::Cancelled)
    };
    let status = scene.until_status("2.0.0 is remembered as cancelled", 60, cancelled).await?;

    // Then its route goes with it, 1.0.0 serves on, and 2.0.0 ends
    scene.until_route("the route is gone", 60, |r| r.is_none()).await?;
    scene.until_no_pods(&candidate, 60).await?;
    ensure!(status.stable_version.as_deref() == Some("1.0.0"), "stable is {:?}", status.stable_version);
    let _ = load.next(40).await?;
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    // Past the gateway there is no version header; the Service's selector tells.
    ensure!(served_by(&answers).keys().eq(["none"]), "answers came from {:?}", served_by(&answers));

    // and a new TrafficSplit does not start it again.
    let split = scene.object("TrafficSplit", MODEL)?;
    scene.apply_object(&split).await?;
    scene.until_route("1.0.0 has everything", 60, |r| r.is_some_and(|r| r.is_only("1.0.0"))).await?;
    let status = scene.until_phase(Phase::RolledBack, 30).await?;
    ensure!(status.candidate_revision.is_none(), "{:?} is on trial again", status.candidate_version);
    scene.until_no_pods(&candidate, 1).await
}
