//! What the operator publishes. Bounded: at most 32 KiB, whatever happens.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Percent;

/// How far a `ModelDeployment`'s newest revision has got.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.writerEpoch) || (has(self.writerEpoch) && self.writerEpoch >= oldSelf.writerEpoch)").message("a newer leader of the operator has written this status: a replica that leads no more may not"))]
pub struct ModelDeploymentStatus {
    /// The generation from which all of this was computed.
    #[serde(default)]
    pub observed_generation: i64,
    /// The tenure of the operator's leader that wrote this. The API server refuses a lower one: a replica that was
    /// suspended and does not know yet that it leads no more decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_epoch: Option<i64>,
    /// One word; see the table of phases in the documentation.
    #[serde(default)]
    pub phase: Phase,
    /// One sentence: what is going on, why, and what comes next.
    #[serde(default)]
    pub message: String,
    /// The revision that serves by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_version: Option<String>,
    /// The revision on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_revision: Option<String>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_version: Option<String>,
    /// The revision that the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_revision: Option<String>,
    /// Which attempt this is: counts rollouts of this object, so that no verdict of an earlier one is mixed in.
    #[serde(default)]
    pub attempt: i64,
    /// Where the candidate stands. Present while there is one under a `TrafficSplit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepStatus>,
    /// Why it is paused. Present while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Why the candidate is being taken out. Present in phase `RollingBack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// The verdict over all SLOs in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictWord>,
    /// The verdict on each SLO.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub analysis: Vec<SloStatus>,
    /// Revisions that are not tried again until the spec changes or somebody asks to retry; the newest 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub rejected: Vec<Rejection>,
    /// The revisions that exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40))]
    pub revisions: Vec<RevisionStatus>,
    /// The last 10 rollouts, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<RolloutRecord>,
    /// The last 10 requests by annotation and what came of them, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub requests: Vec<HandledRequest>,
    /// `Accepted`, `ResolvedRefs`, `Progressing`, `Ready`, and kstatus's `Reconciling` and `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Pods of the revisions that serve or are on trial, for `/scale`.
    #[serde(default)]
    pub replicas: i32,
    /// Their label selector, for `/scale` and autoscalers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
}

/// One word for the state of a model; `rollout/phase.rs` has the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing has ever served.
    #[default]
    Pending,
    /// One revision serves, none is on trial.
    Stable,
    /// A candidate starts and warms up without traffic.
    Preparing,
    /// The candidate has its step's weight and is judged.
    Progressing,
    /// The weight is held, by a person, a missing approval or an undecided step; the SLOs are still judged.
    Paused,
    /// The candidate has everything and is still judged; the old revision is warm.
    Watching,
    /// The stable revision has everything again; waiting until that is effective and the candidate is drained.
    RollingBack,
    /// The stable revision serves; the latest one is rejected.
    RolledBack,
}

/// Where a candidate stands.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Index of the step, from 0; the number of steps means "after the last one", at 100 %.
    pub index: i32,
    /// For people: `2/4`, or `4/4` at 100 %.
    pub progress: String,
    /// The weight that this step asks for.
    pub weight: Percent,
    /// When the step was taken. The progress deadline counts from here until its weight is effective.
    pub since: MicroTime,
    /// When it first was given weight: the judgement begins here. Absent while it prepares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<MicroTime>,
    /// When measurements began to be missing. Present while they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unobservable_since: Option<MicroTime>,
    /// When a breach that the stable revision shares began. Present while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_since: Option<MicroTime>,
    /// Steps that were approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub approvals: Vec<i32>,
    /// When each step's weight became effective, also again: after something else was, and while a pause or the next step,
    /// whose pods have not come yet, holds it. A lost judgement is rebuilt from that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 101))]
    pub starts: Vec<StepStart>,
}

/// The beginning of a step's effective weight.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStart {
    /// Index of the step; -1 for one of a schedule that was edited since, or of another `TrafficSplit`.
    pub index: i32,
    /// The weight that was effective.
    #[serde(default)]
    pub weight: Percent,
    /// From when its weight was effective.
    pub since: MicroTime,
    /// Until when; absent while it is effective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<MicroTime>,
}

