use clap::Parser;
use rstest::rstest;

use super::*;

const SPLIT: &str = r#"
apiVersion: seatrial.dev/v1alpha1
kind: TrafficSplit
metadata: {name: iris, namespace: ml}
spec:
  route: {httpRoute: {parentRefs: [{name: public, namespace: infra}], timeouts: {request: 5s}}}
  backends: [{modelDeploymentRef: {name: iris}}]
  strategy:
    canary:
      steps:
      - {weight: 20%, bake: 30s}
      - {weight: 50%, bake: 30s}
      rollbackWindow: 1m
  slos:
  - {name: availability, objective: 99%, errors: {}}
  - {name: latency, objective: 95%, latency: {below: 250ms}}
  analysis: {interval: 5s, holdBudget: 1m}
"#;

const MODEL: &str = r#"
---
apiVersion: seatrial.dev/v1alpha1
kind: ModelDeployment
metadata: {name: iris, namespace: ml}
spec:
  model: {version: "2.0.0", uri: "pvc://models/iris/2", format: sklearn}
  runtimeRef: {name: mlserver-1.7.1}
  replicas: 2
  progressDeadline: 2m
"#;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(flags: &str) -> Args {
    Line::parse_from(["simulate", "file.yaml"].into_iter().chain(flags.split_whitespace())).args
}

async fn played(yaml: &str, flags: &str) -> play::Played {
    let input = input::read(yaml).unwrap_or_else(|why| panic!("{why}"));
    play::play(&args(flags), input).await.unwrap_or_else(|why| panic!("{why}"))
}

#[tokio::test(start_paused = true)]
async fn a_healthy_version_is_promoted_step_by_step_and_no_request_fails() {
    let played = played(&format!("{SPLIT}{MODEL}"), "--candidate-latency 20ms..100ms").await;
    assert_eq!(played.outcome, play::Ended::Promoted, "{}", played.message);
    let weights: Vec<String> = played.timeline.iter().map(|row| row.weight.to_string()).collect();
    let mut steps = weights.clone();
    steps.dedup();
    assert_eq!(steps, ["0%", "20%", "50%", "100%", "0%"]);
    assert!(played.requests.candidate.total > 1000);
    let none = |counted: play::Counted| counted.failed + counted.errors == 0;
    assert!(none(played.requests.candidate) && none(played.requests.stable), "{:?}", played.requests);
    let page = page::page(&played);
    assert!(page.contains("The new version would be promoted after"), "{page}");
}

#[rstest]
#[case::errors("--candidate-errors 20%", "SLO availability")]
#[case::slow("--candidate-latency 400ms..2s", "SLO latency")]
#[case::never_ready("--never-ready", "not ready within 2m")]
#[case::crash("--crash-after 40s", "exited with code 1")]
#[tokio::test(start_paused = true)]
async fn a_sick_version_is_rolled_back_for_the_reason_that_is_told(#[case] flags: &str, #[case] why: &str) {
    let played = played(&format!("{SPLIT}{MODEL}"), flags).await;
    assert_eq!(played.outcome, play::Ended::RolledBack, "{}", played.message);
    assert!(played.message.contains(why), "{}", played.message);
    assert_eq!(played.requests.stable.errors + played.requests.stable.failed, 0, "{:?}", played.requests);
}

