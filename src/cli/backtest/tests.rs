use rstest::rstest;
use serde_json::Value;

use super::page::{MOST_ROWS, page, table};
use super::recorded::read;
use super::*;
use std::fmt::Write as _;

fn trial(text: &str) -> Trial {
    let blocks = read(text.as_bytes()).unwrap_or_else(|failure| panic!("{failure:?}"));
    let none = Kappa::Known(0.0);
    let settings = Settings { kappa: none, kappa_compare: none, ..Settings::default() };
    Trial { slo: None, theta: 0.01, settings, blocks }
}

fn page_of(text: &str) -> String {
    let trial = trial(text);
    page(&trial, &trial.rows().unwrap()).unwrap()
}

/// Two steps: healthy, then ten times too many errors.
fn recorded() -> String {
    let mut text = String::new();
    for minute in 0..30 {
        let (step, bad) = if minute < 12 { (0, 0) } else { (1, 10) };
        let _ = writeln!(
            text,
            "{{\"t\": \"2026-11-21T10:{minute:02}:00Z\", \"step\": {step}, \
             \"candidate\": {{\"bad\": {bad}, \"total\": 100}}, \"stable\": {{\"bad\": 0, \"total\": 900.5}}}}"
        );
    }
    text
}

fn rows(text: &str) -> Vec<Row> {
    trial(text).rows().unwrap()
}

#[test]
fn json_has_one_object_a_block_with_logarithms_of_e_values() {
    let trial = trial(&recorded());
    let mut lines = Vec::new();
    print(Output::Json, &trial, &mut lines).unwrap();
    let printed: Vec<Value> =
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed.len(), 30);
    let first = &printed[0];
    let fields: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["combined", "compare", "fail", "pass", "t", "verdict"]);
    assert_eq!(first["t"], "2026-11-21T10:00:00Z");
    // pass_mixture of the specification's vectors: k = 0, n = 100, theta = 0.01.
    assert!((first["pass"].as_f64().unwrap() - 0.662_855_394_737_604).abs() < 1e-9);
    assert!((printed[12]["pass"].as_f64().unwrap()) < 0.0, "health starts afresh with each step");
    let trim = |row: &Value, check: &str| row[check]["trim"].as_f64().unwrap();
    for row in &printed {
        assert!(trim(row, "fail") <= row["fail"]["raw"].as_f64().unwrap() + 1e-12);
        assert!(trim(row, "compare") <= row["compare"]["raw"].as_f64().unwrap() + 1e-12);
    }
    assert_eq!(printed[11]["verdict"], "Pass");
    assert_eq!(printed[12]["verdict"], "Inconclusive");
    assert_eq!(printed[29]["verdict"], "Fail");
}

#[test]
fn the_page_shows_the_decision_and_when_it_fell() {
    let page = page_of(&recorded());
    assert!(page.contains("would have been rolled back"), "{page}");
    assert!(page.contains("2026-11-21T10:13:00Z: would have been"), "{page}");
    assert!(page.contains("10 bad of 100"), "{page}");
}

#[test]
fn an_empty_file_is_said_to_be_empty() {
    assert!(rows("\n\n").is_empty());
    assert_eq!(page_of(""), "no blocks, nothing to judge\n");
}

const GOOD: &str = r#"{"t": "2026-11-21T10:00:00Z", "step": 0, "candidate": {"bad": 0, "total": 9}}"#;

#[rstest]
#[case::not_json("nonsense")]
#[case::not_a_time(r#"{"t": "ten", "step": 0, "candidate": {"bad": 0, "total": 9}}"#)]
#[case::no_time(r#"{"step": 0, "candidate": {"bad": 0, "total": 9}}"#)]
#[case::unknown_field(r#"{"t": "2026-11-21T10:01:00Z", "step": 0, "candidat": {"bad": 0, "total": 9}}"#)]
#[case::more_bad_than_all(
    r#"{"t": "2026-11-21T10:01:00Z", "step": 0, "candidate": {"bad": 10, "total": 9}}"#
)]
#[case::negative(r#"{"t": "2026-11-21T10:01:00Z", "step": 0, "stable": {"bad": -1, "total": 9}}"#)]
#[case::overflow(r#"{"t": "2026-11-21T10:01:00Z", "step": 0, "candidate": {"bad": 0, "total": 1e400}}"#)]
#[case::too_many(r#"{"t": "2026-11-21T10:01:00Z", "step": 0, "candidate": {"bad": 0, "total": 1e300}}"#)]
#[case::not_a_number(r#"{"t": "2026-11-21T10:01:00Z", "step": 0, "candidate": {"bad": NaN, "total": 9}}"#)]
#[case::again(GOOD)]
#[case::earlier(r#"{"t": "2026-11-21T09:00:00Z", "step": 0, "candidate": {"bad": 0, "total": 9}}"#)]
fn a_bad_line_is_named_by_its_number(#[case] bad: &str) {
    let text = format!("{GOOD}\n\n{bad}\n");
    match read(text.as_bytes()) {
        Err(ReadFailure::Line(3, problem)) => assert!(!problem.is_empty()),
        _ => panic!("line 3 must be refused: {bad}"),
    }
}

