//! What Seatrial's own client makes of this Prometheus' answers.

use rstest::rstest;

use super::{
    super::{
        behaviour::{Answers, Behaviour, Latency},
        tests::{pass, serving, setting},
    },
    *,
};
use crate::{
    api::v1alpha1,
    prometheus::{
        answer::parse,
        client::ask,
        query::{Query, Role},
    },
    rollout::question::{Answer, Counters, Indicator, Question, Unanswered},
    world::{cluster::World, setting::Setting},
};

fn sick(setting: &mut Setting) {
    let latency = Latency::spread(Duration::from_millis(100), Duration::from_secs(1));
    let answers = Answers { errors: 0.2, bad_events: 0.1, value: 0.25, latency, ..Answers::default() };
    setting.versions.named.insert("b".to_owned(), Behaviour { answers, ..Behaviour::default() });
}

async fn answer(world: &mut World, indicator: Indicator) -> Result<Answer, Unanswered> {
    let providers = world.providers();
    let source = &providers["default"];
    let until = world.clock.now();
    let question = Question {
        provider: "default".to_owned(),
        namespace: "ml".to_owned(),
        candidate: "b".to_owned(),
        stable: Some("a".to_owned()),
        indicator,
        from: until - jiff::SignedDuration::from_secs(300),
        until,
    };
    let asked = std::sync::Mutex::new(None);
    let one = async {
        let answer = ask(&source.transport, &source.provider, &question).await;
        *asked.lock().unwrap() = Some(answer);
    };
    // The world goes on meanwhile: an answer takes time.
    world.play(one, |_| false, Duration::from_secs(20)).await;
    asked.into_inner().unwrap().unwrap()
}

fn last(series: &[crate::rollout::question::Series]) -> f64 {
    series.iter().filter_map(|one| one.samples.last()).map(|(_, value)| value).sum()
}

fn candidate(answer: Answer) -> Counters {
    match answer {
        Answer::Counters { candidate, .. } => candidate,
        Answer::Value(value) => panic!("{value}"),
    }
}

#[tokio::test(start_paused = true)]
async fn counters_are_those_of_the_proxies_and_rise_with_the_requests() {
    let mut setting = setting();
    sick(&mut setting);
    let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
    pass(&mut world, 240).await;
    let errors = candidate(answer(&mut world, Indicator::Errors).await.unwrap());
    let (total, bad) = (last(&errors.total), last(&errors.bad));
    // 25 a second for some 240 seconds; a fifth of them fails.
    assert!((5000.0..6500.0).contains(&total), "{total}");
    assert!((0.17..0.23).contains(&(bad / total)), "{bad} of {total}");
    assert_eq!(errors.total.len(), 6, "two classes at three proxies");
    let below = v1alpha1::Duration::from_millis(250);
    let latency = candidate(answer(&mut world, Indicator::Latency { below }).await.unwrap());
    let within = latency.within.iter().find(|(edge, _)| (edge - 0.25).abs() < 1e-9).unwrap();
    // A log-normal with this median and 99th percentile has 82 % below 250 ms.
    let share = last(&within.1) / last(&latency.total);
    assert!((0.79..0.86).contains(&share), "{share}");
}

