//! What Prometheus may know about the operator itself. Names begin with `seatrial_`; labels are bounded by what is configured
//! (providers) and by what exists (models), and a model's series go with the model.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, text},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::api::v1alpha1::{Outcome, Percent, Phase, VerdictWord};

/// The operator's metrics. Clones count into the same series.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    reconcile_duration: Histogram,
    rollouts: Family<Rollout, Counter>,
    answer_to_route: Histogram,
    prometheus_requests: Family<Asked, Counter>,
    leader: Gauge,
    models: Models,
}

/// What is shown of one model while it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSeries {
    /// Its phase.
    pub phase: Phase,
    /// The share of the traffic that its candidate gets; zero without a candidate.
    pub candidate_weight: Percent,
    /// The last verdict on each SLO, by the SLO's name.
    pub verdicts: BTreeMap<String, VerdictWord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rollout {
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    provider: String,
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All series, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut series = Series {
            registry: Registry::with_prefix("seatrial"),
            reconciles: Family::default(),
            reconcile_duration: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
            ]),
            rollouts: Family::default(),
            answer_to_route: Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]),
            prometheus_requests: Family::default(),
            leader: Gauge::default(),
            models: Models::default(),
        };
        series.register();
        Self(Arc::new(series))
    }

    /// A reconcile of `kind` ended, well or not, after `took`.
    pub fn reconciled(&self, kind: &'static str, well: bool, took: Duration) {
        let result = if well { "ok" } else { "error" };
        self.0.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.0.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A candidate's trial ended.
    pub fn rollout_ended(&self, outcome: Outcome) {
        // The names of the variants are the words of the API.
        self.0.rollouts.get_or_create(&Rollout { outcome: format!("{outcome:?}") }).inc();
    }

    /// A breach was acted on: from the Prometheus answer that completed the proof to the route being written.
    pub fn routed_after_answer(&self, took: Duration) {
        self.0.answer_to_route.observe(took.as_secs_f64());
    }

    /// `provider`, which must be one of the configuration, was asked and answered, or not for `reason`.
    pub fn asked(&self, provider: &str, answer: Result<(), &'static str>) {
        let result = answer.err().unwrap_or("ok");
        self.0.prometheus_requests.get_or_create(&Asked { provider: provider.to_owned(), result }).inc();
    }

    /// Whether this process leads at the moment.
    pub fn leads(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// Shows a model as it is now. What was shown of it before is gone.
    pub fn show(&self, namespace: &str, name: &str, model: ModelSeries) {
        self.0.models.lock().insert((namespace.to_owned(), name.to_owned()), model);
    }

    /// The model does not exist any more: none of its series is left.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.0.models.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Everything as `OpenMetrics` text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.0.registry) {
            // Writing to a string does not fail; a metric that cannot be encoded must not take the process with it.
            tracing::error!(%error, "cannot encode the metrics");
        }
        text
    }
}

impl Series {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("reconciles", "Reconciles by kind and result (ok, error)", self.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciles take",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register("rollouts", "Trials of candidates that ended, by outcome", self.rollouts.clone());
        registry.register_with_unit(
            "answer_to_route",
            "From the Prometheus answer that completes the proof of a breach to the written route",
            Unit::Seconds,
            self.answer_to_route.clone(),
        );
        registry.register(
            "prometheus_requests",
            "Questions to Prometheus by provider and result (ok, or why there is no answer)",
            self.prometheus_requests.clone(),
        );
        registry.register("leader", "1 while this replica leads", self.leader.clone());
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "What is running", Info::new(version.to_vec()));
        registry.register_collector(Box::new(self.models.clone()));
    }
}

/// The models by namespace and name. A collector instead of label families: an object is replaced or removed as a whole.
#[derive(Clone, Default)]
struct Models(Arc<Mutex<BTreeMap<(String, String), ModelSeries>>>);

impl Models {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), ModelSeries>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} models", self.lock().len())
    }
}

