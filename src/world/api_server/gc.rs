//! Garbage collection: what an object's owners decide about it.

use serde_json::{Value, json};

use super::{
    ApiServer, Part,
    delete::{Options, Propagation},
    store::{Place, Store, Version},
    write::finalizers,
};
use crate::world::history::Key;

/// What is to be done with an object.
#[derive(Debug, PartialEq, Eq)]
enum Act {
    /// All its owners are gone.
    Delete(Propagation),
    /// These owners are gone, others are not: their references go.
    Disown(Vec<String>),
    /// Nothing holds it up any more.
    Finish(&'static str),
}

impl ApiServer {
    /// One round of the garbage collector, as `who`: everything whose owners are all gone is deleted, references to owners
    /// that are gone are dropped where others live, and foreground and orphaning deletions get on. An owner is gone if
    /// nothing of its kind, name and *uid* lives. Returns how many objects it wrote; 0: there is nothing to do until
    /// something changes. What it deletes may leave more to do for the next round.
    pub fn collect_garbage(&self, who: &str) -> usize {
        let due: Vec<(Place, Act)> = {
            let store = self.lock();
            let all = store.kinds.iter().flat_map(|(kind, objects)| {
                objects
                    .live
                    .iter()
                    .map(move |((namespace, name), version)| (Key::new(kind, namespace, name), version))
            });
            all.filter_map(|(key, version)| Some((Place::of(&key), due(&store, &key, version)?))).collect()
        };
        due.into_iter().filter(|(place, act)| self.carry_out(who, place, act)).count()
    }

    fn carry_out(&self, who: &str, place: &Place, act: &Act) -> bool {
        let key = place.key();
        match act {
            Act::Delete(propagation) => {
                let options = Options { propagation: Some(*propagation), ..Options::default() };
                self.remove(who, place, &options).is_ok()
            }
            Act::Disown(gone) => {
                let disown = |object: &mut Value| {
                    let meta = &mut object["metadata"];
                    if let Some(owners) = meta["ownerReferences"].as_array_mut() {
                        owners.retain(|owner| !gone.iter().any(|uid| owner["uid"] == uid.as_str()));
                    }
                    if meta["ownerReferences"] == json!([]) {
                        meta.as_object_mut().map(|meta| meta.remove("ownerReferences"));
                    }
                };
                self.edit(who, &key, Part::Object, disown).is_ok()
            }
            Act::Finish(finalizer) => {
                let finish = |object: &mut Value| {
                    if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
                        list.retain(|other| other != finalizer);
                    }
                };
                self.edit(who, &key, Part::Object, finish).is_ok()
            }
        }
    }
}

fn due(store: &Store, key: &Key, version: &Version) -> Option<Act> {
    let meta = &version.value["metadata"];
    let going = !meta["deletionTimestamp"].is_null();
    let has = |finalizer: &str| finalizers(&version.value).iter().any(|f| f == finalizer);
    if going && has("foregroundDeletion") {
        let blocks = |owner: &Value, _: &Version| owner["blockOwnerDeletion"] == true;
        return (!owns(store, key, version, blocks)).then_some(Act::Finish("foregroundDeletion"));
    }
    if going && has("orphan") {
        return (!owns(store, key, version, |_, _| true)).then_some(Act::Finish("orphan"));
    }
    let owners = meta["ownerReferences"].as_array().filter(|owners| !owners.is_empty())?;
    let uid = |owner: &Value| owner["uid"].as_str().unwrap_or_default().to_owned();
    let (mut gone, mut held, mut waiting, mut orphaning) = (vec![], 0, 0, vec![]);
    for owner in owners {
        let Some(live) = owner_of(store, key, owner) else {
            gone.push(uid(owner));
            continue;
        };
        let leaves = !live.value["metadata"]["deletionTimestamp"].is_null();
        let by = |finalizer: &str| leaves && finalizers(&live.value).iter().any(|f| f == finalizer);
        if by("orphan") {
            orphaning.push(uid(owner));
        } else if by("foregroundDeletion") {
            waiting += 1;
        } else {
            held += 1;
        }
    }
    if !orphaning.is_empty() {
        return Some(Act::Disown(orphaning));
    }
    if held > 0 {
        return (!gone.is_empty()).then_some(Act::Disown(gone));
    }
    if going {
        return None;
    }
    // Owners that wait for it want it to wait for its own first.
    let foreground = waiting > 0 && owns(store, key, version, |_, _| true);
    Some(Act::Delete(if foreground { Propagation::Foreground } else { Propagation::Background }))
}

/// The owner, if it lives: of the same namespace or of none, and the very one that the uid means.
fn owner_of<'a>(store: &'a Store, key: &Key, owner: &Value) -> Option<&'a Version> {
    let live = &store.kinds.get(owner["kind"].as_str()?)?.live;
    let name = owner["name"].as_str()?.to_owned();
    let found =
        live.get(&(key.namespace.clone(), name.clone())).or_else(|| live.get(&(String::new(), name)))?;
    (found.value["metadata"]["uid"] == owner["uid"]).then_some(found)
}

/// Whether it owns something that the question picks.
fn owns(store: &Store, key: &Key, version: &Version, picks: impl Fn(&Value, &Version) -> bool) -> bool {
    let uid = &version.value["metadata"]["uid"];
    store.kinds.values().flat_map(|objects| &objects.live).any(|((namespace, _), other)| {
        let owners = other.value["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
        let here = key.namespace.is_empty() || *namespace == key.namespace;
        here && owners.iter().any(|owner| owner["uid"] == *uid && picks(owner, other))
    })
}
