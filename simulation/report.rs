//! What a run came to: a table for people, `target/sim/report.json` for machines.

use std::{collections::BTreeMap, fs, io, path::PathBuf, time::Duration};

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::{Value, json};

use crate::{checker::Invariant, seed::Outcome};

/// Everything counted so far.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs, replays not counted.
    pub runs: u64,
    /// Requests of the operator's replicas.
    pub requests: u64,
    /// Changes of objects.
    pub changes: u64,
    /// Virtual time.
    pub lived: Duration,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often each invariant was evaluated.
    pub evaluated: BTreeMap<Invariant, u64>,
    /// In how many runs each invariant was evaluated at least once.
    pub armed: BTreeMap<Invariant, u64>,
    /// Violations by invariant.
    pub violated: BTreeMap<Invariant, u64>,
    /// What failed: how to replay it, and the first violation.
    pub failed: Vec<(String, String)>,
    /// Runs that were done twice, and those of them that differed.
    pub replayed: u64,
    /// See [`Self::replayed`].
    pub unequal: Vec<u64>,
}

impl Report {
    /// Counts a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.requests += outcome.requests;
        self.changes += outcome.changes;
        self.lived += outcome.lived;
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (invariant, count) in outcome.report.evaluated.iter().filter(|(_, count)| **count > 0) {
            *self.evaluated.entry(*invariant).or_default() += count;
            *self.armed.entry(*invariant).or_default() += 1;
        }
        for violation in &outcome.report.violations {
            *self.violated.entry(violation.invariant).or_default() += 1;
        }
    }

    /// Whether everything was as it should be.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.unequal.is_empty()
    }

    /// For machines.
    pub fn json(&self, wall: Duration, cpu: Duration) -> Value {
        let named = |counts: &BTreeMap<Invariant, u64>| -> BTreeMap<String, u64> {
            counts.iter().map(|(invariant, count)| (format!("{invariant:?}"), *count)).collect()
        };
        let failed: Vec<Value> =
            self.failed.iter().map(|(command, what)| json!({"replay": command, "violation": what})).collect();
        json!({
            "seeds": self.runs,
            "requests": self.requests,
            "changes": self.changes,
            "virtualSeconds": self.lived.as_secs(),
            "wallSeconds": wall.as_secs_f64(),
            "cpuSeconds": cpu.as_secs_f64(),
            "seedsPerCpuSecond": self.rate(cpu),
            "faults": self.faults,
            "invariants": named(&self.evaluated),
            "invariantsArmedInSeeds": named(&self.armed),
            "violations": named(&self.violated),
            "failed": failed,
            "replayedTwice": self.replayed,
            "unequalReplays": self.unequal,
        })
    }

    /// Writes it to `target/sim/<name>`.
    pub fn save(&self, name: &str, wall: Duration, cpu: Duration) -> io::Result<PathBuf> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/sim");
        fs::create_dir_all(&folder)?;
        let path = folder.join(name);
        fs::write(&path, serde_json::to_string_pretty(&self.json(wall, cpu))? + "\n")?;
        Ok(path)
    }

    fn rate(&self, cpu: Duration) -> f64 {
        if cpu.is_zero() { 0.0 } else { float(self.runs) / cpu.as_secs_f64() }
    }

    /// For people.
    pub fn table(&self, wall: Duration, cpu: Duration) -> String {
        let mut counts = new_table(["fault", "times"]);
        for (kind, count) in &self.faults {
            counts.add_row([(*kind).to_owned(), count.to_string()]);
        }
        let mut invariants = new_table(["invariant", "evaluated", "in seeds", "violated"]);
        for invariant in Invariant::ALL {
            let of = |counts: &BTreeMap<Invariant, u64>| counts.get(invariant).copied().unwrap_or(0);
            let seeds = of(&self.armed);
            if seeds > 0 {
                invariants.add_row([
                    invariant.to_string(),
                    of(&self.evaluated).to_string(),
                    seeds.to_string(),
                    of(&self.violated).to_string(),
                ]);
            }
        }
        format!(
            "{counts}\n{invariants}\n{} runs, {} requests, {} changes, {:.0} virtual hours in {:.0} s ({:.0} CPU-seconds): \
             {:.1} runs per CPU-second\n{} runs were done twice, {} differed; {} runs with violations",
            self.runs,
            self.requests,
            self.changes,
            self.lived.as_secs_f64() / 3600.0,
            wall.as_secs_f64(),
            cpu.as_secs_f64(),
            self.rate(cpu),
            self.replayed,
            self.unequal.len(),
            self.failed.len(),
        )
    }
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The CPU time of this process so far; zero where the system does not tell.
pub fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses: utime and stime are the 12th and 13th, in ticks of 10 ms.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
