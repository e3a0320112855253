//! What a live route says, and what its parents say about it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{BackendRef, HTTPRoute, ParentReference, ParentStatus, Rule, render::IDLE_HEADER};
use crate::{
    api::conditions::truncate,
    mutant::{Mutant, on},
};

/// A live route as far as rollouts care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Its uid: one that was made anew begins at generation 1 again.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Weight of each Service in the rules for traffic; of one that is named twice, the sum.
    pub shares: BTreeMap<String, i32>,
    /// Services that it names without giving them traffic: the data plane knows them.
    pub idle: BTreeSet<String>,
    /// Whether all parents have taken this generation over.
    pub acceptance: Acceptance,
}

impl RouteView {
    /// Whether a parent refuses it, and is not only silent about it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.acceptance, Acceptance::Refused { .. })
    }
}

/// Whether every parent has taken over the present generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Each reports `Accepted` and `ResolvedRefs` true at this generation.
    Accepted,
    /// The first that has not said a word about this generation.
    Pending {
        /// For people: `Gateway infra/public`.
        parent: String,
    },
    /// The first that says no.
    Refused {
        /// For people: `Gateway infra/public`.
        parent: String,
        /// Reason of the condition.
        reason: String,
        /// Its message, at most 512 bytes.
        message: String,
    },
}

/// The models whose revisions a route names, with and without traffic.
pub fn models(route: &HTTPRoute) -> BTreeSet<String> {
    let named = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs);
    named.filter_map(|backend| backend.name.rsplit_once('-')).map(|(model, _)| model.to_owned()).collect()
}

/// Reads a live route. A refusal by any parent counts before silence of another.
#[must_use]
pub fn observe(live: &HTTPRoute) -> RouteView {
    let generation = live.metadata.generation.unwrap_or(0);
    let awaited = if on(Mutant::StaleAcceptance) { 0 } else { generation };
    let mut shares = BTreeMap::new();
    for backend in traffic(live) {
        let weight: &mut i32 = shares.entry(backend.name.clone()).or_default();
        *weight = weight.saturating_add(backend.weight);
    }
    let namespace = live.metadata.namespace.as_deref().unwrap_or_default();
    let reported: &[ParentStatus] = live.status.as_ref().map_or(&[], |status| &status.parents);
    let words: Vec<Acceptance> =
        live.spec.parent_refs.iter().map(|parent| of_parent(parent, reported, namespace, awaited)).collect();
    let refused = words.iter().find(|word| matches!(word, Acceptance::Refused { .. }));
    let pending = words.iter().find(|word| matches!(word, Acceptance::Pending { .. }));
    let acceptance = refused.or(pending).cloned().unwrap_or_else(|| match live.spec.parent_refs[..] {
        [] => Acceptance::Pending { parent: "any parent".to_owned() },
        _ => Acceptance::Accepted,
    });
    let idle = live.spec.rules.iter().filter(|rule| is_idle(rule));
    let idle = idle.flat_map(|rule| &rule.backend_refs).map(|b| b.name.clone());
    let uid = live.metadata.uid.clone().unwrap_or_default();
    RouteView { uid, generation, shares, idle: idle.collect(), acceptance }
}

/// What a route sends traffic to.
pub fn traffic(live: &HTTPRoute) -> impl Iterator<Item = &BackendRef> {
    live.spec.rules.iter().filter(|rule| !is_idle(rule)).flat_map(|rule| &rule.backend_refs)
}

pub(super) fn is_idle(rule: &Rule) -> bool {
    rule.matches.iter().flat_map(|m| &m.headers).any(|h| h.name == IDLE_HEADER)
}

/// All controllers that report on this parent must agree, and at least one must report.
fn of_parent(
    parent: &ParentReference,
    reported: &[ParentStatus],
    namespace: &str,
    generation: i64,
) -> Acceptance {
    let name = display(parent, namespace);
    let entries: Vec<&ParentStatus> = reported
        .iter()
        .filter(|entry| resolved(&entry.parent_ref, namespace) == resolved(parent, namespace))
        .collect();
    let conditions = |entry: &&ParentStatus| entry.conditions.clone();
    let current: Vec<Condition> = entries
        .iter()
        .flat_map(conditions)
        .filter(|condition| condition.observed_generation.unwrap_or(0) >= generation)
        .collect();
    let refusal = current.iter().find(|condition| match condition.type_.as_str() {
        "Accepted" | "ResolvedRefs" => condition.status == "False",
        "PartiallyInvalid" => condition.status == "True",
        _ => false,
    });
    if let Some(condition) = refusal {
        let mut message = condition.message.clone();
        truncate(&mut message, 512);
        return Acceptance::Refused { parent: name, reason: condition.reason.clone(), message };
    }
    let says_yes = |entry: &&ParentStatus, kind: &str| {
        let holds = |c: &Condition| {
            c.type_ == kind && c.status == "True" && c.observed_generation.unwrap_or(0) >= generation
        };
        entry.conditions.iter().any(holds)
    };
    let all = entries.iter().all(|entry| says_yes(entry, "Accepted") && says_yes(entry, "ResolvedRefs"));
    if (all && !entries.is_empty()) || on(Mutant::AcceptanceNotAwaited) {
        Acceptance::Accepted
    } else {
        Acceptance::Pending { parent: name }
    }
}

/// The same parent, however its namespace and a Service's group are written.
fn resolved(parent: &ParentReference, namespace: &str) -> ParentReference {
    ParentReference {
        namespace: Some(parent.namespace.clone().unwrap_or_else(|| namespace.to_owned())),
        group: if parent.kind == "Service" { String::new() } else { parent.group.clone() },
        ..parent.clone()
    }
}

fn display(parent: &ParentReference, namespace: &str) -> String {
    let namespace = parent.namespace.as_deref().unwrap_or(namespace);
    let listener = parent.section_name.as_ref().map(|name| format!(" (listener {name})")).unwrap_or_default();
    format!("{} {namespace}/{}{listener}", parent.kind, parent.name)
}
