//! A unit read live, before anything of it is taken away.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use super::{
    act::pruned,
    cache::{Key, key, model_keys},
    error::Error,
    guard::Guard,
    observe::{Found, FoundModel, find, is_owned, ours},
    queue::Unit,
    reconcile::Controller,
};
use crate::{
    api::v1alpha1::{ModelDeployment, TrafficSplit},
    revision::MODEL_LABEL,
    route::HTTPRoute,
};

impl Controller {
    /// The same unit as it lives now: the `TrafficSplit`, its route, the models and their Deployments and Services. Each is news for
    /// the cache as soon as it was read. Whatever is gone or was made anew under its name ends this reconcile; the watch brings
    /// the news.
    pub async fn reread(&self, found: &Found) -> Result<Found, Error> {
        let client = &self.cx.api.reads;
        let mut live = self.reread_absent(found).await?;
        if let Some(split) = &found.split {
            let (namespace, name) = (split.namespace().unwrap_or_default(), split.name_any());
            let api: Api<TrafficSplit> = Api::namespaced(client.clone(), &namespace);
            let action = || format!("read TrafficSplit {namespace}/{name}");
            let split = Arc::new(pruned(api.get(&name).await.map_err(Error::api(action()))?));
            self.cache_mut().splits.put(Guard(Ok(split.clone())));
            let route = live_object::<HTTPRoute>(client, &namespace, &name).await?;
            // Somebody's route of the same name is not watched: in the cache it would stay for ever.
            let uid = split.uid().unwrap_or_default();
            if let Some(route) = route.as_ref().filter(|route| is_owned(&route.metadata, &uid)) {
                self.cache_mut().routes.put(route.clone());
            }
            (live.split, live.route) = (Some(split), route.map(Arc::new));
        }
        for model in &mut live.models {
            self.reread_model(model).await?;
        }
        Ok(live)
    }

    /// Whether a `TrafficSplit` names one of these models that seem to be by themselves. It is looked at at once then: a
    /// trial is not to be cancelled because a watch has stalled.
    pub async fn is_claimed_after_all(&self, models: &[Key]) -> Result<bool, Error> {
        let Some((namespace, _)) = models.first() else { return Ok(false) };
        let api: Api<Guard<TrafficSplit>> = Api::namespaced(self.cx.api.reads.clone(), namespace);
        let list = api.list(&ListParams::default()).await;
        let list = list.map_err(Error::api(format!("list TrafficSplits of {namespace}")))?;
        let mut cache = self.cache_mut();
        for split in list.items {
            cache.splits.put(pruned(split));
        }
        let owner = models.iter().find_map(|model| cache.owner(model));
        drop(cache);
        if let Some(split) = &owner {
            self.queue.add(Unit::Split(key(&**split)), tokio::time::Instant::now());
        }
        Ok(owner.is_some())
    }

    /// Models that seem to be gone, and what they (or one of the same name before) seem to have left: it would be deleted. A
    /// watch that has stalled, or a replica that was cut off since before a model was made, knows no better.
    async fn reread_absent(&self, found: &Found) -> Result<Found, Error> {
        let nothing = found.missing_models.is_empty() && found.left.is_empty();
        let Some(split) = found.split.as_ref().filter(|_| !nothing) else { return Ok(found.clone()) };
        let (client, namespace) = (&self.cx.api.reads, split.namespace().unwrap_or_default());
        for name in &found.missing_models {
            if let Some(live) = live_object::<ModelDeployment>(client, &namespace, name).await? {
                self.cache_mut().models.put(Guard::of(live));
            }
        }
        for name in found.left.deployments.iter().map(|d| d.name_any()) {
            if let Some(live) = live_object::<Deployment>(client, &namespace, &name).await? {
                self.cache_mut().deployments.put(live);
            }
        }
        for name in found.left.services.iter().map(|s| s.name_any()) {
            if let Some(live) = live_object::<Service>(client, &namespace, &name).await? {
                self.cache_mut().services.put(live);
            }
        }
        let named = model_keys(&Guard(Ok(split.clone())));
        Ok(find(&self.cache(), &self.known, Some(split), &named))
    }

    async fn reread_model(&self, model: &mut FoundModel) -> Result<(), Error> {
        let client = &self.cx.api.reads;
        let (namespace, name) = (model.object.namespace().unwrap_or_default(), model.object.name_any());
        let api: Api<ModelDeployment> = Api::namespaced(client.clone(), &namespace);
        let action = || format!("read ModelDeployment {namespace}/{name}");
        let object = Arc::new(pruned(api.get(&name).await.map_err(Error::api(action()))?));
        let uid = object.uid().unwrap_or_default();
        self.cache_mut().models.put(Guard(Ok(object.clone())));
        model.identity = self.known.identity(&object);
        model.object = object;
        let model_key = key(&*model.object);
        let all = live_objects::<Deployment>(client, &namespace, &name).await?;
        self.cache_mut().deployments.put_all(&model_key, &all);
        model.deployments = ours(all, &uid);
        // Whom the Service sends to keeps its pods.
        let all = live_objects::<Service>(client, &namespace, &name).await?;
        self.cache_mut().services.put_all(&model_key, &all);
        model.services = ours(all, &uid);
        Ok(())
    }
}

/// All objects of a kind that bear a model's label, as they live now.
async fn live_objects<K>(client: &Client, namespace: &str, model: &str) -> Result<Vec<Arc<K>>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(&format!("{MODEL_LABEL}={model}"))).await;
    let list = list.map_err(Error::api(format!("list {} of {namespace}/{model}", K::plural(&()))))?;
    Ok(list.items.into_iter().map(|object| Arc::new(pruned(object))).collect())
}

/// One object as it lives now, if it is there.
async fn live_object<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let live = api.get_opt(name).await;
    Ok(live.map_err(Error::api(format!("read {} {namespace}/{name}", K::kind(&()))))?.map(pruned))
}
