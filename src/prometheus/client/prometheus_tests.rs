//! Against a real Prometheus: `cargo test --lib prometheus -- --ignored`, with `PROMETHEUS` or /usr/bin/prometheus.
//!
//! It scrapes an exporter whose text the test writes, so every answer is known beforehand.

use std::{fmt::Write as _, process::Stdio, sync::Mutex as Lock};

use axum::{Router, routing::get};
use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::interval,
};

use super::*;
use crate::{
    api::v1alpha1::Duration as Length,
    prometheus::provider::Settings,
    rollout::question::{Counters, Indicator},
};

/// How often the exporter is scraped.
const SCRAPE: Length = Length::from_millis(500);

/// How long a change may take to be seen. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Prometheus, an exporter, and a directory; gone when dropped.
struct Bench {
    transport: Transport,
    exporter: Arc<Lock<String>>,
    began: Timestamp,
    directory: PathBuf,
    _prometheus: Child,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[expect(clippy::disallowed_methods, reason = "the scraped samples carry the machine's time")]
fn now() -> Timestamp {
    Timestamp::now()
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

impl Bench {
    async fn start(name: &str) -> Self {
        let exporter = Arc::new(Lock::new(String::new()));
        let text = exporter.clone();
        let app = Router::new().route("/metrics", get(move || async move { text.lock().unwrap().clone() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });

        let directory = std::env::temp_dir().join(format!("seatrial-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = format!(
            "global: {{scrape_interval: {SCRAPE}, scrape_timeout: {SCRAPE}}}\nscrape_configs: [{{job_name: test, honor_labels: true, static_configs: [{{targets: ['{target}']}}]}}]"
        );
        std::fs::write(directory.join("prometheus.yml"), config).unwrap();
        let address = format!("127.0.0.1:{}", free_port().await);
        let prometheus = Command::new(std::env::var_os("PROMETHEUS").unwrap_or("/usr/bin/prometheus".into()))
            .arg(format!("--config.file={}/prometheus.yml", directory.display()))
            .arg(format!("--storage.tsdb.path={}/data", directory.display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("a prometheus to test against");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = Endpoint { url: format!("http://{address}"), bearer_token_file: None, ca_file: None };
        let transport = connect(&endpoint, Limits::default()).unwrap();
        Self { transport, exporter, began: now(), directory, _prometheus: prometheus }
    }

    fn export(&self, text: &str) {
        text.clone_into(&mut self.exporter.lock().unwrap());
    }

    async fn ask(&self, indicator: Indicator) -> Result<Answer, Unanswered> {
        self.ask_since(self.began, indicator).await
    }

    async fn ask_since(&self, from: Timestamp, indicator: Indicator) -> Result<Answer, Unanswered> {
        let question = Question {
            provider: "default".to_owned(),
            namespace: "ml".to_owned(),
            candidate: "new".to_owned(),
            stable: Some("old".to_owned()),
            indicator,
            from,
            until: now(),
        };
        ask(&self.transport, &provider(), &question).await
    }

    async fn query(&self, query: &str) -> Result<Answer, Unanswered> {
        self.ask(Indicator::Query { query: query.to_owned() }).await
    }

    /// Asks until the counters are as wanted.
    async fn counters(
        &self,
        indicator: Indicator,
        wanted: impl Fn(&Counters, &Counters) -> bool,
    ) -> (Counters, Counters) {
        let mut tick = interval(Duration::from_millis(100));
        let until = Instant::now() + PATIENCE;
        loop {
            tick.tick().await;
            let answer = self.ask(indicator.clone()).await;
            match answer {
                Ok(Answer::Counters { candidate, stable }) if wanted(&candidate, &stable) => {
                    return (candidate, stable);
                }
                other => assert!(Instant::now() < until, "last: {other:?}"),
            }
        }
    }

    /// Asks until the query has this outcome: a value, or a reason for none.
    async fn expect(&self, query: &str, want: Result<f64, &str>) {
        let mut tick = interval(Duration::from_millis(100));
        let until = Instant::now() + PATIENCE;
        loop {
            tick.tick().await;
            match (self.query(query).await, want) {
                #[expect(clippy::float_cmp, reason = "small whole numbers")]
                (Ok(Answer::Value(have)), Ok(want)) if have == want => return,
                (Err(have), Err(want)) if have.reason == want => return,
                (other, _) => assert!(Instant::now() < until, "{query}: wanted {want:?}, last {other:?}"),
            }
        }
    }
}

fn provider() -> Provider {
    let settings = Settings {
        metrics: "contour".to_owned(),
        revision_label: None,
        scrape_interval: SCRAPE,
        propagation: Length::default(),
    };
    Provider::new("default", &settings).unwrap()
}

fn values(series: &crate::rollout::question::Series) -> Vec<f64> {
    let mut values: Vec<f64> = series.samples.iter().map(|(_, value)| *value).collect();
    values.dedup();
    values
}

fn total(revision: &str, class: &str, value: &str) -> String {
    format!(
        "envoy_cluster_upstream_rq_xx{{envoy_cluster_name=\"ml_{revision}_80\",envoy_response_code_class=\"{class}\"}} {value}\n"
    )
}

#[tokio::test]
#[ignore = "needs a prometheus"]
async fn counters_come_raw_with_resets_gaps_and_missing_series() {
    let bench = Bench::start("counters").await;
    let mut tick = interval(Duration::from_millis(100));
    while bench.ask(Indicator::Errors).await.err().map(|why| why.reason) != Some("NoData") {
        tick.tick().await;
        assert!(now().duration_since(bench.began).as_secs() < 30, "prometheus does not start");
    }

    bench.export(
        &[
            total("new", "2", "10"),
            total("old", "2", "100"),
            total("old", "5", "3"),
            total("other", "5", "9"),
        ]
        .concat(),
    );
    let errors = Indicator::Errors;
    let (candidate, stable) =
        bench.counters(errors.clone(), |new, old| !new.total.is_empty() && old.total.len() == 2).await;
    assert!(candidate.bad.is_empty(), "no series of errors is no error");
    assert_eq!((values(&stable.bad[0]), stable.bad.len()), (vec![3.0], 1));
    assert!(candidate.total[0].target.contains("job=\"test\""));
    let key = candidate.total[0].key.clone();

    bench.export(&(total("new", "2", "NaN") + &total("old", "2", "101")));
    bench.counters(errors.clone(), |_, old| old.total.iter().any(|s| values(s).contains(&101.0))).await;
    bench.export(&(total("new", "2", "4") + &total("new", "5", "1")));
    let (candidate, _) = bench.counters(errors.clone(), |new, _| !new.bad.is_empty()).await;
    let successes = candidate.total.iter().find(|series| series.key == key).expect("the same key as before");
    assert_eq!(values(successes), [10.0, 4.0], "a reset is seen, NaN is not");

    // Stale series have no sample in a later span, and the same ones in the whole span.
    bench
        .expect("sum(envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"$namespace_old_80\"})", Err("NoData"))
        .await;
    let later = now();
    bench
        .counters(errors.clone(), |new, _| {
            new.total
                .iter()
                .any(|s| s.samples.last().is_some_and(|(at, _)| *at > later.as_millisecond() + 1500))
        })
        .await;
    let Ok(Answer::Counters { candidate, stable }) = bench.ask_since(now() - SCRAPE.signed(), errors).await
    else {
        panic!("no counters");
    };
    assert!(!candidate.total.is_empty() && stable == Counters::default());

    bench.export(&total("new", "2", "-1"));
    let until = Instant::now() + PATIENCE;
    while bench.ask(Indicator::Errors).await.err().map(|why| why.reason) != Some("BadAnswer") {
        tick.tick().await;
        assert!(Instant::now() < until, "a gauge below zero is no counter");
    }
}

#[tokio::test]
#[ignore = "needs a prometheus"]
async fn histograms_ratios_and_labels_of_any_text_are_read() {
    let bench = Bench::start("selectors").await;
    let mut text = String::new();
    for (le, count) in [("0.5", 1), ("5", 2), ("300", 7), ("+Inf", 9)] {
        let _ = writeln!(
            text,
            "envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name=\"ml_new_80\",le=\"{le}\"}} {count}"
        );
    }
    text += "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"ml_new_80\"} 9\n";
    for (namespace, revision) in [("ml", "new"), ("ml", "old"), ("other", "new"), ("ml", "newer")] {
        let _ = writeln!(
            text,
            "feedback_total{{namespace=\"{namespace}\",revision=\"{revision}\",useful=\"a\\\"b\\\\c\\nd\"}} 5"
        );
        let _ = writeln!(
            text,
            "feedback_total{{namespace=\"{namespace}\",revision=\"{revision}\",useful=\"yes\"}} 6"
        );
    }
    bench.export(&text);

    let latency = Indicator::Latency { below: Length::from_millis(300) };
    let (candidate, stable) = bench.counters(latency, |new, _| !new.within.is_empty()).await;
    let edges: Vec<_> = candidate.within.iter().map(|(edge, series)| (*edge, values(&series[0]))).collect();
    assert_eq!(edges, [(0.0005, vec![1.0]), (0.005, vec![2.0]), (0.3, vec![7.0])]);
    assert_eq!((values(&candidate.total[0]), stable), (vec![9.0], Counters::default()));

    let ratio = |bad: &str| Indicator::Ratio { bad: bad.to_owned(), total: "feedback_total".to_owned() };
    for bad in [r#"feedback_total{useful="a\"b\\c\nd"}"#, r#"feedback_total{useful!~"y.s"}"#] {
        let (candidate, stable) = bench.counters(ratio(bad), |new, _| !new.bad.is_empty()).await;
        assert_eq!((candidate.bad.len(), candidate.total.len()), (1, 2), "{bad}");
        assert_eq!((stable.bad.len(), stable.total.len()), (1, 2), "{bad}");
        assert!(candidate.bad[0].key.contains(r#"useful="a\"b\\c\nd""#), "{}", candidate.bad[0].key);
    }
}

#[tokio::test]
#[ignore = "needs a prometheus"]
async fn custom_queries_give_one_number_or_the_reason_why_not() {
    let bench = Bench::start("queries").await;
    bench.export("confidence{revision=\"new\"} 0.75\nconfidence{revision=\"old\"} 0.5\nnothing{revision=\"new\"} NaN\n");
    bench.expect("avg(confidence{revision=\"$revision\"})", Ok(0.75)).await;
    for (query, want) in [
        ("confidence{revision=\"$service\"}", Ok(0.75)),
        ("max(confidence{revision=~\"$revision|old\"}) * 4", Ok(3.0)),
        ("scalar(count(confidence))", Ok(2.0)),
        ("2 ^ 3", Ok(8.0)),
        ("label_replace(confidence{revision=\"new\"}, \"a\", \"$1\", \"revision\", \"(.*)\")", Ok(0.75)),
        ("confidence", Err("SeveralSeries")),
        ("confidence{revision=\"$namespace\"}", Err("NoData")),
        ("confidence > 1", Err("NoData")),
        ("nothing", Err("NotANumber")),
        ("avg(nothing{revision=\"$revision\"})", Err("NotANumber")),
        ("0 / 0", Err("NotANumber")),
        ("1 / 0", Err("NotANumber")),
        ("-1 / 0", Err("NotANumber")),
        ("scalar(confidence)", Err("NotANumber")),
        ("confidence[1m]", Err("BadQuestion")),
        ("\"text\"", Err("BadQuestion")),
        ("confidence{", Err("BadQuestion")),
        // Only Prometheus itself can know these: many-to-many, and a bad regular expression in a function.
        ("confidence * on() confidence", Err("HttpStatus")),
        ("label_replace(confidence, \"a\", \"b\", \"c\", \"(\")", Err("HttpStatus")),
        ("confidence{revision=~\"(?<=a)\"}", Err("BadQuestion")),
    ] {
        bench.expect(query, want).await;
    }
    // The evaluation is at the moment that the question names.
    let question = Question {
        provider: "default".to_owned(),
        namespace: "ml".to_owned(),
        candidate: "new".to_owned(),
        stable: None,
        indicator: Indicator::Query { query: "time()".to_owned() },
        from: bench.began,
        until: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
    };
    assert_eq!(
        ask(&bench.transport, &provider(), &question).await.unwrap(),
        Answer::Value(1_700_000_000.123)
    );
}

#[tokio::test]
#[ignore = "needs a prometheus"]
async fn a_span_that_is_too_large_for_one_answer_comes_whole() {
    let bench = Bench::start("pieces").await;
    let mut text = "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"ml_new_80\"} 9\n".to_owned();
    for edge in 1..=2000 {
        let _ = writeln!(
            text,
            "envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name=\"ml_new_80\",le=\"{edge}\"}} 9"
        );
    }
    bench.export(&text);
    let latency = Indicator::Latency { below: Length::from_millis(300) };
    let complete = |new: &Counters| new.within.iter().all(|(_, series)| series[0].samples.len() >= 24);
    let (candidate, _) = bench.counters(latency, |new, _| new.within.len() == 2000 && complete(new)).await;
    for (edge, series) in &candidate.within {
        let times: Vec<_> = series[0].samples.iter().map(|(at, _)| *at).collect();
        let most = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        assert!(most < 3 * SCRAPE.millis() && series.len() == 1, "a gap of {most} ms at {edge}");
    }
    let bytes = candidate.within.iter().flat_map(|(_, series)| &series[0].samples).count() * 20;
    assert!(bytes > MAX_BODY / 2, "the answer was not large enough to prove anything: {bytes}");
}
