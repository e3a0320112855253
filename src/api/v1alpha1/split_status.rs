//! What the operator publishes on a `TrafficSplit`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Percent;

/// What a `TrafficSplit` has written, and what is effective.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.writerEpoch) || (has(self.writerEpoch) && self.writerEpoch >= oldSelf.writerEpoch)").message("a newer leader of the operator has written this status: a replica that leads no more may not"))]
pub struct TrafficSplitStatus {
    /// The generation from which all of this was computed.
    #[serde(default)]
    pub observed_generation: i64,
    /// The tenure of the operator's leader that wrote this. The API server refuses a lower one: a replica that was
    /// suspended and does not know yet that it leads no more decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_epoch: Option<i64>,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// The weights for people: `2.0.0 95%, 2.1.0 5%`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub weights: String,
    /// Each backend's share, and its revisions' shares of the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub backends: Vec<BackendStatus>,
    /// Since when none of the models that it names is there; absent while one is. What they have left ends once requests that
    /// are under way are done: nobody can take them over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_since: Option<MicroTime>,
    /// What deleted models have left here: pods that requests may still reach. By name; what is beyond 16 waits for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub leftovers: Vec<LeftoverStatus>,
    /// The route as the data plane last took it over; generation 0: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteStatus>,
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`, and kstatus's `Reconciling` and `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A backend's share.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// Name of the variant, or of the `ModelDeployment`.
    pub name: String,
    /// Its share of the route.
    pub weight: Percent,
    /// Its revisions' shares of the route.
    #[schemars(length(max = 4))]
    pub revisions: Vec<RevisionShare>,
}

/// A revision whose `ModelDeployment` was deleted.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftoverStatus {
    /// The revision, which is also the name of its Deployment and its Service.
    pub name: String,
    /// Since when nothing but this `TrafficSplit`'s own route leads to it. Absent: the Service of its model's name still
    /// selects it, or the route of another `TrafficSplit` names it while a backend of this one is there to take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<MicroTime>,
}

/// A revision's weight in the route.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionShare {
    /// The revision, which is also the name of its Service.
    pub name: String,
    /// Its share of the route.
    pub weight: Percent,
}

/// The memory behind "effective" (design §4.5): where it differs from the live route, the propagation allowance has
/// not begun yet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The route's uid: one that was made anew under its name is another, which no proxy may know yet. Absent: written by a
    /// release that did not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Generation of the route that every parent has accepted; 0: there is no route.
    pub generation: i64,
    /// What that generation says.
    #[schemars(length(max = 16))]
    pub shares: Vec<RevisionShare>,
    /// When all parents were first seen to have accepted it, or when it was first seen that there is none; the propagation
    /// allowance counts from here.
    pub since: MicroTime,
}
