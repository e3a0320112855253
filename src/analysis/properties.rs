//! What must hold for any data: e-values are fair, bad news never helps, a block counts once, a replay gives the same
//! bits, one burst is no proof, and what is not a count is never a verdict.

use libm::lgamma;
use proptest::prelude::*;

use super::compare;
use super::counts::{Block, Counts};
use super::eprocess::{EProcess, Observation, PassProcess};
use super::judge::{SloJudge, verdicts};
use super::kernel::{self, FAIL_GRID, PASS_GRID, log_add_exp};
use super::settings::{Kappa, Settings};
use super::slowness::{FURTHER, Limit};
use super::verdict::{Verdict, Why};

const CHANCES: [f64; 7] = [0.0005, 0.003, 0.01, 0.05, 0.2, 0.5, 0.9];

/// Logarithm of the chance of `k` events in `n` independent trials.
fn log_binomial(k: u32, n: u32, p: f64) -> f64 {
    let (k, n) = (f64::from(k), f64::from(n));
    let power = |count: f64, p: f64| if count == 0.0 { 0.0 } else { count * p.ln() };
    lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) + power(k, p) + power(n - k, 1.0 - p)
}

fn expectation(n: u32, p: f64, log_e: impl Fn(f64) -> f64) -> f64 {
    (0..=n).map(|k| (log_binomial(k, n, p) + log_e(f64::from(k))).exp()).sum()
}

#[test]
fn no_bet_gains_on_average_while_its_hypothesis_is_true() {
    for theta in CHANCES {
        for n in [1, 3, 20, 150, 600] {
            for share_of_limit in [0.0, 0.1, 0.5, 0.9, 1.0] {
                let rate = theta * share_of_limit;
                let fail = expectation(n, rate, |k| kernel::mixture(&FAIL_GRID, k, f64::from(n), theta));
                assert!(fail <= 1.0 + 1e-9, "E[fail] = {fail} at n = {n}, p = {rate}, theta = {theta}");
                let better = theta + (1.0 - theta) * share_of_limit;
                let pass = expectation(n, better, |k| kernel::mixture(&PASS_GRID, k, f64::from(n), theta));
                assert!(pass <= 1.0 + 1e-9, "E[pass] = {pass} at n = {n}, p = {better}, theta = {theta}");
            }
            let at_limit = expectation(n, theta, |k| kernel::mixture(&FAIL_GRID, k, f64::from(n), theta));
            assert!((at_limit - 1.0).abs() < 1e-6, "the bet at the limit is exactly fair, not {at_limit}");
        }
    }
}

/// A tempered bet is a fair one to a power below 1; by Jensen's inequality it gains even less.
#[test]
fn no_tempered_bet_gains_on_average_either() {
    for theta in CHANCES {
        for n in [1, 20, 150] {
            for kappa in [0.3, 5.0, 40.0] {
                let trials = f64::from(n);
                let eta = kernel::tempering(kappa, theta * trials);
                let seen = |events: f64| Observation { events, trials, theta, eta };
                let fail = expectation(n, theta, |k| {
                    let mut process = EProcess::new(0, 240);
                    process.fold(seen(k));
                    process.raw()
                });
                assert!(fail <= 1.0 + 1e-9, "E[fail] = {fail} at n = {n}, theta = {theta}, kappa = {kappa}");
                let pass = expectation(n, theta, |k| {
                    let mut process = PassProcess::default();
                    process.fold(seen(k));
                    process.log_e()
                });
                assert!(pass <= 1.0 + 1e-9, "E[pass] = {pass} at n = {n}, theta = {theta}, kappa = {kappa}");
            }
        }
    }
}

