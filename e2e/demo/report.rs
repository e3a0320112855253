//! What the demo measured, as JSON for machines and as a table for people.

use std::fs;

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::harness::{Cluster, Outcome};

/// From the answer of Prometheus that completes a proof to the patched route, at most, in milliseconds.
const ANSWER_TO_ROUTE_MS: f64 = 250.0;
/// The operator's resident memory, at most, in MiB.
const RSS_MIB: f64 = 40.0;

/// `target/demo/report.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The better model.
    pub promoted: Promoted,
    /// The model that fails.
    pub errors: Rollback,
    /// The model that is slow.
    pub slow: Rollback,
    /// The rejected model, applied again.
    pub reapplied: Reapplied,
    /// The operator during 60 s in which nothing changed.
    pub operator: AtRest,
}

/// A promotion.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Promoted {
    /// Requests from the apply to the promotion.
    pub requests: usize,
    /// Those not answered with 200.
    pub failed: usize,
    /// How long that took.
    pub seconds: f64,
}

/// A rollback.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names are the report's")]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Whether it was rolled back.
    pub rolled_back: bool,
    /// The SLO that was breached.
    pub slo: String,
    /// Requests that met the fault: failed, or slower than the objective.
    pub bad_served: usize,
    /// Requests that failed and were not the candidate's.
    pub failed_outside_candidate: usize,
    /// From the candidate's first answer to the route without it.
    pub seconds_to_rollback: f64,
    /// From the answer of Prometheus that completed the proof to the patched route.
    pub answer_to_route_ms: f64,
}

/// A rejected revision, applied again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reapplied {
    /// Whether it got a pod or a request.
    pub tried: bool,
}

/// The operator at rest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AtRest {
    /// Resident memory.
    #[serde(rename = "rssMiB")]
    pub rss_mib: f64,
    /// Its writes to the API server, lease and events aside.
    pub idle_writes: usize,
    /// Its reads from the API server, watches aside.
    pub idle_reads: usize,
}

impl Report {
    /// Writes `target/demo/report.json`.
    pub fn write(&self) -> Outcome {
        let folder = Cluster::repository().join("target/demo");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("report.json"), serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }

    /// Each claim that does not hold, in words.
    pub fn broken_claims(&self) -> Vec<String> {
        let mut broken = vec![];
        let mut claim = |holds: bool, sentence: String| {
            if !holds {
                broken.push(sentence);
            }
        };
        claim(
            self.promoted.failed == 0,
            format!("{} requests failed in the promotion", self.promoted.failed),
        );
        for (name, part) in [("errors", &self.errors), ("slow", &self.slow)] {
            claim(part.rolled_back, format!("{name}: it was not rolled back"));
            let outside = part.failed_outside_candidate;
            claim(outside == 0, format!("{name}: {outside} requests failed outside the candidate's share"));
            let ms = part.answer_to_route_ms;
            claim(
                ms <= ANSWER_TO_ROUTE_MS,
                format!("{name}: {ms} ms from the answer to the route, not {ANSWER_TO_ROUTE_MS}"),
            );
        }
        claim(!self.reapplied.tried, "the rejected version was tried again".into());
        let AtRest { rss_mib, idle_writes, idle_reads } = self.operator;
        claim(rss_mib <= RSS_MIB, format!("the operator holds {rss_mib} MiB, not {RSS_MIB}"));
        claim(
            idle_writes + idle_reads == 0,
            format!("at rest it wrote {idle_writes} and read {idle_reads} times"),
        );
        broken
    }

    /// The summary, and what to look at next.
    pub fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_header(["what happened", "result"]);
        let Promoted { requests, failed, seconds } = &self.promoted;
        table.add_row([
            "2.0.0, better",
            &format!("promoted after {seconds} s; {failed} of {requests} requests failed"),
        ]);
        for (version, part) in [("3.0.0-errors", &self.errors), ("3.1.0-slow", &self.slow)] {
            let outcome = if part.rolled_back { "rolled back" } else { "NOT rolled back" };
            table.add_row([
                version,
                &format!(
                    "{outcome} by {} {} s after its first request; {} requests met it, {} others failed; {} ms from proof to route",
                    part.slo, part.seconds_to_rollback, part.bad_served, part.failed_outside_candidate, part.answer_to_route_ms
                ),
            ]);
        }
        table.add_row([
            "3.0.0-errors, applied again",
            if self.reapplied.tried { "tried again" } else { "not tried again" },
        ]);
        let AtRest { rss_mib, idle_writes, idle_reads } = &self.operator;
        table.add_row([
            "the operator at rest, 60 s",
            &format!("{idle_writes} writes, {idle_reads} reads, {rss_mib} MiB of memory"),
        ]);
        println!("\n{table}\n");
        for claim in self.broken_claims() {
            println!("does not hold: {claim}");
        }
        println!("report: target/demo/report.json");
        println!("look around (the cluster stays up until `make down`):");
        for command in [
            "kubectl -n demo get mdep,tsplit,httproute,pods",
            "kubectl -n demo get mdep iris -o yaml",
            "kubectl -n demo get events --sort-by=.lastTimestamp",
            "kubectl -n seatrial-system logs deploy/seatrial",
        ] {
            println!("  e2e/cluster/cluster exec {command}");
        }
    }
}
