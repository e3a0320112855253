//! Shares → `HTTPRoute`, and whether a live one still says the same.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Serialize;

use super::{
    BackendRef, Filter, HTTPRoute, HTTPRouteSpec, Header, HeaderModifier, Match, NamedMatch, ParentReference,
    PathValue, Rule, RuleTimeouts, Share, http_route::GATEWAY_GROUP, observe::is_idle,
};
use crate::{
    api::v1alpha1::{ParentRef, RouteMatch, Timeouts, TrafficSplit},
    mutant::{Mutant, on},
};

/// The port of a revision's Service that HTTP routes send to.
const HTTP_PORT: i32 = 80;
/// The response header that says which version answered.
const VERSION_HEADER: &str = "x-model-version";

/// The header of the idle rule; its value is the `TrafficSplit`'s uid, which callers do not know.
pub(super) const IDLE_HEADER: &str = "x-seatrial-idle";

/// The route of `split` with these shares, all defaults of the API written out; `None` without any (a route to nobody
/// would answer 500 where a missing one lets another route match).
///
/// One rule for the traffic, where a share of 0 is left out. Revisions with a share of 0 stand in a second rule, which
/// no caller's request matches: the data plane knows them before they get weight, and until they have none any more.
/// Otherwise the first requests to a new revision fail where routes and clusters reach a proxy in any order (Envoy
/// answers 503 while it waits for the endpoints of a cluster that a route names already).
#[must_use]
pub fn render(split: &TrafficSplit, shares: &[Share]) -> Option<HTTPRoute> {
    let asked = &split.spec.route.http_route;
    let rules: Vec<Rule> =
        [traffic_rule(split, shares), idle_rule(split, shares)].into_iter().flatten().collect();
    if rules.is_empty() {
        return None;
    }
    Some(HTTPRoute {
        metadata: metadata(split),
        spec: HTTPRouteSpec {
            parent_refs: asked.parent_refs.iter().map(parent).collect(),
            hostnames: asked.hostnames.clone(),
            rules,
        },
        status: None,
    })
}

/// The route's parents and hosts, and what its traffic is, as they live; only the weights are ours to change now. A route that
/// carries no traffic yet has only the idle rule: what its traffic will be is what the spec says.
pub fn keep_parents(desired: &mut HTTPRoute, live: &HTTPRoute) {
    desired.spec.parent_refs.clone_from(&live.spec.parent_refs);
    desired.spec.hostnames.clone_from(&live.spec.hostnames);
    let ours = desired.spec.rules.iter_mut().find(|rule| !is_idle(rule));
    let theirs = live.spec.rules.iter().find(|rule| !is_idle(rule));
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        ours.matches.clone_from(&theirs.matches);
        ours.timeouts.clone_from(&theirs.timeouts);
    }
}

/// Whether `live` says exactly what `desired` says: nothing of ours is missing, and nobody added a rule, a filter, a
/// match or a backend. Fields of the API that this release does not know are no difference.
#[must_use]
pub fn in_sync(live: &HTTPRoute, desired: &HTTPRoute) -> bool {
    let (ours, theirs) = (&desired.metadata, &live.metadata);
    live.spec == desired.spec
        && ours
            .labels
            .iter()
            .flatten()
            .all(|(key, value)| theirs.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value))
        && ours
            .owner_references
            .iter()
            .flatten()
            .all(|owner| theirs.owner_references.iter().flatten().any(|o| o == owner))
}

fn metadata(split: &TrafficSplit) -> ObjectMeta {
    let owner =
        OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner_reference(split) };
    ObjectMeta {
        name: split.metadata.name.clone(),
        namespace: split.metadata.namespace.clone(),
        labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "seatrial".to_owned())])),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Names `split` as an owner beside the controlling one: what its route names stays while it is there.
