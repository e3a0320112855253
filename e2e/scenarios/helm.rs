//! What a platform team does to the operator itself.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::Pod, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{Api, ResourceExt, api::ListParams};
use seatrial::api::v1alpha1::{Phase, RevisionUse};
use serde_json::json;

use crate::{
    ensure,
    harness::{
        Audit, Cluster, MODEL, Outcome, Request, Scenario, Scene, eventually, failed, failures, pods_of,
        share,
    },
};

/// `helm upgrade` with another image.
pub const UPGRADE: Scenario = Scenario {
    title: "helm_upgrade",
    claim: "a_new_operator_image_restarts_no_model_and_writes_nothing",
    yaml: include_str!("helm_upgrade.yaml"),
    alone: true,
    run: |scene| Box::pin(upgrade(scene)),
};

/// `helm uninstall`.
pub const UNINSTALL: Scenario = Scenario {
    title: "helm_uninstall",
    claim: "an_uninstalled_operator_leaves_objects_and_traffic_and_takes_them_up_again",
    yaml: include_str!("helm_uninstall.yaml"),
    alone: true,
    run: |scene| Box::pin(uninstall(scene)),
};

/// Pods by name, with their uid and their restarts: what a restarted model would change.
async fn pods(scene: &Scene) -> Outcome<BTreeMap<String, (Option<String>, i32)>> {
    let pods: Api<Pod> = scene.api();
    let restarts = |p: &Pod| {
        let containers = p.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        containers.into_iter().flatten().map(|c| c.restart_count).sum()
    };
    let all = pods.list(&ListParams::default()).await?.items;
    Ok(all.iter().map(|p| (p.name_any(), (p.uid(), restarts(p)))).collect())
}

async fn given_trial(scene: &Scene) -> Outcome {
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    scene.until_begun(0).await
}

/// Waits until the last pod of a revision is gone, and the route without its name is programmed: nothing more is to be
/// written down.
async fn until_ended(scene: &Scene, revision: &str) -> Outcome {
    let sentence = format!("the pods of {revision} are gone");
    eventually(Duration::from_mins(1), &sentence, async || {
        pods_of(&scene.cluster.client, &scene.namespace, revision).await.ok()?.is_empty().then_some(())
    })
    .await?;
    scene
        .until_status("its revision is history", 30, |s| {
            s.revisions.iter().any(|r| r.name == revision && r.used == RevisionUse::History)
        })
        .await?;
    eventually(Duration::from_secs(30), "the route without its name is programmed", async || {
        let route = scene.routes().get(MODEL).await.ok()?;
        let status = scene.splits().get(MODEL).await.ok()?.status?;
        let programmed = |c: &Condition| c.type_ == "Programmed" && c.status == "True";
        let unnamed = !route.data["spec"].to_string().contains(revision);
        let current = status.route.as_ref().is_some_and(|r| Some(r.generation) == route.metadata.generation);
        (unnamed && current && status.conditions.iter().any(programmed)).then_some(())
    })
    .await
}

async fn upgrade(scene: &Scene) -> Outcome {
    // Given a model at rest with a past, and a new image of the operator
    given_trial(scene).await?;
    let rejected = scene.revision_of("2.0.0").await?;
    scene.request("abort", json!({})).await?;
    scene.until_phase(Phase::RolledBack, 60).await?;
    until_ended(scene, &rejected).await?;
    let socket = Cluster::folder().join("containerd.sock");
    let socket = socket.to_string_lossy();
    let (old, new) = ("localhost/seatrial:dev", "localhost/seatrial:next");
    let tag = ["--address", &socket, "--namespace", "k8s.io", "images", "tag", "--force", old, new];
    scene.cluster.tool("ctr", &tag).await?;
    let before = pods(scene).await?;
    let route = scene.route().await?;
    let audit = Audit::here()?;

    // When Helm rolls it out
    scene.operator.install(&["image.tag=next"]).await?;
    let images: Vec<String> = scene.operator.pods().await?.iter().filter_map(image).collect();
    ensure!(images == [new], "the operator runs {images:?}");
    // Ten seconds of requests: time enough to do something that should not be done.
    let load = scene.load(20);
    let answers = load.next(200).await?;

    // Then no model noticed, and nothing was written about it.
    ensure!(pods(scene).await? == before, "the pods were {before:?} and are {:?}", pods(scene).await?);
    ensure!(scene.route().await? == route, "the route changed");
    let writes: Vec<String> = audit.writes_in(&scene.namespace)?.iter().map(Request::line).collect();
    ensure!(writes.is_empty(), "the operator wrote {writes:?}");
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}

fn image(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.containers.first()?.image.clone()
}

async fn uninstall(scene: &Scene) -> Outcome {
    // Given a trial under load
    given_trial(scene).await?;
    let before = (pods(scene).await?, scene.route().await?);
    let load = scene.load(50);

    // When the release is uninstalled
    scene.operator.uninstall().await?;
    let answers = load.next(500).await?;

    // Then the CRDs, the objects and the traffic stay
    let crds: Api<CustomResourceDefinition> = Api::all(scene.cluster.client.clone());
    for kind in ["modeldeployments", "trafficsplits", "modelruntimes"] {
        crds.get(&format!("{kind}.seatrial.dev")).await?;
    }
    ensure!((pods(scene).await?, scene.route().await?) == before, "pods or route changed");
    let candidate = share(&answers, "2.0.0");
    ensure!((0.12..=0.28).contains(&candidate), "2.0.0 has {:.1} % of the answers", candidate * 100.0);

    // and a new installation goes on with the same step.
    scene.operator.install(&[]).await?;
    let status = scene.until_phase(Phase::Progressing, 20).await?;
    ensure!(status.step.as_ref().is_some_and(|s| s.index == 0), "it went on at {:?}", status.step);
    ensure!(
        (pods(scene).await?, scene.route().await?) == before,
        "pods or route changed with the new installation"
    );
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}
