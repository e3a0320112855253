//! A unit read live, before anything of it is taken away.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{NamespaceResourceScope, ObjectList},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    act::pruned,
    cache::{Key, key, model_keys},
    error::Error,
    guard::Guard,
    lanes::FRESH,
    observe::{Found, find, is_owned},
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
    /// the cache as soon as it was read, and what a watch has told of it while the rest was read counts. Whatever is gone or was
    /// made anew under its name ends this reconcile; the watch brings the news.
    pub async fn reread(&self, found: &Found) -> Result<Found, Error> {
        self.reread_absent(found).await?;
        let alone = || found.models.iter().map(|model| key(&*model.object)).collect();
        let named = found.split.as_deref().map_or_else(alone, model_keys);
        let split = match &found.split {
            Some(split) => Some(self.reread_split(split).await?),
            None => None,
        };
        for model in named.iter().filter(|model| self.cache().models.get(model).is_some_and(|m| m.0.is_ok()))
        {
            self.reread_model(model).await?;
        }
        let cache = self.cache();
        let Some((split, route)) = split else { return Ok(find(&cache, &self.known, None, &named)) };
        let newest =
            cache.splits.get(&key(&*split)).and_then(|guard| guard.object().cloned()).unwrap_or(split);
        let mut live = find(&cache, &self.known, Some(&newest), &named);
        if !route.as_ref().is_some_and(|route| is_owned(&route.metadata, &newest.uid().unwrap_or_default())) {
            // In the cache there may still be one that is gone.
            live.route = route.map(Arc::new);
        }
        Ok(live)
    }

    /// What a plan rests on, read live: once more where that took so long that what was read first may have passed (a request
    /// was lost, say). Three times at most, a rollback's once: an API server that is always slow holds nothing up.
    pub async fn confirm(&self, found: &Found, urgent: bool) -> Result<Found, Error> {
        let mut tries = if urgent { 1 } else { 3 };
        loop {
            let begun = Instant::now();
            let live = self.reread(found).await?;
            tries -= 1;
            if tries == 0 || begun.elapsed() <= FRESH {
                return Ok(live);
            }
        }
    }

    /// A `TrafficSplit` and what has its route's name.
    async fn reread_split(
        &self,
        split: &TrafficSplit,
    ) -> Result<(Arc<TrafficSplit>, Option<HTTPRoute>), Error> {
        let client = &self.cx.api.reads;
        let (namespace, name) = (split.namespace().unwrap_or_default(), split.name_any());
        let api: Api<TrafficSplit> = Api::namespaced(client.clone(), &namespace);
        let action = || format!("read TrafficSplit {namespace}/{name}");
        let split = Arc::new(pruned(api.get(&name).await.map_err(Error::api(action()))?));
        self.learn(Guard(Ok(split.clone())));
        let route = live_object::<HTTPRoute>(client, &namespace, &name).await?;
        // Somebody's route of the same name is not watched: in the cache it would stay for ever.
        let uid = split.uid().unwrap_or_default();
        if let Some(route) = route.as_ref().filter(|route| is_owned(&route.metadata, &uid)) {
            self.learn(route.clone());
        }
        Ok((split, route))
    }

    /// Whether a `TrafficSplit` names one of these models that seem to be by themselves. It is looked at at once then: a
    /// trial is not to be cancelled because a watch has stalled.
    pub async fn is_claimed_after_all(&self, models: &[Key]) -> Result<bool, Error> {
        let Some((namespace, _)) = models.first() else { return Ok(false) };
        let api: Api<Guard<TrafficSplit>> = Api::namespaced(self.cx.api.reads.clone(), namespace);
        let list = api.list(&ListParams::default()).await;
        let list = list.map_err(Error::api(format!("list TrafficSplits of {namespace}")))?;
        list.items.into_iter().for_each(|split| self.learn(pruned(split)));
        let owner = models.iter().find_map(|model| self.cache().owner(model));
        if let Some(split) = &owner {
            self.queue.add(Unit::Split(key(&**split)), tokio::time::Instant::now());
        }
        Ok(owner.is_some())
    }

    /// Models that seem to be gone, and what they (or one of the same name before) seem to have left: it would be deleted. A
    /// watch that has stalled, or a replica that was cut off since before a model was made, knows no better.
    async fn reread_absent(&self, found: &Found) -> Result<(), Error> {
        let Some(split) = &found.split else { return Ok(()) };
        let (client, namespace) = (&self.cx.api.reads, split.namespace().unwrap_or_default());
        for name in &found.missing_models {
            if let Some(live) = live_object::<ModelDeployment>(client, &namespace, name).await? {
                self.learn(Guard::of(live));
            }
        }
        for name in found.left.deployments.iter().map(|d| d.name_any()) {
            if let Some(live) = live_object::<Deployment>(client, &namespace, &name).await? {
                self.learn(live);
            }
        }
        // Those of their models' names, too: who is selected is led to.
        let models = found.left.deployments.iter().filter_map(|d| d.labels().get(MODEL_LABEL).cloned());
        for name in found.left.services.iter().map(|s| s.name_any()).chain(models) {
            // Somebody's Service of that name is not watched: in the cache it would stay for ever.
            let live = live_object::<Service>(client, &namespace, &name).await?;
            if let Some(live) = live.filter(|live| live.labels().contains_key(MODEL_LABEL)) {
                self.learn(live);
            }
        }
        Ok(())
    }

    async fn reread_model(&self, model: &Key) -> Result<(), Error> {
        let (client, (namespace, name)) = (&self.cx.api.reads, model);
        let api: Api<ModelDeployment> = Api::namespaced(client.clone(), namespace);
        let action = || format!("read ModelDeployment {namespace}/{name}");
        let object = pruned(api.get(name).await.map_err(Error::api(action()))?);
        self.learn(Guard(Ok(Arc::new(object))));
        self.learn_all(model, live_objects::<Deployment>(client, namespace, name).await?);
        // Whom the Service sends to keeps its pods.
        self.learn_all(model, live_objects::<Service>(client, namespace, name).await?);
        Ok(())
    }
}

/// All objects of a kind that bear a model's label, as they live now.
async fn live_objects<K>(client: &Client, namespace: &str, model: &str) -> Result<ObjectList<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(&format!("{MODEL_LABEL}={model}"))).await;
    let mut list = list.map_err(Error::api(format!("list {} of {namespace}/{model}", K::plural(&()))))?;
    list.items = list.items.into_iter().map(pruned).collect();
    Ok(list)
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
