//! Requests answered.

use axum::body::Body;
use http::{Response, header, request::Parts};
use serde_json::{Value, json};

use super::{
    ApiServer, Part,
    delete::{Deleted, Options, Propagation},
    list::{metadata_of, wants_metadata},
    managed::Managed,
    patch::{Form, patched},
    refused::{Cause, Refused},
    request::{Query, Target, verb},
    store::{Place, Store, Version},
    watch::watch,
    write::{Draft, Pen, Wrote, writer},
};

impl ApiServer {
    /// Answers a request of `who`. Nothing in it waits; the body of a watch does.
    #[must_use]
    pub fn handle(&self, who: &str, head: &Parts, body: &[u8]) -> Response<Body> {
        let target = Target::read(head.uri.path());
        let named = target.as_ref().map(|target| (target.kind, target.name.clone()));
        let answer = match target {
            Some(target) => self.answer(who, head, body, &target),
            None => Err(Refused::no_path()),
        };
        let (code, body) = answer.unwrap_or_else(|refused| {
            let (kind, name) = named.map_or((None, String::new()), |(kind, name)| (Some(kind), name));
            let name = if name.is_empty() { name_in(body) } else { name };
            (refused.code, Body::from(refused.status(kind, &name).to_string()))
        });
        let mut response = Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }

    fn answer(&self, who: &str, head: &Parts, body: &[u8], target: &Target) -> Result<(u16, Body), Refused> {
        let query = Query::read(&head.uri);
        let kind = target.kind;
        let text = |name: header::HeaderName| {
            head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
        };
        let accept = text(header::ACCEPT);
        let Some(verb) = verb(&head.method, target, &query) else {
            let message = "the server does not allow this method on the requested resource".to_owned();
            return Err(Refused::new(405, "MethodNotAllowed", message));
        };
        let mut store = self.lock();
        if store.absent.contains(kind.name) {
            return Err(Refused::no_path());
        }
        if !store.permits(who, verb, &target.permission(), &target.namespace) {
            return Err(Refused::forbidden(kind, who, verb, &target.namespace, &target.name));
        }
        let call = Call {
            pen: self.pen(who, &query, text(header::USER_AGENT)),
            place: Place::at(target),
            query,
            body,
        };
        let wrote = match verb {
            "list" => return Ok((200, store.page(target, &call.query, accept)?.into())),
            "watch" => {
                drop(store);
                return Ok((200, watch(&self.store, target, &call.query, accept)?));
            }
            "get" => {
                let live = store.live(&call.place).ok_or_else(|| Refused::not_found(kind, &target.name))?;
                return Ok((200, shown(live, accept)));
            }
            "delete" => return call.delete(&mut store),
            "create" => call.create(&mut store)?,
            "update" => call.update(&mut store, part(target))?,
            _ => call.patch(&mut store, part(target), text(header::CONTENT_TYPE))?,
        };
        let code = if matches!(wrote, Wrote::Made(_)) { 201 } else { 200 };
        let version = wrote.version();
        if !call.pen.dry_run {
            self.news.send_replace(store.revision);
        }
        Ok((code, shown(&version, accept)))
    }

    pub(super) fn pen(&self, who: &str, query: &Query, agent: &str) -> Pen {
        let manager = match query.get("fieldManager") {
            "" if agent.is_empty() => who,
            "" => agent.split('/').next().unwrap_or(who),
            manager => manager,
        };
        Pen { manager: manager.to_owned(), dry_run: query.get("dryRun") == "All", ..self.hand(who) }
    }
}

fn part(target: &Target) -> Part {
    if target.subresource == "status" { Part::Status } else { Part::Object }
}

fn shown(version: &Version, accept: &str) -> Body {
    if wants_metadata(accept) { metadata_of(version).into() } else { version.bytes().into() }
}

fn name_in(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

impl Place {
    fn at(target: &Target) -> Self {
        Self {
            kind: target.kind,
            kind_name: target.kind.name.to_owned(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        }
    }
}

/// A write that is asked for.
struct Call<'a> {
    pen: Pen,
    place: Place,
    query: Query,
    body: &'a [u8],
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

    fn create(&self, store: &mut Store) -> Result<Wrote, Refused> {
        let mut object = self.object()?;
        if !object["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty) {
            let message = "resourceVersion should not be set on objects to be created".to_owned();
            return Err(Refused::new(500, "", message));
        }
        let kind = self.place.kind;
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.name);
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
        Ok(Wrote::Made(store.make(&self.pen, &place, Draft { value: object, managed: None })?))
    }

    fn update(&self, store: &mut Store, part: Part) -> Result<Wrote, Refused> {
        let kind = self.place.kind;
        let mut object = self.object()?;
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.name);
        let Some(live) = store.live(&self.place).cloned() else {
            if kind.put_creates && part == Part::Object {
                let version = store.make(&self.pen, &self.place, Draft { value: object, managed: None })?;
                return Ok(Wrote::Made(version));
            }
            return Err(Refused::not_found(kind, &self.place.name));
        };
        let (given, uid) = (&object["metadata"]["uid"], &live.value["metadata"]["uid"]);
        if let Some(given) = given.as_str().filter(|given| !given.is_empty() && uid != given) {
            let uid = uid.as_str().unwrap_or_default();
            let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {uid}");
            return Err(Refused::conflict(kind, &self.place.name, &why));
        }
        let draft = Draft { value: object, managed: None };
        Ok(Wrote::Is(store.change(&self.pen, &self.place, part, &live, draft)?))
    }

    fn patch(&self, store: &mut Store, part: Part, content_type: &str) -> Result<Wrote, Refused> {
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
        Ok(Wrote::Is(store.change(&self.pen, &self.place, part, &live, Draft { value, managed: None })?))
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
        let names = (
            format!("{}/{}", self.place.namespace, self.place.name),
            format!("{}, Kind={}", kind.api_version(), kind.name),
        );
        let writer = writer(kind, &self.pen, part, true);
        let (owners, base) = match &live {
            Some(live) => (live.managed.clone(), Some(&*live.value)),
            None => (Managed::default(), None),
        };
        let names = (names.0.as_str(), names.1.as_str());
        let (mut value, managed) = writer.applied(&owners, base, &config, force, names)?;
        if let Some(live) = live {
            let draft = Draft { value, managed: Some(managed) };
            return Ok(Wrote::Is(store.change(&self.pen, &self.place, part, &live, draft)?));
        }
        if part == Part::Status {
            return Err(Refused::not_found(kind, &self.place.name));
        }
        if let Some(uid) = config["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Refused::conflict(kind, &self.place.name, &why));
        }
        if config["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            let name = &self.place.name;
            let message = format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            );
            return Err(Refused::bad(message));
        }
        if kind.namespaced {
            value["metadata"]["namespace"] = json!(self.place.namespace);
        }
        Ok(Wrote::Made(store.make(&self.pen, &self.place, Draft { value, managed: Some(managed) })?))
    }

    fn delete(&self, store: &mut Store) -> Result<(u16, Body), Refused> {
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
                "Foreground" => Propagation::Foreground,
                "Orphan" => Propagation::Orphan,
                _ => Propagation::Background,
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