#[test]
fn without_a_step_or_an_arm_there_is_no_data_for_it() {
    let text = format!("{GOOD}\n{}", r#"{"t": "2026-11-21T10:01:00Z", "step": null, "candidate": null}"#);
    let rows = rows(&text);
    assert_eq!((rows[1].block.step, rows[1].block.candidate, rows[1].block.stable), (None, None, None));
}

fn command(options: &[&str]) -> Result<Args, clap::Error> {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }
    clap::Parser::try_parse_from([&["backtest"], options].concat()).map(|Command { args }| args)
}

const BLOCKS: [&str; 2] = ["--blocks", "docs/analysis/late-fault.jsonl"];

#[tokio::test]
async fn the_options_of_the_file_mode_reach_the_judge() {
    let options =
        ["--objective", "99.5%", "--alpha", "2%", "--beta", "10%", "--leave-out", "2", "--kappa", "0.5"];
    let more = ["--tolerance", "1.5", "--planned-blocks", "60", "--output", "json"];
    let args = command(&[BLOCKS.as_slice(), &options, &more].concat()).unwrap();
    let trial = trials(&args).await.unwrap().remove(0);
    let settings = trial.settings;
    assert_eq!((trial.theta, settings.alpha, settings.beta), (0.005, 0.02, 0.1));
    assert_eq!((settings.leave_out, settings.planned_blocks, settings.tolerance), (2, 60, 1.5));
    assert_eq!((settings.kappa, settings.kappa_compare), (Kappa::Known(0.5), Kappa::Known(0.5)));
    assert_eq!(trial.blocks.len(), 64);
}

#[rstest]
#[case::nothing(&[])]
#[case::no_objective(&BLOCKS)]
#[case::no_rollout(&["--prometheus", "http://localhost:9090"])]
#[case::both(&["--blocks", "x", "--objective", "99%", "--prometheus", "http://localhost:9090"])]
#[case::not_a_percentage(&["--blocks", "x", "--objective", "0.99"])]
fn incomplete_options_are_refused(#[case] options: &[&str]) {
    assert!(command(options).is_err());
}

#[rstest]
#[case::objective(&["--objective", "100%"])]
#[case::alpha(&["--objective", "99%", "--alpha", "0%"])]
#[case::leave_out(&["--objective", "99%", "--leave-out", "9"])]
#[tokio::test]
async fn impossible_options_are_refused(#[case] options: &[&str]) {
    let args = command(&[BLOCKS.as_slice(), options].concat()).unwrap();
    let trial = trials(&args).await.unwrap().remove(0);
    assert!(matches!(trial.judge(), Err(Error::Options(_))));
    assert_eq!(run(&args).await, ExitCode::from(2));
}

#[test]
fn a_long_trial_is_shown_in_few_rows() {
    let mut text = String::new();
    for second in 0..3000 {
        let t = Timestamp::from_second(1_800_000_000 + second).unwrap();
        let _ =
            writeln!(text, "{{\"t\": \"{t}\", \"step\": 0, \"candidate\": {{\"bad\": 0, \"total\": 1}}}}");
    }
    let rows = rows(&text);
    assert!(table(&rows).row_count() <= MOST_ROWS + 5);
}

#[test]
fn the_plots_in_the_documentation_are_what_the_tool_prints() {
    let document = include_str!("../../../docs/analysis.md");
    let page = page_of(include_str!("../../../docs/analysis/late-fault.jsonl"));
    let plots: Vec<&str> = page.split("\n\n").filter(|part| part.contains("as the power of ten")).collect();
    assert_eq!(plots.len(), 2);
    for plot in plots {
        assert!(document.contains(plot.trim_end()), "not in docs/analysis.md:\n{plot}");
    }
    assert!(page.contains("2026-11-21T10:12:00Z: would have been rolled back"), "the text says 75 seconds");
}
