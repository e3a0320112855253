//! The main job, its bad ends: with every default of the judge.

use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};
use seatrial::api::v1alpha1::{ModelDeploymentStatus, Outcome as End, Phase};
use std::time::Duration;

use crate::{
    ensure,
    harness::{Answer, Audit, Broken, MODEL, Outcome, Scenario, Scene, eventually, served_by},
};

/// One request of five is answered with an error.
pub const ERRORS: Scenario = Scenario {
    title: "errors",
    claim: "a_model_that_answers_with_errors_is_rolled_back_and_nobody_else_notices",
    yaml: include_str!("errors.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene, "3.0.0-errors", "availability")),
};

/// Every answer takes 400 ms more.
pub const SLOW: Scenario = Scenario {
    title: "slow_answers",
    claim: "a_model_that_answers_late_is_rolled_back_and_nobody_else_notices",
    yaml: include_str!("slow_answers.yaml"),
    alone: false,
    run: |scene| Box::pin(run(scene, "3.1.0-slow", "latency")),
};

async fn run(scene: &Scene, version: &str, slo: &str) -> Outcome {
    // Given 1.0.0 under load
    scene.given_stable().await?;
    let load = scene.load(60);
    let mark = scene.timeline.mark();
    let (sum, count) = scene.operator.answer_to_route().await?;
    let audit = Audit::here()?;

    // When the team applies a version that breaks an objective
    scene.when_version(version).await?;
    let status = scene.until_phase(Phase::RolledBack, 180).await?;

    // Then it never got past the step that showed it, and is remembered with the reason
    let weights = scene.timeline.weights(mark, MODEL, version);
    ensure!(weights.ends_with(&[2000, 0]), "the weights of {version} were {weights:?}");
    is_remembered(&status, version, slo)?;
    scene.until_no_pods(&scene.revision_of(version).await?, 60).await?;
    told(scene, slo).await?;

    // and the proof became a route by one status and the route, nothing else: no read, no waiting. How long that took is
    // told (other scenarios may have added rollbacks of their own); `make demo` holds it to 250 ms.
    let before_it = until_the_route(scene, &audit, &status)?;
    let ["update modeldeployments/status"] = before_it.iter().map(String::as_str).collect::<Vec<_>>()[..]
    else {
        return Err(Broken::new(format!("from the decision to the route the operator did {before_it:?}")));
    };
    let (sum_after, count_after) = scene.operator.answer_to_route().await?;
    ensure!(count_after > count, "seatrial_answer_to_route_seconds did not count it");
    let took = (sum_after - sum) / (count_after - count);

    // and only requests that it served itself failed.
    let tail = load.next(60).await?;
    ensure!(
        served_by(&tail).keys().eq(["1.0.0"]),
        "after the rollback answers came from {:?}",
        served_by(&tail)
    );
    let answers = load.stop().await?;
    let outside: Vec<&Answer> = answers.iter().filter(|a| !a.is_good() && !a.is_by(version)).collect();
    ensure!(
        outside.is_empty(),
        "{} requests failed outside the candidate: {:?}",
        outside.len(),
        outside.first()
    );
    let served = answers.iter().filter(|a| a.is_by(version)).count();
    ensure!(served > 0, "{version} never served: nothing was proven");
    scene.note(format!(
        "{served} of {} requests met {version}, {:.0} ms from proof to route",
        answers.len(),
        took * 1e3
    ));
    Ok(())
}

/// What the operator asked of the API server about this namespace from its decision until it wrote the route.
fn until_the_route(scene: &Scene, audit: &Audit, status: &ModelDeploymentStatus) -> Outcome<Vec<String>> {
    let decided =
        status.rejected.first().map(|r| r.at.0).ok_or_else(|| Broken::new("nothing is rejected"))?;
    let mut requests = audit.requests()?;
    requests.retain(|r| r.namespace == scene.namespace && r.at >= decided && r.resource != "events");
    requests.sort_by_key(|r| r.at);
    let route = requests.iter().position(|r| r.resource == "httproutes" && r.is_write());
    let route = route.ok_or_else(|| Broken::new("the audit log holds no write of the route"))?;
    Ok(requests[..route].iter().map(|r| format!("{} {}", r.verb, r.resource)).collect())
}

fn is_remembered(status: &ModelDeploymentStatus, version: &str, slo: &str) -> Outcome {
    let record = status.history.first().ok_or_else(|| Broken::new("the history is empty"))?;
    ensure!(
        record.outcome == End::RolledBack && record.version == version,
        "the history begins with {record:?}"
    );
    ensure!(record.slo.as_deref() == Some(slo), "the breached SLO is {:?}, not {slo}", record.slo);
    ensure!(status.rejected.iter().any(|r| r.version == version), "rejected: {:?}", status.rejected);
    ensure!(status.stable_version.as_deref() == Some("1.0.0"), "stable is {:?}", status.stable_version);
    ensure!(status.message.contains(slo), "the status does not name the SLO: {}", status.message);
    let stalled = status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True");
    ensure!(stalled, "Flux would not report it: no condition Stalled in {:?}", status.conditions);
    Ok(())
}

/// A warning event names the SLO.
async fn told(scene: &Scene, slo: &str) -> Outcome {
    let events: Api<Event> = scene.api();
    eventually(Duration::from_secs(10), "a warning event names the SLO", async || {
        let all = events.list(&ListParams::default()).await.ok()?.items;
        let tells = |e: &Event| {
            e.type_.as_deref() == Some("Warning") && e.message.as_deref().is_some_and(|m| m.contains(slo))
        };
        all.iter().any(tells).then_some(())
    })
    .await
}
