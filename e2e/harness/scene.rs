//! A scenario's own place: a temporary namespace with the models in it, and the words of Given, When and Then.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Service},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use seatrial::api::v1alpha1::{ModelDeployment, ModelDeploymentStatus, Phase, TrafficSplit};
use serde_json::{Value, json};

use super::{
    Broken, Cluster, Load, Operator, Outcome, Route, Target, Timeline,
    objects::{TEAM, apply, parse, route_kind},
    until, version_of,
};

/// The model that nearly every scenario is about.
pub const MODEL: &str = "iris";
/// The label by which namespaces of earlier runs are found.
const LABEL: &str = "e2e.seatrial.dev/scenario";

/// Where a scenario happens.
pub struct Scene {
    /// The cluster.
    pub cluster: Cluster,
    /// The operator, which all scenarios share.
    pub operator: Operator,
    /// The scenario's own namespace.
    pub namespace: String,
    /// Everything that happened in it.
    pub timeline: Timeline,
    yaml: &'static str,
    notes: Mutex<Vec<String>>,
}

impl Scene {
    /// A fresh namespace `e2e-<title>`, in which `yaml` will be the scenario's objects. What an earlier run left
    /// under that name goes first.
    pub async fn open(cluster: &Cluster, title: &str, yaml: &'static str) -> Outcome<Self> {
        let namespace = format!("e2e-{}", title.replace('_', "-"));
        Self::remove(cluster, &namespace).await?;
        Self::in_namespace(cluster, &namespace, yaml).await
    }

    /// The same in a namespace of this name.
    pub async fn in_namespace(cluster: &Cluster, namespace: &str, yaml: &'static str) -> Outcome<Self> {
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let home = json!({"metadata": {"name": namespace, "labels": {LABEL: "true"}}});
        namespaces.create(&PostParams::default(), &serde_json::from_value(home)?).await?;
        cluster.script(&["models", namespace]).await?;
        Ok(Self {
            cluster: cluster.clone(),
            operator: Operator::of(cluster),
            namespace: namespace.to_owned(),
            timeline: Timeline::watch(&cluster.client, namespace),
            yaml,
            notes: Mutex::default(),
        })
    }

    /// Deletes the namespace and everything in it. `wait` for a name that is wanted again.
    pub async fn close(&self) -> Outcome {
        Self::delete(&self.cluster, &self.namespace).await.map(drop)
    }

    async fn delete(cluster: &Cluster, namespace: &str) -> Outcome<bool> {
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        match namespaces.delete(namespace, &DeleteParams::default()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(false),
            // A deletion that goes on already.
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a namespace, and waits until it is gone.
    pub async fn remove(cluster: &Cluster, namespace: &str) -> Outcome {
        if Self::delete(cluster, namespace).await? {
            let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
            super::until_gone(&namespaces, namespace, Duration::from_mins(2)).await?;
        }
        Ok(())
    }

    /// Removes the namespaces of earlier runs.
    pub async fn sweep(cluster: &Cluster) -> Outcome {
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let old = namespaces.list(&ListParams::default().labels(&format!("{LABEL}=true"))).await?;
        for namespace in &old {
            Self::delete(cluster, &namespace.name_any()).await?;
        }
        for namespace in &old {
            super::until_gone(&namespaces, &namespace.name_any(), Duration::from_mins(2)).await?;
        }
        Ok(())
    }

    /// The Host name of this scenario's route.
    pub fn host(&self) -> String {
        format!("{}.example.com", self.namespace)
    }

    /// A fact for whoever reads the run: a measured time, a count.
    pub fn note(&self, fact: impl Into<String>) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(fact.into());
    }

    /// The facts so far.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    // ── Given and When ──────────────────────────────────────────────────────────────────────────────────────────

    /// The scenario's own YAML, with `${NAMESPACE}` and `${HOST}` filled in.
    pub fn yaml(&self) -> String {
        self.filled(self.yaml)
    }

    fn filled(&self, yaml: &str) -> String {
        yaml.replace("${NAMESPACE}", &self.namespace).replace("${HOST}", &self.host())
    }

    /// Applies the scenario's YAML.
    pub async fn apply_all(&self) -> Outcome {
        self.apply(self.yaml).await
    }

    /// Applies objects, in order.
    pub async fn apply(&self, yaml: &str) -> Outcome {
        for object in parse(&self.filled(yaml))? {
            self.apply_object(&object).await?;
        }
        Ok(())
    }

    /// Applies one object as the team.
    pub async fn apply_object(&self, object: &Value) -> Outcome<DynamicObject> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        apply(&self.cluster.client, object, &self.namespace, false)
            .await
            .map_err(|e| e.of(format!("cannot apply {kind} {name}")))
    }

