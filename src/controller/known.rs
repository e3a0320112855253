//! What was worked out once and holds for as long as an object is what it was: stored snapshots as types, and objects that
//! already say what we want of them. Reconciles come often, changes seldom: both would be worked out again each time.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::core::ObjectMeta;
use serde::Serialize;

use crate::revision::{Snapshot, SnapshotError};

/// So many snapshots are kept: those of rollouts that go on. A unit at rest needs none.
const SNAPSHOTS: usize = 256;
/// So many objects are remembered to be in sync, at about a hundred bytes each.
const SETTLED: usize = 4096;

/// See the module. Everything in it can be thrown away at any time.
#[derive(Debug, Default)]
pub struct Known {
    /// By the `ControllerRevision`'s uid: the API server lets nobody change its data.
    snapshots: Mutex<BTreeMap<String, Arc<Snapshot>>>,
    /// By uid: the version that says all that we want, and a fingerprint of that.
    settled: Mutex<BTreeMap<String, (String, u64)>>,
}

impl Known {
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

    /// Whether a live object says all that we want: `compare` says it, once for each version of it and each wish.
    pub fn is_so<T: Serialize>(
        &self,
        live: &ObjectMeta,
        desired: &T,
        compare: impl FnOnce() -> bool,
    ) -> bool {
        let (Some(uid), Some(version)) = (&live.uid, &live.resource_version) else { return compare() };
        let wish = fingerprint(desired);
        if lock(&self.settled).get(uid).is_some_and(|(of, what)| of == version && *what == wish) {
            return true;
        }
        let so = compare();
        if so {
            let mut settled = lock(&self.settled);
            bound(&mut settled, SETTLED);
            settled.insert(uid.clone(), (version.clone(), wish));
        }
        so
    }
}

/// A number for an object as we want it. Two that differ have the same one once in 2^64.
fn fingerprint<T: Serialize>(desired: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&serde_json::to_vec(desired).unwrap_or_default());
    hasher.finish()
}

fn bound<T>(map: &mut BTreeMap<String, T>, most: usize) {
    while map.len() >= most {
        map.pop_first();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
    use serde_json::json;

    use super::*;

    fn meta(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some("iris-x".to_owned()),
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_object_is_compared_once_for_each_version_and_each_wish() {
        let known = Known::default();
        let asked = std::cell::Cell::new(0);
        let compare = |so: bool| {
            asked.set(asked.get() + 1);
            so
        };
        let (one, other) = (json!({"replicas": 1}), json!({"replicas": 2}));
        let is = |live: ObjectMeta, wish, so| {
            let before = asked.get();
            (known.is_so(&live, wish, || compare(so)), asked.get() > before)
        };
        assert_eq!(is(meta("a", "7"), &one, false), (false, true));
        assert_eq!(is(meta("a", "7"), &one, true), (true, true), "a no is not remembered");
        assert_eq!(is(meta("a", "7"), &one, false), (true, false));
        assert_eq!(is(meta("a", "7"), &other, false), (false, true), "something else is wanted");
        assert_eq!(is(meta("a", "8"), &one, false), (false, true), "it has changed");
        assert_eq!(is(meta("b", "7"), &one, false), (false, true), "made anew");
        assert_eq!(is(ObjectMeta::default(), &one, true), (true, true));
        assert_eq!(
            is(ObjectMeta::default(), &one, false),
            (false, true),
            "nothing is known of what has no uid"
        );
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
    fn what_is_remembered_is_bounded() {
        let known = Known::default();
        for number in 0..SETTLED + 10 {
            known.is_so(&meta(&number.to_string(), "1"), &1, || true);
        }
        assert_eq!(lock(&known.settled).len(), SETTLED);
    }
}
