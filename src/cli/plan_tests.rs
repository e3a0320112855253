use rstest::rstest;

use super::*;

const SPLIT: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: seatrial.dev/v1alpha1
kind: TrafficSplit
metadata: {name: iris}
spec:
  route: {httpRoute: {parentRefs: [{name: public}]}}
  backends: [{modelDeploymentRef: {name: iris}}]
  strategy:
    canary:
      steps:
      - {weight: 0%, approval: Required}
      - {weight: 5%, bake: 5m}
      - {weight: 50%, bake: 10m}
  slos:
  - {name: availability, objective: 99%, errors: {}}
  - {name: confidence, query: 'up', threshold: {min: \"0.7\", failAfter: 3}}
  analysis: {dispersion: \"0\"}
";

fn args(rps: f64) -> Args {
    Args {
        file: PathBuf::new(),
        rps,
        healthy: None,
        kappa: None,
        scrape_interval: None,
        output: Output::Table,
    }
}

fn rows(rps: f64) -> Vec<Row> {
    plan(&args(rps), &traffic_split(SPLIT).unwrap()).unwrap()
}

fn row_of(rows: &[Row], step: usize, slo: &str) -> Row {
    rows.iter().find(|row| row.step == step && row.slo == slo).unwrap().clone()
}

#[test]
fn every_step_and_the_time_at_full_weight_is_planned_for_every_slo() {
    let rows = rows(100.0);
    assert_eq!(rows.len(), 8);
    assert_eq!(row_of(&rows, 4, "availability").weight, Percent::ALL);
}

#[test]
fn with_traffic_a_step_takes_its_bake_time_and_finds_small_faults() {
    let row = row_of(&rows(100.0), 3, "availability");
    assert_eq!((row.pass_seconds, row.warning), (Some(600.0), None));
    assert!(row.gross_fault_seconds.unwrap() <= 90.0);
    assert!(row.smallest_fault.unwrap() < 0.01);
}

#[test]
fn a_step_that_cannot_decide_in_time_is_warned_about() {
    let row = row_of(&rows(1.0), 2, "availability");
    assert!(row.pass_seconds.unwrap() > 3600.0);
    assert!(row.warning.unwrap().contains("may last 60 min at the most; raise its weight"));
    let silent = row_of(&rows(0.0), 2, "availability");
    assert!(silent.warning.unwrap().contains("can never prove health"));
}

#[test]
fn a_step_without_traffic_is_left_to_the_approval() {
    let row = row_of(&rows(100.0), 1, "availability");
    assert!(row.warning.unwrap().contains("only the approval decides"));
    assert_eq!((row.pass_seconds, row.smallest_fault), (None, None));
}

#[test]
fn a_query_needs_its_evaluations_in_a_row() {
    let row = row_of(&rows(100.0), 2, "confidence");
    assert_eq!((row.pass_seconds, row.gross_fault_seconds), (Some(300.0), Some(75.0)));
}

#[test]
fn unknown_dispersion_takes_longer_than_a_known_one() {
    let unknown = SPLIT.replace("dispersion: \"0\"", "interval: 15s");
    let split = traffic_split(&unknown).unwrap();
    let time =
        |args: &Args| row_of(&plan(args, &split).unwrap(), 2, "availability").gross_fault_seconds.unwrap();
    assert!(time(&args(100.0)) > time(&Args { kappa: Some(0.0), ..args(100.0) }));
}

#[test]
fn the_page_shows_steps_and_warnings() {
    let page = page(&rows(1.0));
    assert!(page.contains("availability") && page.contains("warning: step 2 (5%)"), "{page}");
}

#[rstest]
#[case::not_yaml("a: [", "")]
#[case::none("kind: Service", "no TrafficSplit")]
#[case::two("kind: TrafficSplit\n---\nkind: TrafficSplit", "more than one")]
#[case::broken("kind: TrafficSplit\nspec: {}", "missing field")]
fn a_wrong_file_says_what_is_wrong(#[case] text: &str, #[case] problem: &str) {
    assert!(traffic_split(text).unwrap_err().contains(problem));
}

#[rstest]
#[case::negative(-1.0, None)]
#[case::not_a_number(f64::NAN, None)]
#[case::kappa(1.0, Some(-1.0))]
fn impossible_options_are_refused(#[case] rps: f64, #[case] kappa: Option<f64>) {
    let split = traffic_split(SPLIT).unwrap();
    assert!(matches!(plan(&Args { kappa, ..args(rps) }, &split), Err(Error::Options(_))));
}
