//! `TrafficSplit`: who gets traffic, and on what proof.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Analysis, Duration, LocalRef, Percent, Slo, TrafficSplitStatus, common::rule_if};

/// Who gets the traffic of a route, how a new revision takes over, and what it must prove.
// kube's printcolumn takes one attribute per column; clippy takes their common keys for duplicates.
#[allow(clippy::duplicated_attributes)]
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "seatrial.dev",
    version = "v1alpha1",
    kind = "TrafficSplit",
    doc = "Who gets traffic, and on what proof a new revision takes over.",
    namespaced,
    shortname = "tsplit",
    category = "seatrial",
    status = "TrafficSplitStatus",
    derive = "PartialEq",
    cel,
    printcolumn(name = "Hostnames", type_ = "string", json_path = ".spec.route.httpRoute.hostnames"),
    printcolumn(
        name = "Backends",
        type_ = "string",
        json_path = ".spec.backends[*].modelDeploymentRef.name"
    ),
    printcolumn(name = "Weights", type_ = "string", json_path = ".status.weights"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSplitSpec {
    /// Where the traffic comes from. One route of the `TrafficSplit`'s own name is generated and owned.
    pub route: Route,
    /// The models that share the traffic, at most 8. Two or more are variants: each needs a name and a weight.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(validation = Rule::new("size(self) == 1 || self.all(b, has(b.name) && has(b.weight))").message("with two or more backends each needs a `name` and a `weight`, for instance {name: a, weight: 50, modelDeploymentRef: {name: iris}}"))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, a.modelDeploymentRef.name == b.modelDeploymentRef.name))").message("a ModelDeployment may be named only once in `backends`"))]
    #[x_kube(validation = Rule::new("self.all(a, !has(a.name) || self.exists_one(b, has(b.name) && a.name == b.name))").message("names in `backends` must differ"))]
    pub backends: Vec<Backend>,
    /// How a new revision of a backend takes over.
    pub strategy: Strategy,
    /// What a candidate must prove: 1 to 20 objectives with different names.
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name))").message("names in `slos` must differ"))]
    pub slos: Vec<Slo>,
    /// How the objectives are judged. Everything in it has a default.
    #[serde(default)]
    pub analysis: Analysis,
}

/// Where the traffic comes from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// A Gateway API `HTTPRoute` (Standard channel) is generated from this.
    pub http_route: HttpRoute,
}

/// The parts of an `HTTPRoute` that the user decides; names and meaning are the Gateway API's.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// Gateways, or Services for a mesh (GAMMA). 1 to 8. Example: `[{name: public, namespace: infra}]`, or
    /// `[{group: "", kind: Service, name: iris}]`.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
    /// Host names, at most 16. Absent: all. Example: `[iris.example.com]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    pub hostnames: Vec<String>,
    /// Which requests, at most 16 alternatives. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub matches: Vec<RouteMatch>,
    /// Time limits. Absent: the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

/// A Gateway, or a Service for a mesh.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(self.kind == 'Gateway' && self.group == 'gateway.networking.k8s.io') || (self.kind == 'Service' && (self.group == '' || self.group == 'gateway.networking.k8s.io'))").message("a parent is a Gateway ({name: public}) or, for a mesh, a Service ({kind: Service, name: iris})"))]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// API group. Default `gateway.networking.k8s.io`; for `kind: Service` it may be left out.
    #[serde(default = "gateway_group")]
    #[schemars(length(max = 253))]
    pub group: String,
    /// `Gateway` (default) or `Service`.
    #[serde(default = "gateway_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace. Absent: the `TrafficSplit`'s own. A Gateway elsewhere must allow routes from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name. Example: `public`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// One listener of the Gateway. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
    /// One port of the Gateway or Service. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// Which requests: all given parts must match.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// Path. Absent: every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Headers, at most 16, all of which must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, at most 16, all of which must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub query_params: Vec<QueryMatch>,
    /// HTTP method. Absent: every method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

/// What the Gateway API takes as a path that is no regular expression.
const PLAIN_PATH: &str = r#"self.type == 'RegularExpression' || (self.value.matches("^([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$") && !['//', '/./', '/../', '%2f', '%2F'].exists(part, self.value.contains(part)) && !self.value.endsWith('/.') && !self.value.endsWith('/..'))"#;

