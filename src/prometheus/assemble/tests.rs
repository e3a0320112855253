use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    api::v1alpha1::Duration,
    prometheus::provider::{Provider, Settings},
};

fn provider(metrics: &str) -> Provider {
    let settings = Settings {
        metrics: metrics.to_owned(),
        revision_label: None,
        scrape_interval: Duration::from_secs(15),
        propagation: Duration::default(),
    };
    Provider::new("default", &settings).unwrap()
}

fn question(indicator: Indicator) -> Question {
    Question {
        provider: "default".to_owned(),
        namespace: "ml".to_owned(),
        candidate: "new".to_owned(),
        stable: Some("old".to_owned()),
        indicator,
        from: Timestamp::from_second(1000).unwrap(),
        until: Timestamp::from_second(1060).unwrap(),
    }
}

fn latency() -> Question {
    question(Indicator::Latency { below: Duration::from_millis(300) })
}

/// A series of Contour's Envoy for this revision with more labels (`le=5 pod=a`).
fn series(revision: &str, more: &str, samples: &[(i64, f64)]) -> RawSeries {
    let mut labels = BTreeMap::from([("envoy_cluster_name".to_owned(), format!("ml_{revision}_80"))]);
    for pair in more.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        labels.insert(name.to_owned(), value.to_owned());
    }
    RawSeries { labels, samples: samples.to_vec() }
}

fn counters(
    question: &Question,
    answers: Vec<(Role, Vec<RawSeries>)>,
) -> Result<(Counters, Counters), Unanswered> {
    match assemble(question, &provider("contour"), answers)? {
        Answer::Counters { candidate, stable } => Ok((candidate, stable)),
        Answer::Value(value) => panic!("{value}"),
    }
}

const ONE: &[(i64, f64)] = &[(1_000_000, 1.0)];

#[test]
fn series_are_sorted_by_revision_and_role() {
    let total = vec![
        series("old", "job=e instance=b", ONE),
        series("new", "job=e instance=a", ONE),
        series("old", "job=e instance=a", ONE),
    ];
    let bad = vec![series("old", "class=5", ONE)];
    let (candidate, stable) =
        counters(&question(Indicator::Errors), vec![(Role::Total, total), (Role::Bad, bad)]).unwrap();
    assert_eq!((candidate.total.len(), candidate.bad.len()), (1, 0));
    assert_eq!((stable.total.len(), stable.bad.len()), (2, 1));
    assert_eq!(candidate.total[0].target, "job=\"e\",instance=\"a\"");
    assert_eq!(stable.total[0].key, "{envoy_cluster_name=\"ml_old_80\",instance=\"a\",job=\"e\"}");
}

#[test]
fn buckets_are_sorted_by_edge_in_seconds_without_infinity() {
    let buckets = ["1000", "0.5", "+Inf", "300", "25"].map(|le| series("new", &format!("le={le}"), ONE));
    let more = [series("new", "le=300.0 pod=b", ONE), series("old", "le=3e2", ONE)];
    let within = buckets.into_iter().chain(more).collect();
    let total = vec![series("new", "", ONE)];
    let (candidate, stable) =
        counters(&latency(), vec![(Role::Total, total), (Role::Within, within)]).unwrap();
    let edges: Vec<_> = candidate.within.iter().map(|(edge, series)| (*edge, series.len())).collect();
    assert_eq!(edges, [(0.0005, 1), (0.025, 1), (0.3, 2), (1.0, 1)]);
    assert_eq!(stable.within.len(), 1);
    assert!(candidate.bad.is_empty());
}

#[rstest]
#[case::missing("")]
#[case::words("le=fast")]
#[case::nan("le=NaN")]
#[case::negative("le=-1")]
#[case::minus_infinity("le=-Inf")]
fn a_bucket_without_a_usable_edge_is_a_bad_answer(#[case] le: &str) {
    let answers =
        vec![(Role::Total, vec![series("new", "", ONE)]), (Role::Within, vec![series("new", le, ONE)])];
    assert_eq!(counters(&latency(), answers).unwrap_err().reason, "BadAnswer");
}

