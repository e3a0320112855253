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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn judged(values: &[Option<f64>]) -> ThresholdJudge {
        let mut judge = ThresholdJudge::new(Threshold { min: Some(0.7), max: Some(2.0), fail_after: 3 });
        for (at, value) in (0..).zip(values) {
            judge.fold(at, Some(0), *value);
        }
        judge
    }

    #[rstest]
    #[case::nothing_yet(&[], Verdict::Inconclusive(Why::NoData))]
    #[case::good(&[Some(0.9)], Verdict::Pass)]
    #[case::limits_are_good(&[Some(0.7), Some(2.0)], Verdict::Pass)]
    #[case::too_low_once(&[Some(0.9), Some(0.1)], Verdict::Inconclusive(Why::Undecided))]
    #[case::too_high_once(&[Some(2.1)], Verdict::Inconclusive(Why::Undecided))]
    #[case::good_again(&[Some(0.1), Some(0.1), Some(0.9)], Verdict::Pass)]
    #[case::no_series(&[Some(0.9), None], Verdict::Inconclusive(Why::Unusable))]
    #[case::not_a_number(&[Some(0.9), Some(f64::NAN)], Verdict::Inconclusive(Why::Unusable))]
    #[case::infinite(&[Some(f64::NEG_INFINITY); 9], Verdict::Inconclusive(Why::Unusable))]
    fn a_value_is_held_against_its_limits(#[case] values: &[Option<f64>], #[case] verdict: Verdict) {
        assert_eq!(judged(values).verdict(0), verdict);
    }

    #[test]
    fn enough_bad_values_in_a_row_fail_and_unusable_ones_do_not_break_the_row() {
        let judge = judged(&[Some(0.1), None, Some(0.2), Some(f64::NAN), Some(3.0)]);
        let cause = Cause::Threshold { value: 3.0, consecutive: 3 };
        assert_eq!(judge.verdict(0), Verdict::Fail(Breach { cause, one_in: f64::INFINITY }));
    }

    #[test]
    fn a_step_passes_only_on_a_value_of_its_own() {
        let mut judge = judged(&[Some(0.9)]);
        assert_eq!(judge.verdict(1), Verdict::Inconclusive(Why::NoData));
        judge.fold(9, None, Some(0.9));
        assert_eq!(judge.verdict(1), Verdict::Inconclusive(Why::NoData));
        judge.fold(10, Some(1), Some(0.9));
        assert_eq!(judge.verdict(1), Verdict::Pass);
    }

    #[test]
    fn an_evaluation_folded_again_changes_nothing() {
        let mut judge = judged(&[Some(0.1), Some(0.1)]);
        let before = judge;
        judge.fold(1, Some(0), Some(0.1));
        judge.fold(0, Some(0), Some(0.1));
        assert_eq!(judge, before);
    }
}
