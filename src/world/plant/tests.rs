//! What each actor does, by itself and together, without Seatrial: its objects are written by hand.

use rstest::rstest;
use serde_json::{Value, json};

use super::{
    behaviour::{Answers, Behaviour, Latency, Pods, Readiness},
    chance::Range,
    during::During,
    gateway::{Fault, Wrong},
    user::{About, Deed},
    *,
};
use crate::{
    route::{Acceptance, HTTPRoute, observe},
    workload::{Health, TroubleKind, health, trouble},
    world::{api_server::Part, cluster::World, setting::Setting},
};

pub(super) fn setting() -> Setting {
    Setting::usual(1, vec![])
}

fn key(kind: &str, name: &str) -> Key {
    Key::new(kind, "ml", name)
}

/// A world with these revisions (two pods each), and a route that gives them these weights once everything is ready.
pub(super) async fn serving(setting: Setting, weights: &[(&str, i64)]) -> World {
    let mut world = World::begin(setting).unwrap();
    gateway(&world);
    for (name, _) in weights {
        revision(&world, name, name, 2);
    }
    pass(&mut world, 30).await;
    // Every proxy knows all Services before the first request.
    let mut known = route(weights);
    known["spec"]["rules"][0]["matches"] = json!([{"headers": [{"name": "x-seatrial-idle", "value": "x"}]}]);
    world.api.create("seatrial", known).unwrap();
    pass(&mut world, 6).await;
    reweigh(&world, weights);
    pass(&mut world, 4).await;
    world
}

fn gateway(world: &World) {
    let gateway = json!({
        "kind": "Gateway", "metadata": {"name": "public", "namespace": "ml"},
        "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    });
    world.api.create("user", gateway).unwrap();
}

fn revision(world: &World, name: &str, version: &str, replicas: i64) {
    let labels = json!({"seatrial.dev/revision": name, "seatrial.dev/version": version});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "model", "image": "i"}]}});
    let deployment = json!({
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name, "namespace": "ml"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    });
    world.api.create("seatrial", deployment).unwrap();
    let service = json!({
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ml"},
        "spec": {"selector": {"seatrial.dev/revision": name}, "ports": [{"name": "http", "port": 80}]},
    });
    world.api.create("seatrial", service).unwrap();
}

fn route(weights: &[(&str, i64)]) -> Value {
    json!({
        "kind": "HTTPRoute", "apiVersion": "gateway.networking.k8s.io/v1",
        "metadata": {"name": "iris", "namespace": "ml"},
        "spec": {"parentRefs": [{"name": "public"}], "hostnames": [], "rules": rules(weights)},
    })
}

fn rules(weights: &[(&str, i64)]) -> Value {
    let backends: Vec<Value> = weights
        .iter()
        .map(|(name, weight)| json!({"kind": "Service", "name": name, "port": 80, "weight": weight}))
        .collect();
    json!([{"backendRefs": backends, "timeouts": {"request": "5s"}}])
}

fn reweigh(world: &World, weights: &[(&str, i64)]) {
    let rules = rules(weights);
    let edit = |route: &mut Value| route["spec"]["rules"] = rules;
    world.api.edit("seatrial", &key("HTTPRoute", "iris"), Part::Object, edit).unwrap();
}

fn resize(world: &World, name: &str, replicas: i64) {
    let edit = |deployment: &mut Value| deployment["spec"]["replicas"] = json!(replicas);
    world.api.edit("seatrial", &key("Deployment", name), Part::Object, edit).unwrap();
}

/// Lets the world go on for so many seconds.
pub(super) async fn pass(world: &mut World, seconds: u64) {
    world.play(std::future::pending(), |_| false, Duration::from_secs(seconds)).await;
}

fn ready(world: &World, name: &str) -> Health {
    let live = world.api.get(&key("Deployment", name)).unwrap();
    health(&serde_json::from_value((*live).clone()).unwrap())
}

fn failed(world: &World) -> u64 {
    world.records.lock().served.iter().map(|served| served.failed).sum()
}

fn requests(world: &World, backend: &str) -> u64 {
    let records = world.records.lock();
    records.served.iter().filter(|served| served.backend == backend).map(|served| served.requests).sum()
}

