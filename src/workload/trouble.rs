//! Why pods of a revision are not ready, in one sentence that names the pod, the container and what it said last.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

use crate::api::conditions::truncate;

/// What keeps pods from becoming ready; the first in this order is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// A container ends again and again: it is in `CrashLoopBackOff`; or it has ended with an error after a restart; or
    /// it has been restarted twice or more, last after an error, and is not ready again.
    CrashLoop,
    /// Its image cannot be pulled.
    ImagePull,
    /// The kubelet cannot create or start the container: a missing `ConfigMap` or Secret, a wrong command.
    CannotStart,
    /// The pod was evicted or refused by its node.
    Failed,
    /// No node has room for the pod.
    Unschedulable,
    /// It runs, but its readiness or startup probe does not pass; or it is still starting.
    NotReady,
}

impl TroubleKind {
    /// The word for conditions and events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::CrashLoop => "CrashLoop",
            Self::ImagePull => "ImagePull",
            Self::CannotStart => "CannotStart",
            Self::Failed => "Failed",
            Self::Unschedulable => "Unschedulable",
            Self::NotReady => "NotReady",
        }
    }
}

/// The worst that is known about a revision's pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// What it is.
    pub kind: TroubleKind,
    /// One sentence, at most 512 bytes.
    pub message: String,
}

/// The worst trouble among `pods`, of equals the first by pod name; `None` when all are ready. Pods that are being
/// deleted or have succeeded do not count.
#[must_use]
pub fn trouble(pods: &[Pod]) -> Option<Trouble> {
    let mut sorted: Vec<&Pod> = pods.iter().filter(|pod| counts(pod)).collect();
    sorted.sort_by_key(|pod| pod.metadata.name.as_deref());
    sorted.into_iter().filter_map(of_pod).min_by_key(|found| found.kind)
}

fn counts(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none()
        && phase != Some("Succeeded")
        && !is_true(pod.status.as_ref(), "Ready")
}

fn is_true(status: Option<&PodStatus>, condition: &str) -> bool {
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|c| c.type_ == condition && c.status == "True")
}

fn of_pod(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let name = pod.metadata.name.as_deref().unwrap_or("?");
    let containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let worst = containers.filter_map(of_container).min_by_key(|found| found.kind);
    let found = worst
        .filter(|found| found.kind != TroubleKind::NotReady)
        .or_else(|| of_status(status))
        .or_else(|| containers_not_ready(status))?;
    let mut message = format!("pod {name}: {}", found.message);
    truncate(&mut message, 512);
    Some(Trouble { kind: found.kind, message })
}

/// What the pod as a whole says: evicted, or no node for it.
fn of_status(status: &PodStatus) -> Option<Trouble> {
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("failed");
        let message = format!("{reason}{}", colon(status.message.as_deref()));
        return Some(Trouble { kind: TroubleKind::Failed, message });
    }
    let scheduled =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let message = format!("no node takes it{}", colon(scheduled.message.as_deref()));
    Some(Trouble { kind: TroubleKind::Unschedulable, message })
}

fn containers_not_ready(status: &PodStatus) -> Option<Trouble> {
    let waiting: Vec<Trouble> = status.container_statuses.iter().flatten().filter_map(of_container).collect();
    let message = match waiting.first() {
        Some(first) => first.message.clone(),
        None => "it has not started yet".to_owned(),
    };
    (status.phase.as_deref() != Some("Succeeded")).then_some(Trouble { kind: TroubleKind::NotReady, message })
}

