//! The real cluster, seen from inside its network namespace: `e2e/cluster/cluster exec <this binary>`.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams},
};
use seatrial::api::v1alpha1::ModelRuntime;
use tokio::process::Command;

use super::{
    Broken, Outcome,
    objects::{apply, parse},
};

/// Where Envoy answers for the Gateway `public` in namespace `infra`; `E2E_GATEWAY` overrides it.
const GATEWAY: &str = "10.77.0.1:8080";
/// Where the caller's sidecar answers for port 80 of every Service of the mesh; `E2E_SIDECAR` overrides it.
const SIDECAR: &str = "127.0.0.1:80";

/// The cluster: its API server, its gateway, its tools.
#[derive(Clone)]
pub struct Cluster {
    /// The API server, as the cluster's administrator.
    pub client: Client,
}

impl Cluster {
    /// The cluster whose `KUBECONFIG` is set.
    pub async fn connect() -> Outcome<Self> {
        if env::var_os("KUBECONFIG").is_none() {
            return Err(Broken::new(
                "KUBECONFIG is not set: start the cluster with `e2e/cluster/cluster up` and run this binary with \
                 `e2e/cluster/cluster exec`, or say `make e2e`",
            ));
        }
        // Another provider may have been installed by a library; either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = Config::infer().await?;
        config.connect_timeout = Some(Duration::from_secs(5));
        let client = Client::try_from(config)?;
        client.apiserver_version().await.map_err(|e| Broken::from(e).of("the API server does not answer"))?;
        Ok(Self { client })
    }

    /// `host:port` of the gateway's Envoy.
    pub fn gateway() -> String {
        env::var("E2E_GATEWAY").unwrap_or_else(|_| GATEWAY.to_owned())
    }

    /// `host:port` of the mesh caller's sidecar.
    pub fn sidecar() -> String {
        env::var("E2E_SIDECAR").unwrap_or_else(|_| SIDECAR.to_owned())
    }

    /// The repository.
    pub fn repository() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// Where the running cluster keeps its files; `CLUSTER_DIR` overrides it.
    pub fn folder() -> PathBuf {
        env::var_os("CLUSTER_DIR").map_or_else(|| PathBuf::from("/tmp/seatrial-cluster"), PathBuf::from)
    }

    /// The runtimes that the models here are served by, as they stand in `e2e/runtimes`. A runtime is immutable, and a
    /// revision has its own copy: one of an earlier build can go.
    pub async fn apply_runtimes(&self) -> Outcome {
        for object in parse(include_str!("../runtimes/mlserver.yaml"))? {
            if apply(&self.client, &object, "", false).await.is_err() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let runtimes: Api<ModelRuntime> = Api::all(self.client.clone());
                runtimes.delete(name, &DeleteParams::default()).await?;
                apply(&self.client, &object, "", false).await?;
            }
        }
        Ok(())
    }

    /// Whether its machines take new pods. Those that run go on either way.
    pub async fn has_room(&self, room: bool) -> Outcome {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for node in nodes.list(&ListParams::default()).await? {
            let name = node.name_any();
            if room {
                nodes.uncordon(&name).await?
            } else {
                nodes.cordon(&name).await?
            };
        }
        Ok(())
    }

    /// Runs the cluster script's part for callers that are inside already, for instance `["models", "ml"]`.
    pub async fn script(&self, words: &[&str]) -> Outcome<String> {
        let script = Self::repository().join("e2e/cluster/cluster");
        let mut command = Command::new(script);
        command.arg("inside").args(words);
        output(command, &format!("cluster {}", words.join(" "))).await
    }

    /// Runs a tool of the cluster, for instance `helm`.
    pub async fn tool(&self, program: &str, words: &[&str]) -> Outcome<String> {
        let mut command = Command::new(program);
        command.args(words).current_dir(Self::repository());
        output(command, &format!("{program} {}", words.join(" "))).await
    }
}

/// A command's standard output, or why it failed, with what it said.
async fn output(mut command: Command, what: &str) -> Outcome<String> {
    let out = command.output().await.map_err(|e| Broken::from(e).of(what))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(Broken::new(format!("{what}: {}: {}", out.status, said.trim())))
}
