//! The differences that are known, each with its reason, and the count of all.

use std::collections::BTreeMap;

use crate::{answers::Answer, requests::Ask};

/// A difference between the two answers to one request.
pub struct Known {
    /// Where in the answer; the beginning of the path, `*`: anywhere.
    pub path: &'static str,
    /// Of which requests and answers.
    pub when: fn(&Ask, &Answer) -> bool,
    /// Why the model does not do better, in one sentence.
    pub reason: &'static str,
}

fn said(answer: &Answer, text: &str) -> bool {
    answer.body["message"].as_str().is_some_and(|message| message.contains(text))
}

fn blames(answer: &Answer, text: &str) -> bool {
    let causes = answer.body["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    causes.iter().any(|cause| cause["message"].as_str().is_some_and(|message| message.contains(text)))
}

/// All of them. The second argument of `when` is the real server's answer.
pub const KNOWN: &[Known] = &[
    Known {
        path: ".message",
        when: |_, real| real.code == 400,
        reason: "the words of Go's JSON decoder; nobody reads them",
    },
    Known {
        path: ".message",
        when: |_, real| real.code == 500 && said(real, "failed to create typed patch object"),
        reason: "of several wrong fields the real server names one or all, in any order",
    },
    Known {
        path: ".message",
        when: |_, real| real.code == 409 && said(real, "StorageError: invalid object"),
        reason: "the real message names the place in etcd",
    },
    Known {
        path: "",
        when: |_, real| real.code == 422 && blames(real, "json: cannot unmarshal"),
        reason: "the real message quotes the whole patched object, and Go's words about a wrong type",
    },
    Known {
        path: "",
        when: |_, real| real.code == 422 && blames(real, "type conversion error from"),
        reason: "cel-go and the cel crate word the failure of a conversion differently",
    },
];

/// What was compared and what differed.
#[derive(Default)]
pub struct Tally {
    pub sequences: u64,
    pub requests: u64,
    known: BTreeMap<&'static str, u64>,
    unexplained: Vec<String>,
}

impl Tally {
    /// Writes down how two answers differ.
    pub fn differ(
        &mut self,
        seed: u64,
        step: usize,
        ask: &Ask,
        real: &Answer,
        model: &Answer,
        differences: &[(String, String)],
    ) {
        let mut strange = vec![];
        for (path, what) in differences {
            let explains = |known: &&Known| {
                path.starts_with(known.path)
                    && (known.path.is_empty() || path != "code")
                    && (known.when)(ask, real)
            };
            match KNOWN.iter().filter(|_| path != "code").find(explains) {
                Some(known) => *self.known.entry(known.reason).or_default() += 1,
                None => strange.push(format!("      {path}: {what}")),
            }
        }
        if !strange.is_empty() {
            let head =
                format!("seed {seed}, request {step}: {ask}\n      real {} model {}", real.code, model.code);
            self.unexplained.push(format!("{head}\n{}", strange.join("\n")));
        }
    }

    pub fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.requests += other.requests;
        for (reason, count) in other.known {
            *self.known.entry(reason).or_default() += count;
        }
        self.unexplained.extend(other.unexplained);
    }

    /// Prints it all; whether nothing is unexplained.
    pub fn report(&self, seed: u64, count: u64) -> bool {
        for strange in self.unexplained.iter().take(40) {
            println!("unexplained: {strange}");
        }
        for (reason, count) in &self.known {
            println!("known, {count} times: {reason}");
        }
        println!(
            "{} sequences (seeds {seed} to {}), {} requests, {} unexplained",
            self.sequences,
            seed + count - 1,
            self.requests,
            self.unexplained.len()
        );
        self.unexplained.is_empty()
    }
}
