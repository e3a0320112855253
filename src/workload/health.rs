//! How many pods of a revision are there, from its Deployment.

use k8s_openapi::api::apps::v1::Deployment;

use crate::api::conditions::truncate;

/// Counts of a revision's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Pods asked for by the live Deployment.
    pub desired: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that exist, ready or not.
    pub present: i32,
    /// Pods of the present template. Fewer than `present` only if someone edited the Deployment by hand.
    pub updated: i32,
    /// Whether the counts belong to the present spec: until then `ready` may be of an earlier size.
    pub observed: bool,
    /// What keeps the Deployment from creating pods (a quota, an admission webhook), in its own words; at most 512 bytes.
    pub message: Option<String>,
}

impl Health {
    /// Whether at least `count` pods are ready, as far as the present spec has been taken in. Never true for a negative
    /// count or for stale counts.
    #[must_use]
    pub fn has_ready(&self, count: i32) -> bool {
        self.observed && count >= 0 && self.ready >= count
    }
}

/// The health of the revision that `deployment` runs.
#[must_use]
pub fn health(deployment: &Deployment) -> Health {
    let status = deployment.status.clone().unwrap_or_default();
    let failure =
        status.conditions.iter().flatten().find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
    let mut message = failure.and_then(|condition| condition.message.clone());
    if let Some(text) = &mut message {
        truncate(text, 512);
    }
    Health {
        desired: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        ready: status.ready_replicas.unwrap_or(0),
        present: status.replicas.unwrap_or(0),
        updated: status.updated_replicas.unwrap_or(0),
        observed: status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0),
        message,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value)] // json!() makes values
    fn read(generation: i64, status: Value) -> Health {
        let value = json!({"metadata": {"generation": generation}, "spec": {"replicas": 3, "selector": {}, "template": {}}, "status": status});
        health(&serde_json::from_value(value).unwrap())
    }

    #[rstest]
    #[case::all_ready(read(2, json!({"observedGeneration": 2, "readyReplicas": 3, "replicas": 3, "updatedReplicas": 3})), true)]
    #[case::some_ready(read(2, json!({"observedGeneration": 2, "readyReplicas": 2, "replicas": 3})), false)]
    #[case::counts_of_an_earlier_size(read(2, json!({"observedGeneration": 1, "readyReplicas": 3})), false)]
    #[case::nothing_reported(read(1, json!({})), false)]
    fn three_are_ready(#[case] health: Health, #[case] ready: bool) {
        assert_eq!(health.has_ready(3), ready);
        assert_eq!(health.desired, 3);
    }

    #[test]
    fn a_quota_that_stops_pods_is_told() {
        let text = "pods \"iris-x\" is forbidden: exceeded quota";
        let conditions = json!([{"type": "Available", "status": "False"}, {"type": "ReplicaFailure", "status": "True", "message": text}]);
        let health = read(1, json!({"observedGeneration": 1, "conditions": conditions}));
        assert_eq!(health.message.as_deref(), Some(text));
    }
}
