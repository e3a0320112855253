//! What of a status people and programs wait for, and what may come a little later.

use crate::api::v1alpha1::ModelDeploymentStatus;

/// Whether `after` says something that `before` does not, apart from sentences, measured numbers and counts of ready pods:
/// nothing is decided by those, and a pod that comes and goes would change them several times a minute for ever.
#[must_use]
pub fn is_news(before: &ModelDeploymentStatus, after: &ModelDeploymentStatus) -> bool {
    bare(before) != bare(after)
}

fn bare(status: &ModelDeploymentStatus) -> ModelDeploymentStatus {
    let mut bare = status.clone();
    bare.message.clear();
    for condition in &mut bare.conditions {
        condition.message.clear();
    }
    for revision in &mut bare.revisions {
        revision.ready_replicas = 0;
    }
    for slo in &mut bare.analysis {
        (slo.estimate, slo.interval, slo.requests, slo.requests_needed) = (None, None, 0, None);
        slo.message.clear();
    }
    bare
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn status() -> Value {
        json!({
            "phase": "Progressing", "message": "a", "stableRevision": "s", "candidateRevision": "c",
            "analysis": [{"name": "availability", "verdict": "Undecided", "requests": 7, "message": "b"}],
            "revisions": [{"name": "s", "version": "1", "used": "Stable", "replicas": 2, "readyReplicas": 2}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "d",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        })
    }

    #[rstest]
    #[case::nothing("", json!(null), false)]
    #[case::a_sentence("/message", json!("x"), false)]
    #[case::the_same_in_a_condition("/conditions/0/message", json!("x"), false)]
    #[case::a_number("/analysis/0/requests", json!(8), false)]
    #[case::a_pod_more_or_less("/revisions/0/readyReplicas", json!(1), false)]
    #[case::the_phase("/phase", json!("RollingBack"), true)]
    #[case::a_verdict("/analysis/0/verdict", json!("Fail"), true)]
    #[case::the_size("/revisions/0/replicas", json!(3), true)]
    #[case::a_condition("/conditions/0/status", json!("False"), true)]
    #[case::its_reason("/conditions/0/reason", json!("NoHealthyRevision"), true)]
    #[case::its_generation("/conditions/0/observedGeneration", json!(2), true)]
    fn what_is_decided_or_awaited_is_news(#[case] field: &str, #[case] value: Value, #[case] news: bool) {
        let (before, mut after) = (status(), status());
        if !field.is_empty() {
            *after.pointer_mut(field).unwrap() = value;
        }
        let read = |status| serde_json::from_value::<ModelDeploymentStatus>(status).unwrap();
        assert_eq!(is_news(&read(before), &read(after)), news);
    }
}
