//! Version v1alpha1 of the API.

mod common;
mod model_deployment;
mod model_runtime;
mod slo;
mod split_status;
mod status;
mod traffic_split;

pub use common::{Duration, LocalRef, Percent, UnitError};
pub use model_deployment::{Model, ModelDeployment, ModelDeploymentSpec};
pub use model_runtime::{ModelRuntime, ModelRuntimeSpec};
pub use slo::{
    Analysis, Baseline, Errors, Latency, OnInconclusive, OnSharedBreach, OnUnobservable, Ratio, Sensitivity,
    Slo, Threshold,
};
pub use split_status::{BackendStatus, LeftoverStatus, RevisionShare, RouteStatus, TrafficSplitStatus};
pub use status::{
    HandledRequest, Interval, ModelDeploymentStatus, Outcome, Pause, PauseReason, Phase, Rejection,
    RequestOutcome, RevisionStatus, RevisionUse, Rollback, RolloutRecord, SloStatus, StepStart, StepStatus,
    VerdictWord,
};
pub use traffic_split::{
    Approval, Backend, Canary, HeaderMatch, HttpRoute, MatchType, Method, ParentRef, PathMatch, PathType,
    QueryMatch, Route, RouteMatch, Step, Strategy, Timeouts, TrafficSplit, TrafficSplitSpec,
};
