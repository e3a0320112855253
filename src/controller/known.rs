//! What was worked out once and holds for as long as an object is what it was: stored snapshots as types, and objects that
//! already say what we want of them. Reconciles come often, changes seldom: both would be worked out again each time.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{ResourceExt, core::ObjectMeta};
use tokio::time::Instant;

use super::{
    observe::{Found, FoundModel},
    reconcile::Controller,
};
use crate::{
    api::{
        conditions::{self, ACCEPTED},
        v1alpha1::{ModelDeployment, ModelRuntime, TrafficSplit},
    },
    mutant::{Mutant, on},
    revision::{self, INVALID_ROUTE, Identity, Refusal, Snapshot, SnapshotError},
};

/// So many snapshots are kept: those of rollouts that go on. A unit at rest needs none.
const SNAPSHOTS: usize = 256;
/// So many objects are remembered to be in sync, at about a hundred bytes each.
const SETTLED: usize = 4096;
/// So many refused routes are remembered; one that is forgotten is refused again.
const REFUSED: usize = 256;

/// See the module. Everything in it can be thrown away at any time.
#[derive(Debug, Default)]
pub struct Known {
    /// By the `ControllerRevision`'s uid: the API server lets nobody change its data.
    snapshots: Mutex<BTreeMap<String, Arc<Snapshot>>>,
    /// By uid: the version that says all that we want, and the [`wish`] for that.
    settled: Mutex<BTreeMap<String, (String, u64)>>,
    /// By a model's uid: what that generation of it asks for, with that runtime (by its uid: it is immutable).
    fresh: Mutex<BTreeMap<String, Fresh>>,
    /// By a model's uid: the revision that this generation of it asks for.
    identities: Mutex<BTreeMap<String, (i64, Arc<Identity>)>>,
    /// By a `TrafficSplit`'s uid: why the API server would not take the route of this generation, and when it said so.
    refused_routes: Mutex<BTreeMap<String, (i64, Refusal, Instant)>>,
}

/// What a spec and a runtime give, or why nothing.
#[derive(Debug)]
struct Fresh {
    of: (i64, Option<String>),
    snapshot: Result<Arc<Snapshot>, Refusal>,
}

