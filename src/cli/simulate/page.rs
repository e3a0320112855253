//! What people see: the timeline as a table, the end in one sentence, and what became of the requests.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

use super::play::{Counted, Ended, Played};
use crate::analysis::words;

/// The page for a rollout that was played through.
pub(super) fn page(played: &Played) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["after", "phase", "step", "weight", "verdict", "status"]);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for row in &played.timeline {
        table.add_row([
            words::span(row.seconds),
            format!("{:?}", row.phase),
            row.step.clone().unwrap_or_default(),
            row.weight.to_string(),
            row.verdict.map(|verdict| format!("{verdict:?}")).unwrap_or_default(),
            row.message.clone(),
        ]);
    }
    let mut page = format!("{table}\n\n");
    let what = match played.outcome {
        Ended::Promoted => "would be promoted",
        Ended::RolledBack => "would be rolled back",
        Ended::Paused => "would wait for somebody",
        Ended::Unfinished => "would not have ended",
    };
    let _ =
        writeln!(page, "The new version {what} after {}: {}", words::span(played.seconds), played.message);
    for slo in &played.analysis {
        let _ = writeln!(page, "  SLO {}: {}", slo.name, slo.message);
    }
    let _ = writeln!(page, "Requests to the new version: {}", counted(&played.requests.candidate));
    let _ = writeln!(page, "Requests to the one before: {}", counted(&played.requests.stable));
    page
}

fn counted(counted: &Counted) -> String {
    let number = |n: u64| words::grouped(crate::world::plant::chance::float(n));
    format!(
        "{}, of which {} were server errors, {} too slow, and {} failed because nothing was there to answer",
        number(counted.total),
        number(counted.errors),
        number(counted.slow),
        number(counted.failed)
    )
}
