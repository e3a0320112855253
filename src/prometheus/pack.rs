//! Metric packs: for a data plane or a model server, which counters hold requests, errors and durations per revision.
//!
//! A pack is data (`packs/*.yaml`). A new data plane is a new file and one line in [`PACKS`].

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Refused, promql::Selector};

/// Every pack by the name that `providers.<name>.metrics` gives it.
pub const PACKS: [(&str, &str); 6] = [
    ("contour", include_str!("packs/contour.yaml")),
    ("envoy-gateway", include_str!("packs/envoy-gateway.yaml")),
    ("envoy-mesh", include_str!("packs/envoy-mesh.yaml")),
    ("istio", include_str!("packs/istio.yaml")),
    ("linkerd", include_str!("packs/linkerd.yaml")),
    ("pods", include_str!("packs/pods.yaml")),
];

/// The counters of one data plane or model server.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// Labels that bind a series to a revision: name → value. `{namespace}` and `{revision}` in a value and
    /// `{revisionLabel}` as a name are filled in. Exactly one value holds `{revision}`.
    pub labels: BTreeMap<String, String>,
    /// Requests and server errors.
    pub errors: ErrorCounters,
    /// Durations; `None` where the data plane has no histogram.
    pub latency: Option<LatencyCounters>,
}

/// The counters of all requests and of those that ended in a server error.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorCounters {
    /// All requests.
    pub total: Selector,
    /// Server errors; a part of `total`.
    pub bad: Selector,
}

/// A classic histogram of durations.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyCounters {
    /// All requests that have a duration: the histogram's own count, so that it always fits the buckets.
    pub total: Selector,
    /// The buckets, told apart by the label `le`.
    pub buckets: Selector,
    /// Unit of `le`.
    pub unit: Unit,
}

/// Unit of a histogram's bucket edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Envoy, Istio, Linkerd.
    Milliseconds,
    /// What Prometheus recommends.
    Seconds,
}

impl Unit {
    /// A bucket edge in seconds.
    #[must_use]
    pub fn seconds(self, edge: f64) -> f64 {
        match self {
            Self::Milliseconds => edge / 1000.0,
            Self::Seconds => edge,
        }
    }
}

impl Pack {
    /// The pack of this name.
    ///
    /// # Errors
    /// There is none of this name; the message lists those that exist.
    pub fn named(name: &str) -> Result<Self, Refused> {
        let Some((_, yaml)) = PACKS.iter().find(|(known, _)| *known == name) else {
            let names = PACKS.map(|(name, _)| name).join(", ");
            return Err(Refused::new(
                "metrics",
                format!("is {name:?}, which is no metric pack: write one of {names}"),
            ));
        };
        Self::parse(yaml)
            .map_err(|why| Refused::new("metrics", format!("names the broken pack {name:?}: {why}")))
    }

    /// Reads a pack from YAML.
    ///
    /// # Errors
    /// Text for a developer: a field is unknown or missing, a selector does not parse, or not exactly one label holds
    /// the revision.
    pub fn parse(yaml: &str) -> Result<Self, String> {
        let wire: Wire = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        let holders = wire.labels.values().filter(|value| value.contains("{revision}")).count();
        if holders != 1 {
            return Err(format!("{holders} labels hold {{revision}}, must be 1"));
        }
        let latency = wire.latency.map(|latency| -> Result<_, String> {
            Ok(LatencyCounters {
                total: Selector::parse(&latency.total)?,
                buckets: Selector::parse(&latency.buckets)?,
                unit: latency.unit,
            })
        });
        Ok(Self {
            labels: wire.labels,
            errors: ErrorCounters {
                total: Selector::parse(&wire.errors.total)?,
                bad: Selector::parse(&wire.errors.bad)?,
            },
            latency: latency.transpose()?,
        })
    }
}

/// A pack as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    labels: BTreeMap<String, String>,
    errors: WireErrors,
    latency: Option<WireLatency>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireErrors {
    total: String,
    bad: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLatency {
    total: String,
    buckets: String,
    unit: Unit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pack_reads_and_has_errors_and_latency() {
        for (name, _) in PACKS {
            let pack = Pack::named(name).unwrap_or_else(|why| panic!("{why}"));
            let latency = pack.latency.unwrap();
            assert_ne!(pack.errors.total, pack.errors.bad, "{name}");
            assert!(latency.buckets.name().unwrap().ends_with("_bucket"), "{name}");
            assert_eq!(
                latency.total.name().unwrap().strip_suffix("_count"),
                latency.buckets.name().unwrap().strip_suffix("_bucket"),
                "{name}: the total must be the histogram's own"
            );
        }
    }

    #[test]
    fn an_unknown_pack_is_refused_with_the_names_that_exist() {
        let refused = Pack::named("nginx").unwrap_err().to_string();
        assert!(refused.contains("contour, envoy-gateway, envoy-mesh, istio, linkerd, pods"), "{refused}");
    }

    #[test]
    fn a_pack_that_cannot_tell_revisions_apart_is_refused() {
        let yaml = "labels: {namespace: '{namespace}'}\nerrors: {total: a, bad: b}";
        assert!(Pack::parse(yaml).unwrap_err().contains("0 labels hold {revision}"));
    }

    #[test]
    fn a_pack_with_an_unknown_field_or_a_function_is_refused() {
        let head = "labels: {r: '{revision}'}\n";
        Pack::parse(&format!("{head}errors: {{total: a, bad: b}}")).unwrap();
        Pack::parse(&format!("{head}errors: {{total: a, bad: b, good: c}}")).unwrap_err();
        Pack::parse(&format!("{head}errors: {{total: 'rate(a[1m])', bad: b}}")).unwrap_err();
    }
}
