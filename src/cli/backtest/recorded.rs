//! Blocks that somebody recorded: one JSON object a line.

use std::io::{self, BufRead};

use jiff::Timestamp;
use serde::Deserialize;

use crate::analysis::counts::{Block, Counts};

/// One line of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    t: Timestamp,
    step: Option<i32>,
    candidate: Option<Requests>,
    stable: Option<Requests>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    bad: f64,
    total: f64,
}

/// Why a file is not a list of blocks.
#[derive(Debug)]
pub(super) enum ReadFailure {
    /// It cannot be read.
    File(io::Error),
    /// The number of a line, from 1, and what is wrong with it.
    Line(usize, String),
}

/// The blocks with their time; blank lines are skipped.
pub(super) fn read(lines: impl BufRead) -> Result<Vec<(Timestamp, Block)>, ReadFailure> {
    let mut blocks: Vec<(Timestamp, Block)> = Vec::new();
    for (number, text) in (1..).zip(lines.lines()) {
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => ReadFailure::Line(number, "not UTF-8".to_owned()),
            _ => ReadFailure::File(error),
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let block = parse(&text, blocks.last()).map_err(|problem| ReadFailure::Line(number, problem))?;
        blocks.push(block);
    }
    Ok(blocks)
}

fn parse(text: &str, previous: Option<&(Timestamp, Block)>) -> Result<(Timestamp, Block), String> {
    // The number of the line is the file's; serde knows this one only.
    let problem = |error: serde_json::Error| error.to_string().replace(" at line 1 column ", " at column ");
    let line: Line = serde_json::from_str(text).map_err(problem)?;
    if line.step.is_some_and(|step| step < 0) {
        return Err("step must be 0 or more".to_owned());
    }
    if previous.is_some_and(|(before, _)| line.t <= *before) {
        return Err(format!("t must be later than in the line before, not {}", line.t));
    }
    let counts = |arm: &str, requests: Option<Requests>| match requests {
        None => Ok(None),
        Some(Requests { bad, total }) => Counts::exact(bad, total)
            .checked()
            .map(Some)
            .ok_or_else(|| format!("{arm}: bad must lie between 0 and total, and total be a count")),
    };
    let block = Block {
        index: previous.map_or(0, |(_, block)| block.index + 1),
        step: line.step,
        candidate: counts("candidate", line.candidate)?,
        stable: counts("stable", line.stable)?,
        ..Block::default()
    };
    Ok((line.t, block))
}