impl Collector for Models {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let models = self.lock();
        let help = "1 for the phase that the model is in";
        let mut phase = encoder.encode_descriptor("model_phase", help, None, MetricType::Gauge)?;
        for ((namespace, name), model) in &*models {
            let word = format!("{:?}", model.phase);
            let labels = [("namespace", namespace.as_str()), ("name", name), ("phase", &word)];
            phase.encode_family(&labels)?.encode_gauge(&1_i64)?;
        }
        let help = "The share of the traffic that the candidate gets";
        let mut weight =
            encoder.encode_descriptor("candidate_weight_ratio", help, None, MetricType::Gauge)?;
        for ((namespace, name), model) in &*models {
            let labels = [("namespace", namespace.as_str()), ("name", name)];
            weight.encode_family(&labels)?.encode_gauge(&model.candidate_weight.fraction())?;
        }
        let help = "1 for the last verdict on the SLO";
        let mut verdicts = encoder.encode_descriptor("slo_verdict", help, None, MetricType::Gauge)?;
        for ((namespace, name), model) in &*models {
            for (slo, verdict) in &model.verdicts {
                let word = format!("{verdict:?}");
                let labels =
                    [("namespace", namespace.as_str()), ("name", name), ("slo", slo), ("verdict", &word)];
                verdicts.encode_family(&labels)?.encode_gauge(&1_i64)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iris(phase: Phase, verdict: VerdictWord) -> ModelSeries {
        ModelSeries {
            phase,
            candidate_weight: "25%".parse().unwrap(),
            verdicts: [("availability".to_owned(), verdict)].into(),
        }
    }

    #[test]
    fn everything_is_named_as_dashboards_and_alerts_expect() {
        let metrics = Metrics::new();
        metrics.reconciled("TrafficSplit", true, Duration::from_millis(3));
        metrics.reconciled("TrafficSplit", false, Duration::from_secs(7));
        metrics.rollout_ended(Outcome::RolledBack);
        metrics.routed_after_answer(Duration::from_millis(40));
        metrics.asked("default", Ok(()));
        metrics.asked("default", Err("Timeout"));
        metrics.leads(true);
        metrics.show("ml", "iris", iris(Phase::Progressing, VerdictWord::Undecided));
        let text = metrics.encode();
        for line in [
            r#"seatrial_reconciles_total{kind="TrafficSplit",result="ok"} 1"#,
            r#"seatrial_reconciles_total{kind="TrafficSplit",result="error"} 1"#,
            r#"seatrial_reconcile_duration_seconds_bucket{le="5.0"} 1"#,
            "seatrial_reconcile_duration_seconds_count 2",
            r#"seatrial_rollouts_total{outcome="RolledBack"} 1"#,
            r#"seatrial_answer_to_route_seconds_bucket{le="0.025"} 0"#,
            r#"seatrial_answer_to_route_seconds_bucket{le="0.05"} 1"#,
            r#"seatrial_prometheus_requests_total{provider="default",result="ok"} 1"#,
            r#"seatrial_prometheus_requests_total{provider="default",result="Timeout"} 1"#,
            "seatrial_leader 1",
            concat!(r#"seatrial_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
            r#"seatrial_model_phase{namespace="ml",name="iris",phase="Progressing"} 1"#,
            r#"seatrial_candidate_weight_ratio{namespace="ml",name="iris"} 0.25"#,
            r#"seatrial_slo_verdict{namespace="ml",name="iris",slo="availability",verdict="Undecided"} 1"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_model_has_one_phase_and_one_verdict_on_an_slo() {
        let metrics = Metrics::new();
        metrics.show("ml", "iris", iris(Phase::Progressing, VerdictWord::Undecided));
        metrics.show("ml", "iris", iris(Phase::RollingBack, VerdictWord::Fail));
        let text = metrics.encode();
        assert_eq!(text.matches("seatrial_model_phase{").count(), 1, "{text}");
        assert!(text.contains(r#"phase="RollingBack""#));
        assert_eq!(text.matches("seatrial_slo_verdict{").count(), 1, "{text}");
        assert!(text.contains(r#"verdict="Fail""#));
    }

    #[test]
    fn the_series_of_a_model_go_with_it_and_only_those() {
        let metrics = Metrics::new();
        metrics.show("ml", "iris", iris(Phase::Stable, VerdictWord::Pass));
        metrics.show("ml", "wine", iris(Phase::Stable, VerdictWord::Pass));
        metrics.forget("ml", "iris");
        let text = metrics.encode();
        assert!(!text.contains("iris") && text.contains("wine"), "{text}");
    }
}
