//! Two replicas, and the one that leads is killed.

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::time::Duration;

use crate::{
    ensure,
    harness::{Broken, MODEL, Outcome, Scenario, Scene, eventually},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "leader_killed",
    claim: "with_two_replicas_the_other_one_takes_over_within_20_seconds",
    yaml: include_str!("leader_killed.yaml"),
    alone: true,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given a trial and two operators
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    scene.operator.scale(2).await?;
    let leader = scene.operator.leader().await?.name_any();
    let pods = scene.operator.pods().await?;
    let standby = pods.iter().map(ResourceExt::name_any).find(|p| *p != leader);
    ensure!(standby.is_some(), "there is no second replica");

    // When the leader is killed, with no room for a third that might be as quick, and somebody edits the route
    scene.cluster.has_room(false).await?;
    scene.operator.kill(&leader).await?;
    let renewed = scene.operator.lease().await?.renew_time;
    let mut rules = scene.routes().get(MODEL).await?.data["spec"]["rules"].clone();
    if let Some(backends) = rules[0]["backendRefs"].as_array_mut() {
        backends.retain(|b| b["weight"] == 2000);
    }
    let edit = json!({"spec": {"rules": rules}});
    scene.routes().patch(MODEL, &PatchParams::default(), &Patch::Merge(&edit)).await?;

    // Then the one that was standing by leads, and repairs it, in time.
    let other = eventually(Duration::from_secs(40), "another pod leads", async || {
        scene.operator.leader().await.ok().map(|p| p.name_any()).filter(|p| *p != leader)
    })
    .await?;
    let acquired = scene.operator.lease().await?.acquire_time;
    scene
        .until_route("the weights are 80 and 20 again", 20, |r| r.is_some_and(|r| r.weight("1.0.0") == 8000))
        .await?;
    ensure!(Some(&other) == standby.as_ref(), "{other} leads, not {standby:?}, which was standing by");
    let (Some(renewed), Some(acquired)) = (renewed, acquired) else {
        return Err(Broken::new("the Lease does not say when it was renewed and acquired"));
    };
    let away = acquired.0.duration_since(renewed.0).as_secs_f64();
    ensure!((0.0..=20.0).contains(&away), "nobody led for {away} s");

    // And a status that the old one sent late would be refused.
    let epoch = scene.status().await?.writer_epoch.unwrap_or(0);
    ensure!(epoch > 0, "the status does not say in which tenure it was written");
    let late = json!({"status": {"writerEpoch": epoch - 1, "message": "late"}});
    let answer = scene.models().patch_status(MODEL, &PatchParams::default(), &Patch::Merge(&late)).await;
    let refused = matches!(&answer, Err(kube::Error::Api(s)) if s.message.contains("a newer leader"));
    ensure!(refused, "a status of an earlier tenure was answered with {answer:?}");
    let step = scene.status().await?.step.map(|s| s.index);
    ensure!(step == Some(0), "the rollout moved to step {step:?}");

    // Nor does one that somebody restored from a backup, with the epoch of another cluster, lock the leader out.
    let higher = json!({"status": {"writerEpoch": epoch + 100}});
    scene.models().patch_status(MODEL, &PatchParams::default(), &Patch::Merge(&higher)).await?;
    eventually(Duration::from_secs(30), "the leader writes statuses again", async || {
        scene.status().await.ok()?.writer_epoch.filter(|now| *now > epoch + 100)
    })
    .await?;
    scene.note(format!("nobody led for {away:.1} s"));
    scene.cluster.has_room(true).await?;
    scene.operator.scale(1).await
}
