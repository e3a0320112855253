//! The parts of the Gateway API's `HTTPRoute` (Standard channel) that we write, and those that we read to see whether
//! someone else changed what we wrote. Fields that are not here are ignored when read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an `HTTPRoute` asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    status = "HTTPRouteStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct HTTPRouteSpec {
    /// Gateways or Services that the route hangs on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Host names; none: all. Written also when empty: what we do not own, our apply could not take back from an editor.
    pub hostnames: Vec<String>,
    /// Ours has exactly one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// A Gateway or a Service. Absent group and kind mean a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// API group; empty for a Service.
    #[serde(default = "gateway_group")]
    pub group: String,
    /// `Gateway` or `Service`.
    #[serde(default = "gateway_kind")]
    pub kind: String,
    /// Absent: the route's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// A listener. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// A port. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// Which requests go where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Alternatives; a request must match one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    /// Never written by us: seen here, somebody edited the route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Value>,
    /// Who answers, and with what share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<BackendRef>,
    /// Time limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RuleTimeouts>,
    /// Never written by us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Value>,
    /// Never written by us: it would override the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Value>,
}

/// One alternative: all given parts must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Match {
    /// The path; absent on read means every path.
    pub path: PathValue,
    /// Request headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedMatch>,
    /// Query parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<NamedMatch>,
    /// HTTP method; absent: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// A path and how it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathValue {
    /// `PathPrefix`, `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path.
    pub value: String,
}

impl Default for PathValue {
    fn default() -> Self {
        Self { kind: "PathPrefix".to_owned(), value: "/".to_owned() }
    }
}

/// A header or query parameter and how it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedMatch {
    /// `Exact` or `RegularExpression`.
    #[serde(rename = "type", default = "exact")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A Service with its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// Empty: core.
    #[serde(default)]
    pub group: String,
    /// `Service`.
    #[serde(default = "service_kind")]
    pub kind: String,
    /// Its name; ours is the revision's.
    pub name: String,
    /// Never written by us: absent means the route's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Its share of the sum of all weights.
    #[serde(default = "one")]
    pub weight: i32,
    /// What is done to requests and answers of this backend alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
}

/// A filter of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Ours: `ResponseHeaderModifier`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Headers of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HeaderModifier>,
}

/// Changes to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Replaced or added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Header>,
    /// Never written by us.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Header>,
    /// Never written by us.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Time limits of a rule, as GEP-2257 durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleTimeouts {
    /// For the whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// For one try at a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<String>,
}

/// What the parents' controllers say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HTTPRouteStatus {
    /// One entry for each parent and controller.
    pub parents: Vec<ParentStatus>,
}

/// What one controller says about one parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parent.
    pub parent_ref: ParentReference,
    /// The controller.
    #[serde(default)]
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs`, …
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// API group of Gateways.
pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

fn gateway_group() -> String {
    GATEWAY_GROUP.to_owned()
}

fn gateway_kind() -> String {
    "Gateway".to_owned()
}

fn service_kind() -> String {
    "Service".to_owned()
}

fn exact() -> String {
    "Exact".to_owned()
}

fn one() -> i32 {
    1
}
