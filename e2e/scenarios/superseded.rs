//! A newer version while another is on trial.

use seatrial::api::v1alpha1::{Outcome as End, Phase};

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, Seen, failed, failures},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "superseded",
    claim: "a_newer_version_in_mid_step_takes_the_older_candidate_to_weight_0_first",
    yaml: include_str!("superseded.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given 2.0.0 on trial
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    let load = scene.load(20);
    let mark = scene.timeline.mark();

    // When the team applies 4.0.0
    scene.when_version("4.0.0").await?;
    scene.until_route("4.0.0 has weight 2000", 90, |r| r.is_some_and(|r| r.weight("4.0.0") == 2000)).await?;
    let status = scene.until_phase(Phase::Progressing, 20).await?;

    // Then 1.0.0 had everything in between, and the two never shared
    let mut alone = false;
    for seen in scene.timeline.since(mark) {
        let Seen::Route(route) = seen else { continue };
        ensure!(
            route.weight("2.0.0") == 0 || route.weight("4.0.0") == 0,
            "both candidates were in the route: {:?}",
            route.weights
        );
        alone |= route.is_only("1.0.0");
        ensure!(alone || route.weight("4.0.0") == 0, "4.0.0 had traffic before 2.0.0 had lost it");
    }
    ensure!(alone, "the route never went back to 1.0.0: {:?}", scene.timeline.weights(mark, MODEL, "1.0.0"));

    // and 2.0.0 is superseded, not rejected.
    let record = status.history.first();
    ensure!(
        record.is_some_and(|r| r.outcome == End::Superseded && r.version == "2.0.0"),
        "the history begins with {record:?}"
    );
    ensure!(status.rejected.is_empty(), "rejected: {:?}", status.rejected);
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}
