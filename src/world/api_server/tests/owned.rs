//! Deletion and garbage collection.

use super::*;

/// A Service that belongs to some.
fn owned(server: &ApiServer, name: &str, owners: &[&str], blocks: bool) -> Key {
    let owner = |of: &&str| {
        let live = server.get(&Key::new("ModelDeployment", "ml", of)).unwrap();
        json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelDeployment", "name": of,
            "uid": live["metadata"]["uid"], "blockOwnerDeletion": blocks})
    };
    let references: Vec<Value> = owners.iter().map(owner).collect();
    let meta = json!({"name": name, "namespace": "ml", "ownerReferences": references});
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}});
    server.create("user", service).unwrap();
    Key::new("Service", "ml", name)
}

fn settle(server: &ApiServer) {
    while server.collect_garbage("collector") > 0 {}
}

fn of_model(name: &str) -> Key {
    Key::new("ModelDeployment", "ml", name)
}

#[tokio::test(start_paused = true)]
async fn an_object_goes_when_the_last_of_its_owners_is_gone() {
    let server = server();
    server.create("user", model("a")).unwrap();
    server.create("user", model("b")).unwrap();
    let service = owned(&server, "s", &["a", "b"], false);
    server.delete("user", &of_model("a")).unwrap();
    settle(&server);
    let left = server.get(&service).unwrap();
    assert_eq!(left["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    server.delete("user", &of_model("b")).unwrap();
    settle(&server);
    assert!(server.get(&service).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_owner_made_anew_owns_nothing_of_the_old_ones() {
    let server = server();
    server.create("user", model("a")).unwrap();
    let service = owned(&server, "s", &["a"], false);
    server.delete("user", &of_model("a")).unwrap();
    server.create("user", model("a")).unwrap();
    settle(&server);
    assert!(server.get(&service).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_in_the_foreground_waits_for_what_it_owns() {
    let server = server();
    server.create("user", model("a")).unwrap();
    let service = owned(&server, "s", &["a"], true);
    server.edit("user", &service, Part::Object, |s| s["metadata"]["finalizers"] = json!(["x/y"])).unwrap();
    server.delete_with("user", &of_model("a"), Propagation::Foreground).unwrap();
    settle(&server);
    assert!(!server.get(&service).unwrap()["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(server.get(&of_model("a")).unwrap()["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    server.edit("user", &service, Part::Object, |s| s["metadata"]["finalizers"] = json!([])).unwrap();
    assert!(server.get(&service).is_none());
    settle(&server);
    assert!(server.get(&of_model("a")).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_object_stays_without_its_owner() {
    let server = server();
    server.create("user", model("a")).unwrap();
    let service = owned(&server, "s", &["a"], true);
    server.delete_with("user", &of_model("a"), Propagation::Orphan).unwrap();
    settle(&server);
    assert!(server.get(&of_model("a")).is_none());
    assert!(server.get(&service).unwrap()["metadata"].get("ownerReferences").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_waits_for_finalizers_and_takes_no_new_ones() {
    let server = server();
    let mut held = model("a");
    held["metadata"]["finalizers"] = json!(["x/y"]);
    server.create("user", held).unwrap();
    server.delete("user", &of_model("a")).unwrap();
    let going = server.get(&of_model("a")).unwrap();
    assert_eq!(
        (&going["metadata"]["generation"], &going["metadata"]["deletionTimestamp"]),
        (&json!(2), &json!("2026-11-21T12:00:00Z"))
    );
    let more = server
        .edit("user", &of_model("a"), Part::Object, |m| m["metadata"]["finalizers"] = json!(["x/y", "x/z"]));
    assert!(more.unwrap_err().message.contains("no new finalizers can be added"));
    server.edit("user", &of_model("a"), Part::Object, |m| m["metadata"]["finalizers"] = json!([])).unwrap();
    assert!(server.get(&of_model("a")).is_none());
    let last = server.since(0).pop().unwrap();
    assert_eq!((last.revision, last.after.is_none(), last.by.as_str()), (3, true, "user"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_has_its_grace_only_once_it_runs_somewhere() {
    let server = server();
    let pod = |name: &str, node: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ml"},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
    };
    server.create("scheduler", pod("waits", "")).unwrap();
    server.create("scheduler", pod("runs", "node1")).unwrap();
    for name in ["waits", "runs"] {
        server.delete_with("user", &Key::new("Pod", "ml", name), Propagation::Background).unwrap();
    }
    assert!(server.get(&Key::new("Pod", "ml", "waits")).is_none());
    let going = server.get(&Key::new("Pod", "ml", "runs")).unwrap();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], json!(30));
    server.delete("kubelet", &Key::new("Pod", "ml", "runs")).unwrap();
    assert!(server.get(&Key::new("Pod", "ml", "runs")).is_none());
}
