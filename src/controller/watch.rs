//! The watches: each fills its table and wakes the units that an object belongs to.

use std::{fmt::Debug, sync::Arc};

use futures::{FutureExt, StreamExt, pin_mut};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::ObjectList,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant};

use super::{
    cache::{Cache, Gateway, Key, Table, heir, key, names},
    clock::Jitter,
    guard::Guard,
    queue::Unit,
    reconcile::Controller,
    woken,
};
use crate::{
    api::v1alpha1::{ModelDeployment, ModelRuntime, TrafficSplit},
    mutant::{Mutant, on},
    revision::MODEL_LABEL,
    route::HTTPRoute,
};

/// Objects that we make carry this label; the generated routes too.
const OURS: &str = "app.kubernetes.io/managed-by=seatrial";

/// Runs all watches until one of them ends, which none does by itself.
pub async fn watches(controller: &Arc<Controller>) {
    let client = &controller.cx.api.reads;
    let (all, ours) = (watcher::Config::default(), watcher::Config::default().labels(OURS));
    let children = watcher::Config::default().labels(MODEL_LABEL);
    woken::all(vec![
        watch::<Guard<TrafficSplit>>(controller, client, all.clone()).boxed(),
        watch::<Guard<ModelDeployment>>(controller, client, all.clone()).boxed(),
        watch::<Guard<ModelRuntime>>(controller, client, all.clone()).boxed(),
        watch::<Deployment>(controller, client, children.clone()).boxed(),
        watch::<Service>(controller, client, children.clone()).boxed(),
        watch::<ControllerRevision>(controller, client, children).boxed(),
        watch::<HTTPRoute>(controller, client, ours).boxed(),
        watch::<Gateway>(controller, client, all).boxed(),
    ])
    .await;
}

/// A kind that is watched.
pub trait Watched: Resource<DynamicType = ()> + Sized {
    /// Where the cache keeps it.
    fn table(cache: &mut Cache) -> &mut Table<Self>;
    /// The units that an object concerns: that of the model whose label it bears, and the `TrafficSplit` that it was left to.
    fn units(&self, cache: &Cache) -> Vec<Unit> {
        let namespace = self.meta().namespace.clone().unwrap_or_default();
        let model = self.meta().labels.as_ref().and_then(|labels| labels.get(MODEL_LABEL));
        let mut units =
            model.map(|model| unit_of(cache, (namespace.clone(), model.clone()))).unwrap_or_default();
        units.extend(heir(self.meta()).map(|split| Unit::Split((namespace, split.name.clone()))));
        units
    }
}

/// One watch. A broken one starts again by itself, with backoff.
async fn watch<K>(controller: &Arc<Controller>, client: &Client, config: watcher::Config)
where
    K: Watched + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&());
    let again = Again { failures: 0, jitter: controller.cx.jitter.clone() };
    let stream = watcher(Api::<K>::all(client.clone()), config).backoff(again).modify(|object| {
        // A third of an object, and we never look at it.
        object.managed_fields_mut().clear();
        object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
    });
    pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => controller.took::<K>(event),
            Err(error) => tracing::warn!(%kind, %error, "a watch broke and begins again"),
        }
    }
}

/// How long a watch that broke waits: 0.8 s, twice as long each time, at most 5 s, ± 20 %. kube and client-go go on to a
/// minute: after an API server was away for a while, it would be as long until a route is known to be accepted.
struct Again {
    failures: u32,
    jitter: Jitter,
}

impl Iterator for Again {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(800 << self.failures).min(Duration::from_secs(5));
        self.failures = (self.failures + 1).min(3);
        Some(self.jitter.spread(wait))
    }
}

impl Backoff for Again {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Controller {
    fn took<K: Watched>(&self, event: watcher::Event<K>) {
        let listed = matches!(event, watcher::Event::InitDone);
        self.change(|table: &mut Table<K>| table.take(event));
        if !listed {
            return;
        }
        let cache = self.cache();
        if cache.synced() {
            // "There is none" means something only now: everything is looked at once.
            self.cx.synced.send_if_modified(|was| !std::mem::replace(was, true));
            let now = Instant::now();
            cache.splits.all().for_each(|split| self.queue.add(Unit::Split(key(&**split)), now));
            cache.models.all().for_each(|model| self.queue.add(Unit::Model(key(&**model)), now));
        }
    }

