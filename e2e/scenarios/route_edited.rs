//! Somebody edits what the operator owns.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "route_edited",
    claim: "a_generated_route_that_was_edited_by_hand_is_repaired_within_5_seconds",
    yaml: include_str!("route_edited.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a trial at 20 %
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    let mark = scene.timeline.mark();

    // When somebody gives the candidate everything
    let mut rules = scene.routes().get(MODEL).await?.data["spec"]["rules"].clone();
    if let Some(backends) = rules[0]["backendRefs"].as_array_mut() {
        for backend in backends {
            let old = backend["weight"].as_i64().unwrap_or(0);
            backend["weight"] = json!(if old == 2000 { 10_000 } else { 0 });
        }
    }
    let edit = json!({"spec": {"rules": rules}});
    let edited = Instant::now();
    scene.routes().patch(MODEL, &PatchParams::default(), &Patch::Merge(&edit)).await?;

    // Then it is put right at once, and the rollout goes on as if nothing had been.
    let whole = |r: &crate::harness::Route| r.weight("2.0.0") == 2000 && r.weight("1.0.0") == 8000;
    scene.until_route("the weights are 80 and 20 again", 10, |r| r.is_some_and(whole)).await?;
    let took = edited.elapsed();
    ensure!(took.as_secs_f64() <= 5.0, "the repair took {took:?}");
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.contains(&10_000), "the edit was never seen: {weights:?}");
    ensure!(scene.timeline.steps(mark, MODEL).iter().all(|s| *s == 0), "the edit moved the rollout");
    scene.note(format!("repaired after {} ms", took.as_millis()));
    Ok(())
}
