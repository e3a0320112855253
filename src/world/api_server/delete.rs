//! Deletion: preconditions, finalizers, what becomes of the objects that are owned.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    refused::Refused,
    store::{Place, Store, Version},
    write::{Pen, finalizers},
};

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    #[default]
    Background,
    /// They go before it.
    Foreground,
    /// They stay, without it as an owner.
    Orphan,
}

/// How an object is to be deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub uid: Option<String>,
    pub revision: Option<String>,
    /// `None`: as the object's finalizers say already, else [`Propagation::Background`].
    pub propagation: Option<Propagation>,
    /// Seconds that a pod has; `None`: as long as it says itself.
    pub grace: Option<i64>,
}

/// What became of it.
pub(super) enum Deleted {
    /// It is gone; as it was.
    Gone(Arc<Version>),
    /// It waits for its finalizers or its grace period.
    Going(Arc<Version>),
}

impl Store {
    /// Deletes an object, or marks it as going.
    pub fn remove(&mut self, pen: &Pen, place: &Place, options: &Options) -> Result<Deleted, Refused> {
        let kind = place.kind;
        let live = self.live(place).cloned().ok_or_else(|| Refused::not_found(kind, &place.name))?;
        let meta = &live.value["metadata"];
        let uid = meta["uid"].as_str().unwrap_or_default();
        if let Some(wanted) = options.uid.as_ref().filter(|wanted| *wanted != uid) {
            return Err(Refused::precondition(kind, &place.name, "UID", wanted, uid));
        }
        let revision = live.revision.to_string();
        if let Some(wanted) = options.revision.as_ref().filter(|wanted| **wanted != revision) {
            return Err(Refused::precondition(kind, &place.name, "ResourceVersion", wanted, &revision));
        }
        let added = match options.propagation {
            // Nothing is ever owned by an Event.
            _ if place.kind_name == "Event" => None,
            None | Some(Propagation::Background) => None,
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
        };
        let mut waits: Vec<Value> = finalizers(&live.value).to_vec();
        let keeps = options.propagation.is_none();
        waits.retain(|finalizer| keeps || finalizer != "foregroundDeletion" && finalizer != "orphan");
        waits.extend(added.map(Value::from));
        let grace = grace(place, &live.value, options);
        if waits.is_empty() && grace == 0 {
            if let Some(wanted) = options.revision.as_ref().filter(|_| !finalizers(&live.value).is_empty()) {
                return Err(outrun(place, &live, wanted));
            }
            let last = if pen.dry_run { live } else { self.commit(&pen.who, pen.at, place, None) };
            return Ok(Deleted::Gone(last));
        }
        let mut going = (*live.value).clone();
        let meta = &mut going["metadata"];
        if waits.is_empty() {
            meta.as_object_mut().map(|meta| meta.remove("finalizers"));
        } else {
            meta["finalizers"] = Value::Array(waits);
        }
        if meta["deletionTimestamp"].is_null() {
            meta["deletionTimestamp"] = json!(pen.now);
            if let Some(generation) = meta["generation"].as_i64().filter(|generation| *generation > 0) {
                meta["generation"] = json!(generation + 1);
            }
        }
        if meta["deletionGracePeriodSeconds"].is_null() {
            meta["deletionGracePeriodSeconds"] = json!(grace);
        }
        if going == *live.value {
            return Ok(Deleted::Going(live));
        }
        if pen.dry_run {
            return Ok(Deleted::Going(Version::new(live.revision, Arc::new(going), live.managed.clone())));
        }
        let managed = live.managed.clone();
        Ok(Deleted::Going(self.commit(&pen.who, pen.at, place, Some((going, managed)))))
    }
}

/// The real server takes the last finalizers away and deletes in two steps, and the second finds that the version which was
/// asked for is not the newest any more. Nothing of it is stored.
fn outrun(place: &Place, live: &Version, wanted: &str) -> Refused {
    let why = format!(
        "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {}",
        live.revision
    );
    Refused::conflict(place.kind, &place.name, &why)
}

/// Seconds until a pod may go; everything else goes at once.
fn grace(place: &Place, live: &Value, options: &Options) -> i64 {
    if place.kind_name != "Pod" || live["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        return 0;
    }
    let own = live["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    options.grace.unwrap_or(own)
}
