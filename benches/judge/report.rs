//! What the simulation found, as a table for people and as `target/judge/report.json` for programs.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

use super::bounds::{Bound, upper_bound};

/// One rule in one scenario at one rate of traffic.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Name of the rule.
    pub rule: &'static str,
    /// Requests a second in all.
    pub rps: f64,
    /// Simulated rollouts.
    pub runs: usize,
    /// How many of them were rolled back (for promotions: promoted).
    pub events: u32,
    /// Share of them that was rolled back (for promotions: promoted).
    pub share: f64,
    /// Median seconds until then, counted from the fault; `None` if fewer than half were.
    pub median: Option<f64>,
    /// Mean number of the candidate's bad requests until then.
    pub bad_served: f64,
}

impl Cell {
    /// The largest share that so few events do not rule out, see [`upper_bound`].
    pub fn upper(&self) -> f64 {
        u32::try_from(self.runs).map_or(1.0, |runs| upper_bound(self.events, runs))
    }

    /// That this share is at most so much, as something that the runs must show.
    pub fn bound(&self, claim: String, at_most: f64) -> Bound {
        Bound { claim, at_most, measured: self.share, upper: Some(self.upper()), runs: self.runs }
    }
}

/// One scenario as JSON.
pub fn to_json((name, about): (&str, &str), cells: &[Cell]) -> Value {
    let cells: Vec<Value> = cells
        .iter()
        .map(|cell| {
            json!({"rule": cell.rule, "rps": cell.rps, "runs": cell.runs, "events": cell.events,
                   "share": cell.share, "upperBound95": cell.upper(), "medianSeconds": cell.median, "badServed": cell.bad_served})
        })
        .collect();
    json!({"name": name, "about": about, "cells": cells})
}

/// One kind of A/B test as JSON.
pub fn variants_to_json(about: &str, cell: &Cell) -> Value {
    json!({"name": "A/B", "about": about, "runs": cell.runs, "share": cell.share, "upperBound95": cell.upper(),
           "medianHours": cell.median})
}

/// One bound as JSON.
pub fn bound_to_json(bound: &Bound) -> Value {
    json!({"claim": bound.claim, "atMost": bound.at_most, "measured": bound.measured, "upperBound95": bound.upper,
           "runs": bound.runs, "holds": bound.holds()})
}

/// One scenario as a table: rules down, rates across.
pub fn to_table((name, about): (&str, &str), cells: &[Cell], show: fn(&Cell) -> String) -> String {
    let mut rates: Vec<f64> = cells.iter().map(|cell| cell.rps).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let mut rules: Vec<&str> = Vec::new();
    for cell in cells {
        if !rules.contains(&cell.rule) {
            rules.push(cell.rule);
        }
    }
    let mut table = Table::new();
    let header = std::iter::once(name.to_owned()).chain(rates.iter().map(|rps| format!("{rps} rps")));
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for rule in rules {
        let of_rule = cells.iter().filter(|cell| cell.rule == rule).map(show);
        table.add_row(std::iter::once(rule.to_owned()).chain(of_rule));
    }
    format!("{name}: {about}\n{table}\n")
}

/// All bounds as a table.
pub fn bounds_to_table(bounds: &[Bound]) -> String {
    let mut table = Table::new();
    let header = ["promise", "at most", "measured", "95 % upper bound", "runs", ""];
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for bound in bounds {
        let number = |value: f64| match bound.upper {
            Some(_) => format!("{:.3} %", 100.0 * value),
            None => format!("{value:.0} s"),
        };
        table.add_row([
            bound.claim.clone(),
            number(bound.at_most),
            number(bound.measured),
            bound.upper.map_or_else(|| "-".to_owned(), number),
            bound.runs.to_string(),
            if bound.holds() { "holds" } else { "BROKEN" }.to_owned(),
        ]);
    }
    let broken = bounds.iter().filter(|bound| !bound.holds()).count();
    format!("{table}\n{} promises, {broken} broken\n", bounds.len())
}
