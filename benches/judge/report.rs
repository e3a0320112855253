//! What the simulation found, as a table for people and as `target/judge/report.json` for programs.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

use super::world::Scenario;

/// One rule in one scenario at one rate of traffic.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Name of the rule.
    pub rule: &'static str,
    /// Requests a second in all.
    pub rps: f64,
    /// Simulated rollouts.
    pub runs: usize,
    /// Share of them that was rolled back (for promotions: promoted).
    pub share: f64,
    /// Median seconds until then, counted from the fault; `None` if fewer than half were.
    pub median: Option<f64>,
    /// Mean number of the candidate's bad requests until then.
    pub bad_served: f64,
}

/// One bound that issue and documentation promise.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What is promised.
    pub claim: String,
    /// The most it may be.
    pub at_most: f64,
    /// What it was; not a number never holds.
    pub measured: f64,
}

impl Bound {
    /// Whether the promise holds.
    pub fn holds(&self) -> bool {
        self.measured <= self.at_most
    }
}

/// One scenario as JSON.
pub fn to_json(scenario: &Scenario, cells: &[Cell]) -> Value {
    let cells: Vec<Value> = cells
        .iter()
        .map(|cell| {
            json!({"rule": cell.rule, "rps": cell.rps, "runs": cell.runs, "share": cell.share,
                   "medianSeconds": cell.median, "badServed": cell.bad_served})
        })
        .collect();
    json!({"name": scenario.name, "about": scenario.about, "cells": cells})
}

/// One kind of A/B test as JSON.
pub fn variants_to_json(about: &str, cell: &Cell) -> Value {
    json!({"name": "A/B", "about": about, "runs": cell.runs, "share": cell.share, "medianHours": cell.median})
}

/// One bound as JSON.
pub fn bound_to_json(bound: &Bound) -> Value {
    json!({"claim": bound.claim, "atMost": bound.at_most, "measured": bound.measured, "holds": bound.holds()})
}

/// One scenario as a table: rules down, rates across.
pub fn to_table(scenario: &Scenario, cells: &[Cell], show: fn(&Cell) -> String) -> String {
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
    let header =
        std::iter::once(scenario.name.to_owned()).chain(rates.iter().map(|rps| format!("{rps} rps")));
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for rule in rules {
        let of_rule = cells.iter().filter(|cell| cell.rule == rule).map(show);
        table.add_row(std::iter::once(rule.to_owned()).chain(of_rule));
    }
    format!("{}: {}\n{table}\n", scenario.name, scenario.about)
}

/// All bounds as a table.
pub fn bounds_to_table(bounds: &[Bound]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["promise", "at most", "measured", ""]);
    for bound in bounds {
        let word = if bound.holds() { "holds" } else { "BROKEN" };
        table.add_row([
            bound.claim.clone(),
            format!("{:.4}", bound.at_most),
            format!("{:.4}", bound.measured),
            word.to_owned(),
        ]);
    }
    format!("{table}\n")
}
