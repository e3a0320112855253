//! What the watches have brought: one table a kind, in one order, with an index from models to what belongs to them.
//!
//! kube's own store has neither an order nor an index; with ten thousand models a reconcile must not walk through all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, Deployment},
        core::v1::Service,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Resource, ResourceExt,
    core::{ObjectList, ObjectMeta},
    runtime::watcher::Event,
};
use serde::Deserialize;

use super::{guard::Guard, known::bound};
use crate::{
    api::v1alpha1::{ModelDeployment, ModelRuntime, TrafficSplit},
    mutant::{Mutant, on},
    revision::MODEL_LABEL,
    route::{self, HTTPRoute},
};

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

/// The key of an object.
pub fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// A Gateway: all we need is that it is there.
#[derive(Clone, Debug, Deserialize)]
pub struct Gateway {
    /// Its metadata.
    pub metadata: ObjectMeta,
}

impl Resource for Gateway {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Gateway".into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "gateway.networking.k8s.io".into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "gateways".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// So many deletions are remembered of a kind: an answer comes within seconds.
const GONE: usize = 1024;

/// All objects of one kind.
#[derive(Debug)]
pub struct Table<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// The models of a namespace that an object belongs to.
    models: fn(&K) -> Vec<String>,
    /// What belongs to a model, by (namespace, model).
    children: BTreeMap<Key, BTreeSet<String>>,
    /// Children without a model, by the uid of the `TrafficSplit` that keeps them.
    left: BTreeMap<String, BTreeSet<Key>>,
    /// A list on its way, not yet complete.
    filling: Option<BTreeMap<Key, Arc<K>>>,
    /// What a watch has said is gone, and up to which version: an answer or a list that arrives after that may be older.
    gone: BTreeMap<Key, u64>,
    /// The first list was complete.
    pub synced: bool,
}

impl<K: Resource> Default for Table<K> {
    fn default() -> Self {
        Self::of(|object| object.labels().get(MODEL_LABEL).cloned().into_iter().collect())
    }
}

impl<K> Table<K> {
    /// A table of objects that belong to these models.
    fn of(models: fn(&K) -> Vec<String>) -> Self {
        Self {
            objects: BTreeMap::new(),
            models,
            children: BTreeMap::new(),
            left: BTreeMap::new(),
            filling: None,
            gone: BTreeMap::new(),
            synced: false,
        }
    }
}

impl<K: Resource> Table<K> {
    /// The object, if it is there.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    /// All objects, in order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    /// What belongs to a model, in order of names.
    pub fn of_model(&self, model: &Key) -> Vec<Arc<K>> {
        let names = self.children.get(model).into_iter().flatten();
        names.filter_map(|name| self.objects.get(&(model.0.clone(), name.clone())).cloned()).collect()
    }

