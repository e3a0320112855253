//! One of two models goes.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use seatrial::api::v1alpha1::TrafficSplit;
use std::time::Duration;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, eventually, failed, failures, served_by, share, until},
};

/// See the claim.
pub const SCENARIO: Scenario = Scenario {
    title: "backend_deleted",
    claim: "a_deleted_models_share_leaves_the_route_and_no_request_fails",
    yaml: include_str!("backend_deleted.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene)),
};

async fn run(scene: &Scene) -> Outcome {
    // Given two models that share the traffic
    scene.apply_all().await?;
    let half = |r: &crate::harness::Route| r.weight("1.0.0") == 5000 && r.weight("2.0.0") == 5000;
    scene.until_route("both models have half of the traffic", 120, |r| r.is_some_and(half)).await?;
    let ready = |s: Option<&TrafficSplit>| {
        let conditions = s.and_then(|s| s.status.as_ref()).map(|s| &s.conditions);
        conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    let show = |s: &TrafficSplit| format!("{:?}", s.status);
    until(&scene.splits(), MODEL, Duration::from_secs(30), "the TrafficSplit is ready", ready, show).await?;
    let load = scene.load(50);
    let both = load.next(300).await?;
    let b = share(&both, "2.0.0");
    ensure!((0.35..=0.65).contains(&b), "b has {:.0} % of the answers", b * 100.0);

    // When b is deleted
    scene.models().delete("b", &DeleteParams::default()).await?;
    scene.until_route("a has everything", 30, |r| r.is_some_and(|r| r.is_only("1.0.0"))).await?;
    let _ = load.next(200).await?;

    // Then nobody noticed.
    let tail = load.next(50).await?;
    ensure!(served_by(&tail).keys().eq(["1.0.0"]), "answers came from {:?}", served_by(&tail));
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));

    // And what was kept for the proxies is gone too.
    let (services, pods): (Api<Service>, Api<Pod>) = (scene.api(), scene.api());
    let of_b = ListParams::default().labels("seatrial.dev/model=b");
    eventually(Duration::from_mins(1), "no Service and no pod of b is left", async || {
        let services = services.list(&of_b).await.ok()?.items;
        let pods = pods.list(&of_b).await.ok()?.items;
        (services.is_empty() && pods.is_empty()).then_some(())
    })
    .await?;
    Ok(())
}
