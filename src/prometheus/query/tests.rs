use insta::assert_snapshot;
use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{api::v1alpha1::Duration, prometheus::provider::Settings};

pub(super) fn provider(metrics: &str) -> Provider {
    let settings = Settings {
        metrics: metrics.to_owned(),
        revision_label: Some("rev".to_owned()),
        scrape_interval: Duration::from_secs(15),
        propagation: Duration::from_secs(10),
    };
    Provider::new("default", &settings).unwrap()
}

pub(super) fn question(indicator: Indicator) -> Question {
    Question {
        provider: "default".to_owned(),
        namespace: "ml".to_owned(),
        candidate: "iris-new".to_owned(),
        stable: Some("iris-old".to_owned()),
        indicator,
        from: Timestamp::from_second(1000).unwrap(),
        until: Timestamp::from_second(1060).unwrap(),
    }
}

fn texts(question: &Question, provider: &Provider) -> String {
    let queries = queries(question, provider).unwrap();
    queries.iter().map(|query| format!("{:?} {}", query.role, query.text())).collect::<Vec<_>>().join("\n")
}

fn ratio() -> Indicator {
    Indicator::Ratio { bad: "f{useful=\"no\"}".to_owned(), total: "f".to_owned() }
}

pub(super) fn latency() -> Indicator {
    Indicator::Latency { below: Duration::from_millis(300) }
}

#[test]
fn one_query_reads_the_raw_counters_of_both_revisions() {
    assert_snapshot!(texts(&question(Indicator::Errors), &provider("contour")), @r#"
    Total envoy_cluster_upstream_rq_xx{envoy_cluster_name=~"ml_iris-new_80|ml_iris-old_80"}[90000ms]
    Bad envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name=~"ml_iris-new_80|ml_iris-old_80"}[90000ms]
    "#);
    assert_snapshot!(texts(&question(latency()), &provider("envoy-mesh")), @r#"
    Total envoy_cluster_upstream_rq_time_count{envoy_cluster_name=~"outbound\\|80\\|\\|iris-new\\.ml\\.svc\\.cluster\\.local|outbound\\|80\\|\\|iris-old\\.ml\\.svc\\.cluster\\.local"}[90000ms]
    Within envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=~"outbound\\|80\\|\\|iris-new\\.ml\\.svc\\.cluster\\.local|outbound\\|80\\|\\|iris-old\\.ml\\.svc\\.cluster\\.local"}[90000ms]
    "#);
    assert_snapshot!(texts(&question(latency()), &provider("istio")), @r#"
    Total istio_request_duration_milliseconds_count{reporter="source",response_code!="0",destination_service_name=~"iris-new|iris-old",destination_service_namespace="ml"}[90000ms]
    Within istio_request_duration_milliseconds_bucket{reporter="source",response_code!="0",destination_service_name=~"iris-new|iris-old",destination_service_namespace="ml"}[90000ms]
    "#);
    assert_snapshot!(texts(&question(ratio()), &provider("contour")), @r#"
    Total f{namespace="ml",rev=~"iris-new|iris-old"}[90000ms]
    Bad f{useful="no",namespace="ml",rev=~"iris-new|iris-old"}[90000ms]
    "#);
}

#[test]
fn without_a_stable_revision_one_value_is_matched_plainly() {
    let question = Question { stable: None, ..question(Indicator::Errors) };
    assert!(texts(&question, &provider("pods")).contains("namespace=\"ml\",rev=\"iris-new\"}[90000ms]"));
}

#[test]
fn a_custom_query_is_evaluated_at_the_end_of_the_span() {
    let query = "avg(c{r=\"$revision\",n=\"$namespace\",s=\"$service\"})".to_owned();
    let asked = queries(&question(Indicator::Query { query }), &provider("pods")).unwrap();
    assert_eq!(asked[0].text(), "avg(c{r=\"iris-new\",n=\"ml\",s=\"iris-new\"})");
    assert_eq!((asked[0].until, asked[0].start, asked.len()), (1_060_000, None, 1));
}

#[rstest]
#[case::namespace(Question { namespace: "a\"} or x{".to_owned(), ..question(ratio()) }, "namespace")]
#[case::candidate(Question { candidate: "a|.*".to_owned(), ..question(ratio()) }, "candidate")]
#[case::stable(Question { stable: Some(String::new()), ..question(ratio()) }, "stable")]
#[case::same(Question { stable: Some("iris-new".to_owned()), ..question(ratio()) }, "stable")]
#[case::span(Question { until: Timestamp::from_second(1000).unwrap(), ..question(ratio()) }, "from")]
#[case::ratio(question(Indicator::Ratio { bad: "rate(a[1m])".to_owned(), total: "a".to_owned() }), "ratio.bad")]
#[case::query(question(Indicator::Query { query: "a{".to_owned() }), "query")]
fn a_question_that_cannot_be_asked_is_refused(#[case] question: Question, #[case] field: &str) {
    assert_eq!(queries(&question, &provider("contour")).unwrap_err().field, field);
}

#[test]
fn a_pack_without_histogram_says_what_to_do_about_latency() {
    let yaml = "labels: {r: '{revision}'}\nerrors: {total: a, bad: b}";
    let provider = provider("pods").with_pack(crate::prometheus::pack::Pack::parse(yaml).unwrap());
    let refused = queries(&question(latency()), &provider).unwrap_err();
    assert!(refused.to_string().contains("write a `ratio`"), "{refused}");
}

proptest! {
    /// No sample in (from, until] and none of the last scrape before it is missed, to the millisecond.
    #[test]
    fn the_range_reaches_back_over_the_scrape_before(from in 0..10_i64.pow(13), span in 1..10_i64.pow(9), scrape in 1..600_000_i64) {
        let settings = Settings {
            metrics: "contour".to_owned(),
            revision_label: None,
            scrape_interval: Duration::from_millis(scrape),
            propagation: Duration::default(),
        };
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let question = Question { from: at(from), until: at(from + span), ..question(Indicator::Errors) };
        for query in queries(&question, &Provider::new("p", &settings).unwrap()).unwrap() {
            prop_assert!(query.start.unwrap() < from - scrape);
            prop_assert_eq!(query.until, from + span);
        }
    }

    #[test]
    fn halves_cover_the_whole_without_a_gap(start in 0..10_i64.pow(13), span in 1..10_i64.pow(9)) {
        let whole = Query { role: Role::Bad, promql: "m{}".to_owned(), start: Some(start), until: start + span };
        match whole.halves() {
            Some([early, late]) => {
                prop_assert_eq!((early.start, late.until), (whole.start, whole.until));
                prop_assert_eq!(Some(early.until), late.start);
                prop_assert!(early.until > start && early.until < whole.until);
            }
            None => prop_assert!(span <= 3),
        }
    }
}
