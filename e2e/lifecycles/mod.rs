//! Hundreds of lifecycles and thousands of weight changes under load on the real Envoy, and not one failed request:
//! `make lifecycles`. It takes more than an hour, so it is not part of `make test`.
//!
//! Each lane is a namespace with one model and its own load. A lifecycle there: deployed, ramped up in fifty steps,
//! promoted (or aborted half-way, every second time), deleted. At the end the negative control: somebody who ends pods in
//! the same moment as he moves their weight must lose requests, or the test has no teeth.

mod control;

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::try_join_all;
use kube::api::DeleteParams;
use seatrial::api::v1alpha1::Phase;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    ensure,
    harness::{Broken, Cluster, MODEL, Operator, Outcome, Scene, apply, failed, failures, parse, until_gone},
};

/// Requests a second and lane.
const RATE: u32 = 20;
/// Lanes beside each other; `LANES` overrides it.
const LANES: usize = 12;
/// Where every second lifecycle is aborted.
const ABORT_AT: i32 = 20;

/// What came of all lanes.
#[derive(Default)]
struct Sum {
    begun: AtomicUsize,
    ended: AtomicUsize,
    weights: AtomicUsize,
    requests: AtomicUsize,
}

/// Runs `count` lifecycles.
pub fn run(count: usize) -> ExitCode {
    let outcome = tokio::runtime::Runtime::new().map_err(Broken::from).and_then(|r| r.block_on(all(count)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            eprintln!("lifecycles: {broken}");
            ExitCode::FAILURE
        }
    }
}

async fn all(count: usize) -> Outcome {
    let cluster = Cluster::connect().await?;
    Scene::sweep(&cluster).await?;
    Operator::of(&cluster).install(&[]).await?;
    Operator::of(&cluster).restart().await?;
    for object in parse(include_str!("runtime.yaml"))? {
        apply(&cluster.client, &object, "", false).await?;
    }
    let (started, sum) = (Instant::now(), Arc::new(Sum::default()));
    let lanes = env::var("LANES").ok().and_then(|l| l.parse().ok()).unwrap_or(LANES);
    let lanes = (0..lanes).map(|number| lane(&cluster, number, count, started, &sum));
    try_join_all(lanes).await?;
    let lost = control::run(&cluster).await?;
    let of = |n: &AtomicUsize| n.load(Ordering::Relaxed);
    let report = json!({
        "lifecycles": of(&sum.ended), "weightChanges": of(&sum.weights), "requests": of(&sum.requests),
        "failed": 0, "negativeControl": {"failed": lost}, "seconds": started.elapsed().as_secs(),
    });
    let folder = Cluster::repository().join("target/lifecycles");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("report.json"), format!("{report:#}\n"))?;
    println!("{report:#}");
    Ok(())
}

async fn lane(cluster: &Cluster, number: usize, count: usize, started: Instant, sum: &Sum) -> Outcome {
    let scene = Scene::open(cluster, &format!("lane-{number}"), include_str!("lane.yaml")).await?;
    loop {
        let life = sum.begun.fetch_add(1, Ordering::Relaxed);
        if life >= count {
            return scene.close().await;
        }
        let lived = lifecycle(&scene, life.is_multiple_of(2)).await;
        let (weights, requests) = match lived {
            Ok(counts) => counts,
            Err(broken) => {
                return Err(Broken::new(format!("lifecycle {life}: {broken}\n{}", scene.report().await)));
            }
        };
        let ended = sum.ended.fetch_add(1, Ordering::Relaxed) + 1;
        let changes = sum.weights.fetch_add(weights, Ordering::Relaxed) + weights;
        let asked = sum.requests.fetch_add(requests, Ordering::Relaxed) + requests;
        println!(
            "{:5.0} s  {ended} of {count} lifecycles, {changes} weight changes, {asked} requests, 0 failed",
            started.elapsed().as_secs_f64()
        );
    }
}

/// One life; the number of weight changes and of requests.
async fn lifecycle(scene: &Scene, promoted: bool) -> Outcome<(usize, usize)> {
    let mark = scene.timeline.mark();
    deploy(scene, steps(49)).await?;
    let load = scene.load(RATE);
    scene.apply_object(&model(scene, "2")?).await?;
    if promoted {
        let status = scene.until_phase(Phase::Stable, 900).await?;
        ensure!(status.stable_version.as_deref() == Some("2"), "stable is {:?}", status.stable_version);
    } else {
        let reached = |s: &seatrial::api::v1alpha1::ModelDeploymentStatus| {
            s.step.as_ref().is_some_and(|step| step.index >= ABORT_AT)
        };
        scene.until_status("the step to abort at", 600, reached).await?;
        scene.request("abort", json!({})).await?;
        scene.until_phase(Phase::RolledBack, 120).await?;
    }
    // What lost its traffic is drained and ends while requests go on.
    let gone = if promoted { "1" } else { "2" };
    let gone = scene.revision_of(gone).await?;
    scene.until_no_pods(&gone, 60).await?;
    let _ = load.next(20).await?;
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    let weights = scene.timeline.weights(mark, MODEL, "2").len() - 1;
    remove(scene).await?;
    Ok((weights, answers.len()))
}

/// The model at version 1, and its route.
async fn deploy(scene: &Scene, steps: Value) -> Outcome {
    let mut split = scene.object("TrafficSplit", MODEL)?;
    split["spec"]["strategy"]["canary"]["steps"] = steps;
    scene.apply_object(&model(scene, "1")?).await?;
    scene.apply_object(&split).await?;
    scene.until_phase(Phase::Stable, 120).await?;
    scene.until_route("version 1 has everything", 30, |r| r.is_some_and(|r| r.is_only("1"))).await?;
    // A route that is effective for one proxy is so for this cluster's only one.
    let load = scene.load(RATE);
    super::harness::eventually(Duration::from_secs(30), "the gateway answers", async || {
        let last = load.since(load.now().saturating_sub(Duration::from_secs(1)));
        (last.len() >= 10 && failed(&last) == 0).then_some(())
    })
    .await
}

fn model(scene: &Scene, version: &str) -> Outcome<Value> {
    let mut model = scene.object("ModelDeployment", MODEL)?;
    model["spec"]["model"]["version"] = json!(version);
    Ok(model)
}

/// `count` steps from 2 % on, two apart.
fn steps(count: usize) -> Value {
    (1..=count).map(|step| json!({"weight": format!("{}%", step * 2), "bake": "0s"})).collect()
}

async fn remove(scene: &Scene) -> Outcome {
    let within = Duration::from_mins(1);
    scene.splits().delete(MODEL, &DeleteParams::default()).await?;
    scene.models().delete(MODEL, &DeleteParams::default()).await?;
    until_gone(&scene.routes(), MODEL, within).await?;
    super::harness::eventually(within, "the pods are gone", async || {
        scene.sizes().await.ok()?.is_empty().then_some(())
    })
    .await
}
