//! How fast it is; run by hand: `cargo test --lib -- --ignored --nocapture requests_per_second`.

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams, WatchParams},
};

use super::*;
use crate::api::v1alpha1::TrafficSplit;

/// Seconds of work per request.
fn timed(name: &str, count: u32, began: cpu::Time) {
    let spent = cpu::now().since(began);
    println!(
        "{name}: {:.1} µs, {:.0} per CPU-second",
        spent * 1e6 / f64::from(count),
        f64::from(count) / spent
    );
}

/// CPU time of this process: other people's work does not count.
mod cpu {
    #[derive(Clone, Copy)]
    pub struct Time(f64);

    impl Time {
        pub fn since(self, other: Self) -> f64 {
            self.0 - other.0
        }
    }

    pub fn now() -> Time {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        Time(ticks / 100.0)
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "measures, does not judge"]
async fn requests_per_second() {
    let server = server();
    let client = server.client("seatrial-a");
    server.create("user", split("iris")).unwrap();
    server.create("user", deployment("d")).unwrap();
    let count = 20_000;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "ml");
    let began = cpu::now();
    for _ in 0..count {
        deployments.get_metadata("d").await.unwrap();
    }
    timed("get metadata", count, began);
    let began = cpu::now();
    for _ in 0..count {
        deployments.get("d").await.unwrap();
    }
    timed("get a Deployment", count, began);
    let began = cpu::now();
    for _ in 0..count {
        deployments.list(&ListParams::default()).await.unwrap();
    }
    timed("list one Deployment", count, began);
    let config = deployment("d");
    let params = PatchParams::apply("seatrial").force();
    let began = cpu::now();
    for number in 0..count / 4 {
        let mut config = config.clone();
        config["spec"]["replicas"] = json!(number);
        deployments.patch("d", &params, &Patch::Apply(&config)).await.unwrap();
    }
    timed("apply a Deployment", count / 4, began);
    let splits: Api<TrafficSplit> = Api::namespaced(client.clone(), "ml");
    let mut live = splits.get("iris").await.unwrap();
    let began = cpu::now();
    for number in 0..count / 4 {
        let status = live.status.get_or_insert_default();
        status.message = number.to_string();
        live = splits.replace_status("iris", &PostParams::default(), &live).await.unwrap();
    }
    timed("write a TrafficSplit's status", count / 4, began);
    let began = cpu::now();
    let key = Key::new("Deployment", "ml", "d");
    for number in 0..count / 4 {
        server
            .edit("kubelet", &key, Part::Status, |d| d["status"]["readyReplicas"] = json!(number + 1))
            .unwrap();
    }
    timed("edit a Deployment's status at once", count / 4, began);
    let leases: Api<Lease> = Api::namespaced(client.clone(), "ml");
    let lease: Lease =
        serde_json::from_value(json!({"metadata": {"name": "l"}, "spec": {"leaseTransitions": 1}})).unwrap();
    let mut live = leases.create(&PostParams::default(), &lease).await.unwrap();
    let began = cpu::now();
    for number in 0..10_000 {
        live.spec.as_mut().unwrap().lease_transitions = Some(number + 2);
        live = leases.replace("l", &PostParams::default(), &live).await.unwrap();
    }
    timed("put a Lease", 10_000, began);
    let from = server.revision().to_string();
    let stream = deployments.watch(&WatchParams::default(), &from).await.unwrap();
    pin_mut!(stream);
    let began = cpu::now();
    for number in 0..count / 4 {
        server.edit("user", &key, Part::Object, |d| d["spec"]["replicas"] = json!(number)).unwrap();
        stream.next().await.unwrap().unwrap();
    }
    timed("edit a Deployment and hear of it", count / 4, began);
}