#[tokio::test(start_paused = true)]
async fn ratios_and_queries_are_answered_for_the_revision_that_is_asked_about() {
    let mut setting = setting();
    sick(&mut setting);
    let (bad, total) = (r#"feedback_total{useful="no"}"#, "feedback_total");
    setting.prometheus.events = vec![Events::of(bad, total, "revision").unwrap()];
    let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
    pass(&mut world, 240).await;
    let ratio = Indicator::Ratio { bad: bad.to_owned(), total: total.to_owned() };
    let counters = candidate(answer(&mut world, ratio).await.unwrap());
    let share = last(&counters.bad) / last(&counters.total);
    assert!(last(&counters.total) > 4000.0 && (0.07..0.13).contains(&share), "{share}");
    let query = Indicator::Query { query: r#"avg(confidence{revision="$revision"})"#.to_owned() };
    assert_eq!(answer(&mut world, query).await.unwrap(), Answer::Value(0.25));
    assert_eq!(Events::of("a{b=~\"c\"}", "a", "revision"), None, "what it stands for is not known");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_restarted_counts_from_zero_again() {
    let mut setting = setting();
    setting.proxies.restarts = vec![(Duration::from_mins(2), 0)];
    let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
    pass(&mut world, 240).await;
    let counters = candidate(answer(&mut world, Indicator::Errors).await.unwrap());
    let falls = |one: &&crate::rollout::question::Series| one.samples.windows(2).any(|w| w[1].1 < w[0].1);
    assert_eq!(counters.total.iter().filter(falls).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_wrong_with_an_answer_passes_for_a_good_one() {
    let mut reasons = std::collections::BTreeSet::new();
    for wrong in Wrong::all() {
        let mut setting = setting();
        let from = Duration::from_secs(200);
        setting.prometheus.faults = vec![During { from, until: Duration::MAX, what: wrong.clone() }];
        let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
        pass(&mut world, 200).await;
        let answered = answer(&mut world, Indicator::Errors).await;
        match (wrong, answered) {
            // Slow, late, empty: what there is, is true.
            (Wrong::Slow(pause), Ok(_)) => assert!(pause < Duration::from_secs(10)),
            (Wrong::Late(_) | Wrong::Number("NaN" | "+Inf" | "-Inf"), Ok(answer)) => {
                let newest =
                    candidate(answer).total.iter().filter_map(|s| s.samples.last().map(|x| x.0)).max();
                let until = world.clock.now().as_millisecond();
                assert!(newest.is_none_or(|at| at < until - 40_000));
            }
            (wrong, Ok(answer)) => panic!("{wrong:?} passed for {answer:?}"),
            (_, Err(why)) => drop(reasons.insert(why.reason)),
        }
    }
    assert!(reasons.len() >= 10, "{reasons:?}");
}

#[rstest]
#[case::one_number_twice(Wrong::Several, "SeveralSeries")]
#[case::not_a_number(Wrong::Number("NaN"), "NotANumber")]
#[case::old(Wrong::Late(Duration::from_secs(45)), "BadAnswer")]
#[case::nothing(Wrong::Empty, "NoData")]
#[tokio::test(start_paused = true)]
async fn a_query_that_gives_no_one_number_is_no_answer(#[case] wrong: Wrong, #[case] reason: &str) {
    let mut setting = setting();
    setting.prometheus.faults = vec![During::always(wrong)];
    let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
    pass(&mut world, 60).await;
    let query = Indicator::Query { query: r#"avg(confidence{revision="$revision"})"#.to_owned() };
    assert_eq!(answer(&mut world, query).await.unwrap_err().reason, reason);
}

#[test]
fn what_is_handed_over_is_what_the_bytes_say() {
    let mut series = Series::default();
    for (instance, first) in [("a", 0.1), ("b\\\"c", 7e15)] {
        let labels = [("__name__", "asked_total"), ("instance", instance), ("job", "envoy")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        for (at, value) in [(1_000_123, first), (1_005_123, first + 0.7), (1_010_007, first + 9.0)] {
            series.sample(labels.clone(), at, value);
        }
    }
    let promql = "asked_total".to_owned();
    let query = Query { role: Role::Total, promql, start: Some(1_000_500), until: 1_010_007 };
    let asked = Asked { time: query.until, query: query.promql.clone(), range: Some(9507) };
    let bytes = answer::answer(&asked, &mut series, None).unwrap().into_bytes();
    let handed = answer::series(&asked, &mut series).unwrap();
    assert_eq!(handed.len(), 2);
    assert_eq!(handed, parse(&query, &bytes).unwrap());
}