/// Why a rollout is paused.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// One word.
    pub reason: PauseReason,
    /// Since when.
    pub since: MicroTime,
}

/// Why a rollout is paused, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PauseReason {
    /// Somebody asked for it.
    Requested,
    /// The step needs an approval.
    ApprovalMissing,
    /// The step was undecided at its `maxDuration`.
    Inconclusive,
    /// A breach that the stable revision shares lasted for `sharedBreachTimeout`.
    SharedBreach,
}

/// A candidate being taken out.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// What comes after it.
    pub outcome: Outcome,
    /// Why, in one word: `Breach`, `SharedBreach`, `Aborted`, `PodsLost`, `ProgressDeadlineExceeded`, …
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// The SLO that was breached, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<String>,
    /// When it was decided.
    pub since: MicroTime,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// The candidate is the stable revision now.
    Promoted,
    /// The candidate was rejected.
    RolledBack,
    /// A newer revision took its place.
    Superseded,
    /// The spec asks for the stable revision again.
    Reverted,
    /// Taken out without rejection; it starts again.
    Withdrawn,
    /// Its `TrafficSplit` was deleted, or has yielded to an older one, in mid-trial.
    Cancelled,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum VerdictWord {
    /// Health is proven.
    Pass,
    /// A breach is proven.
    Fail,
    /// Evidence still gathers.
    Undecided,
    /// A breach that the stable revision shares: held, not blamed on the candidate.
    Shared,
    /// Nothing can be measured.
    Unobservable,
}

/// The verdict on one SLO.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SloStatus {
    /// Name of the SLO.
    pub name: String,
    /// The verdict in one word.
    pub verdict: VerdictWord,
    /// Share of good requests, for instance `99.31%`; for a query, its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<String>,
    /// Where the true share lies, with the error rate of the analysis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Requests judged in this rollout.
    pub requests: i64,
    /// About how many more are needed at this step, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_needed: Option<i64>,
    /// One sentence.
    pub message: String,
}

/// An interval of shares of good requests.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end, for instance `98.2%`.
    pub low: String,
    /// Upper end.
    pub high: String,
}

/// A revision that is not tried again.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Its name.
    pub revision: String,
    /// What people call it.
    pub version: String,
    /// `RolledBack` or `Cancelled`.
    pub outcome: Outcome,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// When.
    pub at: MicroTime,
}

/// A revision that exists.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Its name: that of its Deployment, Service and `ControllerRevision`.
    pub name: String,
    /// What people call it.
    pub version: String,
    /// What it is for.
    pub used: RevisionUse,
    /// Pods asked for.
    pub replicas: i32,
    /// Pods ready.
    pub ready_replicas: i32,
    /// Since when it is used so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<MicroTime>,
    /// Kept at full size until then, for a rollback (after a promotion that a newer revision cut short).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_until: Option<MicroTime>,
}

/// What a revision is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum RevisionUse {
    /// Serves by default.
    Stable,
    /// On trial.
    Candidate,
    /// Kept at full size: it was stable, and a rollback may need it; or the route of a `TrafficSplit` that yields to an
    /// older one sends to it.
    Warm,
    /// Lost its traffic; ends once that is effective and drained.
    Draining,
    /// Kept at 0 replicas, for the record.
    History,
}

/// A rollout that ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRecord {
    /// The candidate.
    pub revision: String,
    /// What people call it.
    pub version: String,
    /// The stable revision at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// The SLO that was breached, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<String>,
    /// When it ended.
    pub at: MicroTime,
}

/// A request by annotation that was handled.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandledRequest {
    /// promote, abort, pause, resume, approve or retry.
    pub verb: String,
    /// The annotation's value, cut at 256 bytes; the same value is not handled again.
    pub value: String,
    /// Whether it was done.
    pub outcome: RequestOutcome,
    /// What was done, or why not and what to write instead.
    pub message: String,
    /// When.
    pub at: MicroTime,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestOutcome {
    /// Done.
    Done,
    /// Not done; the message says why.
    Refused,
}
