use super::*;
use crate::rollout::question::Series;

const INTERVAL: i64 = 15_000;
const ENTERED: i64 = 1_800_000_000_000;
const SETTLE: i64 = 10_000;

fn now() -> Timestamp {
    Timestamp::from_millisecond(ENTERED + SETTLE).unwrap()
}

fn fresh(settings: &Settings, baseline: Baseline) -> Option<Past> {
    Past::new(ENTERED + 4_000, INTERVAL, SETTLE, settings, baseline, Badness::Counted)
}

/// Stable's counters between two moments: 100 requests a block, `bad` of them bad in every block that `is_wave` names.
fn stable(from: i64, until: i64, bad: f64, is_wave: impl Fn(i64) -> bool) -> Counters {
    let blocks: Vec<i64> = (from / INTERVAL - 2..until / INTERVAL).collect();
    let series = |key: &str, count: &dyn Fn(i64) -> f64| {
        let (mut value, mut samples) = (0.0, vec![]);
        for block in &blocks {
            value += count(*block);
            samples.push((block * INTERVAL + INTERVAL / 2, value));
        }
        Series { key: key.to_owned(), target: "envoy".to_owned(), samples }
    };
    let waves = series("bad", &|block| if is_wave(block) { bad } else { 0.0 });
    Counters { total: vec![series("total", &|_| 100.0)], bad: vec![waves], within: vec![] }
}

fn answered(past: &mut Past, bad: f64, is_wave: impl Fn(i64) -> bool + Copy) {
    while let Some((from, until)) = past.span(240 * INTERVAL, now()) {
        past.take(until, Some(&stable(from, until, bad, is_wave)));
    }
}

#[test]
fn four_hours_that_end_where_the_trial_begins_are_asked_for_in_pieces() {
    let mut past = fresh(&Settings::default(), Baseline::Concurrent).unwrap();
    let mut pieces = vec![];
    while let Some((from, until)) = past.span(240 * INTERVAL, now()) {
        pieces.push((from, until));
        past.take(until, None);
    }
    assert_eq!(pieces.len(), 4);
    assert!(pieces.windows(2).all(|two| two[0].1 == two[1].0), "{pieces:?}");
    assert_eq!((pieces[0].0, pieces[3].1), (ENTERED - 960 * INTERVAL, ENTERED));
    assert!(past.is_known());
}

#[test]
fn what_the_user_has_set_is_not_asked_for() {
    let set = Settings { kappa: Kappa::Known(0.0), ..Settings::default() };
    assert_eq!(fresh(&set, Baseline::Concurrent), None);
    assert!(fresh(&set, Baseline::History).is_some(), "but a comparison with the past needs it");
}

#[test]
fn a_calm_past_makes_the_judge_fast_and_a_wavy_one_as_slow_as_its_waves() {
    let settings = Settings::default();
    let mut calm = fresh(&settings, Baseline::Concurrent).unwrap();
    answered(&mut calm, 1.0, |block| block % 3 == 0);
    assert_eq!(calm.learned(0.01, 4.0, settings).kappa, Kappa::Known(0.0));
    let mut wavy = fresh(&settings, Baseline::Concurrent).unwrap();
    answered(&mut wavy, 10.0, |block| block % 48 < 4);
    let kappa = |ratio: f64| wavy.learned(0.01, ratio, settings).objective_kappa();
    assert!(kappa(1.0) > 5.0, "{}", kappa(1.0));
    assert!((kappa(4.0) / kappa(1.0) - 4.0).abs() < 1e-9, "a candidate with fewer pods is noisier");
}

#[test]
fn a_stable_that_is_too_young_leaves_the_cautious_value() {
    let settings = Settings::default();
    let mut past = fresh(&settings, Baseline::Concurrent).unwrap();
    while let Some((from, until)) = past.span(240 * INTERVAL, now()) {
        let born = ENTERED - 200 * INTERVAL;
        let young = (until > born).then(|| stable(born.max(from), until, 0.0, |_| false));
        past.take(until, young.as_ref());
    }
    assert!(past.is_known(), "there is nothing more to ask");
    assert_eq!(past.learned(0.01, 1.0, settings), settings);
}

