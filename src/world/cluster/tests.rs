//! The real controllers in a whole world, through their usual clients.

use serde_json::{Value, json};

use super::*;
use crate::{
    api::v1alpha1::{ModelDeploymentStatus, Outcome, Phase},
    world::{
        history::Key,
        plant::{
            behaviour::{Answers, Behaviour},
            user::Deed,
        },
    },
};

pub(crate) fn objects() -> Vec<Value> {
    let split = json!({
        "apiVersion": "seatrial.dev/v1alpha1", "kind": "TrafficSplit",
        "metadata": {"name": "iris", "namespace": "ml"},
        "spec": {
            "route": {"httpRoute": {"parentRefs": [{"name": "public", "namespace": "infra"}], "timeouts": {"request": "5s"}}},
            "backends": [{"modelDeploymentRef": {"name": "iris"}}],
            "strategy": {"canary": {
                "steps": [{"weight": "20%", "bake": "20s"}, {"weight": "50%", "bake": "20s"}],
                "rollbackWindow": "30s",
            }},
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
            "analysis": {"interval": "5s"},
        },
    });
    let model = json!({
        "apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "iris", "namespace": "ml"},
        "spec": {
            "model": {"version": "1", "uri": "pvc://models/iris", "format": "sklearn"},
            "runtimeRef": {"name": "server-1"}, "replicas": 2, "progressDeadline": "2m",
        },
    });
    vec![model, split]
}

/// A rollout of version 2, which fails this share of its requests; the world when it has ended, and how.
async fn rollout(seed: u64, errors: f64) -> (World, ModelDeploymentStatus) {
    let key = Key::new("ModelDeployment", "ml", "iris");
    let mut setting = Setting::usual(seed, objects());
    let answers = Answers { errors, ..Answers::default() };
    setting.versions.named.insert("2".to_owned(), Behaviour { answers, ..Behaviour::default() });
    setting.users =
        vec![("ann", vec![(Duration::from_secs(60), Deed::Version(key.clone(), "2".to_owned()))])];
    let mut world = World::begin(setting).unwrap();
    let (replicas, api) = (world.replicas(), world.api.clone());
    let replica = replicas.run(1, || api.client("seatrial-a"));
    tokio::pin!(replica);
    let mut last = ModelDeploymentStatus::default();
    let ended = |change: &Change| {
        let status = change.after.as_ref().filter(|_| change.key == key).map(|model| model["status"].clone());
        let Some(status) = status.and_then(|s| serde_json::from_value::<ModelDeploymentStatus>(s).ok())
        else {
            return false;
        };
        last = status;
        !last.history.is_empty() && matches!(last.phase, Phase::Stable | Phase::RolledBack)
    };
    assert!(world.play(&mut replica, ended, Duration::from_secs(1200)).await, "{last:?}");
    // What drains must not have had requests.
    world.play(&mut replica, |_| false, Duration::from_secs(60)).await;
    (world, last)
}

fn failed(world: &World) -> u64 {
    world.records.lock().served.iter().map(|served| served.failed).sum()
}

#[tokio::test(start_paused = true)]
async fn a_good_version_is_promoted_and_no_request_fails() {
    for seed in 1..=5 {
        let (world, status) = rollout(seed, 0.0).await;
        assert_eq!(status.history[0].outcome, Outcome::Promoted, "{status:?}");
        assert_eq!(failed(&world), 0, "seed {seed}");
        let served: u64 = world.records.lock().served.iter().map(|served| served.requests).sum();
        assert!(served > 5000, "{served}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_is_rolled_back_and_no_request_fails_for_want_of_pods() {
    for seed in 1..=5 {
        let (world, status) = rollout(seed, 0.2).await;
        assert_eq!(status.history[0].outcome, Outcome::RolledBack, "{status:?}");
        assert_eq!(status.history[0].reason, "Breach");
        assert_eq!(failed(&world), 0, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_rollout_is_the_same_for_the_same_seed() {
    let text = |world: &World| {
        let records = world.records.lock();
        format!("{:?} {:?} {:?}", world.api.since(0), records.applied, records.served)
    };
    let (one, two) = (rollout(3, 0.02).await, rollout(3, 0.02).await);
    assert!(text(&one.0) == text(&two.0));
}