#[rstest]
#[case("--prometheus-away 1m..4m")]
#[case("--gateway-late 10s")]
#[case("--operator-restart 45s --operator-restart 2m")]
#[case("--start-time 90s")]
#[tokio::test(start_paused = true)]
async fn trouble_around_a_healthy_version_takes_time_and_nothing_else(#[case] flags: &str) {
    let quick = played(&format!("{SPLIT}{MODEL}"), "").await;
    let slow = played(&format!("{SPLIT}{MODEL}"), flags).await;
    assert_eq!((quick.outcome, slow.outcome), (play::Ended::Promoted, play::Ended::Promoted));
    assert!(slow.seconds > quick.seconds, "{} {}", slow.seconds, quick.seconds);
    assert_eq!(slow.requests.candidate.failed + slow.requests.stable.failed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_model_is_made_up_where_there_is_none_approvals_are_given_and_own_counters_are_judged() {
    let yaml = SPLIT
        .replace(
            "- {weight: 20%, bake: 30s}",
            "- {weight: 0%, approval: Required}\n      - {weight: 20%, bake: 30s}",
        )
        .replace("errors: {}", "ratio: {bad: 'feedback_total{useful=\"no\"}', total: feedback_total}");
    let good = played(&yaml, "").await;
    assert_eq!(good.outcome, play::Ended::Promoted, "{}", good.message);
    assert!(good.timeline.iter().any(|row| row.phase == crate::api::v1alpha1::Phase::Paused));
    let bad = played(&yaml, "--candidate-bad-events 30%").await;
    assert_eq!(bad.outcome, play::Ended::RolledBack, "{}", bad.message);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_plays_the_same_rollout() {
    let text = |played: play::Played| serde_json::to_string(&played).unwrap();
    let yaml = format!("{SPLIT}{MODEL}");
    let flags = "--candidate-errors 2% --seed 7";
    let (one, two) = (text(played(&yaml, flags).await), text(played(&yaml, flags).await));
    assert_eq!(one, two);
}

#[rstest]
#[case("a: 1", "it holds no TrafficSplit")]
#[case(&SPLIT.replace("20%", "'20'"), "TrafficSplit: spec.strategy.canary.steps[0].weight: \"20\" is not a percentage from 0% to 100%: write for instance 5%")]
#[case(&SPLIT.replace("bake: 30s", "bakes: 30s"), "TrafficSplit: spec.strategy.canary.steps[0].bakes: unknown field")]
#[case(&SPLIT.replace("name: iris, ", ""), "TrafficSplit: metadata.name is missing")]
#[case(&format!("{SPLIT}---{SPLIT}"), "more than one TrafficSplit")]
#[case(&format!("{SPLIT}{}", MODEL.replace("name: iris,", "name: rose,")), "ModelDeployment \"rose\" gets no traffic: spec.backends of the TrafficSplit names iris")]
#[case(&format!("{SPLIT}{}", MODEL.replace("replicas: 2", "replicas: two")), "ModelDeployment: spec.replicas: invalid type: string")]
fn a_mistake_in_the_file_is_named_with_its_field(#[case] yaml: &str, #[case] problem: &str) {
    let told = input::read(yaml).unwrap_err();
    assert!(told.contains(problem), "{told}");
}

#[rstest]
#[case(&SPLIT.replace("errors: {}", "query: 'sum('").replace("objective: 99%, ", ""), "threshold")]
#[case(&SPLIT.replace("errors: {}", "ratio: {bad: 'rate(x[1m])', total: x}"), "ratio.bad")]
#[case(&format!("{SPLIT}{}", MODEL.replace("pvc://models/iris/2", "s3://b")), "model.uri")]
#[tokio::test(start_paused = true)]
async fn what_the_cluster_would_refuse_is_refused_in_its_words(#[case] yaml: &str, #[case] field: &str) {
    let refused = match input::read(yaml) {
        Ok(input) => play::play(&args(""), input).await.unwrap_err().to_string(),
        Err(why) => why,
    };
    assert!(refused.contains(field), "{refused}");
}

#[rstest]
#[case("--prometheus-away 5m")]
#[case("--prometheus-away 5m..1m")]
#[case("--candidate-latency 0s")]
#[case("--candidate-errors 5")]
#[case("--expect good")]
fn a_wrong_flag_says_what_to_write(#[case] flags: &str) {
    let line = ["simulate", "file.yaml"].into_iter().chain(flags.split_whitespace());
    let told = Line::try_parse_from(line).map(|_| ()).unwrap_err().to_string();
    assert!(
        told.contains("write for instance")
            || told.contains("for instance 5m..20m")
            || told.contains("possible values"),
        "{told}"
    );
}

/// Prints a page, for whoever wants to see one: `FLAGS="--never-ready" cargo test --lib -- a_page --nocapture`.
#[tokio::test(start_paused = true)]
async fn a_page_says_how_it_ends() {
    let input = input::read(&format!("{SPLIT}{MODEL}")).unwrap();
    let played = play::play(&args(&std::env::var("FLAGS").unwrap_or_default()), input).await.unwrap();
    let page = page::page(&played);
    println!("{page}");
    assert!(page.contains(&played.message));
}
