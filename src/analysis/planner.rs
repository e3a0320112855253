//! How much traffic a verdict needs, before there is any. Pure: no I/O, no clock.

use super::counts::{Block, Counts};
use super::eprocess::PassProcess;
use super::judge::SloJudge;
use super::kernel::{FAIL_GRID, PASS_GRID, divergence, tempering};
use super::settings::Settings;
use super::verdict::Verdict;

/// Requests until a breach is proven when `rate` of them are bad and at most `theta` may be; infinite when the
/// candidate is not worse than its limit. For independent requests (κ = 0), without leaving bursts out.
pub fn requests_to_detect(rate: f64, theta: f64, alpha: f64) -> f64 {
    let points: f64 = FAIL_GRID.iter().map(|_| 1.0).sum();
    if rate <= theta {
        return f64::INFINITY;
    }
    ((1.0 / alpha).ln() + (2.0 * points).ln()) / divergence(rate, theta)
}

/// Requests until health is proven when `rate` of them are bad; infinite when the candidate is not better than its
/// limit. For independent requests (κ = 0).
pub fn requests_to_pass(rate: f64, theta: f64, beta: f64) -> f64 {
    let points: f64 = PASS_GRID.iter().map(|_| 1.0).sum();
    if rate >= theta {
        return f64::INFINITY;
    }
    ((1.0 / beta).ln() + points.ln()) / divergence(rate, theta)
}

/// Requests of a step without which it never passes: enough to have seen a gross failure (ten times the limit).
pub fn least_requests(theta: f64, alpha: f64) -> f64 {
    let gross = (10.0 * theta).min(f64::midpoint(1.0, theta));
    1.6 * (1.0 / alpha).ln() / divergence(gross, theta)
}

/// The traffic of one step: requests in one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// The candidate's.
    pub candidate: f64,
    /// The stable revision's; 0: the candidate has everything.
    pub stable: f64,
}

/// Requests and blocks of a step until a candidate of which `rate` of the requests are bad has proven its health;
/// `None` if it never will (no traffic, or too close to the limit `theta`).
pub fn to_pass(theta: f64, settings: &Settings, traffic: Traffic, rate: f64) -> Option<Needed> {
    let eta = tempering(settings.objective_kappa(), theta * traffic.candidate);
    let goal = (1.0 / settings.beta).ln();
    let proof = PassProcess::default().trials_until(goal, rate, theta, eta)?;
    let requests = proof.max(least_requests(theta, settings.alpha).ceil());
    let blocks = (requests / traffic.candidate).ceil();
    blocks.is_finite().then_some(Needed { requests, blocks })
}

/// What a proof needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needed {
    /// Requests of the candidate.
    pub requests: f64,
    /// Blocks at the planned traffic, rounded up.
    pub blocks: f64,
}

/// Blocks until a candidate with `rate` bad requests is found beside a stable revision with `stable_rate`, if counts
/// come as expected: about the median. `None`: not within `most` blocks.
pub fn blocks_to_fail(
    theta: f64,
    settings: &Settings,
    traffic: Traffic,
    stable_rate: f64,
    rate: f64,
    most: u32,
) -> Option<u32> {
    let mut judge = SloJudge::new(theta, settings)?;
    let counts = |total: f64, rate: f64| Some(Counts::exact(total * rate, total));
    let alone = traffic.stable <= 0.0;
    let candidate = counts(traffic.candidate, rate);
    let stable = if alone { None } else { counts(traffic.stable, stable_rate) };
    (1..=most).find(|&block| {
        judge.fold(&Block {
            index: i64::from(block),
            step: Some(0),
            alone,
            candidate,
            stable,
            ..Block::default()
        });
        matches!(judge.verdict(0), Verdict::Fail(_))
    })
}

/// The smallest share of bad requests, to a hundredth of itself, that [`blocks_to_fail`] finds within `most` blocks;
/// `None`: not even a candidate that fails every request.
pub fn smallest_fault(
    theta: f64,
    settings: &Settings,
    traffic: Traffic,
    stable_rate: f64,
    most: u32,
) -> Option<f64> {
    let is_found = |rate: f64| blocks_to_fail(theta, settings, traffic, stable_rate, rate, most).is_some();
    if !is_found(1.0) {
        return None;
    }
    let (mut missed, mut found) = (stable_rate.clamp(1e-9, 1.0), 1.0);
    while found > 1.01 * missed {
        let middle = (missed * found).sqrt();
        if is_found(middle) { found = middle } else { missed = middle }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::settings::Kappa;

    const TRAFFIC: Traffic = Traffic { candidate: 150.0, stable: 1350.0 };

    fn settings() -> Settings {
        Settings { kappa: Kappa::Known(0.0), kappa_compare: Kappa::Known(0.0), ..Settings::default() }
    }

    #[test]
    fn a_plan_for_health_agrees_with_the_closed_formula() {
        let needed = to_pass(0.01, &settings(), TRAFFIC, 0.001).unwrap();
        let formula = requests_to_pass(0.001, 0.01, 0.05);
        assert!((needed.requests / formula - 1.0).abs() < 0.3, "{needed:?} beside {formula}");
        assert!((needed.blocks - (needed.requests / 150.0).ceil()).abs() < f64::EPSILON);
    }

    #[test]
    fn without_traffic_or_at_the_limit_nothing_is_ever_proven() {
        assert_eq!(to_pass(0.01, &settings(), Traffic { candidate: 0.0, stable: 9.0 }, 0.0), None);
        assert_eq!(to_pass(0.01, &settings(), TRAFFIC, 0.01), None);
        let nobody = Traffic { candidate: 0.0, stable: 9.0 };
        assert_eq!(smallest_fault(0.01, &settings(), nobody, 0.0, 100), None);
    }

    #[test]
    fn a_larger_fault_is_found_sooner_and_the_smallest_one_in_the_end() {
        let thin = Traffic { candidate: 15.0, stable: 285.0 };
        let found = |rate: f64| blocks_to_fail(0.01, &settings(), thin, 0.001, rate, 240);
        let times = [0.5, 0.05, 0.02].map(|rate| found(rate).unwrap());
        assert!(times.is_sorted() && times[0] < times[2], "{times:?}");
        let smallest = smallest_fault(0.01, &settings(), thin, 0.001, 240).unwrap();
        assert!(found(smallest).is_some() && found(smallest / 1.02).is_none(), "{smallest}");
        assert!(smallest > 0.001 && smallest < 0.01, "the comparison finds less than the objective allows");
    }

    #[test]
    fn with_all_the_traffic_only_the_objective_can_be_broken() {
        let alone = Traffic { candidate: 1500.0, stable: 0.0 };
        assert!(smallest_fault(0.01, &settings(), alone, 0.001, 240).unwrap() > 0.01);
    }
}