    /// What models that are gone have left to the `TrafficSplit` with this uid, in order of names.
    pub fn left_to(&self, split: &str) -> Vec<Arc<K>> {
        let keys = self.left.get(split).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    /// Takes in what a watch brought; gives back every object that changed, as it was and as it is.
    pub fn take(&mut self, event: Event<K>) -> Vec<Arc<K>> {
        match event {
            Event::Init => {
                self.filling = Some(BTreeMap::new());
                vec![]
            }
            Event::InitApply(object) => {
                let filling = self.filling.get_or_insert_default();
                filling.insert(key(&object), Arc::new(object));
                vec![]
            }
            Event::InitDone => self.relisted(),
            Event::Apply(object) => {
                // A watch may be slower than the answer to our own write, and what that answer said is no news: whoever
                // writes looks again by itself.
                let known = |old: &Arc<K>| {
                    version(old.meta()) > version(object.meta()) || is_same(old.meta(), object.meta())
                };
                if self.is_gone(&object) || self.objects.get(&key(&object)).is_some_and(known) {
                    return vec![];
                }
                self.replace(Arc::new(object))
            }
            Event::Delete(_) if on(Mutant::DeletionUnseen) => vec![],
            Event::Delete(object) => {
                self.note_gone(key(&object), version(object.meta()));
                let old = self.remove(&key(&object));
                old.into_iter().chain([Arc::new(object)]).collect()
            }
        }
    }

    /// Puts an object in that a write or a live read brought back, unless a watch was faster, which may have said that it is
    /// gone; gives back what changed, as [`Self::take`].
    pub fn put(&mut self, object: K) -> Vec<Arc<K>> {
        let known = |old: &Arc<K>| version(old.meta()) >= version(object.meta());
        let is_old = self.is_gone(&object) || self.objects.get(&key(&object)).is_some_and(known);
        if is_old { vec![] } else { self.replace(Arc::new(object)) }
    }

    /// Takes in a live list of what there is of a model: what is not in it is gone, unless a watch has told of it since.
    /// Gives back what changed.
    pub fn put_all(&mut self, model: &Key, list: ObjectList<K>) -> Vec<Arc<K>>
    where
        K: Clone,
    {
        let then = number(list.metadata.resource_version.as_ref());
        let mut gone = self.of_model(model);
        gone.retain(|old| {
            version(old.meta()) <= then && !list.items.iter().any(|object| key(object) == key(&**old))
        });
        let mut touched: Vec<_> = gone.iter().filter_map(|old| self.remove(&key(&**old))).collect();
        touched.extend(list.items.into_iter().flat_map(|object| self.put(object)));
        touched
    }

    fn relisted(&mut self) -> Vec<Arc<K>> {
        let list = self.filling.take().unwrap_or_default();
        let gone: Vec<Key> = self.objects.keys().filter(|k| !list.contains_key(*k)).cloned().collect();
        let mut touched: Vec<Arc<K>> = gone.iter().filter_map(|k| self.remove(k)).collect();
        for old in &touched {
            // A server that lags behind may have listed what was before it was made; the next may list an older version of it.
            self.note_gone(key(&**old), version(old.meta()).saturating_sub(1));
        }
        for object in list.into_values().filter(|object| !self.is_gone(&**object)).collect::<Vec<_>>() {
            // A list may be older than what a live read or an answer to our own write has told since.
            let known = |old: &Arc<K>| {
                version(old.meta()) > version(object.meta())
                    || old.meta().resource_version == object.meta().resource_version
            };
            if !self.objects.get(&key(&*object)).is_some_and(known) {
                touched.extend(self.replace(object));
            }
        }
        self.synced = true;
        touched
    }

    fn note_gone(&mut self, key: Key, version: u64) {
        bound(&mut self.gone, GONE);
        self.gone.insert(key, version);
    }

    /// Whether this is older than what is known to be gone.
    fn is_gone(&self, object: &K) -> bool {
        self.gone.get(&key(object)).is_some_and(|gone| *gone >= version(object.meta()))
    }

    /// The object as it was, and as it is.
    fn replace(&mut self, object: Arc<K>) -> Vec<Arc<K>> {
        self.insert(object.clone()).into_iter().chain([object]).collect()
    }

    fn insert(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        let key = key(&*object);
        let old = self.remove(&key);
        for model in (self.models)(&object) {
            self.children.entry((key.0.clone(), model)).or_default().insert(key.1.clone());
        }
        if let Some(split) = heir(object.meta()) {
            self.left.entry(split.uid.clone()).or_default().insert(key.clone());
        }
        self.objects.insert(key, object);
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for model in (self.models)(&old) {
            let model = (key.0.clone(), model);
            if let Some(names) = self.children.get_mut(&model) {
                names.remove(&key.1);
                if names.is_empty() {
                    self.children.remove(&model);
                }
            }
        }
        if let Some(split) = heir(old.meta()) {
            if let Some(keys) = self.left.get_mut(&split.uid) {
                keys.remove(key);
            }
            self.left.retain(|_, keys| !keys.is_empty());
        }
        Some(old)
    }
}

/// Resource versions of one kind grow (KEP-5504); what is not a number counts as oldest.
pub fn version(meta: &ObjectMeta) -> u64 {
    number(meta.resource_version.as_ref())
}

fn number(version: Option<&String>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Whether two are one object in one version.
fn is_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.resource_version.is_some()
        && (&one.resource_version, &one.uid) == (&other.resource_version, &other.uid)
}

/// The `TrafficSplit` that an object was left to: its model, the controlling owner, is gone.
pub fn heir(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let owned = meta.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    splits(meta).find(|_| !owned)
}

/// The `TrafficSplits` among an object's owners.
pub fn splits(meta: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    meta.owner_references.iter().flatten().filter(|owner| owner.kind == "TrafficSplit")
}

/// Everything that is watched.
#[derive(Debug)]
pub struct Cache {
    /// `TrafficSplits`; a broken one does not disturb the others.
    pub splits: Table<Guard<TrafficSplit>>,
    /// `ModelDeployments`; a broken one does not disturb the others.
    pub models: Table<Guard<ModelDeployment>>,
    /// `ModelRuntimes`; a broken one does not disturb the others.
    pub runtimes: Table<Guard<ModelRuntime>>,
    /// Deployments with our label.
    pub deployments: Table<Deployment>,
    /// Services with our label.
    pub services: Table<Service>,
    /// `ControllerRevisions` with our label.
    pub revisions: Table<ControllerRevision>,
    /// Generated routes; they belong to the models whose revisions they name.
    pub routes: Table<HTTPRoute>,
    /// All Gateways: whether a parent is there.
    pub gateways: Table<Gateway>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            splits: Table::of(|split| names(split).map(str::to_owned).collect()),
            models: Table::default(),
            runtimes: Table::default(),
            deployments: Table::default(),
            services: Table::default(),
            revisions: Table::default(),
            routes: Table::of(|route| route::models(route).into_iter().collect()),
            gateways: Table::default(),
        }
    }
}

impl Cache {
    /// Every first list was complete: only now does "there is none" mean anything.
    pub fn synced(&self) -> bool {
        self.splits.synced
            && self.models.synced
            && self.runtimes.synced
            && self.deployments.synced
            && self.services.synced
            && self.revisions.synced
            && self.routes.synced
            && self.gateways.synced
    }

