//! Splits a whole into integer weights: backends among each other, then each backend's candidate and stable revision.

use crate::{
    api::v1alpha1::Percent,
    mutant::{Mutant, on},
};

/// What all weights of a route sum to: 0.01 % is the least share.
pub const TOTAL: i32 = 10_000;

/// A revision's weight in a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The revision, which is also the name of its Service.
    pub revision: String,
    /// What people call it; empty when its spec names none. Responses carry it as `x-model-version`.
    pub version: String,
    /// Parts of [`TOTAL`], never negative.
    pub weight: i32,
}

/// A backend that has something to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Its weight beside the other backends; 1 for the only one.
    pub weight: i32,
    /// Revision and version that serve by default.
    pub stable: (String, String),
    /// Revision and version on trial, and its share of this backend's traffic.
    pub candidate: Option<(String, String, Percent)>,
    /// What keeps its share, as far as the candidate leaves it.
    pub held: Vec<(String, String, Percent)>,
}

/// The shares of all revisions, in the order of `portions`, the stable one before the candidate; revisions at weight 0
/// are left out. The weights sum to [`TOTAL`], unless there is no portion.
///
/// A backend's weight is fixed first, so that a rollout in one backend never moves traffic of another. A candidate's
/// share is rounded down (a step's weight is a limit), but it is at least 1 when it is positive at all, and at most all
/// but 1 while it is less than 100 %. The stable revision has what nobody else has.
#[must_use]
pub fn shares(portions: &[Portion]) -> Vec<Share> {
    let parts: Vec<i64> = portions.iter().map(|portion| i64::from(portion.weight)).collect();
    let mut shares = Vec::with_capacity(portions.len() * 2);
    for (portion, weight) in portions.iter().zip(apportion(&parts, TOTAL)) {
        let candidate = portion.candidate.as_ref().map_or(0, |(.., share)| part(weight, *share));
        let (revision, version) = portion.stable.clone();
        let taken = if on(Mutant::WeightsDoNotSum) { candidate / 2 } else { candidate };
        let mut rest = weight - taken;
        let mut held = Vec::with_capacity(portion.held.len());
        for (revision, version, share) in portion.held.clone() {
            let weight = part(weight, share).min(rest);
            rest -= weight;
            held.push(Share { revision, version, weight });
        }
        shares.push(Share { revision, version, weight: rest });
        shares.extend(held);
        if let Some((revision, version, _)) = portion.candidate.clone() {
            shares.push(Share { revision, version, weight: candidate });
        }
    }
    shares.retain(|share| share.weight > 0);
    shares
}

/// `share` of `weight`, as [`shares`] rounds it.
fn part(weight: i32, share: Percent) -> i32 {
    if share == Percent::ZERO {
        return 0;
    }
    if share == Percent::ALL || weight <= 1 {
        return weight;
    }
    let exact = i64::from(weight) * i64::from(share.ppm()) / i64::from(Percent::ALL.ppm());
    i32::try_from(exact).unwrap_or(0).clamp(1, weight - 1)
}

