//! An object that is not ours stands where ours should.

use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt, api::DeleteParams};
use seatrial::api::v1alpha1::{ModelDeploymentStatus, Phase, TrafficSplit};
use std::time::Duration;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, until},
};

/// A Service of the model's name.
pub const SERVICE: Scenario = Scenario {
    title: "name_taken",
    claim: "a_service_that_is_not_ours_is_left_untouched_and_named",
    yaml: include_str!("name_taken.yaml"),
    alone: false,
    run: |scene| Box::pin(service(scene)),
};

/// A route of the TrafficSplit's name.
pub const ROUTE: Scenario = Scenario {
    title: "route_name_taken",
    claim: "a_route_that_is_not_ours_is_left_untouched_and_named",
    yaml: include_str!("route_name_taken.yaml"),
    alone: false,
    run: |scene| Box::pin(route(scene)),
};

async fn service(scene: &Scene) -> Outcome {
    // Given somebody's Service `iris`, when the team applies a model `iris`
    scene.apply_all().await?;
    let services: Api<Service> = scene.api();
    let before = services.get(MODEL).await?;
    let taken = |s: &ModelDeploymentStatus| {
        s.conditions
            .iter()
            .any(|c| c.status == "False" && c.reason == "NameTaken" && c.message.contains("Service"))
    };
    scene.until_status("a condition says NameTaken", 60, taken).await?;

    // then the Service is as it was
    let after = services.get(MODEL).await?;
    ensure!(after.resource_version() == before.resource_version(), "the Service was written: {after:?}");

    // and once it is out of the way, the model goes on.
    services.delete(MODEL, &DeleteParams::default()).await?;
    scene.until_phase(Phase::Stable, 90).await.map(drop)
}

async fn route(scene: &Scene) -> Outcome {
    // Given somebody's HTTPRoute `iris`, when the team applies a TrafficSplit `iris`
    scene.apply_all().await?;
    let rules = |r: &kube::api::DynamicObject| (r.metadata.generation, r.data["spec"].clone());
    let before = rules(&scene.routes().get(MODEL).await?);
    let taken = |s: Option<&TrafficSplit>| {
        let conditions = s.and_then(|s| s.status.as_ref()).map(|s| &s.conditions);
        conditions.into_iter().flatten().any(|c| c.status == "False" && c.reason == "NameTaken")
    };
    let show = |s: &TrafficSplit| format!("{:?}", s.status);
    until(&scene.splits(), MODEL, Duration::from_secs(90), "a condition says NameTaken", taken, show).await?;

    // then the route is as it was
    let after = scene.routes().get(MODEL).await?;
    ensure!(rules(&after) == before, "the route was written: {}", after.data["spec"]);
    ensure!(
        after.labels().get("owner").is_some_and(|o| o == "somebody"),
        "its labels are {:?}",
        after.labels()
    );

    // and once it is out of the way, the model gets its own.
    scene.routes().delete(MODEL, &DeleteParams::default()).await?;
    scene.until_phase(Phase::Stable, 90).await?;
    scene.until_route("1.0.0 has everything", 20, |r| r.is_some_and(|r| r.is_only("1.0.0"))).await.map(drop)
}
