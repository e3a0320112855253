//! The same main job for a caller inside the cluster: the parent of the route is a Service, and a mesh splits.

use seatrial::api::v1alpha1::{Outcome as End, Phase};
use tokio::sync::OnceCell;

use crate::{
    ensure,
    harness::{Answer, Cluster, Load, MODEL, Outcome, Scenario, Scene, Target, failed, failures},
};

/// A good version.
pub const GOOD: Scenario = Scenario {
    title: "mesh_good",
    claim: "in_the_mesh_a_better_model_takes_over_and_no_request_fails",
    yaml: include_str!("mesh.yaml"),
    alone: false,
    run: |scene| Box::pin(good(scene)),
};

/// A bad version.
pub const BAD: Scenario = Scenario {
    title: "mesh_bad",
    claim: "in_the_mesh_a_model_that_answers_with_errors_is_rolled_back",
    yaml: include_str!("mesh.yaml"),
    alone: false,
    run: |scene| Box::pin(bad(scene)),
};

/// The mesh is started once, by whoever needs it first.
static MESH: OnceCell<()> = OnceCell::const_new();

async fn given_mesh(scene: &Scene) -> Outcome<Load> {
    MESH.get_or_try_init(|| async { scene.cluster.script(&["service", "mesh", "start"]).await.map(drop) })
        .await?;
    scene.given_stable().await?;
    let host = format!("{MODEL}.{}.svc.cluster.local", scene.namespace);
    Ok(Load::start(Target { address: Cluster::sidecar(), host, path: "/v2/models/iris/infer".into() }, 60))
}

async fn good(scene: &Scene) -> Outcome {
    let load = given_mesh(scene).await?;
    let mark = scene.timeline.mark();

    scene.when_version("2.0.0").await?;
    let status = scene.until_phase(Phase::Stable, 180).await?;

    ensure!(status.stable_version.as_deref() == Some("2.0.0"), "stable is {:?}", status.stable_version);
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(weights.ends_with(&[2000, 5000, 10_000]), "the weights of 2.0.0 were {weights:?}");
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}

async fn bad(scene: &Scene) -> Outcome {
    let load = given_mesh(scene).await?;
    let mark = scene.timeline.mark();

    scene.when_version("3.0.0-errors").await?;
    let status = scene.until_phase(Phase::RolledBack, 180).await?;

    let record = status.history.first();
    ensure!(
        record.is_some_and(|r| r.outcome == End::RolledBack && r.slo.as_deref() == Some("availability")),
        "the history begins with {record:?}"
    );
    let weights = scene.timeline.weights(mark, MODEL, "3.0.0-errors");
    ensure!(weights.ends_with(&[2000, 0]), "its weights were {weights:?}");
    let answers = load.stop().await?;
    let outside: Vec<&Answer> = answers.iter().filter(|a| !a.is_good() && !a.is_by("3.0.0-errors")).collect();
    ensure!(
        outside.is_empty(),
        "{} requests failed outside the candidate: {:?}",
        outside.len(),
        outside.first()
    );
    Ok(())
}