#[test]
fn no_bad_events_and_no_data_are_different() {
    let errors = question(Indicator::Errors);
    let all = |total| counters(&errors, vec![(Role::Total, total), (Role::Bad, vec![])]);
    let (candidate, stable) = all(vec![series("new", "", ONE), series("old", "", ONE)]).unwrap();
    assert!(candidate.bad.is_empty() && !candidate.total.is_empty() && !stable.total.is_empty());
    let (candidate, _) = all(vec![series("old", "", ONE)]).unwrap();
    assert_eq!(candidate, Counters::default(), "the caller decides what no data of one revision means");
    let none = all(vec![]).unwrap_err();
    assert_eq!((none.reason, &*none.message), ("NoData", "Prometheus has no data of new or old"));
    assert_eq!(all(vec![series("new", "", &[])]).unwrap_err().reason, "NoData", "only NaN is no data");
}

#[rstest]
#[case::other_revision(series("newer", "", ONE))]
#[case::prefix(series("ne", "", ONE))]
#[case::no_label(RawSeries { labels: BTreeMap::new(), samples: ONE.to_vec() })]
fn a_series_that_was_not_asked_for_is_a_bad_answer(#[case] stranger: RawSeries) {
    let answers = vec![(Role::Total, vec![series("new", "", ONE), stranger])];
    assert_eq!(counters(&question(Indicator::Errors), answers).unwrap_err().reason, "BadAnswer");
}

#[test]
fn without_a_stable_revision_its_part_is_empty() {
    let question = Question { stable: None, ..question(Indicator::Errors) };
    let (_, stable) = counters(&question, vec![(Role::Total, vec![series("new", "", ONE)])]).unwrap();
    assert_eq!(stable, Counters::default());
    assert!(counters(&question, vec![(Role::Total, vec![series("old", "", ONE)])]).is_err());
}

#[test]
fn a_ratio_is_sorted_by_the_labels_of_the_pods() {
    let question = question(Indicator::Ratio { bad: "b".to_owned(), total: "t".to_owned() });
    let of = |revision: &str| RawSeries {
        labels: [("namespace", "ml"), ("revision", revision)]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        samples: ONE.to_vec(),
    };
    let (candidate, stable) = counters(&question, vec![(Role::Total, vec![of("new"), of("old")])]).unwrap();
    assert_eq!((candidate.total.len(), stable.total.len()), (1, 1));
}

#[test]
fn a_custom_query_gives_its_value() {
    let question = question(Indicator::Query { query: "1".to_owned() });
    let answers = vec![(Role::Value, vec![RawSeries { labels: BTreeMap::new(), samples: vec![(0, 0.7)] }])];
    assert_eq!(assemble(&question, &provider("pods"), answers).unwrap(), Answer::Value(0.7));
    assert_eq!(assemble(&question, &provider("pods"), vec![]).unwrap_err().reason, "NoData");
}

proptest! {
    /// However a span is cut, and whether or not both pieces hold the sample at the cut, the samples are the same.
    #[test]
    fn an_answer_in_pieces_is_the_whole_answer(times in proptest::collection::btree_set(0..1000_i64, 1..40), cut in 0..1000_i64) {
        let all: Vec<_> = times.iter().map(|&at| (at, 1.0)).collect();
        let part = |keep: &dyn Fn(i64) -> bool| -> Vec<RawSeries> {
            let samples: Vec<_> = all.iter().copied().filter(|(at, _)| keep(*at)).collect();
            if samples.is_empty() { vec![] } else { vec![series("new", "", &samples)] }
        };
        let whole = vec![series("new", "", &all)];
        prop_assert_eq!(joined(part(&|at| at <= cut), part(&|at| at >= cut)), whole.clone());
        prop_assert_eq!(joined(part(&|at| at <= cut), part(&|at| at > cut)), whole);
    }
}
