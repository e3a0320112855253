//! A plan carried out: each write in order, and none for what is so already.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::{api::apps::v1::ControllerRevision, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    cache::splits,
    error::Error,
    known::wish,
    lanes::FRESH,
    observe::{Found, FoundModel, is_owned},
    reconcile::Controller,
    unstored::unstored,
    vet,
    watch::Watched,
};
use crate::{
    mutant::{Mutant, on},
    revision::Snapshot,
    rollout::plan::{Plan, Write},
    route::{self, Share},
    workload::{self, Owner, Pods, covers},
};

/// Who applies: one field manager for everything.
pub const MANAGER: &str = "seatrial";

/// A version that no object ever has (etcd's first write is 2). An apply onto it makes what is not there; where something is,
/// it is a conflict like any other.
const NEVER: &str = "1";

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Anything was written.
    pub wrote: bool,
    /// The route was written.
    pub routed: bool,
    /// Models whose status was written.
    pub statuses: Vec<String>,
}

impl Controller {
    /// Carries out a plan. Stops at the first write that fails: what comes after it may rely on it. Stops, to be planned again,
    /// where what the plan rests on was `read` longer ago than [`FRESH`], because a write took long; a rollback goes on.
    pub async fn act(&self, found: &Found, plan: &Plan, read: Instant) -> Result<Acted, Error> {
        self.check_epochs(found)?;
        let client = if plan.urgent { &self.cx.api.rollback } else { &self.cx.api.writes };
        let mut acted = Acted::default();
        for write in &plan.writes {
            if acted.wrote && read.elapsed() > FRESH && !plan.urgent {
                break;
            }
            let wrote = match write {
                Write::Status { model } => {
                    let wrote = self.write_status(client, found, plan, model).await?;
                    if wrote {
                        acted.statuses.push(model.clone());
                    }
                    wrote
                }
                Write::SplitStatus => self.write_split_status(client, found, plan).await?,
                Write::Route(shares) => {
                    let wrote = self.write_route(client, found, shares, plan.keeps_parents).await?;
                    acted.routed |= wrote;
                    wrote
                }
                Write::Snapshot { model, revision } => match model_of(found, model) {
                    Some(model) => self.store_snapshot(client, model, revision).await?,
                    None => false,
                },
                Write::Service { model, revision } => {
                    self.write_service(client, found, model, revision, false).await?
                }
                Write::StableService { model, revision } => {
                    self.write_service(client, found, model, revision, true).await?
                }
                Write::Deployment { model, revision, replicas } => {
                    self.write_deployment(client, found, model, revision, *replicas).await?
                }
                Write::DeleteDeployment { revision } => {
                    delete_named(client, &found.left.deployments, revision).await?;
                    false
                }
                Write::DeleteService { revision } => {
                    delete_named(client, &found.left.services, revision).await?;
                    false
                }
                Write::Delete { model, revision } => {
                    if let Some(model) = model_of(found, model) {
                        delete_revision(client, model, revision).await?;
                    }
                    false
                }
            };
            acted.wrote |= wrote;
        }
        Ok(acted)
    }