/// What one container's state says; `None` for one that is ready or has nothing to tell.
fn of_container(container: &ContainerStatus) -> Option<Trouble> {
    let name = &container.name;
    let state = container.state.clone().unwrap_or_default();
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        let text = colon(waiting.message.as_deref());
        return match reason {
            "CrashLoopBackOff" => Some(crash(container, last)),
            "ErrImagePull"
            | "ImagePullBackOff"
            | "ErrImageNeverPull"
            | "InvalidImageName"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => Some(Trouble {
                kind: TroubleKind::ImagePull,
                message: format!(
                    "the image {} of container {name} cannot be pulled ({reason}{text})",
                    container.image
                ),
            }),
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError"
            | "StartError" => Some(Trouble {
                kind: TroubleKind::CannotStart,
                message: format!("container {name} cannot start ({reason}{text})"),
            }),
            _ => Some(not_ready(format!("container {name} is waiting ({reason}{text})"))),
        };
    }
    if let Some(ended) = &state.terminated {
        // An init container that ended well is done; any other end of a container that was restarted before is a loop.
        if ended.exit_code == 0 && container.ready {
            return None;
        }
        if ended.exit_code != 0 && container.restart_count >= 1 {
            return Some(crash(container, Some(ended)));
        }
        return Some(not_ready(format!("container {name} {}", ending(ended))));
    }
    if container.ready {
        return None;
    }
    if let Some(ended) = last.filter(|ended| ended.exit_code != 0 && container.restart_count >= 2) {
        return Some(crash(container, Some(ended)));
    }
    let started = container.started == Some(true);
    let what = if started {
        "runs, but its readiness probe does not pass"
    } else {
        "has started, but is not up yet"
    };
    let before = last.map(|ended| format!("; before that it {}", ending(ended))).unwrap_or_default();
    Some(not_ready(format!("container {name} {what}{before}")))
}

fn crash(container: &ContainerStatus, ended: Option<&ContainerStateTerminated>) -> Trouble {
    let how = ended.map_or_else(|| "ended".to_owned(), ending);
    let times = container.restart_count;
    let message = format!(
        "container {} {how}, after {times} restart{}",
        container.name,
        if times == 1 { "" } else { "s" }
    );
    Trouble { kind: TroubleKind::CrashLoop, message }
}

/// `exited with code 137 (OOMKilled): <the end of its last message>`.
fn ending(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().filter(|reason| !matches!(*reason, "Error" | "Completed"));
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let said = ended.message.as_deref().map(last_words).filter(|text| !text.is_empty());
    let said = said.map(|text| format!(", saying {text:?}")).unwrap_or_default();
    format!("exited with code {}{reason}{said}", ended.exit_code)
}

/// The last three lines that say something, the end of them if they are long: a traceback's last line alone is often
/// only a hint where to read on.
fn last_words(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines[lines.len().saturating_sub(3)..].join(" | ");
    text.chars().skip(text.chars().count().saturating_sub(240)).collect()
}

fn not_ready(message: String) -> Trouble {
    Trouble { kind: TroubleKind::NotReady, message }
}

