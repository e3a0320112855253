//! What is judged: requests of one closed block, per arm, and which numbers are counts at all.
//! Pure: no I/O, no clock.

use super::slowness::{Arms, FURTHER};

/// Above 2⁵³ a double no longer tells neighbouring whole numbers apart: such a number is not a count.
pub const MOST_REQUESTS: f64 = 9_007_199_254_740_992.0;

/// Requests of one revision in one closed block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Requests that were certainly bad: what a breach is proven with.
    pub bad: f64,
    /// Requests that were possibly bad: what health is proven with. Differs from `bad` only where a latency limit
    /// lies between two bucket edges.
    pub bad_at_most: f64,
    /// All requests.
    pub total: f64,
}

impl Counts {
    /// Counts without doubt about a single request.
    pub const fn exact(bad: f64, total: f64) -> Self {
        Self { bad, bad_at_most: bad, total }
    }

    /// The same counts if they are counts: finite, `0 ≤ bad ≤ bad_at_most ≤ total ≤ 2⁵³`. Anything else (NaN, ±Inf,
    /// negative, more bad than all, overflow) is a block without data, never a verdict.
    pub fn checked(self) -> Option<Self> {
        let ordered = 0.0 <= self.bad && self.bad <= self.bad_at_most && self.bad_at_most <= self.total;
        (ordered && self.total <= MOST_REQUESTS).then_some(self)
    }
}

/// One closed block of the wall clock: `[index · interval, (index + 1) · interval)`. By default without data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Block {
    /// Start of the block divided by the interval. Blocks are folded in rising order; gaps are allowed.
    pub index: i64,
    /// The step whose weight was effective during the whole block. `None`: weights were moving; the block still
    /// speaks about the objective, but neither for a step's pass nor in the comparison.
    pub step: Option<i32>,
    /// The candidate had all the traffic: a breach cannot be shared with anyone.
    pub alone: bool,
    /// The candidate's requests; `None`: no data.
    pub candidate: Option<Counts>,
    /// The stable revision's requests; `None`: no data.
    pub stable: Option<Counts>,
    /// Both arms measured at the settings' [`further`](super::settings::Settings::further) limits, in their order; `None`:
    /// no data, or no such limit.
    pub further: [Option<Arms>; FURTHER],
}
