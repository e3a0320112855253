use rstest::rstest;
use serde_json::Value;

use super::*;

fn args(output: Output) -> Args {
    Args {
        blocks: PathBuf::new(),
        objective: "99%".parse().unwrap(),
        alpha: "1%".parse().unwrap(),
        beta: "5%".parse().unwrap(),
        leave_out: 1,
        kappa: 0.0,
        tolerance: 1.25,
        planned_blocks: 240,
        output,
    }
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
    let Ok(blocks) = read(text.as_bytes()) else { panic!("{text}") };
    judge(&args(Output::Json), &blocks).unwrap()
}

#[test]
fn json_has_one_object_a_block_with_logarithms_of_e_values() {
    let rows = rows(&recorded());
    let printed: Vec<Value> =
        rows.iter().map(|row| serde_json::to_value(Printed::from(row)).unwrap()).collect();
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
    let rows = rows(&recorded());
    let page = page(&args(Output::Table), &rows).unwrap();
    assert!(page.contains("would have been rolled back"), "{page}");
    assert!(page.contains("2026-11-21T10:13:00Z: would have been"), "{page}");
    assert!(page.contains("10 bad of 100"), "{page}");
}

#[test]
fn an_empty_file_is_said_to_be_empty() {
    assert!(rows("\n\n").is_empty());
    assert_eq!(page(&args(Output::Table), &[]).unwrap(), "no blocks, nothing to judge\n");
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

#[rstest]
#[case::objective("100%", "1%", 1)]
#[case::alpha("99%", "0%", 1)]
#[case::leave_out("99%", "1%", 9)]
fn impossible_options_are_refused(#[case] objective: &str, #[case] alpha: &str, #[case] leave_out: usize) {
    let args = Args {
        objective: objective.parse().unwrap(),
        alpha: alpha.parse().unwrap(),
        leave_out,
        ..args(Output::Json)
    };
    assert!(matches!(judge(&args, &[]), Err(Error::Settings(_))));
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