    /// The `TrafficSplits` of the namespace that name this model, the oldest first.
    pub fn claimants(&self, model: &Key) -> Vec<Arc<Guard<TrafficSplit>>> {
        let mut all = self.splits.of_model(model);
        all.sort_by_key(|split| age(split));
        all
    }

    /// The `TrafficSplit` that a model belongs to: the oldest accepted one that names it (design §3).
    pub fn owner(&self, model: &Key) -> Option<Arc<Guard<TrafficSplit>>> {
        self.claimants(model).into_iter().find(|split| self.rival(split).is_none())
    }

    /// The older accepted `TrafficSplit` that names one of this one's models, and that model.
    pub fn rival(&self, split: &Guard<TrafficSplit>) -> Option<(String, String)> {
        let namespace = split.namespace().unwrap_or_default();
        let mine: Vec<String> =
            names(split).filter(|_| !on(Mutant::ClaimIgnored)).map(str::to_owned).collect();
        mine.into_iter().find_map(|model| {
            let older = self.claimants(&(namespace.clone(), model.clone()));
            let rival =
                older.into_iter().find(|other| age(other) < age(split) && self.rival(other).is_none())?;
            Some((rival.name_any(), model))
        })
    }
}

/// The models that a `TrafficSplit` names; none of a broken one.
pub fn names(split: &Guard<TrafficSplit>) -> impl Iterator<Item = &str> {
    let backends = split.0.as_ref().map(|s| s.spec.backends.as_slice()).unwrap_or_default();
    backends.iter().map(|b| b.model_deployment_ref.name.as_str())
}

/// The same, as keys.
pub fn model_keys(split: &TrafficSplit) -> Vec<Key> {
    let namespace = split.namespace().unwrap_or_default();
    let named = split.spec.backends.iter().map(|backend| backend.model_deployment_ref.name.clone());
    named.map(|name| (namespace.clone(), name)).collect()
}

/// Older first; of the same age, by name.
fn age(split: &Guard<TrafficSplit>) -> (Option<jiff::Timestamp>, String) {
    (split.meta().creation_timestamp.as_ref().map(|t| t.0), split.name_any())
}

#[cfg(test)]
mod tests {
    use kube::{api::TypeMeta, core::ListMeta};

    use super::*;

    fn service(version: &str) -> Service {
        let mut service = Service::default();
        service.metadata.namespace = Some("ml".to_owned());
        service.metadata.name = Some("iris".to_owned());
        service.metadata.resource_version = Some(version.to_owned());
        service
    }

    fn listed(version: &str, services: &[&str]) -> ObjectList<Service> {
        let items = services.iter().map(|version| service(version)).collect();
        let metadata = ListMeta { resource_version: Some(version.to_owned()), ..ListMeta::default() };
        ObjectList { types: TypeMeta::list::<Service>(), metadata, items }
    }

    #[test]
    fn a_list_that_comes_late_takes_nothing_away_that_was_made_since() {
        let (mut table, model) =
            (Table::of(|_: &Service| vec!["iris".to_owned()]), ("ml".to_owned(), "iris".to_owned()));
        table.take(Event::Apply(service("5")));
        assert!(table.put_all(&model, listed("4", &[])).is_empty());
        assert_eq!(kept(&table), Some(5));
        assert_eq!(table.put_all(&model, listed("6", &[])).len(), 1, "whom it concerns is told");
        assert_eq!(kept(&table), None);
        assert_eq!(table.put_all(&model, listed("8", &["7"])).len(), 1);
        assert_eq!(kept(&table), Some(7));
    }

    /// Of servers that lag behind, one lists what was before it was made, the next an older version of it.
    #[test]
    fn lists_that_are_old_bring_no_older_version_back() {
        let mut table = Table::default();
        table.take(Event::Apply(service("7")));
        for (list, known) in [(None, None), (Some("6"), None), (Some("7"), Some(7)), (Some("6"), Some(7))] {
            table.take(Event::Init);
            list.map(|version| table.take(Event::InitApply(service(version))));
            table.take(Event::InitDone);
            assert_eq!(kept(&table), known, "{list:?}");
        }
    }

    fn kept(table: &Table<Service>) -> Option<u64> {
        table.get(&("ml".to_owned(), "iris".to_owned())).map(|service| version(&service.metadata))
    }

    #[test]
    fn an_answer_that_comes_after_a_deletion_brings_nothing_back() {
        let mut table = Table::default();
        table.take(Event::Apply(service("5")));
        table.put(service("7"));
        table.put(service("6"));
        assert_eq!(kept(&table), Some(7), "an older answer is no news");
        table.take(Event::Delete(service("9")));
        for older in ["7", "8", "9"] {
            table.put(service(older));
            assert_eq!(kept(&table), None, "it was gone at 9");
        }
        table.put(service("12"));
        assert_eq!(kept(&table), Some(12), "made anew");
        table.take(Event::Delete(service("13")));
        table.take(Event::Apply(service("14")));
        assert_eq!(kept(&table), Some(14));
    }
}
