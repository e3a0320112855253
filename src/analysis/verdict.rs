//! What the judge says about one SLO. Pure data.

use super::estimate::Interval;
use super::slowness::Slower;

/// One SLO, judged on everything known so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Health is proven on data of this step.
    Pass,
    /// A breach is proven; acts at once.
    Fail(Breach),
    /// Neither.
    Inconclusive(Why),
}

/// What a proven breach rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breach {
    /// What was broken.
    pub cause: Cause,
    /// A healthy candidate would look this bad, at any time of the rollout, at most once in so many rollouts. Infinity
    /// for a threshold, which proves nothing beyond itself.
    pub one_in: f64,
}

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// More bad requests than the objective allows, and more than stable (or nobody to share them with).
    Objective,
    /// More bad requests than stable, beyond the tolerance, whatever the objective.
    WorseThanStable,
    /// More bad requests than stable had before the trial, beyond the tolerance, whatever the objective.
    WorseThanBefore,
    /// A query's value was beyond its threshold this often in a row.
    Threshold {
        /// The last such value.
        value: f64,
        /// Evaluations in a row.
        consecutive: u32,
    },
}

/// Why there is no verdict yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Not one request of the candidate was seen in this step (or not one value of the query).
    NoData,
    /// Evidence still gathers.
    Undecided,
    /// The objective is broken, and stable is proven to be about as bad: held and reported, not blamed on the candidate.
    SharedWithStable,
    /// The last answer could not be judged: NaN, infinite, several series, warnings, an error.
    Unusable,
}

/// Everything a person wants to know about one SLO. Shares are of good requests, between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The objective.
    pub objective: f64,
    /// The share of good requests of the candidate over the whole trial; `None` before the first request.
    pub good: Option<f64>,
    /// The same of the stable revision, over the blocks in which both were compared.
    pub good_of_stable: Option<f64>,
    /// The shares that the data do not rule out (95 %, valid at every look).
    pub interval: Interval,
    /// The candidate's requests over the whole trial.
    pub requests: f64,
    /// Bad ones among them; where a latency limit lies between two bucket edges, possibly bad ones.
    pub bad: f64,
    /// Requests of which nobody knows whether they were too slow, because the limit lies between two bucket edges.
    pub between_edges: f64,
    /// The candidate's requests in this step.
    pub step_requests: f64,
    /// Requests still needed in this step to prove health at the present rate; 0 once proven; `None`: at the present
    /// rate no number will do.
    pub requests_needed: Option<f64>,
    /// The same in blocks at the present traffic; times the interval it is the time still needed. `None` also
    /// without traffic.
    pub blocks_needed: Option<f64>,
    /// How strongly the data speak against the candidate: by chance once in so many rollouts. At least 1.
    pub breach_one_in: f64,
    /// How strongly the data of this step speak for it: by chance once in so many steps. At least 1.
    pub health_one_in: f64,
    /// κ was not known and the preset's stands in: verdicts take longer than they need to.
    pub dispersion_assumed: bool,
    /// For latency: where the candidate's requests are slower than stable's, if that is the strongest sign of "worse than
    /// stable".
    pub slower: Option<Slower>,
}
