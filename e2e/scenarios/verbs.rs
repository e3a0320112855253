//! What a person can ask for.

use seatrial::api::v1alpha1::{
    HandledRequest, ModelDeploymentStatus, Outcome as End, PauseReason, Phase, RequestOutcome,
};
use serde_json::json;

use crate::{
    ensure,
    harness::{MODEL, Outcome, Scenario, Scene, failed, failures},
};

const YAML: &str = include_str!("verbs.yaml");

/// Promote.
pub const PROMOTE: Scenario = Scenario {
    title: "verb_promote",
    claim: "promote_skips_the_steps_and_the_last_window_still_watches",
    yaml: YAML,
    alone: false,
    run: |scene| Box::pin(promote(scene)),
};

/// Abort.
pub const ABORT: Scenario = Scenario {
    title: "verb_abort",
    claim: "abort_takes_the_candidate_out_and_remembers_it",
    yaml: YAML,
    alone: false,
    run: |scene| Box::pin(abort(scene)),
};

/// Pause and resume.
pub const PAUSE: Scenario = Scenario {
    title: "verb_pause_resume",
    claim: "pause_holds_the_weight_until_resume",
    yaml: YAML,
    alone: false,
    run: |scene| Box::pin(pause(scene)),
};

/// Approve.
pub const APPROVE: Scenario = Scenario {
    title: "verb_approve",
    claim: "approve_lets_its_own_step_end_and_no_other",
    yaml: include_str!("approve.yaml"),
    alone: false,
    run: |scene| Box::pin(approve(scene)),
};

/// Retry.
pub const RETRY: Scenario = Scenario {
    title: "verb_retry",
    claim: "retry_gives_a_rejected_revision_another_trial",
    yaml: YAML,
    alone: false,
    run: |scene| Box::pin(retry(scene)),
};

async fn given_trial(scene: &Scene) -> Outcome {
    scene.given_stable().await?;
    scene.when_version("2.0.0").await?;
    scene.until_step(0, 2000, 60).await?;
    // A pause holds the weight that is effective.
    scene.until_begun(0).await
}

/// The outcome of the newest request for `verb`, once it is handled.
async fn handled(scene: &Scene, verb: &str, count: usize) -> Outcome<HandledRequest> {
    let of_verb = |s: &ModelDeploymentStatus| -> Vec<HandledRequest> {
        s.requests.iter().filter(|r| r.verb == verb).cloned().collect()
    };
    let sentence = format!("{count} requests to {verb} are handled");
    let status = scene.until_status(&sentence, 20, |s| of_verb(s).len() >= count).await?;
    Ok(of_verb(&status).remove(0))
}

async fn is_done(scene: &Scene, verb: &str) -> Outcome {
    let request = handled(scene, verb, 1).await?;
    ensure!(request.outcome == RequestOutcome::Done, "{verb} was refused: {}", request.message);
    Ok(())
}

async fn promote(scene: &Scene) -> Outcome {
    given_trial(scene).await?;
    let load = scene.load(20);
    let mark = scene.timeline.mark();

    scene.request("promote", json!({"reason": "we know it"})).await?;
    is_done(scene, "promote").await?;
    let status = scene.until_phase(Phase::Stable, 60).await?;

    let phases = scene.timeline.phases(mark, MODEL);
    ensure!(phases.contains(&Phase::Watching), "it was not watched at 100 %: {phases:?}");
    let weights = scene.timeline.weights(mark, MODEL, "2.0.0");
    ensure!(!weights.contains(&5000), "the step at 50 % was not skipped: {weights:?}");
    ensure!(status.stable_version.as_deref() == Some("2.0.0"), "stable is {:?}", status.stable_version);
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}

async fn abort(scene: &Scene) -> Outcome {
    given_trial(scene).await?;

    scene.request("abort", json!({"reason": "it looks wrong"})).await?;
    is_done(scene, "abort").await?;
    let status = scene.until_phase(Phase::RolledBack, 60).await?;

    ensure!(scene.route().await?.is_only("1.0.0"), "the route is {:?}", scene.route().await?.weights);
    let rejection = status.rejected.first();
    ensure!(
        rejection.is_some_and(|r| r.version == "2.0.0" && r.message.contains("it looks wrong")),
        "it is remembered as {rejection:?}"
    );
    Ok(())
}

async fn pause(scene: &Scene) -> Outcome {
    given_trial(scene).await?;

    scene.request("pause", json!({"reason": "lunch"})).await?;
    is_done(scene, "pause").await?;
    let status = scene.until_phase(Phase::Paused, 20).await?;
    let why = status.pause.as_ref().map(|p| p.reason);
    ensure!(why == Some(PauseReason::Requested), "the pause is {:?}", status.pause);
    let weight = scene.route().await?.weight("2.0.0");
    ensure!(weight == 2000, "the pause changed the weight to {weight}");

    scene.request("resume", json!({})).await?;
    is_done(scene, "resume").await?;
    let status = scene.until_phase(Phase::Progressing, 20).await?;
    ensure!(status.step.as_ref().is_some_and(|s| s.index == 0), "it went on at {:?}", status.step);
    ensure!(status.pause.is_none(), "it is still paused: {:?}", status.pause);
    Ok(())
}

async fn approve(scene: &Scene) -> Outcome {
    // Given a healthy candidate that lacks only a word
    scene.given_stable().await?;
    let load = scene.load(40);
    scene.when_version("2.0.0").await?;
    let status = scene.until_phase(Phase::Paused, 120).await?;
    let why = status.pause.as_ref().map(|p| p.reason);
    ensure!(why == Some(PauseReason::ApprovalMissing), "the pause is {:?}", status.pause);
    ensure!(status.message.contains("approve"), "the status does not say what to do: {}", status.message);

    // When the word is about another step, it is refused, with what to write
    scene.request("approve", json!({"step": 7})).await?;
    let request = handled(scene, "approve", 1).await?;
    ensure!(
        request.outcome == RequestOutcome::Refused,
        "an approval of step 7 was taken: {}",
        request.message
    );
    ensure!(request.message.contains('0'), "the refusal does not name the step: {}", request.message);
    ensure!(scene.status().await?.phase == Phase::Paused, "a refused approval moved the rollout");

    // When it is about this one, the step ends.
    scene.request("approve", json!({"step": 0})).await?;
    let request = handled(scene, "approve", 2).await?;
    ensure!(request.outcome == RequestOutcome::Done, "approve was refused: {}", request.message);
    let status = scene.until_phase(Phase::Stable, 60).await?;
    ensure!(status.stable_version.as_deref() == Some("2.0.0"), "stable is {:?}", status.stable_version);
    let answers = load.stop().await?;
    ensure!(failed(&answers) == 0, "{}", failures(&answers));
    Ok(())
}

async fn retry(scene: &Scene) -> Outcome {
    // Given a rejected revision
    given_trial(scene).await?;
    scene.request("abort", json!({})).await?;
    let before = scene.until_phase(Phase::RolledBack, 60).await?;

    // When somebody asks to retry
    scene.request("retry", json!({"reason": "the database was away"})).await?;
    is_done(scene, "retry").await?;

    // Then it is on trial again, from the first step, as another attempt.
    let status = scene.until_step(0, 2000, 90).await?;
    ensure!(status.rejected.is_empty(), "rejected: {:?}", status.rejected);
    ensure!(status.attempt > before.attempt, "attempt {} after {}", status.attempt, before.attempt);
    let ends: Vec<End> = status.history.iter().map(|r| r.outcome).collect();
    ensure!(ends.first() == Some(&End::RolledBack), "the history lost the first attempt: {ends:?}");
    Ok(())
}