    async fn store_snapshot(
        &self,
        client: &Client,
        model: &FoundModel,
        revision: &str,
    ) -> Result<bool, Error> {
        if model.revisions.iter().any(|r| r.name_any() == revision) {
            return Ok(false);
        }
        let Some(snapshot) = self.snapshot(model, revision) else { return Ok(false) };
        let owner = owner(model);
        let number = model.revisions.iter().map(|r| r.revision).max().unwrap_or(0) + 1;
        let desired = workload::controller_revision(&owner, &snapshot, number);
        let api: Api<ControllerRevision> = Api::namespaced(client.clone(), &owner.namespace);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, &desired).await {
            Ok(made) => {
                self.cache_mut().revisions.put(pruned(made));
            }
            Err(error) => {
                let failed =
                    Error::api(format!("create ControllerRevision {}/{revision}", owner.namespace))(error);
                if failed.code() != Some(409) {
                    return Err(failed);
                }
                // A crash after the write, or a faster watch: it is done if it says the same.
                let action = || format!("read ControllerRevision {}/{revision}", owner.namespace);
                let live = api.get(revision).await.map_err(Error::api(action()))?;
                let same = Snapshot::from_controller_revision(&live).is_ok_and(|s| s.hash == snapshot.hash);
                if is_of_previous(&live.metadata, &owner) {
                    return Err(failed);
                }
                if !same || !is_owned(&live.metadata, &owner.uid) {
                    self.refuse(&owner, revision, "ControllerRevision");
                    return Ok(false);
                }
                self.learn(pruned(live));
            }
        }
        Ok(true)
    }

    async fn write_service(
        &self,
        client: &Client,
        found: &Found,
        model: &str,
        revision: &str,
        stable: bool,
    ) -> Result<bool, Error> {
        let Some(model) = model_of(found, model) else { return Ok(false) };
        let snapshot = self.snapshot(model, revision);
        let pods =
            snapshot.as_deref().map(Pods::of).or_else(|| unstored(model, revision).and_then(Pods::running));
        let Some(pods) = pods else { return Ok(false) };
        let owner = owner(model);
        let name = if stable { &owner.name } else { revision };
        let live = model.services.iter().find(|s| s.metadata.name.as_deref() == Some(name)).map(|s| &**s);
        let wish = wish(found, model, revision, i32::from(stable));
        if live.is_some_and(|live| self.known.is_settled(live.meta(), wish)) {
            return Ok(false);
        }
        let desired = if stable {
            workload::stable_service(&owner, pods)
        } else {
            workload::service(&owner, pods, keeper(found, live.map(Resource::meta)))
        };
        if live.is_some_and(|live| self.is_so(live, &desired, wish)) {
            return Ok(false);
        }
        self.apply(client, &desired, live, &owner.uid).await
    }

    async fn write_deployment(
        &self,
        client: &Client,
        found: &Found,
        model: &str,
        revision: &str,
        replicas: i32,
    ) -> Result<bool, Error> {
        let Some(model) = model_of(found, model) else { return Ok(false) };
        let Some(snapshot) = self.snapshot(model, revision) else {
            return self.scale(client, model, revision, replicas).await;
        };
        let owner = owner(model);
        let live =
            model.deployments.iter().find(|d| d.metadata.name.as_deref() == Some(revision)).map(|d| &**d);
        let wish = wish(found, model, revision, replicas);
        if live.is_some_and(|live| self.known.is_settled(live.meta(), wish)) {
            return Ok(false);
        }
        let keeper = keeper(found, live.map(Resource::meta));
        let desired = workload::deployment(&owner, &snapshot, replicas, keeper);
        if live.is_some_and(|live| self.is_so(live, &desired, wish)) {
            return Ok(false);
        }
        self.apply(client, &desired, live, &owner.uid).await
    }

    /// `keeps`: its parents, hosts and matches stay as they live.
    async fn write_route(
        &self,
        client: &Client,
        found: &Found,
        shares: &[Share],
        keeps: bool,
    ) -> Result<bool, Error> {
        let Some(split) = &found.split else { return Ok(false) };
        let Some(mut desired) = route::render(split, shares) else { return Ok(false) };
        let live = found.route.as_deref();
        if let (Some(live), true) = (live, keeps) {
            route::keep_parents(&mut desired, live);
        }
        if live.is_some_and(|live| route::in_sync(live, &desired)) {
            if on(Mutant::UnconditionalRoute) {
                let uid = split.uid().unwrap_or_default();
                self.apply(client, &desired, live, &uid).await?;
            }
            return Ok(false);
        }
        let uid = split.uid().unwrap_or_default();
        let wrote = self.apply(client, &desired, live, &uid).await;
        if let (Err(error), false, false) = (&wrote, keeps, on(Mutant::RefusedRouteRepeated)) {
            // The next plan keeps the parents, hosts and matches that live, so that nothing blocks a rollback.
            self.known.note_route(split, vet::refused_route(error));
        }
        wrote
    }

    /// Whether an object says already all that we want, which is remembered under `wish`.
    fn is_so<K: Resource<DynamicType = ()> + Serialize>(
        &self,
        live: &K,
        desired: &K,
        wish: Option<u64>,
    ) -> bool {
        // A backend may move from one TrafficSplit to another.
        let split_left = splits(live.meta()).any(|o| !splits(desired.meta()).any(|other| other.uid == o.uid));
        let so = !split_left && covers(&json(live), &json(desired));
        if so {
            self.known.settle(live.meta(), wish);
        }
        so
    }

    /// Applies one object, only onto the version that was read; what is made is made only while it is not there. So a request
    /// that comes late, or twice, changes nothing that came after it: no route's weight, no size, nor whom a Service sends to.
    /// A name that somebody else has is left alone.
    async fn apply<K>(
        &self,
        client: &Client,
        desired: &K,
        live: Option<&K>,
        owner: &str,
    ) -> Result<bool, Error>
    where
        K: Watched + Resource<Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let (namespace, name) = (desired.namespace().unwrap_or_default(), desired.name_any());
        let kind = K::kind(&()).into_owned();
        let mut body = body(desired);
        if let Some(live) = live {
            let open = [
                (Mutant::UnguardedRoute, "HTTPRoute"),
                (Mutant::UnguardedScale, "Deployment"),
                (Mutant::UnguardedService, "Service"),
            ];
            if !open.iter().any(|(mutant, of)| on(*mutant) && *of == kind) {
                body["metadata"]["uid"] = Value::from(live.uid());
                body["metadata"]["resourceVersion"] = Value::from(live.resource_version());
            }
        } else {
            let there = self.metadata::<K>(&namespace, &name).await?;
            let foreign = there.as_ref().is_some_and(|there| !is_owned(&there.metadata, owner));
            if foreign && !on(Mutant::ForeignAdopted) {
                tracing::warn!(%kind, %namespace, %name, "the name is taken by an object that is not ours");
                return Ok(false);
            }
            body["metadata"]["resourceVersion"] = Value::from(NEVER);
        }
        let api: Api<K> = Api::namespaced(client.clone(), &namespace);
        let params = PatchParams::apply(MANAGER).force();
        let applied = api.patch(&name, &params, &Patch::Apply(&body)).await;
        let applied = applied.map_err(Error::api(format!("apply {kind} {namespace}/{name}")))?;
        tracing::debug!(%kind, %namespace, %name, "applied");
        K::table(&mut self.cache_mut()).put(pruned(applied));
        Ok(true)
    }

    /// Whether an object of that name exists that is not ours. Asked before something is made.
    pub async fn is_foreign<K>(&self, namespace: &str, name: &str, owner: &str) -> Result<bool, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let live = self.metadata::<K>(namespace, name).await?;
        if on(Mutant::ForeignAdopted) {
            return Ok(false);
        }
        Ok(live.is_some_and(|live| !is_owned(&live.metadata, owner)))
    }

    async fn metadata<K>(&self, namespace: &str, name: &str) -> Result<Option<PartialObjectMeta<K>>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.cx.api.reads.clone(), namespace);
        let action = || format!("read {} {namespace}/{name}", K::kind(&()));
        api.get_metadata_opt(name).await.map_err(Error::api(action()))
    }
}