/// Weights in proportion to `parts` that sum to exactly `total`, by largest remainder; of equal remainders the first gets
/// more. A positive part never becomes 0 (it is taken from the largest weight, of equals the last), as long as `total`
/// is at least the number of positive parts. Negative parts count as 0; all zero when there is no positive part.
#[must_use]
pub fn apportion(parts: &[i64], total: i32) -> Vec<i32> {
    let positive: Vec<i128> = parts.iter().map(|part| i128::from((*part).max(0))).collect();
    let sum: i128 = positive.iter().sum();
    if sum == 0 || total <= 0 {
        return vec![0; parts.len()];
    }
    let scaled: Vec<i128> = positive.iter().map(|part| part * i128::from(total)).collect();
    let mut weights: Vec<i32> =
        scaled.iter().map(|part| i32::try_from(part / sum).unwrap_or(total)).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| -(scaled[*index] % sum));
    let missing = usize::try_from(total - weights.iter().sum::<i32>()).unwrap_or(0);
    for index in order.into_iter().take(missing) {
        weights[index] += 1;
    }
    for index in 0..weights.len() {
        if positive[index] > 0 && weights[index] == 0 {
            let largest =
                (0..weights.len()).max_by_key(|other| weights[*other]).filter(|other| weights[*other] > 1);
            if let Some(largest) = largest {
                weights[largest] -= 1;
                weights[index] = 1;
            }
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::thirds(&[1, 1, 1], 100, &[34, 33, 33])]
    #[case::exact(&[95, 5], 10_000, &[9500, 500])]
    #[case::one(&[7], 10_000, &[10_000])]
    #[case::never_to_zero(&[1_000_000, 1], 10_000, &[9999, 1])]
    #[case::two_never_to_zero(&[1_000_000, 1, 1], 100, &[98, 1, 1])]
    #[case::zero_stays_zero(&[0, 5], 100, &[0, 100])]
    #[case::negative_is_zero(&[-5, 5], 100, &[0, 100])]
    #[case::nothing(&[0, 0], 100, &[0, 0])]
    #[case::empty(&[], 100, &[])]
    #[case::larger_remainder_first(&[15, 26, 59], 10, &[1, 3, 6])]
    #[case::huge(&[i64::MAX, i64::MAX], 10_000, &[5000, 5000])]
    fn apportioned(#[case] parts: &[i64], #[case] total: i32, #[case] weights: &[i32]) {
        assert_eq!(apportion(parts, total), weights);
    }

    fn portion(name: &str, weight: i32, candidate: Option<&str>) -> Portion {
        let share = |text: &str| text.parse::<Percent>().unwrap();
        Portion {
            weight,
            stable: (format!("{name}-s"), "1".to_owned()),
            candidate: candidate.map(|text| (format!("{name}-c"), "2".to_owned(), share(text))),
            held: vec![],
        }
    }

    #[rstest]
    #[case::alone(vec![portion("a", 1, None)], "a-s=10000")]
    #[case::canary(vec![portion("a", 1, Some("5%"))], "a-s=9500 a-c=500")]
    #[case::least(vec![portion("a", 1, Some("0.01%"))], "a-s=9999 a-c=1")]
    #[case::at_zero_it_is_left_out(vec![portion("a", 1, Some("0%"))], "a-s=10000")]
    #[case::at_all_the_old_one_is_left_out(vec![portion("a", 1, Some("100%"))], "a-c=10000")]
    #[case::nearly_all(vec![portion("a", 1, Some("99.9999%"))], "a-s=1 a-c=9999")]
    #[case::variants(vec![portion("a", 1, Some("5%")), portion("b", 2, None)], "a-s=3167 a-c=166 b-s=6667")]
    #[case::a_small_share_of_a_small_backend(vec![portion("a", 999, None), portion("b", 1, Some("1%"))], "a-s=9990 b-s=9 b-c=1")]
    #[case::nobody(vec![], "")]
    fn a_route(#[case] portions: Vec<Portion>, #[case] expected: &str) {
        let text: Vec<String> =
            shares(&portions).iter().map(|s| format!("{}={}", s.revision, s.weight)).collect();
        assert_eq!(text.join(" "), expected);
    }

    #[rstest]
    #[case::nothing_is_on_trial(None, "30%", "a-s=7000 a-h=3000")]
    #[case::the_stable_one_gives(Some("10%"), "30%", "a-s=6000 a-h=3000 a-c=1000")]
    #[case::then_who_is_held(Some("80%"), "30%", "a-h=2000 a-c=8000")]
    #[case::taken_over(Some("100%"), "30%", "a-c=10000")]
    #[case::everything(None, "100%", "a-h=10000")]
    fn who_is_held_keeps_what_the_candidate_leaves(
        #[case] candidate: Option<&str>,
        #[case] held: &str,
        #[case] expected: &str,
    ) {
        let held = vec![("a-h".to_owned(), "0".to_owned(), held.parse().unwrap())];
        let text: Vec<String> = shares(&[Portion { held, ..portion("a", 1, candidate) }])
            .iter()
            .map(|s| format!("{}={}", s.revision, s.weight))
            .collect();
        assert_eq!(text.join(" "), expected);
    }

    prop_compose! {
        fn any_portion()(weight in 1..=1000_i32, ppm in 0..=1_000_000_i32, on_trial in any::<bool>()) -> (i32, Option<i32>) {
            (weight, on_trial.then_some(ppm))
        }
    }

    fn built(parts: &[(i32, Option<i32>)]) -> Vec<Portion> {
        let build = |(index, (weight, ppm)): (usize, &(i32, Option<i32>))| Portion {
            weight: *weight,
            stable: (format!("s{index}"), String::new()),
            candidate: ppm.map(|ppm| (format!("c{index}"), String::new(), Percent::from_ppm(ppm).unwrap())),
            held: vec![],
        };
        parts.iter().enumerate().map(build).collect()
    }

    fn weight_of(shares: &[Share], revision: &str) -> i32 {
        shares.iter().find(|share| share.revision == revision).map_or(0, |share| share.weight)
    }

    proptest! {
        #[test]
        fn weights_sum_to_the_total_and_are_near_the_exact_share(parts in proptest::collection::vec(0..1_000_000_i64, 1..16)) {
            let weights = apportion(&parts, TOTAL);
            let sum: i64 = parts.iter().sum();
            if sum > 0 {
                prop_assert_eq!(weights.iter().sum::<i32>(), TOTAL);
                for (part, weight) in parts.iter().zip(&weights) {
                    prop_assert_eq!(*part > 0, *weight > 0);
                    let error = (i64::from(*weight) * sum - part * i64::from(TOTAL)).abs();
                    // Within one, and what a few tiny parts take from the largest.
                    prop_assert!(error < sum * 16);
                }
            }
        }

        #[test]
        fn a_route_always_sums_to_the_total(parts in proptest::collection::vec(any_portion(), 1..8)) {
            let shares = shares(&built(&parts));
            prop_assert_eq!(shares.iter().map(|share| share.weight).sum::<i32>(), TOTAL);
            prop_assert!(shares.iter().all(|share| share.weight > 0));
        }

        #[test]
        fn a_rollout_in_one_backend_moves_no_traffic_of_another(parts in proptest::collection::vec(any_portion(), 2..8), ppm in 0..=1_000_000_i32) {
            let mut later = parts.clone();
            later[0].1 = Some(ppm);
            let (before, after) = (shares(&built(&parts)), shares(&built(&later)));
            for index in 1..parts.len() {
                for kind in ["s", "c"] {
                    let revision = format!("{kind}{index}");
                    prop_assert_eq!(weight_of(&before, &revision), weight_of(&after, &revision));
                }
            }
        }

        #[test]
        fn a_candidate_never_gets_more_than_its_step(weight in 1..=1000_i32, other in 1..=1000_i32, ppm in 1..1_000_000_i32) {
            let shares = shares(&built(&[(weight, Some(ppm)), (other, None)]));
            let (candidate, stable) = (weight_of(&shares, "c0"), weight_of(&shares, "s0"));
            let exact = i64::from(candidate + stable) * i64::from(ppm);
            prop_assert!(candidate == 1 || i64::from(candidate) * 1_000_000 <= exact);
            prop_assert!(candidate >= 1);
        }

        #[test]
        fn a_larger_step_never_means_less(ppm in 0..1_000_000_i32, more in 0..1_000_000_i32, other in 1..=1000_i32) {
            let at = |ppm| weight_of(&shares(&built(&[(3, Some(ppm)), (other, None)])), "c0");
            prop_assert!(at(ppm) <= at((ppm + more).min(1_000_000)));
        }
    }
}
