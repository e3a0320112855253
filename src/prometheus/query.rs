//! Which instant queries answer a question.

use std::collections::BTreeMap;

use super::{
    Refused,
    promql::{Pin, Selector, Values, fill},
    provider::Provider,
};
use crate::rollout::question::{Indicator, Question};

/// How many scrapes before `from` are read: the sample from which the first increment counts may come late by almost
/// one scrape.
const LOOKBACK_SCRAPES: i64 = 2;

/// What the series of a query are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Counters of all events.
    Total,
    /// Counters of bad events.
    Bad,
    /// Buckets of a histogram.
    Within,
    /// One number.
    Value,
}

/// One instant query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What its series are.
    pub role: Role,
    /// A selector for counters, any expression for a value. Without the range.
    pub promql: String,
    /// Counters: samples from here on are wanted; milliseconds since the epoch. `None` for a value.
    pub start: Option<i64>,
    /// The moment of the evaluation, and of the last sample wanted; milliseconds since the epoch.
    pub until: i64,
}

impl Query {
    /// The text to send. Prometheus 3 leaves out a sample that lies exactly at the beginning of a range, Prometheus 2
    /// does not: nothing relies on it.
    #[must_use]
    pub fn text(&self) -> String {
        match self.start {
            Some(start) => format!("{}[{}ms]", self.promql, self.until - start),
            None => self.promql.clone(),
        }
    }

    /// The same query in two halves of time, the earlier first, for an answer that is too large. `None` when it is as
    /// short as it can be: a value, or a range of two milliseconds.
    #[must_use]
    pub fn halves(&self) -> Option<[Self; 2]> {
        let start = self.start?;
        let middle = start + (self.until - start) / 2;
        if middle <= start + 1 {
            return None;
        }
        // The sample at `middle` belongs to the first half, and may be in the second once more.
        Some([Self { until: middle, ..self.clone() }, Self { start: Some(middle), ..self.clone() }])
    }
}

/// The queries that answer a question, one for both revisions each: `Total` and `Bad`, or `Total` and `Within` for a
/// latency, or `Value` alone.
///
/// # Errors
/// A name is not what Kubernetes would accept, the time span is empty, the pack has no histogram, or the user's PromQL
/// cannot be used.
pub fn queries(question: &Question, provider: &Provider) -> Result<Vec<Query>, Refused> {
    let label = |field: &str, name: &str| {
        if is_dns_label(name) { Ok(()) } else { Err(Refused::new(field, "is not a DNS label")) }
    };
    label("namespace", &question.namespace)?;
    label("candidate", &question.candidate)?;
    question.stable.as_deref().map_or(Ok(()), |stable| label("stable", stable))?;
    if question.stable.as_ref() == Some(&question.candidate) {
        return Err(Refused::new("stable", "is the candidate itself"));
    }
    let until = question.until.as_millisecond();
    let (total, role, part) = match &question.indicator {
        Indicator::Query { query } => {
            let promql = fill(query, values(question))?;
            return Ok(vec![Query { role: Role::Value, promql, start: None, until }]);
        }
        Indicator::Errors => {
            let errors = &provider.pack().errors;
            (errors.total.clone(), Role::Bad, errors.bad.clone())
        }
        Indicator::Latency { .. } => {
            let latency = provider.pack().latency.as_ref().ok_or_else(no_histogram)?;
            (latency.total.clone(), Role::Within, latency.buckets.clone())
        }
        Indicator::Ratio { bad, total } => {
            let own = |field, text| Selector::of_ratio(field, text, provider.revision_label());
            (own("ratio.total", total)?, Role::Bad, own("ratio.bad", bad)?)
        }
    };
    let from = question.from.as_millisecond();
    if from >= until {
        return Err(Refused::new("from", "does not lie before `until`"));
    }
    let start = Some(from - LOOKBACK_SCRAPES * provider.scrape_interval().millis());
    let pins = pins(question, provider);
    let query = |role, selector: &Selector| Query { role, promql: selector.pinned(&pins), start, until };
    Ok(vec![query(Role::Total, &total), query(role, &part)])
}

fn no_histogram() -> Refused {
    Refused::new(
        "latency",
        "cannot be measured: this provider's metrics have no histogram; write a `ratio` of the model's own counters",
    )
}

/// The labels that bind a series to a revision, for this question's indicator.
pub(super) fn revision_labels(
    question: &Question,
    provider: &Provider,
    revision: &str,
) -> BTreeMap<String, String> {
    match question.indicator {
        Indicator::Errors | Indicator::Latency { .. } => provider.pack_labels(&question.namespace, revision),
        Indicator::Ratio { .. } | Indicator::Query { .. } => {
            provider.pod_labels(&question.namespace, revision)
        }
    }
}

fn pins(question: &Question, provider: &Provider) -> Vec<Pin> {
    let mut pins: Vec<_> = revision_labels(question, provider, &question.candidate)
        .into_iter()
        .map(|(label, value)| Pin { label, values: vec![value] })
        .collect();
    if let Some(stable) = &question.stable {
        let other = revision_labels(question, provider, stable);
        for pin in &mut pins {
            pin.values.extend(other.get(&pin.label).filter(|value| **value != pin.values[0]).cloned());
        }
    }
    pins
}

fn values(question: &Question) -> Values<'_> {
    Values { revision: &question.candidate, namespace: &question.namespace, service: &question.candidate }
}

/// Names that Kubernetes gave are DNS labels; anything else did not come from it.
fn is_dns_label(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| word(b) || b == b'-')
        && [name.bytes().next(), name.bytes().last()].into_iter().flatten().all(word)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::{api::v1alpha1::Duration, prometheus::provider::Settings};

    fn provider(metrics: &str) -> Provider {
        let settings = Settings {
            metrics: metrics.to_owned(),
            revision_label: Some("rev".to_owned()),
            scrape_interval: Duration::from_secs(15),
            propagation: Duration::from_secs(10),
        };
        Provider::new("default", &settings).unwrap()
    }

    fn question(indicator: Indicator) -> Question {
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
        queries
            .iter()
            .map(|query| format!("{:?} {}", query.role, query.text()))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn ratio() -> Indicator {
        Indicator::Ratio { bad: "f{useful=\"no\"}".to_owned(), total: "f".to_owned() }
    }

    fn latency() -> Indicator {
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
        let provider = provider("pods").with_pack(super::super::pack::Pack::parse(yaml).unwrap());
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
}