/// Removes a revision's objects, the snapshot last: while it is there, the rest can be made again.
async fn delete_revision(client: &Client, model: &FoundModel, revision: &str) -> Result<(), Error> {
    delete_named(client, &model.deployments, revision).await?;
    delete_named(client, &model.services, revision).await?;
    delete_named(client, &model.revisions, revision).await
}

/// Who keeps a revision's objects should their model be deleted: the `TrafficSplit` of the unit; for a model that is in none,
/// the one whose route names it nevertheless, else the last one, whose proxies may still send to it.
fn keeper(found: &Found, live: Option<&kube::core::ObjectMeta>) -> Option<OwnerReference> {
    let yielding = || found.yielding.clone();
    let last = || splits(live?).next().cloned();
    found.split.as_deref().map(route::owner_reference).or_else(yielding).or_else(last)
}

async fn delete_named<K>(client: &Client, all: &[Arc<K>], name: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let Some(live) = all.iter().find(|o| o.name_any() == name) else { return Ok(()) };
    let (namespace, name) = (live.namespace().unwrap_or_default(), live.name_any());
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let preconditions = Preconditions { uid: live.uid(), resource_version: live.resource_version() };
    let preconditions = (!on(Mutant::UnguardedDelete)).then_some(preconditions);
    let params = DeleteParams { preconditions, ..DeleteParams::background() };
    match api.delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::api(format!("delete {} {namespace}/{name}", K::kind(&())))(error)),
    }
}

fn model_of<'a>(found: &'a Found, name: &str) -> Option<&'a FoundModel> {
    found.models.iter().find(|m| m.object.name_any() == name)
}

/// Whether an object is of a deleted model of the same name: garbage collection takes it any moment.
fn is_of_previous(meta: &kube::core::ObjectMeta, owner: &Owner) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|o| o.kind == "ModelDeployment" && o.name == owner.name && o.uid != owner.uid)
}

pub(super) fn owner(model: &FoundModel) -> Owner {
    Owner {
        name: model.object.name_any(),
        namespace: model.object.namespace().unwrap_or_default(),
        uid: model.object.uid().unwrap_or_default(),
    }
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// An object as it is applied: with its type.
pub(super) fn body<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Value {
    let mut body = json(object);
    body["apiVersion"] = Value::from(K::api_version(&()).into_owned());
    body["kind"] = Value::from(K::kind(&()).into_owned());
    body
}

/// Without what we never look at.
pub fn pruned<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}