impl Known {
    /// What a model asks to run, while it is not stored: rendered once for each generation and runtime.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub fn fresh(
        &self,
        model: &ModelDeployment,
        runtime: Option<&ModelRuntime>,
    ) -> Result<Arc<Snapshot>, Refusal> {
        let render = || revision::snapshot(&model.name_any(), &model.spec, runtime).map(Arc::new);
        let (Some(uid), Some(generation)) = (&model.metadata.uid, model.metadata.generation) else {
            return render();
        };
        let of = (generation, runtime.and_then(ResourceExt::uid));
        let mut all = lock(&self.fresh);
        if let Some(known) = all.get(uid).filter(|known| known.of == of) {
            return known.snapshot.clone();
        }
        let snapshot = render();
        bound(&mut all, SNAPSHOTS);
        all.insert(uid.clone(), Fresh { of, snapshot: snapshot.clone() });
        snapshot
    }

    /// The snapshot in a `ControllerRevision`, read at first sight.
    ///
    /// # Errors
    /// It cannot be read; that is found out anew each time.
    pub fn snapshot(&self, stored: &ControllerRevision) -> Result<Arc<Snapshot>, SnapshotError> {
        let Some(uid) = &stored.metadata.uid else {
            return Snapshot::from_controller_revision(stored).map(Arc::new);
        };
        if let Some(known) = lock(&self.snapshots).get(uid) {
            return Ok(known.clone());
        }
        let snapshot = Arc::new(Snapshot::from_controller_revision(stored)?);
        let mut snapshots = lock(&self.snapshots);
        bound(&mut snapshots, SNAPSHOTS);
        snapshots.insert(uid.clone(), snapshot.clone());
        Ok(snapshot)
    }

    /// The revision that a model asks for: hashed once for each generation, which is what its spec is counted by.
    pub fn identity(&self, model: &ModelDeployment) -> Arc<Identity> {
        let fresh = || Arc::new(revision::identity(&model.name_any(), &model.spec));
        let (Some(uid), Some(generation)) = (&model.metadata.uid, model.metadata.generation) else {
            return fresh();
        };
        let mut identities = lock(&self.identities);
        if let Some((of, known)) = identities.get(uid)
            && *of == generation
        {
            return known.clone();
        }
        let identity = fresh();
        bound(&mut identities, SETTLED);
        identities.insert(uid.clone(), (generation, identity.clone()));
        identity
    }

    /// Why the API server would not take the route that this generation of `split` asks for, and when it last said so to us;
    /// `None`: to an earlier leader, who wrote it into the status.
    pub fn refused_route(&self, split: &TrafficSplit) -> Option<(Refusal, Option<Instant>)> {
        let (uid, generation) = (split.metadata.uid.as_ref()?, split.metadata.generation?);
        if let Some((of, why, asked)) = lock(&self.refused_routes).get(uid)
            && *of == generation
        {
            return Some((why.clone(), Some(*asked)));
        }
        let told = conditions::get(&split.status.as_ref()?.conditions, ACCEPTED)?;
        let refused = told.reason == INVALID_ROUTE && told.observed_generation == Some(generation);
        let message = told.message.clone();
        refused.then_some((Refusal { condition: ACCEPTED, reason: INVALID_ROUTE, message }, None))
    }

    /// Remembers that the API server would not take it, or (`None`) that it would.
    pub fn note_route(&self, split: &TrafficSplit, refusal: Option<Refusal>) {
        let (Some(uid), Some(generation)) = (&split.metadata.uid, split.metadata.generation) else { return };
        let mut refused = lock(&self.refused_routes);
        refused.remove(uid);
        if let Some(refusal) = refusal {
            bound(&mut refused, REFUSED);
            refused.insert(uid.clone(), (generation, refusal, Instant::now()));
        }
    }

    /// Whether this version of an object was found to say all of a [`wish`].
    pub fn is_settled(&self, live: &ObjectMeta, wish: Option<u64>) -> bool {
        let (Some(uid), Some(version), Some(wish)) = (&live.uid, &live.resource_version, wish) else {
            return false;
        };
        lock(&self.settled).get(uid).is_some_and(|(of, what)| of == version && *what == wish)
    }

    /// Remembers that it does.
    pub fn settle(&self, live: &ObjectMeta, wish: Option<u64>) {
        let (Some(uid), Some(version), Some(wish)) = (&live.uid, &live.resource_version, wish) else {
            return;
        };
        let mut settled = lock(&self.settled);
        bound(&mut settled, SETTLED);
        settled.insert(uid.clone(), (version.clone(), wish));
    }
}

impl Controller {
    /// The stored snapshot of a revision, or the one that the spec gives at first sight.
    pub(super) fn snapshot(&self, model: &FoundModel, revision: &str) -> Option<Arc<Snapshot>> {
        let fresh = || self.known.fresh(&model.object, model.runtime.as_deref()).ok();
        let stored = model.revisions.iter().find(|r| r.metadata.name.as_deref() == Some(revision));
        let snapshot = match stored {
            Some(stored) => self.known.snapshot(stored)
                .inspect_err(|error| tracing::warn!(revision, %error, "a stored snapshot cannot be read: its objects stay as they are"))
                .ok()?,
            None => fresh().filter(|fresh| fresh.revision == revision)?,
        };
        if on(Mutant::TemplateCopied)
            && model.object.status.as_ref()?.stable_revision.as_deref() == Some(revision)
        {
            let mut copied = Snapshot::clone(&snapshot);
            copied.pod_template.spec.clone_from(&fresh()?.pod_template.spec);
            return Some(Arc::new(copied));
        }
        Some(snapshot)
    }
}

/// A number for everything that the rendering of a revision's object depends on: its stored snapshot, its owners, and a
/// `detail` (its size). `None`: the snapshot is not stored yet. Two that differ have the same one once in 2^64.
pub fn wish(found: &Found, model: &FoundModel, revision: &str, detail: i32) -> Option<u64> {
    let stored = model.revisions.iter().find(|r| r.metadata.name.as_deref() == Some(revision))?;
    let yielding = || found.yielding.as_ref().map(|split| &split.uid);
    let split = found.split.as_ref().and_then(|split| split.metadata.uid.as_ref()).or_else(yielding);
    let owner = &model.object.metadata;
    let mut hasher = DefaultHasher::new();
    (&stored.metadata.uid, &owner.uid, owner.generation, split, detail).hash(&mut hasher);
    Some(hasher.finish())
}