/// A path. Example: `{type: PathPrefix, value: /v2/models/iris}`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(PLAIN_PATH).message("a path has no //, /./, /../ or %2F and, besides letters and digits, only -._~!$&'()*+,;=:@ and %-escapes: write /v2/models/iris"))]
pub struct PathMatch {
    /// `PathPrefix` (default), `Exact` or `RegularExpression`.
    #[serde(rename = "type", default)]
    pub kind: PathType,
    /// The path, beginning with `/`. Default `/`.
    #[serde(default = "root_path")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('/')").message("a path must begin with /, for instance /v2/models/iris"))]
    pub value: String,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathType {
    /// By whole elements from the front.
    #[default]
    PathPrefix,
    /// As a whole.
    Exact,
    /// By the gateway's own regular expressions.
    RegularExpression,
}

/// What the Gateway API takes as the name of a header or a query parameter.
const NAME: &str = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$";

/// A request header.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// `Exact` (default) or `RegularExpression`.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// Name of the header, without case; each once.
    #[schemars(length(min = 1, max = 256), regex(pattern = NAME))]
    pub name: String,
    /// Its value.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// A query parameter.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    /// `Exact` (default) or `RegularExpression`.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// Name of the parameter; each once.
    #[schemars(length(min = 1, max = 256), regex(pattern = NAME))]
    pub name: String,
    /// Its value.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// How a header or query parameter is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// As a whole.
    #[default]
    Exact,
    /// By the gateway's own regular expressions.
    RegularExpression,
}

/// HTTP methods that the Gateway API knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

/// Time limits of a request (GEP-1742).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(concat!("!has(self.request) || !has(self.backendRequest) || ", rule_if!(duration "self.request", "self.backendRequest" => "duration(self.request) == duration('0s') || duration(self.backendRequest) <= duration(self.request)"))).message("timeouts.backendRequest must not be longer than timeouts.request"))]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// For the whole request. `0s`: none (streams). It is also how long a revision that lost its weight is left to
    /// drain. Example: `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// For one try at a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Duration>,
}

/// A model that gets a share of the traffic.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Name of the variant. Required with two or more backends. Example: `a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// Its share beside the other backends, as a proportion. Required with two or more backends. Example: `50`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<i32>,
    /// The `ModelDeployment` in the same namespace.
    pub model_deployment_ref: LocalRef,
}

/// How a new revision takes over.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// By steps of weight.
    pub canary: Canary,
}

/// A canary: steps of weight, then 100 %, then a window in which the old revision stays warm.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// 1 to 50 steps with rising weights below 100 %. After the last one the candidate gets everything.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = Rule::new(rule_if!(percent of steps => "self.map(s, double(s.weight.replace('%',''))).isSorted()")).message("weights in `steps` must rise: write them in order, for instance 5%, 25%, 50%"))]
    #[x_kube(validation = Rule::new(rule_if!(percent of steps => "[self.map(s, double(s.weight.replace('%','')))].all(w, w.all(x, w.indexOf(x) == w.lastIndexOf(x)))")).message("weights in `steps` must differ: to wait longer at a weight, raise its `bake`"))]
    pub steps: Vec<Step>,
    /// After 100 %: how long the old revision stays at full size and the candidate is still judged. Default `15m`.
    #[serde(default = "default_rollback_window")]
    pub rollback_window: Duration,
}

/// A step: a weight, and what lets it end.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(rule_if!(percent "self.weight" => "double(self.weight.replace('%','')) > 0.0 || (has(self.approval) && self.approval == 'Required')")).message("a step of 0% has no traffic to judge: add approval: Required, or start at for instance 1%"))]
#[x_kube(validation = Rule::new(rule_if!(duration "self.bake", "self.maxDuration" => "duration(self.bake) <= duration(self.maxDuration)")).message("bake must not be longer than maxDuration"))]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Share of the backend's traffic for the candidate. `0%` only with `approval: Required` (reachable by its own
    /// Service, for tests from CI). Example: `5%`. Refused at `100%`: that follows the last step by itself.
    #[x_kube(validation = Rule::new(rule_if!(percent "self" => "double(self.replace('%','')) < 100.0 && (double(self.replace('%','')) == 0.0 || double(self.replace('%','')) >= 0.01)")).message("a step's weight is 0%, or at least 0.01% and less than 100%: the full weight follows the last step by itself and is watched for rollbackWindow"))]
    pub weight: Percent,
    /// The least time at this weight, counted while it is effective and measured. Default `1m`.
    #[serde(default = "default_bake")]
    pub bake: Duration,
    /// The most time at this weight; then `analysis.onInconclusive`. Default `1h`.
    #[serde(default = "default_max_duration")]
    pub max_duration: Duration,
    /// Replicas of the candidate. Default: the share of full size that the weight needs, rounded up, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// `Required`: a person or a pipeline must approve before the step may end. Default `NotRequired`.
    #[serde(default)]
    pub approval: Approval,
}

/// Whether a step needs a word from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// The step ends by itself.
    #[default]
    NotRequired,
    /// The annotation `request.seatrial.dev/approve` on the `ModelDeployment` must name this revision and step.
    Required,
}

fn gateway_group() -> String {
    "gateway.networking.k8s.io".to_owned()
}

fn gateway_kind() -> String {
    "Gateway".to_owned()
}

fn root_path() -> String {
    "/".to_owned()
}

fn default_rollback_window() -> Duration {
    Duration::from_secs(900)
}

fn default_bake() -> Duration {
    Duration::from_secs(60)
}

fn default_max_duration() -> Duration {
    Duration::from_secs(3600)
}