    /// One object of the scenario's YAML.
    pub fn object(&self, kind: &str, name: &str) -> Outcome<Value> {
        parse(&self.yaml())?
            .into_iter()
            .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
            .ok_or_else(|| Broken::new(format!("no {kind} {name} in the scenario's YAML")))
    }

    /// The scenario's objects, and its model on its first revision.
    pub async fn given_stable(&self) -> Outcome {
        self.apply_all().await?;
        self.until_phase(Phase::Stable, 90).await.map(drop)
    }

    /// The team applies the model at another version, everything else as in the scenario's YAML.
    pub async fn when_version(&self, version: &str) -> Outcome {
        self.when_version_of(MODEL, version).await
    }

    /// The same for a model by name.
    pub async fn when_version_of(&self, model: &str, version: &str) -> Outcome {
        let mut object = self.object("ModelDeployment", model)?;
        object["spec"]["model"]["version"] = json!(version);
        object["spec"]["model"]["uri"] = json!(format!("pvc://models/iris/{version}"));
        self.apply_object(&object).await.map(drop)
    }

    /// Asks for a verb on the candidate (or, without one, the latest revision) by annotation.
    pub async fn request(&self, verb: &str, more: Value) -> Outcome {
        let status = self.status().await?;
        let revision = status.candidate_revision.or(status.latest_revision);
        let mut value = json!({"revision": revision, "by": TEAM});
        if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
            value.extend(more.clone());
        }
        let annotation = json!({format!("request.seatrial.dev/{verb}"): value.to_string()});
        let change = json!({"metadata": {"annotations": annotation}});
        self.models().patch(MODEL, &PatchParams::default(), &Patch::Merge(&change)).await?;
        Ok(())
    }

    /// A constant load through the gateway, `rate` requests a second.
    pub fn load(&self, rate: u32) -> Load {
        Load::start(self.gateway_target(), rate)
    }

    /// The model behind the gateway.
    pub fn gateway_target(&self) -> Target {
        Target { address: Cluster::gateway(), host: self.host(), path: "/v2/models/iris/infer".into() }
    }

    /// The model behind one of its Services, past the gateway.
    pub async fn service_target(&self, service: &str) -> Outcome<Target> {
        let services: Api<Service> = self.api();
        let spec = services.get(service).await?.spec.unwrap_or_default();
        let address =
            spec.cluster_ip.ok_or_else(|| Broken::new(format!("Service {service} has no address")))?;
        Ok(Target {
            address: format!("{address}:80"),
            host: service.into(),
            path: "/v2/models/iris/infer".into(),
        })
    }

    // ── Then ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The namespace's API of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// Its `ModelDeployment`s.
    pub fn models(&self) -> Api<ModelDeployment> {
        self.api()
    }

    /// Its `TrafficSplit`s.
    pub fn splits(&self) -> Api<TrafficSplit> {
        self.api()
    }

    /// Its routes.
    pub fn routes(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client.clone(), &self.namespace, &route_kind())
    }

    /// The model's status as it is now.
    pub async fn status(&self) -> Outcome<ModelDeploymentStatus> {
        Ok(self.models().get(MODEL).await?.status.unwrap_or_default())
    }

    /// The route as it is now.
    pub async fn route(&self) -> Outcome<Route> {
        Ok(Route::of(&self.routes().get(MODEL).await?))
    }

    /// Waits until the model's status is so, within seconds.
    pub async fn until_status(
        &self,
        sentence: &str,
        within: u64,
        holds: impl Fn(&ModelDeploymentStatus) -> bool,
    ) -> Outcome<ModelDeploymentStatus> {
        let holds = |m: Option<&ModelDeployment>| m.and_then(|m| m.status.as_ref()).is_some_and(&holds);
        let show = |m: &ModelDeployment| {
            let status = m.status.clone().unwrap_or_default();
            format!("{:?}, {:?}: {}", status.phase, status.step.map(|s| s.index), status.message)
        };
        let model = until(&self.models(), MODEL, Duration::from_secs(within), sentence, holds, show).await?;
        self.catch_up().await?;
        Ok(model.and_then(|m| m.status).unwrap_or_default())
    }

    /// Waits until the model is in a phase that was computed from its present spec.
    pub async fn until_phase(&self, phase: Phase, within: u64) -> Outcome<ModelDeploymentStatus> {
        let generation = self.models().get(MODEL).await?.metadata.generation.unwrap_or(0);
        let sentence = format!("phase {phase:?}");
        self.until_status(&sentence, within, |s| s.phase == phase && s.observed_generation >= generation)
            .await
    }

    /// Waits until the candidate has the weight of step `index` in the route.
    pub async fn until_step(&self, index: i32, weight: i64, within: u64) -> Outcome<ModelDeploymentStatus> {
        let sentence = format!("step {index}");
        let at_step = |s: &ModelDeploymentStatus| {
            s.step.as_ref().is_some_and(|s| s.index == index)
                && matches!(s.phase, Phase::Progressing | Phase::Paused | Phase::Watching)
        };
        let status = self.until_status(&sentence, within, at_step).await?;
        let version = status.candidate_version.clone().unwrap_or_default();
        let sentence = format!("{version} has weight {weight}");
        self.until_route(&sentence, 20, |r| r.is_some_and(|r| r.weight(&version) == weight)).await?;
        Ok(status)
    }

    /// Waits until the weight of step `index` is effective and its bake has begun.
    pub async fn until_begun(&self, index: i32) -> Outcome {
        let sentence = format!("step {index} has begun");
        let begun = |s: &ModelDeploymentStatus| {
            s.step.as_ref().is_some_and(|s| s.starts.iter().any(|start| start.index == index))
        };
        self.until_status(&sentence, 30, begun).await.map(drop)
    }

    /// Waits until the route is so (`None`: there is none).
    pub async fn until_route(
        &self,
        sentence: &str,
        within: u64,
        holds: impl Fn(Option<&Route>) -> bool,
    ) -> Outcome<Option<Route>> {
        // The dynamic watch is of one kind only; `until` wants a static one.
        let route = super::eventually(Duration::from_secs(within), sentence, async || {
            let route = self.routes().get_opt(MODEL).await.ok()?;
            let route = route.as_ref().map(Route::of);
            holds(route.as_ref()).then_some(route)
        })
        .await?;
        self.catch_up().await?;
        Ok(route)
    }

    /// Waits until the timeline holds all that has happened: it watches by itself, and may be behind what somebody has
    /// just read.
    async fn catch_up(&self) -> Outcome {
        // Metadata only: a scenario may have stored what no type can read.
        let models = self.models().get_metadata_opt(MODEL).await?.as_ref().map_or(0, version_of);
        let routes = self.routes().get_metadata_opt(MODEL).await?.as_ref().map_or(0, version_of);
        super::eventually(Duration::from_secs(30), "the timeline has caught up", async || {
            self.timeline.has_caught_up(models, routes).then_some(())
        })
        .await
    }

    /// Pods asked for, by revision.
    pub async fn sizes(&self) -> Outcome<BTreeMap<String, i32>> {
        let deployments: Api<Deployment> = self.api();
        let all = deployments.list(&ListParams::default()).await?;
        Ok(all
            .items
            .iter()
            .map(|d| (d.name_any(), d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)))
            .collect())
    }

    /// Waits until a revision has no pods asked for, within seconds.
    pub async fn until_no_pods(&self, revision: &str, within: u64) -> Outcome {
        let sentence = format!("{revision} is at 0 replicas");
        super::eventually(Duration::from_secs(within), &sentence, async || {
            (self.sizes().await.ok()?.get(revision).copied().unwrap_or(0) == 0).then_some(())
        })
        .await
    }

    /// The revision of a version, from the status.
    pub async fn revision_of(&self, version: &str) -> Outcome<String> {
        let status = self.status().await?;
        let known = status.revisions.iter().find(|r| r.version == version).map(|r| r.name.clone());
        known.ok_or_else(|| Broken::new(format!("status.revisions does not list version {version}")))
    }
}
