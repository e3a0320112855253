//! Custom queries: a plain limit on one value, broken when enough evaluations in a row are beyond it.
//! Pure: no I/O, no clock. States no error rate: what the value means is the user's affair.

use super::verdict::{Breach, Cause, Verdict, Why};

/// The limits of a query's value, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The least value that is good.
    pub min: Option<f64>,
    /// The greatest value that is good.
    pub max: Option<f64>,
    /// How many evaluations in a row beyond the limits are a breach; 0 counts as 1.
    pub fail_after: u32,
}

impl Threshold {
    fn allows(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// Judges one custom query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdJudge {
    threshold: Threshold,
    last: Option<i64>,
    step: Option<i32>,
    beyond: u32,
    state: State,
    value: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Nothing,
    Good,
    Beyond,
    Unusable,
}

impl ThresholdJudge {
    /// A judge before its first evaluation.
    pub fn new(threshold: Threshold) -> Self {
        Self { threshold, last: None, step: None, beyond: 0, state: State::Nothing, value: None }
    }

    /// Folds one evaluation. `at`: its number or time, rising; one that is not later than the last changes nothing.
    /// `step`: the step whose weight was effective, `None` while weights were moving. `value`: the one number that
    /// the query gave; `None` for everything else (no series or several, warnings, an error). Such an answer, NaN
    /// and ±Inf neither break a row of bad values nor add to it, and are never good.
    pub fn fold(&mut self, at: i64, step: Option<i32>, value: Option<f64>) {
        if self.last.is_some_and(|last| at <= last) {
            return;
        }
        self.last = Some(at);
        if step.is_some() && step != self.step {
            (self.step, self.state) = (step, State::Nothing);
        }
        let usable = value.filter(|value| value.is_finite());
        self.value = usable.or(self.value);
        self.state = match usable {
            None => State::Unusable,
            Some(value) if !self.threshold.allows(value) => {
                self.beyond += 1;
                State::Beyond
            }
            Some(_) => {
                self.beyond = 0;
                if step.is_some() { State::Good } else { self.state }
            }
        };
    }

    /// Fail after enough bad values in a row, Pass while the last evaluation of this step was good.
    pub fn verdict(&self, step: i32) -> Verdict {
        match self.value {
            Some(value) if self.beyond >= self.threshold.fail_after.max(1) => Verdict::Fail(Breach {
                cause: Cause::Threshold { value, consecutive: self.beyond },
                one_in: f64::INFINITY,
            }),
            _ if self.step != Some(step) => Verdict::Inconclusive(Why::NoData),
            _ => match self.state {
                State::Good => Verdict::Pass,
                State::Nothing => Verdict::Inconclusive(Why::NoData),
                State::Beyond => Verdict::Inconclusive(Why::Undecided),
                State::Unusable => Verdict::Inconclusive(Why::Unusable),
            },
        }
    }

    /// The last usable value.
    pub fn value(&self) -> Option<f64> {
        self.value
    }

    /// Evaluations in a row beyond the limits.
    pub fn beyond(&self) -> u32 {
        self.beyond
    }
}
