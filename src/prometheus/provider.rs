//! A provider: a metric pack with the operator's settings for one Prometheus. Its address is not here: users name a
//! provider, and only the operator's configuration knows where it is (`client::Endpoint`).

use std::collections::BTreeMap;

use super::{Refused, pack::Pack, promql::is_label_name};
use crate::api::v1alpha1::Duration;

/// The label that holds the namespace in metrics of pods, as every common scrape configuration sets it.
pub const NAMESPACE_LABEL: &str = "namespace";

/// The label that holds the revision in metrics of pods, unless `revisionLabel` says otherwise.
pub const DEFAULT_REVISION_LABEL: &str = "revision";

/// What the operator's configuration says about how one Prometheus is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of a metric pack: `contour`, `envoy-gateway`, `envoy-mesh`, `istio`, `linkerd` or `pods`.
    pub metrics: String,
    /// Label that holds the revision in metrics of the pods themselves (pack `pods`, SLOs with `ratio`).
    /// Default `revision`.
    pub revision_label: Option<String>,
    /// How often that Prometheus scrapes.
    pub scrape_interval: Duration,
    /// How long a written route may take until every proxy follows it.
    pub propagation: Duration,
}

/// One Prometheus, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    name: String,
    pack: Pack,
    revision_label: String,
    scrape_interval: Duration,
    propagation: Duration,
}

impl Provider {
    /// The provider of this name.
    ///
    /// # Errors
    /// A setting cannot be used: an unknown pack, a label that is no label's name, a scrape interval outside
    /// 1 ms..=10 m, a propagation outside 0..=1 h.
    pub fn new(name: &str, settings: &Settings) -> Result<Self, Refused> {
        let revision_label = settings.revision_label.as_deref().unwrap_or(DEFAULT_REVISION_LABEL);
        if !is_label_name(revision_label) || [NAMESPACE_LABEL, "__name__", "le"].contains(&revision_label) {
            return Err(Refused::new(
                "revisionLabel",
                format!(
                    "is {revision_label:?}: write the name of the label that holds the revision, for instance {DEFAULT_REVISION_LABEL}"
                ),
            ));
        }
        let (scrape, propagation) = (settings.scrape_interval.millis(), settings.propagation.millis());
        if !(1..=600_000).contains(&scrape) {
            return Err(Refused::new(
                "scrapeInterval",
                "must lie between 1ms and 10m: write for instance 15s",
            ));
        }
        if !(0..=3_600_000).contains(&propagation) {
            return Err(Refused::new("propagation", "must lie between 0s and 1h: write for instance 10s"));
        }
        Ok(Self {
            name: name.to_owned(),
            pack: Pack::named(&settings.metrics)?,
            revision_label: revision_label.to_owned(),
            scrape_interval: settings.scrape_interval,
            propagation: settings.propagation,
        })
    }

    /// The same provider with another pack, for tests.
    #[cfg(test)]
    pub(super) fn with_pack(self, pack: Pack) -> Self {
        Self { pack, ..self }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its metric pack.
    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// The label that holds the revision in metrics of pods.
    pub fn revision_label(&self) -> &str {
        &self.revision_label
    }

    /// How often it scrapes.
    pub fn scrape_interval(&self) -> Duration {
        self.scrape_interval
    }

    /// How long a written route may take until every proxy follows it.
    pub fn propagation(&self) -> Duration {
        self.propagation
    }

    /// The labels that bind the pack's series to a revision.
    #[must_use]
    pub fn pack_labels(&self, namespace: &str, revision: &str) -> BTreeMap<String, String> {
        let fill = |text: &str| text.replace("{namespace}", namespace).replace("{revision}", revision);
        let label = |name: &str| name.replace("{revisionLabel}", &self.revision_label);
        self.pack.labels.iter().map(|(name, value)| (label(name), fill(value))).collect()
    }

    /// The labels that bind a series of the model's own to a revision.
    #[must_use]
    pub fn pod_labels(&self, namespace: &str, revision: &str) -> BTreeMap<String, String> {
        [(NAMESPACE_LABEL, namespace), (&*self.revision_label, revision)]
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settings(metrics: &str) -> Settings {
        Settings {
            metrics: metrics.to_owned(),
            revision_label: None,
            scrape_interval: Duration::from_secs(15),
            propagation: Duration::from_secs(10),
        }
    }

    #[rstest]
    #[case("contour", "envoy_cluster_name=ml_iris-0a1b2c3d_80")]
    #[case("envoy-gateway", "envoy_cluster_name=service/ml/iris-0a1b2c3d/80")]
    #[case("envoy-mesh", "envoy_cluster_name=outbound|80||iris-0a1b2c3d.ml.svc.cluster.local")]
    #[case("istio", "destination_service_name=iris-0a1b2c3d destination_service_namespace=ml")]
    #[case("linkerd", "deployment=iris-0a1b2c3d namespace=ml")]
    #[case("pods", "namespace=ml revision=iris-0a1b2c3d")]
    fn a_pack_binds_its_series_to_a_revision(#[case] pack: &str, #[case] want: &str) {
        let provider = Provider::new("default", &settings(pack)).unwrap();
        let labels: Vec<_> = provider
            .pack_labels("ml", "iris-0a1b2c3d")
            .into_iter()
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        assert_eq!(labels.join(" "), want);
    }

    #[rstest]
    #[case("rev-ision")]
    #[case("")]
    #[case("namespace")]
    #[case("le")]
    #[case("a=\"\"} or x{")]
    fn a_revision_label_that_is_no_label_is_refused(#[case] label: &str) {
        let settings = Settings { revision_label: Some(label.to_owned()), ..settings("pods") };
        assert_eq!(Provider::new("default", &settings).unwrap_err().field, "revisionLabel");
    }

    #[rstest]
    #[case(0, 0, "scrapeInterval")]
    #[case(600_001, 0, "scrapeInterval")]
    #[case(1000, -1, "propagation")]
    fn times_out_of_range_are_refused(#[case] scrape: i64, #[case] propagation: i64, #[case] field: &str) {
        let settings = Settings {
            scrape_interval: Duration::from_millis(scrape),
            propagation: Duration::from_millis(propagation),
            ..settings("contour")
        };
        assert_eq!(Provider::new("default", &settings).unwrap_err().field, field);
    }
}
