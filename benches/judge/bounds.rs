//! What issue and documentation promise, and whether the runs show it: not only the share that was seen, but the largest
//! true share that would show so few with a chance of 5 %.

use libm::lgamma;

/// The chance with which a share above the upper bound would have shown more than was seen.
const CONFIDENCE: f64 = 0.95;

/// One bound that issue and documentation promise.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What is promised.
    pub claim: String,
    /// The most it may be.
    pub at_most: f64,
    /// What it was; not a number never holds.
    pub measured: f64,
    /// For a share: the one-sided 95 % upper bound for it ([`upper_bound`]). `None`: a time.
    pub upper: Option<f64>,
    /// Simulated rollouts that it rests on.
    pub runs: usize,
}

impl Bound {
    /// Whether the runs show that the promise holds; too few of them show nothing.
    pub fn holds(&self) -> bool {
        self.measured <= self.at_most && self.upper.is_none_or(|upper| upper <= self.at_most)
    }
}

/// Clopper and Pearson's upper bound: the share at which `events` or fewer in `runs` have a chance of 5 %.
pub fn upper_bound(events: u32, runs: u32) -> f64 {
    if events >= runs {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(events, runs, middle) > 1.0 - CONFIDENCE { low = middle } else { high = middle }
    }
    high
}

/// The chance of `events` or fewer in `runs`, each with chance `share`: from the largest term downwards.
fn at_most(events: u32, runs: u32, share: f64) -> f64 {
    let (k, n) = (f64::from(events), f64::from(runs));
    let ways = lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0);
    let mut term = (ways + k * share.ln() + (n - k) * (-share).ln_1p()).exp();
    let (mut sum, mut left) = (0.0, k);
    while term > 1e-18 * sum {
        sum += term;
        term *= left / (n - left + 1.0) * (1.0 - share) / share;
        left -= 1.0;
    }
    sum
}
