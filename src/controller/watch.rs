//! The watches: each fills its table and wakes the units that an object belongs to.

use std::{fmt::Debug, sync::Arc};

use futures::{FutureExt, StreamExt, pin_mut};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant};

use super::{
    cache::{Cache, Key, Table, heir, key, names},
    clock::Jitter,
    guard::Guard,
    queue::Unit,
    reconcile::Controller,
    woken,
};
use crate::{
    api::v1alpha1::{ModelDeployment, ModelRuntime, TrafficSplit},
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
    let of_route = |_: &Cache, route: &HTTPRoute| vec![Unit::Split(key(route))];
    woken::all(vec![
        watch(controller, client, all.clone(), |c| &mut c.splits, touched_split).boxed(),
        watch(controller, client, all.clone(), |c| &mut c.models, touched_model).boxed(),
        watch(controller, client, all.clone(), |c| &mut c.runtimes, touched_runtime).boxed(),
        watch(controller, client, children.clone(), |c| &mut c.deployments, touched_child).boxed(),
        watch(controller, client, children.clone(), |c| &mut c.services, touched_child).boxed(),
        watch(controller, client, children, |c| &mut c.revisions, touched_child).boxed(),
        watch(controller, client, ours, |c| &mut c.routes, of_route).boxed(),
        watch(controller, client, all, |c| &mut c.gateways, touched_gateway).boxed(),
    ])
    .await;
}

/// One watch. A broken one starts again by itself, with backoff.
async fn watch<K>(
    controller: &Arc<Controller>,
    client: &Client,
    config: watcher::Config,
    table: impl Fn(&mut Cache) -> &mut Table<K>,
    units: impl Fn(&Cache, &K) -> Vec<Unit>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
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
            Ok(event) => controller.took(event, &table, &units),
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
    fn took<K: Resource>(
        &self,
        event: watcher::Event<K>,
        table: impl Fn(&mut Cache) -> &mut Table<K>,
        units: impl Fn(&Cache, &K) -> Vec<Unit>,
    ) {
        let first = matches!(event, watcher::Event::InitDone);
        let mut cache = self.cache_mut();
        let touched = table(&mut cache).take(event);
        let synced = cache.synced();
        let mut due: Vec<Unit> = touched.iter().flat_map(|object| units(&cache, object)).collect();
        if first && synced {
            // "There is none" means something only now: everything is looked at once.
            due.extend(cache.splits.all().map(|split| Unit::Split(key(&**split))));
            due.extend(cache.models.all().map(|model| Unit::Model(key(&**model))));
        }
        drop(cache);
        if synced {
            self.cx.synced.send_if_modified(|was| !std::mem::replace(was, true));
            let now = Instant::now();
            for unit in due {
                self.queue.add(unit, now);
            }
        }
    }
}

/// A `TrafficSplit` concerns itself, its models, and every other one that names them.
fn touched_split(cache: &Cache, split: &Guard<TrafficSplit>) -> Vec<Unit> {
    let namespace = split.namespace().unwrap_or_default();
    let mut units = vec![Unit::Split(key(split))];
    for name in names(split) {
        let model = (namespace.clone(), name.to_owned());
        units.extend(cache.claimants(&model).iter().map(|other| Unit::Split(key(&**other))));
        units.push(Unit::Model(model));
    }
    units
}

fn touched_model(cache: &Cache, model: &Guard<ModelDeployment>) -> Vec<Unit> {
    unit_of(cache, key(model))
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

fn touched_child<K: Resource<DynamicType = ()>>(cache: &Cache, child: &K) -> Vec<Unit> {
    let namespace = child.meta().namespace.clone().unwrap_or_default();
    let model = child.meta().labels.as_ref().and_then(|labels| labels.get(MODEL_LABEL));
    let mut units = model.map(|model| unit_of(cache, (namespace.clone(), model.clone()))).unwrap_or_default();
    units.extend(heir(child.meta()).map(|split| Unit::Split((namespace, split.name.clone()))));
    units
}

fn touched_runtime(cache: &Cache, runtime: &Guard<ModelRuntime>) -> Vec<Unit> {
    let name = runtime.name_any();
    let uses = |model: &&Arc<Guard<ModelDeployment>>| {
        model.0.as_ref().is_ok_and(|m| m.spec.runtime_ref.as_ref().is_some_and(|r| r.name == name))
    };
    cache.models.all().filter(uses).flat_map(|model| unit_of(cache, key(&**model))).collect()
}

fn touched_gateway(cache: &Cache, gateway: &super::cache::Gateway) -> Vec<Unit> {
    let (namespace, name) = key(gateway);
    let hangs = |split: &&Arc<Guard<TrafficSplit>>| {
        split.0.as_ref().is_ok_and(|s| {
            s.spec.route.http_route.parent_refs.iter().any(|p| {
                p.name == name && p.namespace.as_ref().or(s.metadata.namespace.as_ref()) == Some(&namespace)
            })
        })
    };
    cache.splits.all().filter(hangs).map(|split| Unit::Split(key(&**split))).collect()
}
