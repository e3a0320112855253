//! Requests answered.

use axum::body::Body;
use http::{Response, header, request::Parts};
use serde_json::Value;

use super::{
    ApiServer, Part,
    call::Call,
    list::{metadata_of, wants_metadata},
    refused::Refused,
    request::{Query, Target, verb},
    store::{Place, Version},
    watch::watch,
    write::{Pen, Wrote},
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
