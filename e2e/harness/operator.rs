//! The operator under test: installed by the real Helm, killed, moved, scaled, measured.

use std::{fs, path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::{Lease, LeaseSpec},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{Broken, Cluster, Outcome, eventually, until};

/// Namespace of the release.
const NAMESPACE: &str = "seatrial-system";
/// Name of the release, and with it of the Deployment and the Lease.
const RELEASE: &str = "seatrial";

/// The operator's release.
#[derive(Clone)]
pub struct Operator {
    cluster: Cluster,
}

impl Operator {
    /// The release in this cluster, installed or not.
    pub fn of(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone() }
    }

    /// Installs or upgrades the chart with the settings of `e2e/harness/values.yaml` and these, and waits until a
    /// leader is there. `settings` are Helm's `key=value`.
    pub async fn install(&self, settings: &[&str]) -> Outcome {
        let mut words = vec!["upgrade", "--install", RELEASE, "charts/seatrial", "--namespace", NAMESPACE];
        words.extend(["--create-namespace", "--take-ownership", "--values", "e2e/harness/values.yaml"]);
        // A scenario that ended halfway may have left its own number of replicas.
        words.extend(["--force-conflicts", "--wait", "--timeout", "120s"]);
        for setting in settings {
            words.extend(["--set", *setting]);
        }
        self.cluster.tool("helm", &words).await?;
        self.settled().await
    }

    /// `helm uninstall`, until its pods are gone.
    pub async fn uninstall(&self) -> Outcome {
        self.cluster.tool("helm", &["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]).await?;
        self.no_pods().await
    }

    /// Starts its pods anew, as a new build under the same tag needs it, and waits for a leader among them.
    pub async fn restart(&self) -> Outcome {
        let stamp = super::now().to_string();
        let template = json!({"metadata": {"annotations": {"e2e.seatrial.dev/restarted": stamp}}});
        self.patch(&json!({"spec": {"template": template}})).await?;
        self.settled().await
    }

    /// Sets its number of replicas, and waits until it is so.
    pub async fn scale(&self, replicas: i32) -> Outcome {
        self.patch(&json!({"spec": {"replicas": replicas}})).await?;
        if replicas == 0 { self.no_pods().await } else { self.settled().await }
    }

    async fn patch(&self, change: &serde_json::Value) -> Outcome {
        self.deployments().patch(RELEASE, &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.cluster.client.clone(), NAMESPACE)
    }

    fn pods_api(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), NAMESPACE)
    }

    /// Its pods that are not on their way out.
    pub async fn pods(&self) -> Outcome<Vec<Pod>> {
        let labels = ListParams::default().labels("app.kubernetes.io/name=seatrial");
        let pods = self.pods_api().list(&labels).await?;
        Ok(pods.items.into_iter().filter(|p| p.metadata.deletion_timestamp.is_none()).collect())
    }

    /// Waits until its Deployment is as it should be and one of its pods leads.
    pub async fn settled(&self) -> Outcome {
        let rolled_out = |d: Option<&Deployment>| {
            let Some(d) = d else { return false };
            let (spec, status) = (d.spec.clone().unwrap_or_default(), d.status.clone().unwrap_or_default());
            let wanted = spec.replicas.unwrap_or(1);
            status.observed_generation >= d.metadata.generation
                && status.updated_replicas == Some(wanted)
                && status.available_replicas == Some(wanted)
                && status.replicas == Some(wanted)
        };
        let show = |d: &Deployment| format!("{:?}", d.status);
        let within = Duration::from_secs(90);
        until(&self.deployments(), RELEASE, within, "the operator is available", rolled_out, show).await?;
        eventually(Duration::from_secs(40), "one of the operator's pods leads", async || {
            self.leader().await.ok()
        })
        .await
        .map(drop)
    }

    async fn no_pods(&self) -> Outcome {
        eventually(Duration::from_mins(1), "the operator's pods are gone", async || {
            let all =
                self.pods_api().list(&ListParams::default().labels("app.kubernetes.io/name=seatrial")).await;
            all.ok().filter(|pods| pods.items.is_empty()).map(drop)
        })
        .await
    }

    /// What its Lease says.
    pub async fn lease(&self) -> Outcome<LeaseSpec> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client.clone(), NAMESPACE);
        Ok(leases.get(RELEASE).await?.spec.unwrap_or_default())
    }

    /// The pod that holds the lease, if it is one that lives.
    pub async fn leader(&self) -> Outcome<Pod> {
        let holder = self.lease().await?.holder_identity.unwrap_or_default();
        let pods = self.pods().await?;
        pods.into_iter().find(|p| holder.contains(&p.name_any())).ok_or_else(|| {
            Broken::new(format!("the lease's holder {holder:?} is none of the operator's pods"))
        })
    }

    /// Ends a pod as a machine that loses power would: SIGKILL to its process, so that nothing is said goodbye to and
    /// the lease stays held; then the pod is deleted, so that the next one starts without a backoff.
    pub async fn kill(&self, pod: &str) -> Outcome {
        let process = process_of(pod)?;
        self.cluster.tool("kill", &["-9", &process.pid.to_string()]).await?;
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.pods_api().delete(pod, &at_once).await?;
        Ok(())
    }

    /// [`Operator::kill`], and the lease is given back in its name: for scenarios that are not about the takeover, which
    /// `leader_killed` waits for and measures.
    pub async fn kill_and_bury(&self, pod: &str) -> Outcome {
        let process = process_of(pod)?;
        self.cluster.tool("kill", &["-9", &process.pid.to_string()]).await?;
        let leases: Api<Lease> = Api::namespaced(self.cluster.client.clone(), NAMESPACE);
        let nobody = Patch::Merge(json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}));
        leases.patch(RELEASE, &PatchParams::default(), &nobody).await?;
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.pods_api().delete(pod, &at_once).await?;
        Ok(())
    }

    /// How often its containers were started again.
    pub async fn restarts(&self) -> Outcome<i32> {
        let pods = self.pods().await?;
        let containers = pods.iter().filter_map(|p| p.status.as_ref()?.container_statuses.as_ref()).flatten();
        Ok(containers.map(|c| c.restart_count).sum())
    }

    /// The leader's resident memory in MiB.
    pub async fn rss_mib(&self) -> Outcome<f64> {
        let process = process_of(&self.leader().await?.name_any())?;
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// What the leader's `/metrics` says.
    pub async fn metrics(&self) -> Outcome<String> {
        let pod = self.leader().await?;
        let address =
            pod.status.and_then(|s| s.pod_ip).ok_or_else(|| Broken::new("the leader has no address"))?;
        let client: HttpClient<_, Empty<Bytes>> = HttpClient::builder(TokioExecutor::new()).build_http();
        let answer = client.get(format!("http://{address}:8080/metrics").parse()?).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sum (seconds) and count of `seatrial_answer_to_route_seconds`: from the answer of Prometheus that completes a
    /// proof to the patched route.
    pub async fn answer_to_route(&self) -> Outcome<(f64, f64)> {
        let metrics = self.metrics().await?;
        let sum = |suffix: &str| -> f64 {
            let name = format!("seatrial_answer_to_route_seconds_{suffix}");
            let of_it =
                metrics.lines().filter(|l| l.strip_prefix(&name).is_some_and(|r| r.starts_with(['{', ' '])));
            of_it.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok((sum("sum"), sum("count")))
    }

    /// The last lines of every operator pod's log, those that name `word` if one is given.
    pub async fn log_tail(&self, word: Option<&str>, lines: usize) -> Outcome<Vec<String>> {
        let mut tail = vec![];
        for pod in self.pods().await? {
            let log = self.pods_api().logs(&pod.name_any(), &kube::api::LogParams::default()).await?;
            let of_it: Vec<&str> = log.lines().filter(|l| word.is_none_or(|w| l.contains(w))).collect();
            tail.extend(of_it.iter().rev().take(lines).rev().map(|l| format!("{}: {l}", pod.name_any())));
        }
        Ok(tail)
    }
}

struct Process {
    pid: u32,
}

/// The process `seatrial controller` of a pod, as it is seen from inside the cluster's PID namespace.
fn process_of(pod: &str) -> Outcome<Process> {
    for entry in fs::read_dir("/proc")? {
        let path: PathBuf = entry?.path();
        let Some(pid) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()) else {
            continue;
        };
        // A process may end while we look.
        let (Ok(command), Ok(environment)) = (fs::read(path.join("cmdline")), fs::read(path.join("environ")))
        else {
            continue;
        };
        let words: Vec<&[u8]> = command.split(|b| *b == 0).collect();
        let is_operator = words.first().is_some_and(|w| w.ends_with(b"seatrial"))
            && words.get(1) == Some(&&b"controller"[..]);
        let name = format!("POD_NAME={pod}");
        if is_operator && environment.split(|b| *b == 0).any(|v| v == name.as_bytes()) {
            return Ok(Process { pid });
        }
    }
    Err(Broken::new(format!("no process `seatrial controller` of pod {pod} is seen here")))
}
