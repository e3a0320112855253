//! Writes as requests ask for them: the body read, the object found, the right rule followed.

use axum::body::Body;
use serde_json::{Value, json};

use super::{
    Part,
    delete::{Deleted, Options, Propagation},
    managed::Managed,
    misfits::misfits,
    patch::{Form, patched},
    refused::{Cause, Refused},
    request::Query,
    store::{Place, Store},
    write::{Draft, Pen, Wrote, writer},
};

/// A write that is asked for.
pub(super) struct Call<'a> {
    pub pen: Pen,
    pub place: Place,
    pub query: Query,
    pub body: &'a [u8],
}

impl Call<'_> {
    /// The object in the body, which must be of the kind and in the place that the path says.
    fn object(&self) -> Result<Value, Refused> {
        let mut object: Value = serde_json::from_slice(self.body).map_err(|error| {
            Refused::bad(format!(
                "the object provided is unrecognized (must be of type {}): {error}",
                self.place.kind.name
            ))
        })?;
        self.is_of_kind(&object)?;
        let meta = &mut object["metadata"];
        let namespace = meta["namespace"].as_str().unwrap_or_default();
        if !namespace.is_empty() && namespace != self.place.namespace {
            return Err(Refused::bad(
                "the namespace of the provided object does not match the namespace sent on the request"
                    .to_owned(),
            ));
        }
        let name = meta["name"].as_str().unwrap_or_default();
        if !self.place.name.is_empty() && name != self.place.name {
            let message = if name.is_empty() {
                "name must be provided".to_owned()
            } else {
                format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    self.place.name
                )
            };
            return Err(Refused::bad(message));
        }
        if self.place.kind.namespaced {
            meta["namespace"] = json!(self.place.namespace);
        }
        Ok(object)
    }

    /// Why a built-in kind's object cannot be read at all.
    fn untyped(&self, object: &Value) -> Option<String> {
        let kind = self.place.kind;
        if kind.custom {
            return None;
        }
        let wrong = misfits(kind.schema(), object).into_iter().find(|wrong| wrong.contains(": expected "));
        let said = |wrong| {
            format!("{} in version {:?} cannot be handled as a {0}: {wrong}", kind.name, kind.version)
        };
        wrong.map(said)
    }

    fn is_of_kind(&self, object: &Value) -> Result<(), Refused> {
        let kind = self.place.kind;
        let says = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let (group_version, name) = (says("apiVersion"), says("kind"));
        // What is built in may go without.
        let fits = |said: &str, is: &str| said == is || said.is_empty() && !kind.custom;
        if !object.is_object() || !fits(&group_version, &kind.api_version()) || !fits(&name, kind.name) {
            let message = format!(
                "{name} in version {group_version:?} cannot be handled as a {}: no kind {name:?} is registered for version {group_version:?}",
                kind.name
            );
            return Err(Refused::bad(message));
        }
        Ok(())
    }

    pub fn create(&self, store: &mut Store) -> Result<Wrote, Refused> {
        let mut object = self.object()?;
        if !object["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty) {
            let message = "resourceVersion should not be set on objects to be created".to_owned();
            return Err(Refused::new(500, "", message));
        }
        let kind = self.place.kind;
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.name);
        if let Some(wrong) = self.untyped(&object) {
            return Err(Refused::bad(wrong));
        }
        let meta = &mut object["metadata"];
        if meta["name"].as_str().is_none_or(str::is_empty)
            && let Some(prefix) = meta["generateName"].as_str().filter(|prefix| !prefix.is_empty())
        {
            let letter = |place: u32| {
                let digit = (store.revision + 1) / 20_u64.pow(place) % 20;
                b"bcdfghjklmnpqrstvwxz"[usize::try_from(digit).unwrap_or_default()] as char
            };
            let name: String = prefix.chars().chain((0..5).rev().map(letter)).collect();
            meta["name"] = json!(name);
        }
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        let place = Place { name, ..self.place.clone() };
        Ok(Wrote::Made(store.make(
            &self.pen,
            &place,
            Draft { value: object, managed: None, posted: true },
        )?))
    }

    pub fn update(&self, store: &mut Store, part: Part) -> Result<Wrote, Refused> {
        let kind = self.place.kind;
        let mut object = self.object()?;
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.name);
        if let Some(wrong) = self.untyped(&object) {
            return Err(Refused::bad(wrong));
        }
        let live = store.live(&self.place).cloned();
        let uid = live.as_ref().map(|live| live.value["metadata"]["uid"].clone()).unwrap_or_default();
        let given = object["metadata"]["uid"].as_str().filter(|given| !given.is_empty() && uid != *given);
        if let Some(given) = given.filter(|_| live.is_some() || kind.put_creates && part == Part::Object) {
            let uid = uid.as_str().unwrap_or_default();
            let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {uid}");
            return Err(Refused::conflict(kind, &self.place.name, &why));
        }
        let Some(live) = live else {
            if kind.put_creates && part == Part::Object {
                let version = store.make(
                    &self.pen,
                    &self.place,
                    Draft { value: object, managed: None, posted: false },
                )?;
                return Ok(Wrote::Made(version));
            }
            return Err(Refused::not_found(kind, &self.place.name));
        };
        let draft = Draft { value: object, managed: None, posted: false };
        Ok(Wrote::Is(store.change(&self.pen, &self.place, part, &live, draft)?))
    }

    pub fn patch(&self, store: &mut Store, part: Part, content_type: &str) -> Result<Wrote, Refused> {
        let Some(form) = Form::named(content_type) else {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml; not {content_type}"
            );
            return Err(Refused::new(415, "UnsupportedMediaType", message));
        };
        if form == Form::Apply {
            return self.apply(store, part);
        }
        let kind = self.place.kind;
        let live =
            store.live(&self.place).cloned().ok_or_else(|| Refused::not_found(kind, &self.place.name))?;
        let mut value = patched(form, &live.whole(), self.body)?;
        value["metadata"].as_object_mut().map(|meta| meta.remove("managedFields"));
        self.is_of_kind(&value)?;
        if let Some(wrong) = self.untyped(&value) {
            let cause = Cause::invalid("patch", &json!(value.to_string()), &wrong);
            let message = format!(" \"\" is invalid: {}: {}", cause.field, cause.message);
            return Err(Refused { causes: vec![cause], ..Refused::new(422, "Invalid", message) });
        }
        Ok(Wrote::Is(store.change(
            &self.pen,
            &self.place,
            part,
            &live,
            Draft { value, managed: None, posted: false },
        )?))
    }

    fn apply(&self, store: &mut Store, part: Part) -> Result<Wrote, Refused> {
        let kind = self.place.kind;
        if self.query.get("fieldManager").is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            let message =
                format!("PatchOptions.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
            return Err(Refused { causes: vec![cause], ..Refused::new(422, "Invalid", message) });
        }
        let config: Value = serde_json::from_slice(self.body)
            .map_err(|error| Refused::bad(format!("error decoding YAML: {error}")))?;
        self.is_of_kind(&config)?;
        if config["metadata"].get("managedFields").is_some() {
            return Err(Refused::bad("metadata.managedFields must be nil".to_owned()));
        }
        let live = store.live(&self.place).cloned();
        let force = self.query.flag("force");
        if part == Part::Status && live.is_none() {
            return Err(Refused::not_found(kind, &self.place.name));
        }
        let says = |field: &str| config["metadata"][field].as_str().unwrap_or_default();
        let names = (
            format!("{}/{}", says("namespace"), says("name")),
            format!("{}/{}, Kind={}", kind.group, kind.version, kind.name),
        );
        let writer = writer(kind, &self.pen, part, true);
        let (owners, base) = match &live {
            Some(live) => (live.managed.clone(), Some(&*live.value)),
            None => (Managed::default(), None),
        };
        let names = (names.0.as_str(), names.1.as_str());
        let (mut value, managed) = writer.applied(&owners, base, &config, force, names)?;
        if let Some(uid) = config["metadata"]["uid"].as_str().filter(|uid| live.is_none() && !uid.is_empty())
        {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Refused::conflict(kind, &self.place.name, &why));
        }
        if value["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            // Also of an object that lives: an apply without any metadata takes away what this manager owned of it, and with
            // that, in the real one too, the name.
            let name = &self.place.name;
            let message = format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            );
            return Err(Refused::bad(message));
        }
        if let Some(live) = live {
            let draft = Draft { value, managed: Some(managed), posted: false };
            return Ok(Wrote::Is(store.change(&self.pen, &self.place, part, &live, draft)?));
        }
        if kind.namespaced {
            value["metadata"]["namespace"] = json!(self.place.namespace);
        }
        Ok(Wrote::Made(store.make(
            &self.pen,
            &self.place,
            Draft { value, managed: Some(managed), posted: false },
        )?))
    }

    pub fn delete(&self, store: &mut Store) -> Result<(u16, Body), Refused> {
        let kind = self.place.kind;
        let body: Value = if self.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(self.body).unwrap_or_default()
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let policy =
            body["propagationPolicy"].as_str().unwrap_or_else(|| self.query.get("propagationPolicy"));
        let options = Options {
            uid: text(&body["preconditions"]["uid"]),
            revision: text(&body["preconditions"]["resourceVersion"]),
            propagation: match policy {
                "Foreground" => Some(Propagation::Foreground),
                "Orphan" => Some(Propagation::Orphan),
                "Background" => Some(Propagation::Background),
                _ => None,
            },
            grace: body["gracePeriodSeconds"].as_i64(),
        };
        let dry_run = self.pen.dry_run || body["dryRun"] == json!(["All"]);
        let pen = Pen { dry_run, ..self.pen.clone() };
        match store.remove(&pen, &self.place, &options)? {
            Deleted::Going(version) => Ok((200, version.bytes().into())),
            Deleted::Gone(version) if matches!(kind.name, "Pod" | "Service") => {
                Ok((200, version.bytes().into()))
            }
            Deleted::Gone(version) => {
                let mut details = json!({"name": self.place.name, "kind": kind.plural, "uid": version.value["metadata"]["uid"]});
                if !kind.group.is_empty() {
                    details["group"] = json!(kind.group);
                }
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
                Ok((200, Body::from(status.to_string())))
            }
        }
    }
}
