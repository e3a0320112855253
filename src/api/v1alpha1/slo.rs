//! What a candidate must prove: SLOs, and how strictly they are judged.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Percent, common::rule_if};

/// One objective. Exactly one of `errors`, `latency`, `ratio` (a share of good requests, judged with stated error
/// rates) or `query` with `threshold` (any PromQL, a plain limit).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.errors) ? 1 : 0) + (has(self.latency) ? 1 : 0) + (has(self.ratio) ? 1 : 0) + (has(self.query) ? 1 : 0) == 1").message("an SLO needs exactly one of `errors: {}`, `latency: {below: 300ms}`, `ratio: {bad, total}` or `query` with `threshold`")
)]
#[x_kube(
    validation = Rule::new("has(self.query) == has(self.threshold)").message("`query` and `threshold` go together: write threshold: {min: \"0.7\"} or {max: \"100\"}")
)]
#[x_kube(
    validation = Rule::new("has(self.objective) != has(self.query)").message("`objective` (for instance 99.5%) is required with `errors`, `latency` and `ratio`, and must be left out with `query`")
)]
#[serde(rename_all = "camelCase")]
pub struct Slo {
    /// A name for people, unique in the list. Example: `availability`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The share of requests that must be good. Example: `99.5%`. Refused at `0%` and `100%`: nothing can prove those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(rule_if!(percent "self" => "double(self.replace('%','')) > 0.0 && double(self.replace('%','')) < 100.0")).message("objective must lie between 0% and 100%, both excluded: no number of requests can prove 100%; write for instance 99.9%"))]
    pub objective: Option<Percent>,
    /// Good = answered without a server error, by the provider's metric pack. Write `errors: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// Good = answered within `below`, by the provider's metric pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Good = counted by `total` and not by `bad`: the model's own counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// Any PromQL that gives one number; `$revision`, `$namespace` and `$service` are replaced inside quotes.
    /// Example: `avg(model_confidence{revision="$revision"})`. Refused when it does not parse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub query: Option<String>,
    /// The limits for `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
}

/// Server errors. No settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {}

/// A latency objective as a share of requests: exact counts from one histogram bucket, no quantile estimate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// A request is good when it is answered within this time. Example: `300ms`. Between two bucket edges, a breach is
    /// judged at the edge above and health at the edge below.
    #[x_kube(validation = Rule::new(rule_if!(duration "self" => "duration(self) > duration('0s')")).message("latency.below must be more than 0s, for instance 300ms"))]
    pub below: Duration,
}

/// Two counters of the model's own. The operator adds the matchers for namespace and revision.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    /// Selector of the counter of bad events, without functions: raw counts stay exact.
    /// Example: `feedback_total{useful="no"}`.
    #[schemars(length(min = 1, max = 512))]
    pub bad: String,
    /// Selector of the counter of all events. Example: `feedback_total`.
    #[schemars(length(min = 1, max = 512))]
    pub total: String,
}

/// Limits of a custom query. Numbers are strings, so that no float is stored.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.min) || has(self.max)").message("threshold needs `min` or `max`, for instance {min: \"0.7\"}"))]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// The least value that is good. Example: `"0.7"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    pub min: Option<String>,
    /// The greatest value that is good. Example: `"100"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    pub max: Option<String>,
    /// How many evaluations in a row must be out of bounds before it is a breach. Default 3. Refused outside 1..=100.
    #[serde(default = "default_fail_after")]
    #[schemars(range(min = 1, max = 100))]
    pub fail_after: i32,
}

