//! The requests of the controllers, through `kube::Client`.

use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Service};
use kube::{
    Api,
    api::{
        DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
        WatchParams,
    },
    core::ApiResource,
    runtime::watcher::{self, Event, watcher},
};

use super::*;
use crate::{
    api::v1alpha1::{ModelDeployment, TrafficSplit},
    route::HTTPRoute,
};

fn api<K>(server: &ApiServer) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(server.client("seatrial-a"), "ml")
}

fn code(error: &kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("{other}"),
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> (u16, String) {
    code(&answer.unwrap_err())
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_made_is_read_and_listed() {
    let server = server();
    server.create("user", model("iris")).unwrap();
    let models: Api<ModelDeployment> = api(&server);
    let live = models.get("iris").await.unwrap();
    assert_eq!((live.metadata.generation, live.metadata.resource_version.as_deref()), (Some(1), Some("1")));
    assert_eq!(live.spec.replicas, Some(2));
    assert_eq!(models.list(&ListParams::default()).await.unwrap().items.len(), 1);
    assert_eq!(
        Api::<ModelDeployment>::all(server.client("x"))
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(refused(models.get("rose").await), (404, "NotFound".to_owned()));
    let meta = models.get_metadata("iris").await.unwrap();
    assert_eq!(meta.metadata.uid, live.metadata.uid);
}

#[tokio::test(start_paused = true)]
async fn kubes_watcher_lists_by_pages_and_then_hears_of_every_change() {
    let server = server();
    for name in ["a", "b", "c"] {
        server.create("user", model(name)).unwrap();
    }
    let config = watcher::Config::default().page_size(2);
    let stream = watcher(api::<ModelDeployment>(&server), config);
    pin_mut!(stream);
    let mut seen = vec![];
    while let Some(event) = stream.try_next().await.unwrap() {
        match event {
            Event::Init => {}
            Event::InitApply(model) => seen.push(model.metadata.name.unwrap()),
            Event::InitDone => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    server
        .edit("user", &Key::new("ModelDeployment", "ml", "b"), Part::Object, |m| {
            m["spec"]["replicas"] = json!(5)
        })
        .unwrap();
    server.delete("user", &Key::new("ModelDeployment", "ml", "c")).unwrap();
    let Some(Event::Apply(changed)) = stream.try_next().await.unwrap() else { panic!() };
    assert_eq!((changed.spec.replicas, changed.metadata.generation), (Some(5), Some(2)));
    let Some(Event::Delete(gone)) = stream.try_next().await.unwrap() else { panic!() };
    assert_eq!(gone.metadata.name.as_deref(), Some("c"));
    assert_eq!(gone.metadata.resource_version.as_deref(), Some("5"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_by_label_sees_what_begins_and_ends_to_fit() {
    let server = server();
    let deployments: Api<Deployment> = api(&server);
    let params = WatchParams::default().labels("seatrial.dev/model");
    let stream = deployments.watch(&params, "0").await.unwrap();
    pin_mut!(stream);
    let key = Key::new("Deployment", "ml", "d");
    server.create("user", deployment("d")).unwrap();
    server
        .edit("user", &key, Part::Object, |d| d["metadata"]["labels"] = json!({"seatrial.dev/model": "iris"}))
        .unwrap();
    server.edit("user", &key, Part::Object, |d| d["spec"]["replicas"] = json!(3)).unwrap();
    server.edit("user", &key, Part::Object, |d| d["metadata"]["labels"] = json!({})).unwrap();
    let mut told = vec![];
    for _ in 0..3 {
        let (word, object) = match stream.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(d) => ("added", d),
            WatchEvent::Modified(d) => ("modified", d),
            WatchEvent::Deleted(d) => ("deleted", d),
            other => panic!("{other:?}"),
        };
        told.push((word, object.metadata.resource_version.unwrap()));
    }
    assert_eq!(told, [("added", "2".to_owned()), ("modified", "3".to_owned()), ("deleted", "4".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_brings_bookmarks_and_ends_when_it_was_to() {
    let server = server();
    server.create("user", model("iris")).unwrap();
    server.create("user", deployment("d")).unwrap();
    let params = WatchParams::default().timeout(150);
    let events: Vec<_> =
        api::<ModelDeployment>(&server).watch(&params, "2").await.unwrap().try_collect().await.unwrap();
    assert_eq!(events.len(), 2);
    assert!(
        matches!(&events[0], WatchEvent::Bookmark(b) if b.metadata.resource_version == "2"),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_gone() {
    let server = server();
    for name in ["a", "b", "c"] {
        server.create("user", model(name)).unwrap();
    }
    let models: Api<ModelDeployment> = api(&server);
    let page = models.list(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!(page.metadata.remaining_item_count, Some(2));
    let token = page.metadata.continue_.unwrap();
    server.compact(3, false);
    let next = models.list(&ListParams::default().limit(1).continue_token(&token)).await.unwrap();
    assert_eq!(next.items[0].metadata.name.as_deref(), Some("b"));
    server.create("user", model("d")).unwrap();
    server.compact(4, false);
    assert_eq!(
        refused(models.list(&ListParams::default().limit(1).continue_token(&token)).await),
        (410, "Expired".to_owned())
    );
    let events: Vec<_> =
        models.watch(&WatchParams::default(), "1").await.unwrap().try_collect().await.unwrap();
    assert!(matches!(&events[..], [WatchEvent::Error(status)] if status.code == 410), "{events:?}");
    server.compact(4, true);
    let stream = models.watch(&WatchParams::default(), "1").await;
    assert_eq!(code(&stream.err().unwrap()), (410, "Expired".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_changes_nothing_writes_nothing_and_what_is_left_out_goes() {
    let server = server();
    let deployments: Api<Deployment> = api(&server);
    let params = PatchParams::apply("seatrial").force();
    let mut config = deployment("d");
    config["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let made = deployments.patch("d", &params, &Patch::Apply(&config)).await.unwrap();
    assert_eq!(made.metadata.managed_fields.as_ref().unwrap()[0].operation.as_deref(), Some("Apply"));
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    let again = deployments.patch("d", &params, &Patch::Apply(&config)).await.unwrap();
    assert_eq!(again, made);
    config["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "B", "value": "2"}]);
    let less = deployments.patch("d", &params, &Patch::Apply(&config)).await.unwrap();
    let env = less.spec.unwrap().template.spec.unwrap().containers[0].env.clone().unwrap();
    assert_eq!(env.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["B"]);
    assert_eq!((less.metadata.generation, server.revision()), (Some(2), 2));
}

#[tokio::test(start_paused = true)]
async fn an_apply_leaves_what_others_own_and_takes_it_only_by_force() {
    let server = server();
    let deployments: Api<Deployment> = api(&server);
    deployments.patch("d", &PatchParams::apply("seatrial"), &Patch::Apply(&deployment("d"))).await.unwrap();
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 7}});
    assert_eq!(
        refused(deployments.patch("d", &PatchParams::apply("hpa"), &Patch::Apply(&other)).await),
        (409, "Conflict".to_owned())
    );
    deployments.patch("d", &PatchParams::apply("hpa").force(), &Patch::Apply(&other)).await.unwrap();
    let mut mine = deployment("d");
    mine["spec"].as_object_mut().unwrap().remove("replicas");
    let live = deployments.patch("d", &PatchParams::apply("seatrial"), &Patch::Apply(&mine)).await.unwrap();
    assert_eq!(live.spec.unwrap().replicas, Some(7));
}

#[tokio::test(start_paused = true)]
async fn an_apply_with_another_uid_or_version_in_it_is_refused() {
    let server = server();
    let routes: Api<HTTPRoute> = api(&server);
    let params = PatchParams::apply("seatrial").force();
    let mut route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "ml"},
        "spec": {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [{"name": "a", "port": 80, "weight": 1}]}]}});
    let made = routes.patch("r", &params, &Patch::Apply(&route)).await.unwrap();
    assert_eq!(made.spec.parent_refs[0].kind, "Gateway");
    route["metadata"]["resourceVersion"] = json!("77");
    assert_eq!(
        refused(routes.patch("r", &params, &Patch::Apply(&route)).await),
        (409, "Conflict".to_owned())
    );
    route["metadata"]["resourceVersion"] = json!(made.metadata.resource_version);
    route["metadata"]["uid"] = json!(made.metadata.uid);
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(2);
    let next = routes.patch("r", &params, &Patch::Apply(&route)).await.unwrap();
    assert_eq!((next.metadata.generation, next.spec.rules[0].backend_refs[0].weight), (Some(2), 2));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_would_be_and_stores_nothing() {
    let server = server();
    let deployments: Api<Deployment> = api(&server);
    let params = PatchParams::apply("seatrial").force().dry_run();
    let would = deployments.patch("d", &params, &Patch::Apply(&deployment("d"))).await.unwrap();
    assert_eq!(would.spec.unwrap().progress_deadline_seconds, Some(600));
    assert_eq!(server.revision(), 0);
    let mut wrong = deployment("d");
    wrong["spec"]["template"]["spec"]["containers"][0]["imag"] = json!("x");
    let error = deployments.patch("d", &params, &Patch::Apply(&wrong)).await.unwrap_err();
    assert_eq!(code(&error).0, 500);
    assert!(
        error
            .to_string()
            .contains(".spec.template.spec.containers[name=\"model\"].imag: field not declared in schema"),
        "{error}"
    );
    wrong = deployment("d");
    wrong["spec"]["template"]["spec"]["containers"][0]["image"] = json!("");
    assert_eq!(
        refused(deployments.patch("d", &params, &Patch::Apply(&wrong)).await),
        (422, "Invalid".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_alone_and_only_onto_the_version_that_was_read() {
    let server = server();
    server.create("user", split("iris")).unwrap();
    let splits: Api<TrafficSplit> = api(&server);
    let mut live = splits.get("iris").await.unwrap();
    live.status =
        Some(crate::api::v1alpha1::TrafficSplitStatus { message: "hello".to_owned(), ..Default::default() });
    live.spec.backends.clear();
    let written = splits.replace_status("iris", &PostParams::default(), &live).await.unwrap();
    assert_eq!((written.spec.backends.len(), written.metadata.generation), (1, Some(1)));
    assert_eq!(written.status.as_ref().unwrap().message, "hello");
    let late = splits.replace_status("iris", &PostParams::default(), &live).await;
    assert_eq!(refused(late), (409, "Conflict".to_owned()));
    let patch = json!({"status": {"message": "again"}, "spec": {"backends": []}});
    let patched = splits.patch_status("iris", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!((patched.spec.backends.len(), patched.status.unwrap().message.as_str()), (1, "again"));
    let spec = json!({"status": {"message": "by the other door"}});
    let ignored = splits.patch("iris", &PatchParams::default(), &Patch::Merge(&spec)).await.unwrap();
    assert_eq!(ignored.status.unwrap().message, "again");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_checks_uid_and_version() {
    let server = server();
    server.create("user", deployment("d")).unwrap();
    let deployments: Api<Deployment> = api(&server);
    let live = deployments.get("d").await.unwrap();
    let only = |uid: Option<String>, resource_version: Option<String>| DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version }),
        ..DeleteParams::background()
    };
    let other = Some("other".to_owned());
    assert_eq!(refused(deployments.delete("d", &only(other.clone(), None)).await).0, 409);
    assert_eq!(refused(deployments.delete("d", &only(live.metadata.uid.clone(), other)).await).0, 409);
    deployments.delete("d", &only(live.metadata.uid, live.metadata.resource_version)).await.unwrap();
    assert_eq!(refused(deployments.delete("d", &DeleteParams::background()).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_not_made_again() {
    let server = server();
    let services: Api<Service> = api(&server);
    let service: Service = of(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}));
    let made = services.create(&PostParams::default(), &service).await.unwrap();
    assert_eq!(made.spec.as_ref().unwrap().type_.as_deref(), Some("ClusterIP"));
    assert!(made.metadata.generation.is_none() && made.spec.unwrap().cluster_ip.is_some());
    assert_eq!(
        refused(services.create(&PostParams::default(), &service).await),
        (409, "AlreadyExists".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_taken_by_one_of_two_who_read_the_same() {
    let server = server();
    let leases: Api<Lease> = api(&server);
    let lease: Lease =
        of(json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15,
        "renewTime": "2026-11-21T12:00:00.000000Z"}}));
    leases.create(&PostParams::default(), &lease).await.unwrap();
    let seen = leases.get("l").await.unwrap();
    let taken = leases.replace("l", &PostParams::default(), &seen).await.unwrap();
    assert_eq!(taken.metadata.resource_version, seen.metadata.resource_version);
    let mut mine = seen.clone();
    mine.spec.as_mut().unwrap().holder_identity = Some("b".to_owned());
    leases.replace("l", &PostParams::default(), &mine).await.unwrap();
    assert_eq!(
        refused(leases.replace("l", &PostParams::default(), &mine).await),
        (409, "Conflict".to_owned())
    );
    mine.metadata.resource_version = None;
    assert_eq!(
        refused(leases.replace("l", &PostParams::default(), &mine).await),
        (422, "Invalid".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_spec_is_refused_with_the_rules_own_words() {
    let server = server();
    let splits: Api<DynamicObject> =
        Api::namespaced_with(server.client("user"), "ml", &ApiResource::erase::<TrafficSplit>(&()));
    let mut wrong = split("iris");
    wrong["spec"]["backends"] =
        json!([{"modelDeploymentRef": {"name": "a"}}, {"modelDeploymentRef": {"name": "b"}}]);
    let error = splits.create(&PostParams::default(), &of(wrong)).await.unwrap_err();
    assert_eq!(code(&error), (422, "Invalid".to_owned()));
    assert!(
        error.to_string().contains("with two or more backends each needs a `name` and a `weight`"),
        "{error}"
    );
    let mut wrong = split("iris");
    wrong["spec"]["analysis"] = json!({"interval": "often"});
    let error = splits.create(&PostParams::default(), &of(wrong)).await.unwrap_err();
    assert!(error.to_string().contains("spec.analysis.interval in body should match"), "{error}");
    let mut unknown = split("iris");
    unknown["spec"]["colour"] = json!("red");
    let made = splits.create(&PostParams::default(), &of(unknown)).await.unwrap();
    assert!(made.data["spec"].get("colour").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_away_and_a_verb_that_is_not_allowed_are_told_apart() {
    let server = server();
    server.create("user", model("iris")).unwrap();
    let models: Api<ModelDeployment> = api(&server);
    let stream = models.watch(&WatchParams::default(), "1").await.unwrap();
    pin_mut!(stream);
    server.serve("ModelDeployment", false);
    assert!(stream.next().await.is_none());
    assert_eq!(refused(models.get("iris").await).0, 404);
    server.serve("ModelDeployment", true);
    let rule = |verb: &str, kind: &str, namespace: Option<&str>| Forbidden {
        who: "seatrial-a".to_owned(),
        verb: verb.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
    };
    server
        .forbid(vec![rule("get", "ModelDeployment", Some("ml")), rule("*", "ModelDeployment/status", None)]);
    assert_eq!(refused(models.get("iris").await), (403, "Forbidden".to_owned()));
    assert_eq!(models.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let patch = json!({"status": {}});
    let status = models.patch_status("iris", &PatchParams::default(), &Patch::Merge(&patch)).await;
    assert_eq!(refused(status).0, 403);
    assert!(Api::<ModelDeployment>::namespaced(server.client("b"), "ml").get("iris").await.is_ok());
}