/// Makes room for one more.
pub(super) fn bound<K: Ord, T>(map: &mut BTreeMap<K, T>, most: usize) {
    while map.len() >= most {
        map.pop_first();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
    use serde_json::json;

    use super::{super::observe::Left, *};

    fn meta(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some("iris-x".to_owned()),
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_object_is_settled_for_one_version_and_one_wish_only() {
        let known = Known::default();
        known.settle(&meta("a", "7"), Some(1));
        assert!(known.is_settled(&meta("a", "7"), Some(1)));
        assert!(!known.is_settled(&meta("a", "8"), Some(1)), "it has changed");
        assert!(!known.is_settled(&meta("a", "7"), Some(2)), "something else is wanted");
        assert!(!known.is_settled(&meta("b", "7"), Some(1)), "made anew");
        assert!(!known.is_settled(&meta("a", "7"), None), "it cannot be told what is wanted");
        known.settle(&ObjectMeta::default(), Some(1));
        assert!(!known.is_settled(&ObjectMeta::default(), Some(1)), "nothing is known of what has no uid");
    }

    #[test]
    fn what_is_asked_to_run_is_rendered_once_for_a_generation_and_a_runtime() {
        let model = |uid: Option<&str>, generation, image: &str| {
            let container =
                json!({"name": "x", "image": image, "ports": [{"name": "http", "containerPort": 1}]});
            let spec = json!({"template": {"spec": {"containers": [container]}}});
            let mut model = ModelDeployment::new("iris", serde_json::from_value(spec).unwrap());
            (model.metadata.uid, model.metadata.generation) = (uid.map(str::to_owned), Some(generation));
            model
        };
        let known = Known::default();
        let first = known.fresh(&model(Some("a"), 1, "one"), None).unwrap();
        let same = known.fresh(&model(Some("a"), 1, "one"), None).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        let other = |uid, generation, image: &str| known.fresh(&model(uid, generation, image), None).unwrap();
        assert_ne!(other(Some("a"), 2, "two"), first, "another generation");
        assert_ne!(other(Some("b"), 1, "two"), first, "another model");
        assert_ne!(other(None, 1, "two"), other(None, 1, "one"), "what is not stored has no uid");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_route_is_known_for_one_generation() {
        let split = |uid: &str, generation| {
            let spec = json!({
                "route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
                "backends": [{"modelDeploymentRef": {"name": "iris"}}],
                "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
                "strategy": {"canary": {"steps": [{"weight": "10%"}]}}
            });
            let mut split = TrafficSplit::new("iris", serde_json::from_value(spec).unwrap());
            (split.metadata.uid, split.metadata.generation) = (Some(uid.to_owned()), Some(generation));
            split
        };
        let known = Known::default();
        let message = "no".to_owned();
        let refusal = Refusal { condition: "Accepted", reason: "InvalidRoute", message };
        known.note_route(&split("a", 3), Some(refusal.clone()));
        assert_eq!(known.refused_route(&split("a", 3)), Some((refusal.clone(), Some(Instant::now()))));
        assert_eq!(known.refused_route(&split("a", 4)), None, "another spec is tried");
        assert_eq!(known.refused_route(&split("b", 3)), None, "made anew");
        known.note_route(&split("a", 3), None);
        assert_eq!(known.refused_route(&split("a", 3)), None, "it would be taken by now");
        let mut told = split("a", 3);
        let condition = json!({"type": "Accepted", "status": "False", "reason": "InvalidRoute", "message": "no",
            "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        told.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
        assert_eq!(known.refused_route(&told), Some((refusal, None)), "an earlier leader was told so");
        told.metadata.generation = Some(4);
        assert_eq!(known.refused_route(&told), None, "of another spec");
    }

    #[test]
    fn a_wish_depends_on_the_snapshot_the_owners_and_the_size() {
        let spec = json!({"model": {"version": "1"}, "runtimeRef": {"name": "r"}});
        let made = |model: &str, snapshot: &str, split: Option<&str>, size| {
            let object = ModelDeployment {
                metadata: meta(model, "1"),
                spec: serde_json::from_value(spec.clone()).unwrap(),
                status: None,
            };
            let stored = ControllerRevision { metadata: meta(snapshot, "1"), data: None, revision: 1 };
            let model = FoundModel {
                identity: Known::default().identity(&object),
                object: Arc::new(object),
                runtime: None,
                deployments: vec![],
                services: vec![],
                revisions: vec![Arc::new(stored)],
                trouble: BTreeMap::new(),
                name_taken: false,
                unfit: None,
            };
            let split = split.map(|uid| {
                let split = json!({
                    "metadata": {"name": "s", "uid": uid},
                    "spec": {
                        "route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
                        "backends": [{"modelDeploymentRef": {"name": "iris"}}],
                        "strategy": {"canary": {"steps": [{"weight": "5%"}]}},
                        "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
                    },
                });
                Arc::new(serde_json::from_value(split).unwrap())
            });
            let found = Found {
                split,
                models: vec![],
                route: None,
                missing_models: vec![],
                missing_gateways: vec![],
                missing_services: std::collections::BTreeSet::new(),
                left: Left::default(),
                elsewhere: std::collections::BTreeMap::new(),
                yielding: None,
                unfit: None,
            };
            (wish(&found, &model, "iris-x", size), wish(&found, &model, "iris-y", size))
        };
        let (base, unknown) = made("m", "r", Some("s"), 1);
        assert!(base.is_some());
        assert_eq!(unknown, None, "its snapshot is not stored");
        assert_eq!(base, made("m", "r", Some("s"), 1).0);
        for other in [
            made("n", "r", Some("s"), 1),
            made("m", "q", Some("s"), 1),
            made("m", "r", Some("t"), 1),
            made("m", "r", None, 1),
            made("m", "r", Some("s"), 2),
        ] {
            assert_ne!(base, other.0);
        }
    }

    #[test]
    fn a_snapshot_is_read_once_and_a_broken_one_never_remembered() {
        let known = Known::default();
        let stored = |uid: &str, data| ControllerRevision {
            metadata: meta(uid, "1"),
            data: Some(RawExtension(data)),
            revision: 1,
        };
        let good = stored(
            "a",
            json!({"algorithm": 1, "hash": "h", "version": "2", "template": {"spec": {"containers": []}}}),
        );
        let first = known.snapshot(&good).unwrap();
        assert_eq!((first.version.as_str(), first.revision.as_str()), ("2", "iris-x"));
        assert!(Arc::ptr_eq(&first, &known.snapshot(&good).unwrap()));
        let broken = stored("b", json!({}));
        assert!(known.snapshot(&broken).is_err());
        assert!(known.snapshot(&broken).is_err());
    }

    #[test]
    fn what_a_model_asks_for_is_hashed_once_for_each_generation() {
        let known = Known::default();
        let asks = |uid: Option<&str>, generation, version: &str| {
            let spec = json!({"model": {"version": version}, "runtimeRef": {"name": "r"}});
            let mut model = ModelDeployment::new("iris", serde_json::from_value(spec).unwrap());
            (model.metadata.uid, model.metadata.generation) = (uid.map(str::to_owned), generation);
            known.identity(&model)
        };
        let first = asks(Some("a"), Some(1), "1");
        assert!(Arc::ptr_eq(&first, &asks(Some("a"), Some(1), "1")));
        assert_ne!(first, asks(Some("a"), Some(2), "2"), "its spec has changed");
        assert_ne!(first, asks(Some("b"), Some(1), "3"), "made anew");
        assert_ne!(asks(None, None, "1"), asks(None, None, "2"), "not an object of the API server");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let known = Known::default();
        for number in 0..SETTLED + 10 {
            known.settle(&meta(&number.to_string(), "1"), Some(1));
        }
        assert_eq!(lock(&known.settled).len(), SETTLED);
    }
}
