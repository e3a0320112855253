//! The generated route as a reader of weights sees it.

use std::collections::BTreeMap;

use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

/// An HTTPRoute's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Its generation: grows with every change of its spec.
    pub generation: i64,
    /// Weight by version, as its `x-model-version` header names it; by Service where there is no such header.
    pub weights: BTreeMap<String, i64>,
    /// Weight by Service, which is also the revision.
    pub revisions: BTreeMap<String, i64>,
}

impl Route {
    /// Reads an HTTPRoute.
    pub fn of(object: &DynamicObject) -> Self {
        let (mut weights, mut revisions) = (BTreeMap::new(), BTreeMap::new());
        let rules = object.data["spec"]["rules"].as_array();
        // One rule is for the traffic; another one, which no caller matches, only names revisions.
        let idle = |rule: &&Value| rule.to_string().contains("x-seatrial-idle");
        let traffic = rules.into_iter().flatten().find(|rule| !idle(rule));
        let backends = traffic.and_then(|r| r["backendRefs"].as_array());
        for backend in backends.into_iter().flatten() {
            let weight = backend["weight"].as_i64().unwrap_or(1);
            let service = backend["name"].as_str().unwrap_or_default().to_owned();
            *weights.entry(version(backend).unwrap_or_else(|| service.clone())).or_default() += weight;
            *revisions.entry(service).or_default() += weight;
        }
        Self {
            name: object.name_any(),
            generation: object.metadata.generation.unwrap_or(0),
            weights,
            revisions,
        }
    }

    /// The weight of a version out of 10 000; 0 when it is not listed.
    pub fn weight(&self, version: &str) -> i64 {
        self.weights.get(version).copied().unwrap_or(0)
    }

    /// Whether this version has all of it, and nothing else is listed.
    pub fn is_only(&self, version: &str) -> bool {
        self.weights.len() == 1 && self.weight(version) == 10_000
    }
}

fn version(backend: &Value) -> Option<String> {
    let filters = backend["filters"].as_array()?;
    filters
        .iter()
        .filter_map(|f| f["responseHeaderModifier"]["set"].as_array())
        .flatten()
        .find(|h| h["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case("x-model-version")))
        .and_then(|h| h["value"].as_str())
        .map(str::to_owned)
}