#[test]
fn a_question_without_an_answer_is_asked_again_later_and_not_at_once() {
    let mut past = fresh(&Settings::default(), Baseline::Concurrent).unwrap();
    let first = past.span(240 * INTERVAL, now());
    past.failed(now());
    assert_eq!(past.span(240 * INTERVAL, now()), None);
    assert!(!past.is_known());
    let later = Timestamp::from_millisecond(ENTERED + SETTLE + 20 * INTERVAL).unwrap();
    assert_eq!(past.span(240 * INTERVAL, later), first);
}

#[test]
fn a_day_is_asked_for_where_the_past_is_what_a_candidate_is_compared_with() {
    let settings = Settings::default();
    let mut past = fresh(&settings, Baseline::History).unwrap();
    assert_eq!(past.span(DAY, now()).unwrap().0, ENTERED - DAY);
    answered(&mut past, 1.0, |block| block % 10 == 0);
    let limit = past.learned(0.01, 1.0, settings).past_limit.unwrap();
    assert!(
        limit > 1.25 * 0.001 && limit < 1.25 * 0.0013,
        "1.25 times what 576 of 576000 do not rule out: {limit}"
    );
}

#[test]
fn a_present_with_enough_errors_is_compared_with_unless_the_past_is_asked_for() {
    let settings = Settings::default();
    let limit = |baseline, every: i64| {
        let mut past = fresh(&settings, baseline).unwrap();
        answered(&mut past, 1.0, move |block| block % every == 0);
        past.learned(0.01, 1.0, settings).past_limit
    };
    assert_eq!(limit(Baseline::Auto, 5), None, "48 bad requests an hour");
    assert!(limit(Baseline::Auto, 10).is_some(), "24 bad requests an hour");
    assert!(limit(Baseline::History, 5).is_some());
}

#[test]
fn the_last_blocks_are_asked_for_when_all_their_samples_are_there() {
    let mut past = fresh(&Settings::default(), Baseline::Concurrent).unwrap();
    past.take(ENTERED - 240 * INTERVAL, None);
    let early = Timestamp::from_millisecond(ENTERED + SETTLE - 1).unwrap();
    assert_eq!(past.span(240 * INTERVAL, early), None, "a rebuilt judgement would see more");
    assert_eq!(past.span(240 * INTERVAL, now()), Some((ENTERED - 240 * INTERVAL, ENTERED)));
}

/// Stable's requests with latencies: half beyond 100 ms, 8 % beyond 200 ms, 0.5 % beyond 300 ms, in every block alike.
fn slow(from: i64, until: i64) -> Counters {
    let series = |key: &str, count: f64| {
        let blocks = from / INTERVAL - 2..until / INTERVAL;
        let values = std::iter::successors(Some(count), |value| Some(value + count));
        let samples = blocks.map(|block| block * INTERVAL + INTERVAL / 2).zip(values).collect();
        vec![Series { key: key.to_owned(), target: "envoy".to_owned(), samples }]
    };
    let within = [(0.1, 100.0), (0.2, 184.0), (0.3, 199.0), (1.0, 200.0)];
    let within = within.into_iter().map(|(edge, count)| (edge, series(&edge.to_string(), count)));
    Counters { total: series("total", 200.0), bad: vec![], within: within.collect() }
}

#[test]
fn the_past_tells_at_which_latencies_a_candidate_is_compared_with_stable() {
    let learned = |baseline, settings: Settings| {
        let limit = Badness::SlowerThan(1.0);
        let mut past = Past::new(ENTERED + 4_000, INTERVAL, SETTLE, &settings, baseline, limit).unwrap();
        while let Some((from, until)) = past.span(240 * INTERVAL, now()) {
            past.take(until, Some(&slow(from, until)));
        }
        past.learned(0.01, 1.0, settings)
    };
    let limits = |settings: Settings| settings.further.map(|limit| limit.map(|limit| limit.seconds));
    let settings = Settings::default();
    assert_eq!(limits(learned(Baseline::Concurrent, settings)), [Some(0.1), Some(0.2), Some(0.3)]);
    let set = Settings { kappa: Kappa::Known(3.0), kappa_compare: Kappa::Known(3.0), ..settings };
    let learned = learned(Baseline::Concurrent, set);
    assert_eq!((learned.kappa, limits(learned)[0]), (set.kappa, Some(0.1)), "a set dispersion is kept");
    let even = learned.further.iter().flatten().all(|limit| limit.kappa < 0.1);
    assert!(even, "beyond each of them every block has as many: {:?}", learned.further);
}
