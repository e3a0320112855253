use super::*;
use crate::analysis::settings::{Kappa, Settings};
use crate::analysis::verdict::{Verdict, Why};

const SECOND: i64 = 1000;

fn ledger(badness: Badness) -> Ledger {
    let none = Kappa::Known(0.0);
    let settings = Settings { kappa: none, kappa_compare: none, ..Settings::default() };
    Ledger::new(SloJudge::new(0.01, &settings).unwrap(), badness, 10 * SECOND, 100 * SECOND)
}

/// A counter scraped every second from `from` to `to` that grows by `rate` each second from 0.
fn growing(from: i64, to: i64, rate: f64) -> Vec<(i64, f64)> {
    let values = std::iter::successors(Some(0.0), |value| Some(value + rate));
    (from..=to).map(|second| second * SECOND).zip(values).collect()
}

fn series<'a>(part: (Arm, Which), key: &'a str, samples: &'a [(i64, f64)]) -> Series<'a, (Arm, Which)> {
    Series { part, key, target: "envoy-1", samples }
}

fn first_step(_: i64, _: i64) -> Standing {
    Standing { step: Some(0), alone: false }
}

const CANDIDATE: (Arm, Which) = (Arm::Candidate, Which::Total);
const STABLE: (Arm, Which) = (Arm::Stable, Which::Total);

fn within(arm: Arm, seconds: f64) -> (Arm, Which) {
    (arm, Which::Within(Bound::new(seconds).unwrap()))
}

#[test]
fn samples_become_a_verdict() {
    let mut ledger = ledger(Badness::Counted);
    let (stable, candidate) = (growing(90, 200, 90.0), growing(101, 200, 20.0));
    ledger.observe(&[series(STABLE, "s", &stable), series(CANDIDATE, "c", &candidate)]);
    ledger.close(200 * SECOND, first_step);
    assert_eq!(ledger.judge().verdict(0), Verdict::Pass);
    assert_eq!(ledger.closed_until(), 200 * SECOND);
}

#[test]
fn the_candidates_first_errors_count_because_the_gateway_is_known_through_stable() {
    let mut ledger = ledger(Badness::Counted);
    let stable = growing(90, 130, 90.0);
    let candidate = growing(101, 130, 10.0);
    // Only two samples of the error series: the first already holds most of the errors.
    let errors = [(112 * SECOND, 60.0), (125 * SECOND, 110.0)];
    ledger.observe(&[
        series(STABLE, "s", &stable),
        series(CANDIDATE, "c", &candidate),
        series((Arm::Candidate, Which::Bad), "e", &errors),
    ]);
    ledger.close(130 * SECOND, first_step);
    assert!((ledger.judge().report(0).bad - 110.0).abs() < 1e-9);
    assert!(matches!(ledger.judge().verdict(0), Verdict::Fail(_)));
}

#[test]
fn piece_by_piece_and_all_at_once_give_the_same_bits() {
    let (stable, candidate) = (growing(90, 400, 31.7), growing(101, 400, 2.3));
    let errors = growing(150, 400, 0.31);
    let part = |samples: &[(i64, f64)], until: i64| -> Vec<(i64, f64)> {
        samples.iter().copied().filter(|(at, _)| *at <= until).collect()
    };
    let run = |moments: &[i64]| {
        let mut ledger = ledger(Badness::Counted);
        for &second in moments {
            let seen: Vec<Vec<(i64, f64)>> =
                [&stable, &candidate, &errors].map(|samples| part(samples, second * SECOND)).into();
            ledger.observe(&[
                series(STABLE, "s", &seen[0]),
                series(CANDIDATE, "c", &seen[1]),
                series((Arm::Candidate, Which::Bad), "e", &seen[2]),
            ]);
            ledger.close((second - 2) * SECOND, first_step);
        }
        ledger
    };
    let whole = run(&[400]);
    assert_eq!(run(&[107, 122, 123, 199, 260, 400]), whole);
    assert_eq!(run(&(101..=400).collect::<Vec<i64>>()), whole);
    assert!(whole.judge().report(0).requests > 600.0);
}

