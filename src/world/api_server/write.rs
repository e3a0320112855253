//! Objects made, changed and deleted, by the rules of their kinds.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Part, checks,
    decode::decode,
    fields::{Set, Step},
    kind::Kind,
    managed::{Id, Managed, Writer},
    metadata,
    misfits::misfits,
    refused::{Cause, Refused},
    store::{Place, Store, Version},
    validate::validate,
};

/// How something is written.
#[derive(Clone, Debug)]
pub(super) struct Pen {
    /// Who, in the history.
    pub who: String,
    /// Who, in `managedFields`.
    pub manager: String,
    /// Nothing is stored.
    pub dry_run: bool,
    /// Wall time, to the second.
    pub now: String,
    /// Virtual time since the world began.
    pub at: Duration,
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Wrote {
    /// It is there now, and was not before.
    Made(Arc<Version>),
    /// It is so now. Also if nothing had to change.
    Is(Arc<Version>),
}

impl Wrote {
    pub fn version(self) -> Arc<Version> {
        match self {
            Self::Made(version) | Self::Is(version) => version,
        }
    }
}

/// A new version of an object, before it is stored.
pub(super) struct Draft {
    pub value: Value,
    /// Who owns what of it; `None`: to be told from what changed.
    pub managed: Option<Managed>,
    /// It comes by a POST: what the API server sets itself is taken out.
    pub posted: bool,
}

impl Store {
    /// Makes an object.
    pub fn make(&mut self, pen: &Pen, place: &Place, draft: Draft) -> Result<Arc<Version>, Refused> {
        let (kind, mut object) = (place.kind, draft.value);
        decode(kind, &mut object);
        if kind.status
            && kind.is_served()
            && let Some(members) = object.as_object_mut()
        {
            members.remove("status");
            checks::first_status(kind, members);
        }
        let meta = &mut object["metadata"];
        // Other ways of making an object may even make one that is going; with the real one too.
        let going = ["deletionTimestamp", "deletionGracePeriodSeconds"];
        for field in going.iter().filter(|_| draft.posted).chain(&["managedFields", "selfLink"]) {
            meta.as_object_mut().map(|meta| meta.remove(*field));
        }
        if kind.generation {
            meta["generation"] = json!(1);
        }
        let next = self.revision + 1;
        meta["uid"] = json!(format!("{:08x}-0000-4000-8000-{next:012x}", 0x5ea_u32));
        meta["creationTimestamp"] = json!(pen.now);
        let managed = match draft.managed {
            Some(managed) => managed,
            // Nobody is ever told who owns what of a kind that is not served.
            None if !kind.is_served() => Managed::default(),
            None => writer(kind, pen, Part::Object, false).updated(&Managed::default(), None, &object),
        };
        checks::allocate(kind, &mut object, None, next);
        let mut causes = metadata::check(kind, &object["metadata"], None);
        causes.extend(self.wrong(kind, &object, None, Part::Object));
        if !causes.is_empty() {
            return Err(Refused::invalid(kind, &place.name, causes));
        }
        if let Some(live) = self.live(place) {
            let going = !live.value["metadata"]["deletionTimestamp"].is_null();
            return Err(Refused::exists(kind, &place.name, going));
        }
        if pen.dry_run {
            return Ok(Version::new(0, Arc::new(object), managed));
        }
        Ok(self.commit(&pen.who, pen.at, place, Some((object, managed))))
    }

    /// Writes a new version of `live`.
    pub fn change(
        &mut self,
        pen: &Pen,
        place: &Place,
        part: Part,
        live: &Arc<Version>,
        draft: Draft,
    ) -> Result<Arc<Version>, Refused> {
        let (kind, mut new, old) = (place.kind, draft.value, &*live.value);
        let given = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if given.is_empty() && !kind.unconditional {
            return Err(Refused::unversioned(kind, &place.name));
        }
        if !given.is_empty() && given != live.revision.to_string() {
            return Err(Refused::modified(kind, &place.name));
        }
        decode(kind, &mut new);
        let managed = match draft.managed {
            Some(managed) => managed,
            // Nobody is told, and nobody applies a status.
            None if self.hides_owners && part == Part::Status => live.managed.clone(),
            None => writer(kind, pen, part, false).updated(&live.managed, Some(old), &new),
        };
        // A body that does not fit its schema, in a part that this write does not reach, passes; but nobody can then be told
        // from it who owns what, and nobody owns anything.
        let unfit = kind.custom
            && part == Part::Status
            && new["spec"] != old["spec"]
            && misfits(kind.schema(), &new).iter().any(|wrong| wrong.contains(": expected "));
        let managed = if unfit { Managed::default() } else { managed };
        let mut causes = inherit(kind, &mut new, old, part);
        checks::allocate(kind, &mut new, Some(old), live.revision);
        causes.extend(metadata::check(kind, &new["metadata"], Some(&old["metadata"])));
        causes.extend(self.wrong(kind, &new, Some(old), part));
        if !causes.is_empty() {
            return Err(Refused::invalid(kind, &place.name, causes));
        }
        let same_owners = Arc::ptr_eq(&managed, &live.managed)
            || self.without_owners
            || managed.iter().map(|m| (&m.id, &m.fields)).eq(live.managed.iter().map(|m| (&m.id, &m.fields)));
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        let finished = !old["metadata"]["deletionTimestamp"].is_null()
            && finalizers(&new).is_empty()
            && place.kind_name != "Pod";
        if pen.dry_run {
            return Ok(Version::new(live.revision, Arc::new(new), managed));
        }
        // Any write at all finishes what only waited for it.
        if finished {
            // The answer shows what would have been written; that it is gone has a number of its own.
            self.commit(&pen.who, pen.at, place, None);
            return Ok(Version::new(live.revision, Arc::new(new), managed));
        }
        if new == *old && same_owners {
            return Ok(live.clone());
        }
        Ok(self.commit(&pen.who, pen.at, place, Some((new, managed))))
    }