#[test]
fn no_comparison_gains_on_average_while_the_candidate_is_within_the_tolerance() {
    for tolerance in [1.0, 1.25, 2.0] {
        for (candidate, stable) in [(5_u32, 60_u32), (30, 30), (60, 8)] {
            for rate in [0.001, 0.05, 0.4] {
                let mut mean = 0.0;
                for bad in 0..=candidate {
                    for bad_stable in 0..=stable {
                        let chance = log_binomial(bad, candidate, rate * tolerance)
                            + log_binomial(bad_stable, stable, rate);
                        let arms = (
                            Counts::exact(f64::from(bad), f64::from(candidate)),
                            Counts::exact(f64::from(bad_stable), f64::from(stable)),
                        );
                        let seen = compare::observation(arms.0, arms.1, tolerance, 0.0);
                        let log_e = kernel::mixture(&FAIL_GRID, seen.events, seen.trials, seen.theta);
                        mean += (chance + log_e).exp();
                    }
                }
                assert!(mean <= 1.0 + 1e-9, "E = {mean} at {candidate} : {stable}, {rate}, x{tolerance}");
            }
        }
    }
}

/// All outcomes of four blocks, weighted: the process with stakes, restarts and left-out blocks is fair as a whole.
#[test]
fn the_whole_process_does_not_gain_on_average_either() {
    let sizes = [4_u32, 0, 6, 3];
    for theta in [0.01, 0.2, 0.5] {
        for left_out in [0, 1, 2] {
            let (mut raw, mut trimmed) = (0.0, 0.0);
            let outcomes = sizes.iter().map(|n| n + 1).product::<u32>();
            for outcome in 0..outcomes {
                let (mut rest, mut chance) = (outcome, 0.0);
                let mut process = EProcess::new(left_out, 4);
                for n in sizes {
                    let bad = rest % (n + 1);
                    rest /= n + 1;
                    chance += log_binomial(bad, n, theta);
                    process.fold(observed(f64::from(bad), f64::from(n), theta));
                }
                raw += (chance + process.raw()).exp();
                trimmed += (chance + process.trimmed()).exp();
            }
            assert!((raw - 1.0).abs() < 1e-9, "E = {raw} at theta = {theta}");
            assert!(trimmed <= raw + 1e-12);
        }
    }
}

fn observed(events: f64, trials: f64, theta: f64) -> Observation {
    Observation { events, trials, theta, eta: 1.0 }
}

fn block(index: i64, candidate: (u32, u32), stable: (u32, u32)) -> Block {
    let counts = |(bad, total): (u32, u32)| Counts::exact(f64::from(bad.min(total)), f64::from(total));
    let step = Some(i32::try_from(index / 40).unwrap());
    let block = Block { index, step, stable: Some(counts(stable)), ..Block::default() };
    with_candidate(&block, counts(candidate))
}

/// The same with other requests of the candidate, at the further limit as well.
fn with_candidate(block: &Block, candidate: Counts) -> Block {
    let further = [block.stable.map(|stable| (candidate, stable)), None, None];
    Block { candidate: Some(candidate), further, ..*block }
}

fn settings(kappa: f64) -> Settings {
    let further = [Some(Limit { seconds: 0.1, kappa }), None, None];
    let known = Kappa::Known(kappa);
    Settings { kappa: known, kappa_compare: known, further, ..Settings::default() }
}

fn judged(blocks: &[Block], settings: &Settings) -> SloJudge {
    let mut judge = SloJudge::new(0.01, settings).unwrap();
    for block in blocks {
        judge.fold(block);
    }
    judge
}

prop_compose! {
    fn traffic()(arms in prop::collection::vec(((0_u32..30, 0_u32..400), (0_u32..30, 0_u32..900)), 1..80))
        -> Vec<Block>
    {
        (0..).zip(arms).map(|(index, (candidate, stable))| block(index, candidate, stable)).collect()
    }
}

fn anything() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-1.0),
        Just(f64::MAX),
        0.0..1e6
    ]
}

