use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::{Request, Response};
use reqwest::Url;
use tower::{service_fn, util::BoxCloneSyncService};

use super::*;
use crate::analysis::counts::Counts;

const SPLIT: &str = r#"
kind: TrafficSplit
metadata: {name: iris, namespace: ml}
spec:
  route: {httpRoute: {parentRefs: [{name: public}]}}
  backends: [{modelDeploymentRef: {name: iris}}]
  strategy: {canary: {steps: [{weight: 25%}]}}
  slos:
  - {name: availability, objective: 99%, errors: {}}
  - {name: confidence, query: up, threshold: {min: "0.7"}}
  analysis: {interval: 15s}
"#;

/// Seconds since the epoch at which the candidate appears, and at which it turns bad.
const ENTERED: i64 = 1_800_000_000;
const BROKEN: i64 = ENTERED + 600;

/// A Prometheus that has scraped an Envoy every 5 s: stable at 60 requests/s, the candidate at 20/s from `ENTERED` on, of
/// which a tenth fails from `BROKEN` on.
fn prometheus() -> Transport {
    BoxCloneSyncService::new(service_fn(|request: Request<Vec<u8>>| {
        let body = answer(std::str::from_utf8(request.body()).unwrap());
        async move { Ok(Response::new(body.into_bytes())) }
    }))
}

fn answer(form: &str) -> String {
    let fields: BTreeMap<String, String> =
        Url::parse(&format!("form:?{form}")).unwrap().query_pairs().into_owned().collect();
    let until: f64 = fields["time"].parse().unwrap();
    let range: f64 = fields["query"].rsplit(['[', 'm']).nth(1).unwrap().parse().unwrap();
    let scrapes = (ENTERED - 5 * 3600..ENTERED + 7200).step_by(5);
    let seen: Vec<i64> = scrapes
        .filter(|at| f64::from(u32::try_from(*at).unwrap()) > until - range / 1000.0)
        .filter(|at| f64::from(u32::try_from(*at).unwrap()) <= until)
        .collect();
    let bad = fields["query"].contains("envoy_response_code_class=\"5\"");
    let mut series = Vec::new();
    for (revision, begin, rate) in [("iris-aaaaaaaa", ENTERED - 5 * 3600, 60), ("iris-bbbbbbbb", ENTERED, 20)]
    {
        let mut values = String::new();
        for &at in seen.iter().filter(|at| **at >= begin) {
            let count = match (bad, revision) {
                (false, _) => rate * (at - begin),
                (true, "iris-bbbbbbbb") => 2 * (at - BROKEN).max(0),
                (true, _) => 0,
            };
            let _ = write!(values, "{}[{at}, \"{count}\"]", if values.is_empty() { "" } else { "," });
        }
        let class = if bad { 5 } else { 2 };
        if !values.is_empty() && fields["query"].contains(revision) {
            series.push(format!(
                "{{\"metric\": {{\"__name__\": \"envoy_cluster_upstream_rq_xx\", \
                 \"envoy_cluster_name\": \"ml_{revision}_80\", \"envoy_response_code_class\": \"{class}\", \
                 \"job\": \"envoy\", \"instance\": \"envoy-1\"}}, \"values\": [{values}]}}"
            ));
        }
    }
    format!(
        "{{\"status\": \"success\", \"data\": {{\"resultType\": \"matrix\", \"result\": [{}]}}}}",
        series.join(",")
    )
}

fn past(stable: Option<&str>) -> Past {
    let settings = ProviderSettings {
        metrics: "contour".to_owned(),
        revision_label: None,
        scrape_interval: Duration::from_secs(5),
        propagation: Duration::from_secs(0),
    };
    Past {
        transport: prometheus(),
        provider: Provider::new("test", &settings).unwrap(),
        namespace: "ml".to_owned(),
        candidate: "iris-bbbbbbbb".to_owned(),
        stable: stable.map(str::to_owned),
        from: Timestamp::from_second(ENTERED).unwrap(),
        until: Timestamp::from_second(ENTERED + 1800).unwrap(),
        pods_ratio: 1.0,
    }
}

async fn trials(past: &Past, kappa: Option<f64>) -> Result<Vec<Trial>, Error> {
    past.trials(&traffic_split(SPLIT).unwrap(), kappa).await
}

#[tokio::test]
async fn a_past_rollout_is_judged_as_the_operator_would_have() {
    let trials = trials(&past(Some("iris-aaaaaaaa")), None).await.unwrap();
    assert_eq!(trials.len(), 1, "a query's value at a past moment is not asked for");
    let trial = &trials[0];
    assert_eq!(trial.slo.as_deref(), Some("availability"));
    assert_eq!(trial.settings.kappa, Kappa::Known(0.0), "four hours without an error show no waves");
    assert_eq!(trial.blocks.len(), 120);
    assert_eq!(trial.blocks[10].1.candidate, Some(Counts::exact(0.0, 300.0)));
    assert_eq!(trial.blocks[10].1.stable, Some(Counts::exact(0.0, 900.0)));
    assert_eq!(trial.blocks[60].1.candidate, Some(Counts::exact(30.0, 300.0)));
    let rows = trial.rows().unwrap();
    let words: Vec<&str> = rows.iter().map(|row| super::super::word(&row.verdict)).collect();
    assert_eq!((words[0], words[30], words[42]), ("Inconclusive", "Pass", "Fail"));
}

#[tokio::test]
async fn without_a_stable_revision_dispersion_stays_unknown_unless_it_is_given() {
    let unknown = trials(&past(None), None).await.unwrap();
    assert_eq!(unknown[0].settings.kappa, Kappa::Unknown);
    assert_eq!(unknown[0].blocks[10].1.stable, None);
    assert_eq!(trials(&past(None), Some(2.0)).await.unwrap()[0].settings.kappa, Kappa::Known(2.0));
}

#[tokio::test]
async fn a_span_that_ends_before_it_begins_is_refused() {
    let reversed = Past { until: Timestamp::from_second(ENTERED - 9).unwrap(), ..past(None) };
    assert!(matches!(trials(&reversed, None).await, Err(Error::Options(_))));
}