/// How the SLOs are judged.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(concat!("!has(self.ignoredBursts) || self.ignoredBursts > 0 || (has(self.dispersion) && (", rule_if!(number "self.dispersion" => "double(self.dispersion) == 0.0"), "))")).message("ignoredBursts: 0 is safe only with dispersion: \"0\": write at least 1, or set dispersion to \"0\""))]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Which of the operator's configured Prometheus servers answers. Default `default`.
    #[serde(default = "default_provider")]
    #[schemars(length(min = 1, max = 63))]
    pub provider: String,
    /// Length of a block of counts, and how often the SLOs are judged; at least the provider's scrape interval.
    /// Default `15s`. Refused outside 1s..=10m.
    #[serde(default = "default_interval")]
    #[x_kube(validation = Rule::new(rule_if!(duration "self" => "duration(self) >= duration('1s') && duration(self) <= duration('10m')")).message("analysis.interval must lie between 1s and 10m, for instance 15s"))]
    pub interval: Duration,
    /// What happens when a step is still undecided at its `maxDuration`. Default `Pause`.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
    /// What happens when nothing can be measured for `holdBudget` (Prometheus away, no data, an unknown provider). Default
    /// `Withdraw`.
    #[serde(default)]
    pub on_unobservable: OnUnobservable,
    /// How long nothing may be measured before `onUnobservable` acts; the weight does not rise meanwhile. Default `5m`.
    #[serde(default = "default_hold_budget")]
    #[x_kube(validation = Rule::new(rule_if!(duration "self" => "duration(self) >= duration('1s')")).message("analysis.holdBudget must be at least 1s, for instance 5m"))]
    pub hold_budget: Duration,
    /// What happens when an SLO is broken, stable breaks it too, and that lasts for `sharedBreachTimeout`: until then the
    /// weight is held and nobody is blamed. Default `Pause`. Has no say at 100 %, where there is nobody to share with.
    #[serde(default)]
    pub on_shared_breach: OnSharedBreach,
    /// How long a breach that stable shares may last before `onSharedBreach` acts. Default `15m`.
    #[serde(default = "default_shared_breach_timeout")]
    #[x_kube(validation = Rule::new(rule_if!(duration "self" => "duration(self) >= duration('1s')")).message("analysis.sharedBreachTimeout must be at least 1s, for instance 15m"))]
    pub shared_breach_timeout: Duration,
    /// What "worse than stable" is measured against: stable at the same time, or what it did during the day before.
    /// Default `Concurrent`. For a service with little traffic `Auto` or `History` finds faults sooner.
    #[serde(default)]
    pub baseline: Baseline,
    /// Preset of the five values below. Default `balanced`: 1 % false rollbacks, 5 % false promotions.
    #[serde(default)]
    pub sensitivity: Sensitivity,
    /// Alpha: how often a healthy revision may be rolled back, for a whole rollout. Presets: strict `0.1%`, balanced
    /// `1%`, relaxed `5%`. Refused outside 0.0001%..=20%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(rule_if!(percent "self" => "double(self.replace('%','')) > 0.0 && double(self.replace('%','')) <= 20.0")).message("falseRollback must be more than 0% and at most 20%, for instance 1%"))]
    pub false_rollback: Option<Percent>,
    /// Beta: how often a revision that breaks an SLO may be promoted. Presets: `1%`, `5%`, `10%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(rule_if!(percent "self" => "double(self.replace('%','')) > 0.0 && double(self.replace('%','')) <= 20.0")).message("falsePromotion must be more than 0% and at most 20%, for instance 5%"))]
    pub false_promotion: Option<Percent>,
    /// How many blocks with a burst of errors never count as proof. Presets: 2, 1, 1. Refused outside 0..=5, and at 0
    /// unless `dispersion` is `"0"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5))]
    pub ignored_bursts: Option<i32>,
    /// Kappa: how much the error rate varies by itself; `"0"` means that requests fail independently. Absent: learned
    /// from the stable revision's history, else 10, 5, 1 by preset (25, 12.5, 5 for what is worse
    /// than stable but within its objective). For the further limits of `tolerance` it is always learned. Refused outside
    /// 0..=100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), regex(pattern = r"^([0-9]{1,2}(\.[0-9]{1,4})?|100)$"))]
    pub dispersion: Option<String>,
    /// How much worse than stable a candidate may be before the comparison counts it as worse: how many times as often its
    /// requests fail or are too slow. A latency SLO is compared so at its own limit and at those that about half, a tenth
    /// and a hundredth of stable's requests exceeded before the trial. Presets: `10%`, `25%`, `50%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Percent>,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            provider: default_provider(),
            interval: default_interval(),
            on_inconclusive: OnInconclusive::default(),
            on_unobservable: OnUnobservable::default(),
            hold_budget: default_hold_budget(),
            on_shared_breach: OnSharedBreach::default(),
            shared_breach_timeout: default_shared_breach_timeout(),
            baseline: Baseline::default(),
            sensitivity: Sensitivity::default(),
            false_rollback: None,
            false_promotion: None,
            ignored_bursts: None,
            dispersion: None,
            tolerance: None,
        }
    }
}

/// Preset of the judge's error rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sensitivity {
    /// 0.1 % false rollbacks, 1 % false promotions; needs the most requests.
    Strict,
    /// 1 % false rollbacks, 5 % false promotions.
    #[default]
    Balanced,
    /// 5 % false rollbacks, 10 % false promotions; decides with the fewest requests.
    Relaxed,
}

/// What happens to a step that stays undecided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInconclusive {
    /// Hold the weight and wait for a person; the SLOs are still judged.
    #[default]
    Pause,
    /// Roll back and reject the revision.
    Rollback,
}

/// What happens when nothing can be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnUnobservable {
    /// Weight 0 without rejection; a new start when answers return.
    #[default]
    Withdraw,
    /// Hold the weight.
    Hold,
}

/// What happens when a breach that stable shares goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnSharedBreach {
    /// Hold the weight and wait for a person; the SLOs are still judged.
    #[default]
    Pause,
    /// Roll back and reject the revision: it may itself be what makes stable fail, by overloading what both use.
    Rollback,
}

/// What a candidate is compared with, beside its objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Baseline {
    /// Stable in the same block: incidents that both share are nobody's fault.
    #[default]
    Concurrent,
    /// Stable's last 24 hours: needs far fewer requests, but an incident that both share counts against the candidate.
    History,
    /// `History` where stable has fewer than 30 bad requests an hour, else `Concurrent`.
    Auto,
}

fn default_provider() -> String {
    "default".to_owned()
}

fn default_interval() -> Duration {
    Duration::from_secs(15)
}

fn default_hold_budget() -> Duration {
    Duration::from_secs(300)
}

fn default_shared_breach_timeout() -> Duration {
    Duration::from_secs(900)
}

fn default_fail_after() -> i32 {
    3
}