proptest! {
    #[test]
    fn more_bad_requests_never_speak_for_the_candidate(
        blocks in traffic(), at in any::<prop::sample::Index>(), kappa in 0.0..10.0,
    ) {
        let mut worse = blocks.clone();
        let at = at.index(worse.len());
        let counts = worse[at].candidate.unwrap();
        if counts.bad < counts.total {
            worse[at] = with_candidate(&worse[at], Counts::exact(counts.bad + 1.0, counts.total));
        }
        let (before, after) = (judged(&blocks, &settings(kappa)), judged(&worse, &settings(kappa)));
        prop_assert!(after.untrimmed().objective >= before.untrimmed().objective - 1e-9);
        prop_assert!(after.evidence().health <= before.evidence().health + 1e-9);
        // The comparison's tempering looks at the bad requests of the block, so only without it.
        let (before, after) = (judged(&blocks, &settings(0.0)), judged(&worse, &settings(0.0)));
        prop_assert!(after.untrimmed().blame >= before.untrimmed().blame - 1e-9);
        prop_assert!(after.untrimmed().guard >= before.untrimmed().guard - 1e-9);
    }

    /// What decides goes without the largest burst, and a larger burst takes more of the later evidence with it
    /// (docs/analysis.md, limit 6). But news never helps when it comes: not in the newest block. (In the comparison a
    /// bad request is a trial too, and may be the one from which on a burst is taken out as a whole: there the untrimmed
    /// evidence alone never falls.)
    #[test]
    fn one_more_bad_request_in_the_newest_block_never_speaks_for_the_candidate(
        blocks in traffic(), kappa in 0.0..10.0,
    ) {
        let mut worse = blocks.clone();
        let newest = worse.last_mut().unwrap();
        let counts = newest.candidate.unwrap();
        *newest = with_candidate(newest, Counts::exact((counts.bad + 1.0).min(counts.total), counts.total));
        let (before, after) = (judged(&blocks, &settings(kappa)), judged(&worse, &settings(kappa)));
        prop_assert!(after.evidence().objective >= before.evidence().objective - 1e-9);
        prop_assert!(after.evidence().health <= before.evidence().health + 1e-9);
    }

    #[test]
    fn a_block_folded_again_or_out_of_order_changes_nothing(
        blocks in traffic(), again in prop::collection::vec(any::<prop::sample::Index>(), 1..9),
    ) {
        let once = judged(&blocks, &settings(1.0));
        let mut more = once.clone();
        for index in again {
            more.fold(&Block { candidate: Some(Counts::exact(9.0, 9.0)), ..blocks[index.index(blocks.len())] });
        }
        prop_assert_eq!(more, once);
    }

    #[test]
    fn a_replay_gives_identical_bits(blocks in traffic(), cut in any::<prop::sample::Index>(), kappa in 0.0..10.0) {
        let whole = judged(&blocks, &settings(kappa));
        let cut = cut.index(blocks.len());
        let mut pieces = judged(&blocks[..cut], &settings(kappa));
        for block in &blocks[cut..] {
            pieces.fold(block);
        }
        prop_assert_eq!(&pieces, &whole);
        prop_assert_eq!(pieces.evidence().combined.to_bits(), whole.evidence().combined.to_bits());
        prop_assert_eq!(pieces.evidence().health.to_bits(), whole.evidence().health.to_bits());
    }

    #[test]
    fn one_burst_never_rolls_back(
        mut blocks in traffic(), at in any::<prop::sample::Index>(), kappa in 0.0..10.0, alone in any::<bool>(),
        past in prop::option::of(0.001..0.5),
    ) {
        for block in &mut blocks {
            block.alone = alone;
            *block = with_candidate(block, Counts::exact(0.0, block.candidate.unwrap().total));
        }
        let at = at.index(blocks.len());
        let all = blocks[at].candidate.unwrap().total;
        blocks[at] = with_candidate(&blocks[at], Counts::exact(all, all));
        let rules = Settings { past_limit: past, ..settings(kappa) };
        let mut judge = SloJudge::new(0.01, &rules).unwrap();
        for block in &blocks {
            judge.fold(block);
            let verdict = judge.verdict(block.step.unwrap());
            prop_assert!(!matches!(verdict, Verdict::Fail(_)), "{:?} after {:?}", verdict, block);
        }
    }

    /// The theorem behind it: what is left of a block with a burst is at most the block with one ordinary event, or
    /// without the block.
    #[test]
    fn a_burst_leaves_no_more_than_an_ordinary_block(
        totals in prop::collection::vec((0_u32..20, 0_u32..300), 1..40), at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(totals.len());
        let run = |left_out: usize, replaced: Option<(f64, f64)>| {
            let mut process = EProcess::new(left_out, 40);
            for (index, &(bad, total)) in totals.iter().enumerate() {
                let own = (f64::from(bad.min(total)), f64::from(total));
                let (bad, total) = replaced.filter(|_| index == at).unwrap_or(own);
                process.fold(observed(bad, total, 0.02));
            }
            process
        };
        let (bad, total) = totals[at];
        let ordinary = run(0, Some((f64::from(bad.min(total).min(1)), f64::from(total)))).raw();
        let without = run(0, Some((0.0, 0.0))).raw();
        prop_assert!(run(1, None).trimmed() <= log_add_exp(ordinary, without) + 1e-9);
        prop_assert!(run(2, None).trimmed() <= run(1, None).trimmed() + 1e-9);
    }

    #[test]
    fn what_is_not_a_count_is_never_a_verdict(
        cells in prop::collection::vec((anything(), anything(), anything()), 1..60), kappa in 0.0..10.0,
    ) {
        let mut judge = SloJudge::new(0.01, &settings(kappa)).unwrap();
        let mut without = judge.clone();
        for (index, (bad, bad_at_most, total)) in (0..).zip(cells) {
            let counts = Counts { bad, bad_at_most, total };
            let step = block(index, (0, 0), (0, 0)).step;
            let nothing = Block { index, step, ..Block::default() };
            let countable = bad >= 0.0 && bad_at_most >= bad && total >= bad_at_most && total <= 2f64.powi(53);
            if countable {
                continue;
            }
            let further = [Some((counts, counts)); FURTHER];
            judge.fold(&Block { candidate: Some(counts), stable: Some(counts), further, ..nothing });
            without.fold(&nothing);
            prop_assert_eq!(&judge, &without);
            let step = nothing.step.unwrap();
            prop_assert_eq!(judge.verdict(step), Verdict::Inconclusive(Why::NoData));
            prop_assert_eq!(verdicts(&[&judge], step), vec![Verdict::Inconclusive(Why::NoData)]);
        }
    }

    #[test]
    fn huge_counts_stay_finite(bad in 0.0..1.0, total in 0.0..9e15, kappa in 0.0..1e6) {
        let mut judge = SloJudge::new(1e-6, &settings(kappa)).unwrap();
        for index in 0..300 {
            let counts = Some(Counts::exact(bad * total, total));
            let further = [counts.zip(counts); FURTHER];
            let block = Block { index, step: Some(0), stable: counts, candidate: counts, further, ..Block::default() };
            judge.fold(&block);
        }
        let evidence = judge.evidence();
        prop_assert!(evidence.combined.is_finite() && evidence.health.is_finite());
        prop_assert!(judge.untrimmed().objective.is_finite() && evidence.blame.is_finite());
    }

    #[test]
    fn swapping_the_arms_swaps_the_direction(bad in 0_u32..50, stable in 0_u32..50, share in 0.01..0.99) {
        let (bad, both) = (f64::from(bad), f64::from(bad + stable));
        for omega in FAIL_GRID {
            let one = kernel::log_e(bad, both, share, omega);
            let other = kernel::log_e(both - bad, both, 1.0 - share, 1.0 / omega);
            prop_assert!((one - other).abs() <= 1e-9 * one.abs().max(1.0));
        }
    }

    #[test]
    fn two_halves_of_a_block_say_what_the_whole_says(a in 0_u32..20, b in 0_u32..20, n in 20_u32..400) {
        let halves = |process: &mut PassProcess| {
            process.fold(observed(f64::from(a), f64::from(n), 0.03));
            process.fold(observed(f64::from(b), f64::from(n), 0.03));
        };
        let (mut twice, mut once) = (PassProcess::default(), PassProcess::default());
        halves(&mut twice);
        once.fold(observed(f64::from(a + b), f64::from(2 * n), 0.03));
        prop_assert!((twice.log_e() - once.log_e()).abs() < 1e-9);
    }
}

#[test]
fn an_empty_block_says_nothing_and_costs_only_a_stake() {
    let mut process = EProcess::new(1, 240);
    process.fold(observed(3.0, 90.0, 0.01));
    let before = process.raw();
    process.fold(Observation::NOTHING);
    assert!((process.raw() - before).abs() < 1e-12);
    let mut health = PassProcess::default();
    health.fold(observed(0.0, 90.0, 0.01));
    let before = health;
    health.fold(Observation::NOTHING);
    assert_eq!(health, before);
}