    /// Takes in what a live read brought. Its watch will have nothing to add to that, so whom it concerns is woken now: it
    /// may be more than the unit that was read.
    pub fn learn<K: Watched>(&self, object: K) {
        self.change(|table| heard(table.put(object)));
    }

    /// As [`Self::learn`], of all that there is of a model: what is not in the list is gone.
    pub fn learn_all<K: Watched + Clone>(&self, model: &Key, list: ObjectList<K>) {
        self.change(|table| heard(table.put_all(model, list)));
    }

    /// Wakes the units that a change of a table concerns, once everything was listed.
    fn change<K: Watched>(&self, change: impl FnOnce(&mut Table<K>) -> Vec<Arc<K>>) {
        let mut cache = self.cache_mut();
        let touched = change(K::table(&mut cache));
        if cache.synced() {
            let now = Instant::now();
            touched.iter().flat_map(|object| object.units(&cache)).for_each(|unit| self.queue.add(unit, now));
        }
    }
}

/// Of what a live read brought, what is to be heard: all.
fn heard<K>(changed: Vec<Arc<K>>) -> Vec<Arc<K>> {
    if on(Mutant::LiveReadUnheard) { vec![] } else { changed }
}

impl Watched for Guard<TrafficSplit> {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.splits
    }

    /// A `TrafficSplit` concerns itself, its models, and every other one that names them.
    fn units(&self, cache: &Cache) -> Vec<Unit> {
        let namespace = self.namespace().unwrap_or_default();
        let mut units = vec![Unit::Split(key(self))];
        for name in names(self) {
            let model = (namespace.clone(), name.to_owned());
            units.extend(cache.claimants(&model).iter().map(|other| Unit::Split(key(&**other))));
            units.push(Unit::Model(model));
        }
        units
    }
}

impl Watched for Guard<ModelDeployment> {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.models
    }

    fn units(&self, cache: &Cache) -> Vec<Unit> {
        unit_of(cache, key(self))
    }
}

impl Watched for Guard<ModelRuntime> {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.runtimes
    }

    fn units(&self, cache: &Cache) -> Vec<Unit> {
        let name = self.name_any();
        let uses = |model: &&Arc<Guard<ModelDeployment>>| {
            model.0.as_ref().is_ok_and(|m| m.spec.runtime_ref.as_ref().is_some_and(|r| r.name == name))
        };
        cache.models.all().filter(uses).flat_map(|model| unit_of(cache, key(&**model))).collect()
    }
}

impl Watched for Deployment {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.deployments
    }
}

impl Watched for Service {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.services
    }
}

impl Watched for ControllerRevision {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.revisions
    }
}

impl Watched for HTTPRoute {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.routes
    }

    fn units(&self, _cache: &Cache) -> Vec<Unit> {
        vec![Unit::Split(key(self))]
    }
}

impl Watched for Gateway {
    fn table(cache: &mut Cache) -> &mut Table<Self> {
        &mut cache.gateways
    }

    fn units(&self, cache: &Cache) -> Vec<Unit> {
        let (namespace, name) = key(self);
        let hangs = |split: &&Arc<Guard<TrafficSplit>>| {
            split.0.as_ref().is_ok_and(|s| {
                s.spec.route.http_route.parent_refs.iter().any(|p| {
                    p.name == name
                        && p.namespace.as_ref().or(s.metadata.namespace.as_ref()) == Some(&namespace)
                })
            })
        };
        cache.splits.all().filter(hangs).map(|split| Unit::Split(key(&**split))).collect()
    }
}

/// The unit of a model: the `TrafficSplits` that name it; itself, if none of them does or all yield to older ones.
fn unit_of(cache: &Cache, model: Key) -> Vec<Unit> {
    let splits = cache.claimants(&model);
    let mut units: Vec<Unit> = splits.iter().map(|split| Unit::Split(key(&**split))).collect();
    let sole = matches!(&splits[..], [split] if names(split).count() == 1);
    if !sole && cache.owner(&model).is_none() {
        units.push(Unit::Model(model));
    }
    units
}
