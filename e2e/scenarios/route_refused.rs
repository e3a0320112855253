//! A route that the Gateway API does not take, asked for while a bad version has traffic.

use kube::api::{Patch, PatchParams};
use seatrial::api::v1alpha1::Phase;
use serde_json::{Value, json};
use std::time::Duration;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, eventually},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "route_refused",
    claim: "a_route_that_the_api_server_refuses_is_told_and_holds_up_no_rollback",
    yaml: include_str!("errors.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

const BAD: &str = "3.0.0-errors";

async fn run(scene: &Scene) -> Outcome {
    // Given a version that answers with errors, at 20 %
    scene.given_stable().await?;
    let load = scene.load(60);
    scene.when_version(BAD).await?;
    scene.until_step(0, 2000, 60).await?;
    let mark = scene.timeline.mark();

    // When somebody names the same Gateway twice, which our schema takes and that of HTTPRoute does not
    let parents = scene.splits().get(MODEL).await?.spec.route.http_route.parent_refs;
    let twice = json!([parents.first(), parents.first()]);
    edit(scene, &twice).await?;

    // Then its status says what the API server said
    let said = accepted(scene, "the refused route is told", |status, reason| {
        status == "False" && reason == "InvalidRoute"
    })
    .await?;
    ensure!(said.contains("spec.parentRefs"), "the condition does not name the field: {said}");

    // and the version is taken out nevertheless: the route goes on as it lives,
    scene.until_phase(Phase::RolledBack, 180).await?;
    let weights = scene.timeline.weights(mark, MODEL, BAD);
    ensure!(weights.last() == Some(&0), "the weights of {BAD} were {weights:?}");
    let answers = load.stop().await?;
    let outside = answers.iter().filter(|a| !a.is_good() && !a.is_by(BAD)).count();
    ensure!(outside == 0, "{outside} requests failed outside the candidate");

    // and what is put right is taken up.
    edit(scene, &json!([parents.first()])).await?;
    accepted(scene, "the route is accepted again", |status, _| status == "True").await?;
    Ok(())
}

async fn edit(scene: &Scene, parents: &Value) -> Outcome {
    let patch = json!({"spec": {"route": {"httpRoute": {"parentRefs": parents}}}});
    scene.splits().patch(MODEL, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// The message of condition `Accepted` once its status and reason are so, about the newest spec.
async fn accepted(scene: &Scene, what: &str, is_so: impl Fn(&str, &str) -> bool) -> Outcome<String> {
    eventually(Duration::from_secs(30), what, async || {
        let split = scene.splits().get(MODEL).await.ok()?;
        let condition = split.status?.conditions.into_iter().find(|c| c.type_ == "Accepted")?;
        let newest = condition.observed_generation == split.metadata.generation;
        (newest && is_so(&condition.status, &condition.reason)).then_some(condition.message)
    })
    .await
}
