use super::*;
use crate::analysis::settings::{Kappa, Settings};
use crate::analysis::slowness::Limit;
use crate::analysis::verdict::{Cause, Verdict, Why};

const SECOND: i64 = 1000;

fn ledger(badness: Badness) -> Ledger {
    Ledger::new(SloJudge::new(0.01, &known()).unwrap(), badness, 10 * SECOND, 100 * SECOND)
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
    let history = history(&samples, 10 * SECOND, 50 * SECOND, 205 * SECOND);
    assert_eq!(history.len(), 15);
    let counts = |at: usize| history[at].counts(Arm::Stable, Badness::Counted);
    assert_eq!(counts(0), Some(Counts::exact(0.0, 900.0)));
    assert_eq!(counts(14), Some(Counts::exact(10.0, 900.0)));
}

/// A counter and its samples.
type Counter = ((Arm, Which), Vec<(i64, f64)>);

/// Requests of an arm at `rate` a second from second 90 to 200, of which the given shares are answered within 100 ms,
/// 200 ms, 300 ms and 1 s.
fn latencies(arm: Arm, rate: f64, shares: [f64; 4]) -> Vec<Counter> {
    let counter = |which, share: f64| ((arm, which), growing(90, 200, rate * share));
    let edges = [0.1, 0.2, 0.3, 1.0].map(|edge| Which::Within(Bound::new(edge).unwrap()));
    let within = edges.into_iter().zip(shares).map(|(which, share)| counter(which, share));
    std::iter::once(counter(Which::Total, 1.0)).chain(within).collect()
}

fn all_series(counters: &[Counter]) -> Vec<Series<'_, (Arm, Which)>> {
    counters.iter().map(|(part, samples)| series(*part, "", samples)).collect()
}

#[test]
fn further_limits_are_edges_that_stable_exceeds_often_enough() {
    let counters = latencies(Arm::Stable, 90.0, [0.55, 0.92, 0.995, 1.0]);
    let history = history(&all_series(&counters), 10 * SECOND, 90 * SECOND, 200 * SECOND);
    assert_eq!(further_limits(&history, 1.0), [0.1, 0.2, 0.3]);
    assert_eq!(further_limits(&history, 0.25), [0.1, 0.2], "the objective is judged at 300 ms already");
}

/// Half of the requests take longer than before, none of them as long as the objective allows.
#[test]
fn a_candidate_that_is_slower_as_a_whole_is_found_within_its_objective() {
    let counters = [
        latencies(Arm::Stable, 90.0, [0.8, 0.95, 0.999, 1.0]),
        latencies(Arm::Candidate, 10.0, [0.3, 0.6, 0.999, 1.0]),
    ]
    .concat();
    let judged = |limits: &[f64]| {
        let mut limits = limits.iter().map(|seconds| Limit { seconds: *seconds, kappa: 0.0 });
        let settings = Settings { further: std::array::from_fn(|_| limits.next()), ..known() };
        let judge = SloJudge::new(0.01, &settings).unwrap();
        let mut ledger = Ledger::new(judge, Badness::SlowerThan(0.3), 10 * SECOND, 100 * SECOND);
        ledger.observe(&all_series(&counters));
        let closed = ledger.close(200 * SECOND, first_step);
        (ledger, closed)
    };
    let (alone, closed) = judged(&[]);
    assert!(!matches!(alone.judge().verdict(0), Verdict::Fail(_)));
    let (ledger, _) = judged(&[0.1, 0.2]);
    let Verdict::Fail(breach) = ledger.judge().verdict(0) else { panic!("not found") };
    assert_eq!(breach.cause, Cause::WorseThanStable);
    let slower = ledger.judge().report(0).slower.unwrap();
    assert!((slower.candidate / slower.stable - 8.0).abs() < 1e-6, "40 % and 5 % beyond 200 ms: {slower:?}");
    // Known late, it makes no difference.
    let mut late = alone;
    let fresh = SloJudge::new(0.01, &Settings { further: ledger.judge().further(), ..known() }).unwrap();
    late.judged_by(fresh, &closed);
    assert_eq!(late.judge(), ledger.judge());
}

fn known() -> Settings {
    let none = Kappa::Known(0.0);
    Settings { kappa: none, kappa_compare: none, ..Settings::default() }
}