#[test]
fn slow_requests_are_counted_at_edges_that_both_versions_have() {
    let mut ledger = ledger(Badness::SlowerThan(0.3));
    let (stable, candidate) = (growing(90, 200, 90.0), growing(101, 200, 20.0));
    let slow = growing(101, 200, 12.0);
    ledger.observe(&[
        series(STABLE, "s", &stable),
        series(within(Arm::Stable, 0.25), "s25", &stable),
        series(within(Arm::Stable, 0.5), "s50", &stable),
        series(CANDIDATE, "c", &candidate),
        series(within(Arm::Candidate, 0.25), "c25", &slow),
        series(within(Arm::Candidate, 0.3), "c30", &slow),
        series(within(Arm::Candidate, 0.5), "c50", &slow),
    ]);
    ledger.close(200 * SECOND, first_step);
    assert!(matches!(ledger.judge().verdict(0), Verdict::Fail(_)));
}

#[test]
fn requests_without_buckets_are_no_data() {
    let mut ledger = ledger(Badness::SlowerThan(0.3));
    let (stable, candidate) = (growing(90, 200, 90.0), growing(101, 200, 20.0));
    ledger.observe(&[series(STABLE, "s", &stable), series(CANDIDATE, "c", &candidate)]);
    ledger.close(200 * SECOND, first_step);
    assert_eq!(ledger.judge().verdict(0), Verdict::Inconclusive(Why::NoData));
}

#[test]
fn a_limit_above_all_buckets_never_fails() {
    let mut ledger = ledger(Badness::SlowerThan(9.0));
    let candidate = growing(90, 200, 20.0);
    let none = growing(90, 200, 0.0);
    ledger.observe(&[series(CANDIDATE, "c", &candidate), series(within(Arm::Candidate, 0.3), "c30", &none)]);
    ledger.close(200 * SECOND, first_step);
    assert_eq!(ledger.judge().verdict(0), Verdict::Inconclusive(Why::Undecided));
}

#[test]
fn a_gap_across_a_change_of_weight_is_asked_about_as_a_whole() {
    let mut ledger = ledger(Badness::Counted);
    let candidate = [(105 * SECOND, 0.0), (106 * SECOND, 10.0), (155 * SECOND, 500.0)];
    ledger.observe(&[series(CANDIDATE, "c", &candidate)]);
    let asked = std::cell::RefCell::new(Vec::new());
    ledger.close(160 * SECOND, |from, until| {
        asked.borrow_mut().push((from / SECOND, until / SECOND));
        Standing { step: Some(0), alone: false }
    });
    let asked = asked.into_inner();
    assert_eq!(asked.len(), 6, "every block is judged, those without data too");
    assert_eq!(asked[0], (100, 110));
    assert_eq!(asked[5], (106, 160));
}

#[test]
fn what_came_before_the_trial_is_not_judged() {
    let mut ledger = ledger(Badness::Counted);
    let candidate = growing(0, 99, 10.0);
    ledger.observe(&[series(CANDIDATE, "c", &candidate)]);
    ledger.close(120 * SECOND, first_step);
    assert!(ledger.judge().report(0).requests < f64::EPSILON);
}

#[test]
fn the_history_of_stable_is_its_blocks_before_the_trial() {
    let (total, errors) = (growing(0, 300, 90.0), growing(100, 300, 1.0));
    let samples = [series(STABLE, "s", &total), series((Arm::Stable, Which::Bad), "e", &errors)];
    let history = stable_history(&samples, Badness::Counted, 10 * SECOND, 50 * SECOND, 205 * SECOND);
    assert_eq!(history.len(), 15);
    assert_eq!(history[0], Counts::exact(0.0, 900.0));
    assert_eq!(history[14], Counts::exact(10.0, 900.0));
}
