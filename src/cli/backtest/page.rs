//! What people see: the decisions as a table, both kinds of evidence as plots, the end in one sentence.

use std::fmt::Write as _;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use textplots::{Chart, Plot, Shape};

use super::{Error, Row, Trial, word};
use crate::analysis::counts::Counts;
use crate::analysis::judge::Evidence;
use crate::analysis::verdict::{Verdict, Why};
use crate::analysis::words;

/// Rows of the table; of a longer trial the changes and evenly spread blocks are shown.
pub(super) const MOST_ROWS: usize = 40;

/// The page for people: the decisions as a table, both kinds of evidence as plots, and the end in one sentence.
pub(super) fn page(trial: &Trial, rows: &[Row]) -> Result<String, Error> {
    if rows.is_empty() {
        return Ok("no blocks, nothing to judge\n".to_owned());
    }
    let mut page = format!("{}\n", table(rows));
    let strengths = |log_e: fn(&Evidence) -> f64| -> Vec<f64> {
        rows.iter().map(|row| log_e(&row.evidence) / std::f64::consts::LN_10).collect()
    };
    let plots = [
        ("breach: rolled back at", strengths(|evidence| evidence.combined), trial.settings.alpha),
        ("health: passes at", strengths(|evidence| evidence.health), trial.settings.beta),
    ];
    for (title, powers, level) in plots {
        let limit = -level.log10();
        let _ = writeln!(page, "\n{title} {limit:.1}; as the power of ten of N in \"by chance once in N\"");
        page.push_str(&plot(&powers, limit));
    }
    let decided =
        rows.iter().position(|row| matches!(row.verdict, Verdict::Fail(_))).unwrap_or(rows.len() - 1);
    let mut judge = trial.judge()?;
    for row in &rows[..=decided] {
        judge.fold(&row.block);
    }
    let decided = &rows[decided];
    let report = judge.report(decided.block.step.unwrap_or_default());
    let sentence = words::sentence(&decided.verdict, &report, seconds_per_block(rows));
    let what = match decided.verdict {
        Verdict::Fail(_) => "would have been rolled back",
        Verdict::Pass => "its last step would have passed",
        Verdict::Inconclusive(_) => "would not have been decided",
    };
    let _ = writeln!(page, "\n{}: {what}: {sentence}", decided.t);
    Ok(page)
}

fn seconds_per_block(rows: &[Row]) -> f64 {
    match rows {
        [first, second, ..] => second.t.duration_since(first.t).as_secs_f64(),
        _ => 15.0,
    }
}

pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "time",
        "step",
        "candidate",
        "stable",
        "breach: by chance 1 in",
        "health: by chance 1 in",
        "verdict",
    ]);
    let every = rows.len().div_ceil(MOST_ROWS);
    for (at, row) in rows.iter().enumerate() {
        let changed = at == 0 || word(&rows[at - 1].verdict) != word(&row.verdict);
        if changed || at % every == 0 || at + 1 == rows.len() {
            table.add_row(cells(row));
        }
    }
    table
}

fn cells(row: &Row) -> [String; 7] {
    let requests = |counts: Option<Counts>| {
        counts.map_or_else(
            || "no data".to_owned(),
            |counts| format!("{} bad of {}", counts.bad, words::grouped(counts.total)),
        )
    };
    let one_in = |log_e: f64| words::grouped(log_e.max(0.0).exp().floor());
    let verdict = match row.verdict {
        Verdict::Inconclusive(Why::SharedWithStable) => "Inconclusive (stable is no better)",
        Verdict::Inconclusive(Why::NoData) => "Inconclusive (no data)",
        ref other => word(other),
    };
    [
        row.t.to_string(),
        row.block.step.map_or_else(|| "moving".to_owned(), |step| step.to_string()),
        requests(row.block.candidate),
        requests(row.block.stable),
        one_in(row.evidence.combined),
        one_in(row.evidence.health),
        verdict.to_owned(),
    ]
}

/// Powers of ten of the evidence by block, with the limit as a line.
fn plot(powers: &[f64], limit: f64) -> String {
    // Around the limit is where decisions fall; evidence far beyond it would flatten the picture.
    let (bottom, top) = (-2.0, 3.0 * limit);
    let line = |values: &mut dyn Iterator<Item = f64>| -> Vec<(f32, f32)> {
        (0_u16..).zip(values).map(|(x, y)| (f32::from(x), single(y.clamp(bottom, top)))).collect()
    };
    let every = powers.len().div_ceil(usize::from(u16::MAX));
    let evidence = line(&mut powers.iter().copied().step_by(every));
    let end = evidence.last().map_or(1.0, |(x, _)| x.max(1.0));
    let limits = [(0.0, single(limit)), (end, single(limit))];
    let (evidence, limits) = (Shape::Lines(&evidence), Shape::Lines(&limits));
    let mut chart = Chart::new_with_y_range(120, 40, 0.0, end, single(bottom), single(top));
    let chart = chart.lineplot(&evidence).lineplot(&limits);
    chart.axis();
    chart.figures();
    chart.to_string()
}

/// For the screen only.
#[allow(clippy::cast_possible_truncation)]
fn single(value: f64) -> f32 {
    value as f32
}
