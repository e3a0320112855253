//! The negative control: pods that end before their weight has moved.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use seatrial::api::v1alpha1::Phase;
use serde_json::json;

use super::{deploy, model, remove};
use crate::harness::{Broken, Cluster, MODEL, Outcome, Scene, eventually, failed};

/// How often it may be tried: one lost request is enough.
const CYCLES: usize = 20;

/// How many requests were lost by somebody who scales a candidate down in the same moment as he takes its weight.
///
/// # Errors
/// None was lost in [`CYCLES`]: the test of the lifecycles would not see a mistake.
pub async fn run(cluster: &Cluster) -> Outcome<usize> {
    let scene = Scene::open(cluster, "lane-control", include_str!("lane.yaml")).await?;
    let half = json!([{"weight": "50%", "bake": "0s", "approval": "Required"}]);
    deploy(&scene, half).await?;
    scene.apply_object(&model(&scene, "2")?).await?;
    scene.until_phase(Phase::Paused, 120).await?;
    let candidate = scene.revision_of("2").await?;
    let rules = scene.routes().get(MODEL).await?.data["spec"]["rules"].clone();
    let mut all_to_stable = rules.clone();
    if let Some(backends) = all_to_stable[0]["backendRefs"].as_array_mut() {
        backends.retain(|backend| backend["name"] != candidate.as_str());
    }
    // Nobody repairs anything while somebody else is careless.
    scene.operator.scale(0).await?;
    let load = scene.load(100);
    let mut lost = 0;
    for _ in 0..CYCLES {
        let from = load.now();
        size(&scene, &candidate, 0).await?;
        route(&scene, &all_to_stable).await?;
        let _ = load.next(200).await?;
        lost += failed(&load.since(from));
        if lost > 0 {
            break;
        }
        size(&scene, &candidate, 1).await?;
        ready(&scene, &candidate).await?;
        route(&scene, &rules).await?;
        let _ = load.next(300).await?;
    }
    drop(load);
    scene.operator.scale(1).await?;
    scene.operator.settled().await?;
    remove(&scene).await?;
    scene.close().await?;
    if lost == 0 {
        return Err(Broken::new(format!(
            "pods ended before their weight moved, {CYCLES} times, and no request failed: this test has no teeth"
        )));
    }
    Ok(lost)
}

async fn size(scene: &Scene, revision: &str, replicas: i32) -> Outcome {
    let deployments: Api<Deployment> = scene.api();
    let change = json!({"spec": {"replicas": replicas}});
    deployments.patch(revision, &PatchParams::default(), &Patch::Merge(&change)).await?;
    Ok(())
}

async fn ready(scene: &Scene, revision: &str) -> Outcome {
    let deployments: Api<Deployment> = scene.api();
    eventually(Duration::from_mins(1), "the candidate's pod is back", async || {
        let status = deployments.get(revision).await.ok()?.status?;
        (status.ready_replicas == Some(1)).then_some(())
    })
    .await
}

async fn route(scene: &Scene, rules: &serde_json::Value) -> Outcome {
    let change = json!({"spec": {"rules": rules}});
    scene.routes().patch(MODEL, &PatchParams::default(), &Patch::Merge(&change)).await?;
    Ok(())
}