fn colon(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value)] // json!() makes values
    fn pod(name: &str, status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    /// A pod `p` whose container `model` has these fields in its status.
    #[allow(clippy::needless_pass_by_value)] // json!() makes values
    fn container(fields: Value) -> Value {
        let mut status = json!({"name": "model", "image": "registry/model:1", "imageID": "", "ready": false, "restartCount": 0});
        status.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"phase": "Running", "containerStatuses": [status]})
    }

    #[rstest]
    #[case::backoff(
        container(json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "Traceback\n  File\n    raise\n\nValueError: no model\n"}}})),
        TroubleKind::CrashLoop, "pod p: container model exited with code 1, saying \"File | raise | ValueError: no model\", after 3 restarts"
    )]
    #[case::ended_again(
        container(json!({"restartCount": 1, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}})),
        TroubleKind::CrashLoop, "pod p: container model exited with code 137 (OOMKilled), after 1 restart"
    )]
    #[case::ended_once(
        container(json!({"state": {"terminated": {"exitCode": 1, "reason": "Error"}}})),
        TroubleKind::NotReady, "pod p: container model exited with code 1"
    )]
    #[case::no_image(
        container(json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}})),
        TroubleKind::ImagePull, "pod p: the image registry/model:1 of container model cannot be pulled (ImagePullBackOff: not found)"
    )]
    #[case::no_secret(
        container(json!({"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"s\" not found"}}})),
        TroubleKind::CannotStart, "pod p: container model cannot start (CreateContainerConfigError: secret \"s\" not found)"
    )]
    #[case::no_node(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}]}),
        TroubleKind::Unschedulable, "pod p: no node takes it: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    )]
    #[case::evicted(
        json!({"phase": "Failed", "reason": "Evicted", "message": "node was low on memory"}),
        TroubleKind::Failed, "pod p: Evicted: node was low on memory"
    )]
    #[case::probe(
        container(json!({"started": true, "state": {"running": {}}})),
        TroubleKind::NotReady, "pod p: container model runs, but its readiness probe does not pass"
    )]
    #[case::runs_again_after_a_crash(
        container(json!({"started": false, "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 2}}})),
        TroubleKind::NotReady, "pod p: container model has started, but is not up yet; before that it exited with code 2"
    )]
    #[case::runs_again_after_many_crashes(
        container(json!({"started": false, "restartCount": 2, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 2}}})),
        TroubleKind::CrashLoop, "pod p: container model exited with code 2, after 2 restarts"
    )]
    #[case::creating(
        container(json!({"state": {"waiting": {"reason": "ContainerCreating"}}})),
        TroubleKind::NotReady, "pod p: container model is waiting (ContainerCreating)"
    )]
    #[case::init(
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "fetch", "image": "", "imageID": "", "ready": false, "restartCount": 2,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 4}}}],
            "containerStatuses": [{"name": "model", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]}),
        TroubleKind::CrashLoop, "pod p: container fetch exited with code 4, after 2 restarts"
    )]
    #[case::nothing_known(json!({"phase": "Pending"}), TroubleKind::NotReady, "pod p: it has not started yet")]
    fn a_pod_that_is_not_ready_says_why(
        #[case] status: Value,
        #[case] kind: TroubleKind,
        #[case] message: &str,
    ) {
        assert_eq!(trouble(&[pod("p", status)]), Some(Trouble { kind, message: message.to_owned() }));
    }

    #[test]
    fn the_worst_is_told_and_of_equals_the_first() {
        let probe = container(json!({"started": true, "state": {"running": {}}}));
        let pods = [
            pod("c", container(json!({"state": {"waiting": {"reason": "ErrImagePull"}}}))),
            pod("b", container(json!({"state": {"waiting": {"reason": "ErrImagePull"}}}))),
            pod("a", probe),
        ];
        let found = trouble(&pods).unwrap();
        assert_eq!((found.kind, &found.message[..6]), (TroubleKind::ImagePull, "pod b:"));
    }

    #[test]
    fn ready_ended_and_leaving_pods_are_no_trouble() {
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let leaving = json!({"metadata": {"name": "l", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Pending"}});
        let pods = [
            pod("a", ready),
            pod("b", json!({"phase": "Succeeded"})),
            serde_json::from_value(leaving).unwrap(),
        ];
        assert_eq!(trouble(&pods), None);
        assert_eq!(trouble(&[]), None);
    }

    /// Recorded on a real cluster: MLServer with a wrong setting.
    #[test]
    fn a_real_crash_is_told_in_the_servers_own_words() {
        let list: Value = serde_json::from_str(include_str!("fixtures/crashing.pods.json")).unwrap();
        let pods: Vec<Pod> = serde_json::from_value(list["items"].clone()).unwrap();
        let found = trouble(&pods).unwrap();
        assert_eq!(found.kind, TroubleKind::CrashLoop);
        assert!(found.message.contains("exited with code 1, saying"), "{}", found.message);
        assert!(found.message.contains("Input should be a valid integer"), "{}", found.message);
    }

    #[test]
    fn a_long_message_is_bounded() {
        let state = json!({"waiting": {"reason": "ErrImagePull", "message": "x".repeat(9000)}});
        assert_eq!(trouble(&[pod("p", container(json!({"state": state})))]).unwrap().message.len(), 512);
    }
}