    /// What the kind's schema and rules find wrong.
    fn wrong(&mut self, kind: &Kind, new: &Value, old: Option<&Value>, part: Part) -> Vec<Cause> {
        if kind.custom {
            validate(&self.rules, kind.schema(), new, old, part == Part::Status)
        } else {
            checks::check(kind, new, old)
        }
    }
}

/// Who writes, and which fields this kind of write does not reach.
pub(super) fn writer<'a>(kind: &'a Kind, pen: &Pen, part: Part, applies: bool) -> Writer<'a> {
    let field = |name: &str| Step::Field(name.to_owned());
    let mut ignored = Set::default();
    match part {
        Part::Object if kind.status => ignored.insert(&[field("status")]),
        Part::Object => {}
        Part::Status => {
            ignored.insert(&[field("spec")]);
            // Of what is built in, a status takes other metadata with it.
            if kind.custom {
                ignored.insert(&[field("metadata")]);
            } else {
                ignored.insert(&[field("metadata"), field("labels")]);
            }
        }
    }
    let subresource = if part == Part::Status { "status" } else { "" };
    let id = Id { applies, name: pen.manager.clone(), api_version: kind.api_version(), subresource };
    Writer { schema: kind.schema(), kind: kind.name, id, now: pen.now.clone(), ignored }
}

/// What an update cannot change comes from the object that lives.
fn inherit(kind: &Kind, new: &mut Value, old: &Value, part: Part) -> Vec<Cause> {
    let mut causes = vec![];
    if !reached(kind, new, old, part) {
        return causes;
    }
    let spec_changed = differs(kind, new, old);
    let (meta, before) = (&mut new["metadata"], &old["metadata"]);
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
        let given = meta.get(field).filter(|given| !given.is_null() && **given != "").cloned();
        let goes = field == "deletionTimestamp" && !before[field].is_null();
        if let Some(given) = given.filter(|_| !goes)
            && given != before[field]
        {
            causes.push(Cause::invalid(&format!("metadata.{field}"), &given, "field is immutable"));
        }
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
    ] {
        match before.get(field) {
            Some(value) => meta[field] = value.clone(),
            None => {
                meta.as_object_mut().map(|meta| meta.remove(field));
            }
        }
    }
    meta.as_object_mut().map(|meta| meta.remove("managedFields"));
    if spec_changed && part == Part::Object {
        meta["generation"] = json!(before["generation"].as_i64().unwrap_or(0) + 1);
    }
    causes
}

/// Takes from the object that lives what this kind of write does not reach. `false`: that is all but the status.
fn reached(kind: &Kind, new: &mut Value, old: &Value, part: Part) -> bool {
    let keep = |new: &mut Value, from: &Value, field: &str| match from.get(field) {
        Some(value) => new[field] = value.clone(),
        None => {
            new.as_object_mut().map(|new| new.remove(field));
        }
    };
    match part {
        Part::Object if kind.status && kind.is_served() => keep(new, old, "status"),
        Part::Object => {}
        Part::Status if kind.custom || !kind.is_served() => {
            let given = new.as_object_mut().and_then(|given| given.remove("status"));
            let kept = Value::as_object(old).into_iter().flatten().filter(|(name, _)| *name != "status");
            let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
            *new = kept.chain(given.map(|given| ("status".to_owned(), given))).collect();
            return false;
        }
        Part::Status => {
            keep(new, old, "spec");
            keep(&mut new["metadata"], &old["metadata"], "labels");
        }
    }
    true
}

/// Whether a change counts for `metadata.generation`.
fn differs(kind: &Kind, new: &Value, old: &Value) -> bool {
    if !kind.generation {
        return false;
    }
    if kind.custom {
        let skip = |name: &str| name == "metadata" || kind.status && name == "status";
        let without = |object| Value::as_object(object).into_iter().flatten().filter(|(name, _)| !skip(name));
        return !without(new).eq(without(old));
    }
    let annotations =
        kind.name == "Deployment" && new["metadata"]["annotations"] != old["metadata"]["annotations"];
    new["spec"] != old["spec"] || annotations
}

/// `metadata.finalizers`.
pub(super) fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}