#[must_use]
pub fn owner_reference(split: &TrafficSplit) -> OwnerReference {
    OwnerReference {
        api_version: TrafficSplit::api_version(&()).into_owned(),
        kind: TrafficSplit::kind(&()).into_owned(),
        name: split.metadata.name.clone().unwrap_or_default(),
        uid: split.metadata.uid.clone().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    }
}

/// For a Service the user may leave out the group; the Gateway API's own default would be a Gateway's.
pub(super) fn parent(given: &ParentRef) -> ParentReference {
    let core = given.kind == "Service" && given.group == GATEWAY_GROUP;
    ParentReference {
        group: if core { String::new() } else { given.group.clone() },
        kind: given.kind.clone(),
        namespace: given.namespace.clone(),
        name: given.name.clone(),
        section_name: given.section_name.clone(),
        port: given.port,
    }
}

/// The rule for the traffic; none while nobody has any.
fn traffic_rule(split: &TrafficSplit, shares: &[Share]) -> Option<Rule> {
    let asked = &split.spec.route.http_route;
    let listed = |share: &&Share| share.weight > 0 || on(Mutant::ZeroWeightListed);
    let backend_refs: Vec<BackendRef> = shares.iter().filter(listed).map(backend_ref).collect();
    let matches = match &asked.matches[..] {
        [] => vec![Match::default()],
        given => given.iter().map(route_match).collect(),
    };
    let timeouts = asked.timeouts.as_ref().and_then(timeouts);
    (!backend_refs.is_empty()).then(|| Rule { matches, backend_refs, timeouts, ..Rule::default() })
}

fn idle_rule(split: &TrafficSplit, shares: &[Share]) -> Option<Rule> {
    let idle: Vec<BackendRef> = shares
        .iter()
        .filter(|share| share.weight <= 0)
        .map(|share| BackendRef { weight: 1, ..backend_ref(share) })
        .collect();
    let uid = split.metadata.uid.clone().unwrap_or_default();
    let matched = Match { headers: vec![named("Exact".to_owned(), IDLE_HEADER, &uid)], ..Match::default() };
    (!idle.is_empty()).then(|| Rule { matches: vec![matched], backend_refs: idle, ..Rule::default() })
}

fn backend_ref(share: &Share) -> BackendRef {
    let version = if share.version.is_empty() { &share.revision } else { &share.version };
    let header = Header { name: VERSION_HEADER.to_owned(), value: version.clone() };
    BackendRef {
        group: String::new(),
        kind: "Service".to_owned(),
        name: share.revision.clone(),
        namespace: None,
        port: Some(HTTP_PORT),
        weight: share.weight,
        filters: vec![Filter {
            kind: "ResponseHeaderModifier".to_owned(),
            response_header_modifier: Some(HeaderModifier { set: vec![header], ..HeaderModifier::default() }),
        }],
    }
}

fn route_match(given: &RouteMatch) -> Match {
    let path =
        given.path.as_ref().map(|path| PathValue { kind: word(&path.kind), value: path.value.clone() });
    let headers = given.headers.iter().map(|h| named(word(&h.kind), &h.name, &h.value));
    let query_params = given.query_params.iter().map(|q| named(word(&q.kind), &q.name, &q.value));
    Match {
        path: path.unwrap_or_default(),
        headers: headers.collect(),
        query_params: query_params.collect(),
        method: given.method.as_ref().map(word),
    }
}

fn named(kind: String, name: &str, value: &str) -> NamedMatch {
    NamedMatch { kind, name: name.to_owned(), value: value.to_owned() }
}

/// An enum of the API as the word that it is on the wire.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).unwrap_or_default().as_str().unwrap_or_default().to_owned()
}

fn timeouts(given: &Timeouts) -> Option<RuleTimeouts> {
    let text = |duration: &crate::api::v1alpha1::Duration| duration.to_string();
    let rendered = RuleTimeouts {
        request: given.request.as_ref().map(text),
        backend_request: given.backend_request.as_ref().map(text),
    };
    (rendered != RuleTimeouts::default()).then_some(rendered)
}
