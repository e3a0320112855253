//! No operator for a while.

use seatrial::api::v1alpha1::Phase;

use crate::{
    ensure,
    harness::{Outcome, Scenario, Scene, failed, failures, share},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "operator_away",
    claim: "without_an_operator_traffic_stays_as_it_was",
    yaml: include_str!("operator_away.yaml"),
    alone: true,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a trial at 20 %
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    let before = scene.route().await?;

    // When there is no operator
    scene.operator.scale(0).await?;
    let load = scene.load(60);
    let answers = load.next(600).await?;

    // Then callers get what they got
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    let candidate = share(&answers, "2.0.0");
    ensure!((0.12..=0.28).contains(&candidate), "2.0.0 has {:.1} % of the answers", candidate * 100.0);
    ensure!(scene.route().await? == before, "the route changed: {:?}", scene.route().await?.weights);

    // and when it is back, it goes on where it was.
    scene.operator.scale(1).await?;
    let status = scene.until_phase(Phase::Progressing, 20).await?;
    ensure!(status.step.as_ref().is_some_and(|s| s.index == 0), "it went on at {:?}", status.step);
    ensure!(scene.route().await? == before, "the route changed: {:?}", scene.route().await?.weights);
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}