fn pods(setting: &mut Setting, version: &str, pods: Pods) {
    let behaviour = Behaviour { pods, ..Behaviour::default() };
    setting.versions.named.insert(version.to_owned(), behaviour);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_gets_its_pods_and_its_status_tells_of_the_present_generation() {
    let mut world = World::begin(setting()).unwrap();
    revision(&world, "a", "1", 3);
    pass(&mut world, 1).await;
    let early = ready(&world, "a");
    assert_eq!((early.present, early.ready, early.observed), (3, 0, true));
    pass(&mut world, 20).await;
    assert!(ready(&world, "a").has_ready(3));
    resize(&world, "a", 1);
    assert!(!ready(&world, "a").observed, "what was written is not yet seen");
    pass(&mut world, 5).await;
    let late = ready(&world, "a");
    assert_eq!((late.present, late.ready, late.observed), (1, 1, true));
    assert_eq!(world.api.list("Pod", Some("ml")).len(), 1);
    world.api.delete("user", &key("Deployment", "a")).unwrap();
    pass(&mut world, 5).await;
    assert!(world.api.list("Pod", None).is_empty(), "pods of a deleted Deployment end");
}

#[rstest]
#[case::never(Pods { readiness: Readiness::Never, ..Pods::default() }, TroubleKind::NotReady)]
#[case::no_image(Pods { readiness: Readiness::NoImage, ..Pods::default() }, TroubleKind::ImagePull)]
#[case::crash(Pods { crash_after: Some(Duration::from_secs(1)), ..Pods::default() }, TroubleKind::CrashLoop)]
#[case::eviction(Pods { evict_after: Some(Duration::from_secs(10)), ..Pods::default() }, TroubleKind::Failed)]
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_pod_is_told_as_a_kubelet_tells_it(
    #[case] how: Pods,
    #[case] kind: TroubleKind,
) {
    let mut setting = setting();
    pods(&mut setting, "1", how);
    let mut world = World::begin(setting).unwrap();
    revision(&world, "a", "1", 1);
    pass(&mut world, 61).await;
    let pods: Vec<_> = world
        .api
        .list("Pod", None)
        .iter()
        .map(|pod| serde_json::from_value((**pod).clone()).unwrap())
        .collect();
    let told = trouble(&pods).unwrap();
    assert_eq!(told.kind, kind, "{}", told.message);
}

#[tokio::test(start_paused = true)]
async fn flapping_readiness_comes_and_goes() {
    let mut setting = setting();
    let readiness = Readiness::Flaps { up: Duration::from_secs(10), down: Duration::from_secs(5) };
    pods(&mut setting, "1", Pods { readiness, ..Pods::default() });
    let mut world = World::begin(setting).unwrap();
    revision(&world, "a", "1", 1);
    let mut seen = vec![];
    for _ in 0..60 {
        pass(&mut world, 1).await;
        seen.push(ready(&world, "a").ready);
    }
    seen.dedup();
    assert!(seen.len() >= 7, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_split_by_weight_to_the_last_one_and_none_fails() {
    let mut world = serving(setting(), &[("a", 7500), ("b", 2500)]).await;
    pass(&mut world, 600).await;
    let (a, b) = (requests(&world, "a"), requests(&world, "b"));
    assert!(a + b > 25_000, "{a} {b}");
    assert!(a.abs_diff(3 * b) <= 12, "{a} {b}");
    assert_eq!(failed(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn every_proxy_applies_a_new_weight_late_and_within_the_allowance() {
    let mut world = serving(setting(), &[("a", 10_000), ("b", 0)]).await;
    for weight in [1000, 2000, 3000, 4000, 5000] {
        reweigh(&world, &[("a", 10_000 - weight), ("b", weight)]);
        let (written, count) = (world.began.elapsed(), world.records.lock().applied.len());
        pass(&mut world, 10).await;
        let records = world.records.lock();
        let applied = &records.applied[count..];
        assert_eq!(applied.len(), 3);
        for one in applied {
            assert_eq!(one.shares[1], ("b".to_owned(), weight));
            let lag = one.at.saturating_sub(written);
            assert!(lag >= Duration::from_millis(30) && lag < Duration::from_secs(5), "{lag:?}");
        }
    }
    assert_eq!(failed(&world), 0);
}

#[rstest]
#[case::scaled_down_under_traffic(false, 0, true)]
#[case::scaled_down_at_once_after_the_weight(true, 0, true)]
#[case::scaled_down_when_the_weight_is_effective_and_drained(true, 10, false)]
#[tokio::test(start_paused = true)]
async fn requests_fail_when_pods_end_before_their_traffic_has(
    #[case] reweighed: bool,
    #[case] after: u64,
    #[case] fails: bool,
) {
    let mut world = serving(setting(), &[("a", 5000), ("b", 5000)]).await;
    if reweighed {
        reweigh(&world, &[("a", 10_000)]);
    }
    pass(&mut world, after).await;
    resize(&world, "b", 0);
    pass(&mut world, 30).await;
    assert_eq!(failed(&world) > 0, fails, "{}", failed(&world));
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_under_way_are_cut_off_unless_the_pod_finishes_them() {
    for (finishes, fails) in [(false, true), (true, false)] {
        let mut setting = setting();
        let answers = Answers { latency: Latency::always(Duration::from_millis(2500)), ..Answers::default() };
        let pods = Pods { finishes, ..Pods::default() };
        setting.versions.named.insert("b".to_owned(), Behaviour { pods, answers });
        // No proxy is late: only what is under way can fail.
        setting.proxies.lag = Range::millis(1, 1);
        setting.proxies.stragglers = 0.0;
        let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
        reweigh(&world, &[("a", 10_000)]);
        pass(&mut world, 1).await;
        resize(&world, "b", 0);
        pass(&mut world, 30).await;
        assert_eq!(failed(&world) > 0, fails, "{}", failed(&world));
    }
}

#[tokio::test(start_paused = true)]
async fn weight_for_what_is_not_there_fails_and_what_crashes_is_its_own_fault() {
    let mut world = serving(setting(), &[("a", 10_000)]).await;
    reweigh(&world, &[("a", 5000), ("nobody", 5000)]);
    pass(&mut world, 20).await;
    assert!(failed(&world) > 300, "{}", failed(&world));

    let mut setting = setting();
    pods(&mut setting, "b", Pods { crash_after: Some(Duration::from_secs(45)), ..Pods::default() });
    let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
    pass(&mut world, 60).await;
    let errors: u64 = world.records.lock().served.iter().map(|served| served.errors).sum();
    assert!(errors > 100, "{errors}");
    assert_eq!(failed(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn a_services_first_requests_fail_at_a_proxy_that_never_heard_of_it() {
    let mut world = serving(setting(), &[("a", 10_000)]).await;
    revision(&world, "b", "b", 2);
    pass(&mut world, 30).await;
    reweigh(&world, &[("a", 5000), ("b", 5000)]);
    pass(&mut world, 30).await;
    assert!(failed(&world) > 0, "Envoy answers 503 until it has a new cluster's endpoints");
}

fn acceptance(world: &World) -> Acceptance {
    let live = world.api.get(&key("HTTPRoute", "iris")).unwrap();
    observe(&serde_json::from_value::<HTTPRoute>((*live).clone()).unwrap()).acceptance
}

#[rstest]
#[case::away(Wrong::Away, false, "pending")]
#[case::silent(Wrong::Silent, true, "pending")]
#[case::stale(Wrong::Stale, true, "pending")]
#[case::refuses(Wrong::Refuses, false, "refused")]
#[case::slow(Wrong::Slow(Duration::from_secs(20)), false, "pending")]
#[tokio::test(start_paused = true)]
async fn a_gateway_may_be_away_silent_stale_slow_or_against_it_and_makes_up_for_it_later(
    #[case] what: Wrong,
    #[case] applied: bool,
    #[case] word: &str,
) {
    let mut setting = setting();
    let (from, until) = (Duration::from_secs(41), Duration::from_mins(1));
    setting.gateway.faults = vec![During { from, until, what: Fault { parent: None, what } }];
    let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
    assert_eq!(acceptance(&world), Acceptance::Accepted);
    pass(&mut world, 2).await;
    reweigh(&world, &[("a", 4000), ("b", 6000)]);
    let count = world.records.lock().applied.len();
    pass(&mut world, 10).await;
    let seen = match acceptance(&world) {
        Acceptance::Accepted => "accepted",
        Acceptance::Pending { .. } => "pending",
        Acceptance::Refused { .. } => "refused",
    };
    assert_eq!((seen, world.records.lock().applied.len() > count), (word, applied));
    pass(&mut world, 30).await;
    assert_eq!(acceptance(&world), Acceptance::Accepted);
    assert!(world.records.lock().applied.len() > count);
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_refused_it_does_not_accept_before_its_proxies_have_it() {
    let mut setting = setting();
    let (from, until) = (Duration::from_secs(41), Duration::from_millis(42_100));
    setting.gateway.faults = vec![During { from, until, what: Fault { parent: None, what: Wrong::Refuses } }];
    // Refused at 42.02 s, taken over at 42.1 s, reported 0.8 s after each.
    (setting.gateway.hears, setting.gateway.reports) = (Range::millis(20, 20), Range::millis(800, 800));
    let mut world = serving(setting, &[("a", 5000), ("b", 5000)]).await;
    pass(&mut world, 2).await;
    reweigh(&world, &[("a", 4000), ("b", 6000)]);
    world.play(std::future::pending(), |_| false, Duration::from_millis(850)).await;
    assert_ne!(acceptance(&world), Acceptance::Accepted);
    pass(&mut world, 1).await;
    assert_eq!(acceptance(&world), Acceptance::Accepted);
}

#[tokio::test(start_paused = true)]
async fn people_do_what_their_script_says_and_verbs_name_the_revision_of_that_moment() {
    let model = key("ModelDeployment", "iris");
    let after = Duration::from_secs;
    let mut setting = setting();
    let verb = Deed::Verb { model: model.clone(), verb: "approve", about: About::Candidate, step: Some(1) };
    let script = vec![
        (after(1), Deed::Version(model.clone(), "2".to_owned())),
        (after(2), verb),
        (after(3), Deed::Merge(model.clone(), json!({"spec": {"replicas": 5}}))),
        (after(9), Deed::Delete(model.clone())),
    ];
    setting.users = vec![("ann", script)];
    setting.autoscaler = Some(super::autoscaler::Setting {
        model: model.clone(),
        every: Range::millis(500, 500),
        least: 7,
        most: 7,
        until: after(2),
    });
    let mut world = World::begin(setting).unwrap();
    let object = json!({
        "kind": "ModelDeployment", "apiVersion": "seatrial.dev/v1alpha1",
        "metadata": {"name": "iris", "namespace": "ml"},
        "spec": {"model": {"version": "1", "format": "any"}, "runtimeRef": {"name": "r"}, "replicas": 1,
            "progressDeadline": "10m", "revisionHistoryLimit": 3},
    });
    world.api.create("user", object).unwrap();
    let status = json!({"candidateRevision": "iris-x"});
    world.api.edit("seatrial", &model, Part::Status, |object| object["status"] = status).unwrap();
    pass(&mut world, 2).await;
    let at_two = world.api.get(&model).unwrap();
    assert_eq!((&at_two["spec"]["model"]["version"], &at_two["spec"]["replicas"]), (&json!("2"), &json!(7)));
    pass(&mut world, 2).await;
    let live = world.api.get(&model).unwrap();
    assert_eq!(live["spec"]["replicas"], 5);
    let asked = live["metadata"]["annotations"]["request.seatrial.dev/approve"].as_str().unwrap();
    let asked: Value = serde_json::from_str(asked).unwrap();
    assert_eq!((&asked["revision"], &asked["step"]), (&json!("iris-x"), &json!(1)));
    pass(&mut world, 10).await;
    assert!(world.api.get(&model).is_none());
}

#[tokio::test(start_paused = true)]
async fn gitops_sets_back_what_it_has_and_a_route_as_often_as_it_may() {
    let mut setting = setting();
    let service = json!({"kind": "Service", "metadata": {"name": "s", "namespace": "ml"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
    setting.gitops = Some(super::gitops::Setting {
        manifests: vec![service],
        every: Duration::from_secs(3),
        reverts: 1,
        until: Duration::from_mins(10),
    });
    let mut world = World::begin(setting).unwrap();
    world.api.create("seatrial", route(&[("a", 10_000), ("b", 0)])).unwrap();
    pass(&mut world, 4).await;
    let key_of_service = key("Service", "s");
    let edit = |service: &mut Value| service["spec"]["selector"] = json!({"a": "c"});
    world.api.edit("user", &key_of_service, Part::Object, edit).unwrap();
    for (weight, kept) in [(1000, false), (2000, true)] {
        reweigh(&world, &[("a", 10_000 - weight), ("b", weight)]);
        pass(&mut world, 4).await;
        let live = world.api.get(&key("HTTPRoute", "iris")).unwrap();
        let backends = live["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
        let weights: Vec<_> = backends.iter().map(|b| b["weight"].as_i64().unwrap()).collect();
        assert_eq!(weights == [10_000 - weight, weight], kept, "{weights:?}");
    }
    assert_eq!(world.api.get(&key_of_service).unwrap()["spec"]["selector"], json!({"a": "b"}));
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_history_and_another_seed_another() {
    let mut hashes = vec![];
    for seed in [5, 5, 6] {
        let mut world = serving(Setting { seed, ..setting() }, &[("a", 5000), ("b", 5000)]).await;
        resize(&world, "b", 0);
        pass(&mut world, 60).await;
        let records = world.records.lock();
        hashes.push(format!("{:?} {:?} {:?}", world.api.since(0), records.applied, records.served));
    }
    assert!(hashes[0] == hashes[1]);
    assert!(hashes[1] != hashes[2]);
}
