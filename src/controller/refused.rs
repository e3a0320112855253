//! Why the spec of a `TrafficSplit` cannot be acted on, as far as its schema cannot see that.

use std::collections::BTreeSet;

use super::observe::Found;
use crate::{
    api::{
        conditions::{ACCEPTED, RESOLVED_REFS},
        v1alpha1::{Slo, TrafficSplit},
    },
    prometheus::{promql, provider::Provider},
    revision::Refusal,
};

/// What CEL cannot see: the provider, `PromQL`, the scrape interval.
pub fn refused(split: &TrafficSplit, provider: &Provider) -> Option<Refusal> {
    let analysis = &split.spec.analysis;
    let no = |reason, message| Some(Refusal { condition: ACCEPTED, reason, message });
    if analysis.interval < provider.scrape_interval() {
        let scrape = provider.scrape_interval();
        return no(
            "InvalidInterval",
            format!(
                "analysis.interval {} is shorter than the provider's scrape interval: write at least {scrape}",
                analysis.interval
            ),
        );
    }
    split.spec.slos.iter().find_map(|slo| {
        let wrong = promql::check(slo, provider.revision_label()).err()?;
        no("InvalidSlo", format!("slos[{}].{wrong}", slo.name))
    })
}

/// The SLOs of a refused spec that nobody can be asked about.
pub fn unaskable(split: &TrafficSplit, provider: Option<&Provider>) -> BTreeSet<String> {
    let askable = |slo: &&Slo| {
        provider.is_some_and(|provider| {
            split.spec.analysis.interval >= provider.scrape_interval()
                && promql::check(slo, provider.revision_label()).is_ok()
        })
    };
    split.spec.slos.iter().filter(|slo| !askable(slo)).map(|slo| slo.name.clone()).collect()
}

/// The provider that a spec names is not configured: which ones there are.
pub fn unknown_provider<'a>(name: &str, configured: impl Iterator<Item = &'a String>) -> Refusal {
    let names: Vec<_> = configured.map(|name| format!("{name:?}")).collect();
    let options = match &*names {
        [] => "the operator has no `providers` yet: add one to its Helm values".to_owned(),
        names => {
            format!("write one of {} or add it to the operator's `providers` (Helm values)", names.join(", "))
        }
    };
    let message = format!("analysis.provider {name:?} is not configured: {options}");
    Refusal { condition: ACCEPTED, reason: "UnknownProvider", message }
}

/// What a spec names and is not there: a model, a Gateway.
pub fn unresolved(found: &Found) -> Option<Refusal> {
    let no = |reason, message| Some(Refusal { condition: RESOLVED_REFS, reason, message });
    if let Some(name) = found.missing_models.first() {
        return no(
            "ModelDeploymentNotFound",
            format!(
                "backends names ModelDeployment {name:?}, which does not exist in this namespace: create it, or correct the name"
            ),
        );
    }
    let gateway = found.missing_gateways.first()?;
    no(
        "GatewayNotFound",
        format!(
            "parentRefs names Gateway {gateway}, which does not exist: create it, or correct name and namespace (kubectl get gateways -A)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{api::v1alpha1::Duration, prometheus::provider::Settings};

    #[rstest]
    #[case::all_is_well(Some(15), "15s", &[])]
    #[case::its_promql_does_not_parse(Some(15), "15s", &["confidence"])]
    #[case::the_interval_is_too_short(Some(15), "10s", &["availability", "confidence"])]
    #[case::nobody_knows_the_provider(None, "15s", &["availability", "confidence"])]
    fn a_refused_spec_is_judged_by_what_can_be_asked(
        #[case] scrape: Option<i64>,
        #[case] interval: &str,
        #[case] expected: &[&str],
    ) {
        let provider = scrape.map(|seconds| {
            let settings = Settings {
                metrics: "contour".to_owned(),
                revision_label: None,
                scrape_interval: Duration::from_secs(seconds),
                propagation: Duration::from_secs(10),
            };
            Provider::new("default", &settings).unwrap()
        });
        let query = if expected.is_empty() { "avg(model_confidence)" } else { "avg(model_confidence" };
        let spec = json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
            "backends": [{"modelDeploymentRef": {"name": "iris"}}],
            "slos": [{"name": "availability", "objective": "99%", "errors": {}},
                {"name": "confidence", "query": query, "threshold": {"min": "0.7"}}],
            "strategy": {"canary": {"steps": [{"weight": "10%"}]}},
            "analysis": {"interval": interval}
        });
        let split = TrafficSplit::new("iris", serde_json::from_value(spec).unwrap());
        let unaskable = unaskable(&split, provider.as_ref());
        assert!(unaskable.iter().eq(expected), "{unaskable:?}");
    }

    #[test]
    fn a_provider_that_nobody_configured_is_refused_with_the_names_to_choose_from() {
        let names = ["default".to_owned(), "eu".to_owned()];
        let refusal = unknown_provider("us", names.iter());
        assert_eq!(
            refusal.message,
            "analysis.provider \"us\" is not configured: write one of \"default\", \"eu\" or add it to the operator's \
             `providers` (Helm values)"
        );
        let none = unknown_provider("us", [].iter());
        assert!(none.message.contains("no `providers` yet"), "{}", none.message);
    }
}
