//! The two servers, and their answers made comparable.

use std::{collections::BTreeMap, fmt};

use http::{Request, header};
use kube::{Client, client::Body};
use seatrial::{controller::clock::Clock, world::api_server::ApiServer};
use serde_json::{Value, json};

use crate::{
    Error,
    requests::{Ask, Sequence},
};

/// What a server said.
pub struct Answer {
    pub code: u16,
    pub body: Value,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.body)
    }
}

fn request(ask: &Ask) -> Result<Request<Body>, Error> {
    let body = match &ask.body {
        Some(body) => Body::from(serde_json::to_vec(body)?),
        None => Body::empty(),
    };
    let builder = Request::builder().method(ask.method).uri(&ask.path).header(header::ACCEPT, ask.accept);
    Ok(builder.header(header::CONTENT_TYPE, ask.content_type).body(body)?)
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
}

/// The API server of the simulation.
pub struct Model(ApiServer);

impl Model {
    pub fn new() -> Self {
        Self(ApiServer::new(Clock::at(jiff::Timestamp::UNIX_EPOCH)))
    }

    pub async fn send(&self, ask: &Ask) -> Result<Answer, Error> {
        let (head, body) = request(ask)?.into_parts();
        let body = body.collect_bytes().await?;
        let response = self.0.handle("admin", &head, &body);
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await?;
        Ok(Answer { code, body: read(&bytes) })
    }
}

/// The real one.
pub struct Real(Client);

impl Real {
    pub const fn new(client: Client) -> Self {
        Self(client)
    }

    pub async fn send(&self, ask: &Ask) -> Result<Answer, Error> {
        let response = self.0.send(request(ask)?).await?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await?;
        Ok(Answer { code, body: read(&bytes) })
    }

    /// Takes everything away that a sequence may have left.
    pub async fn clean(&self, sequence: &Sequence) -> Result<(), Error> {
        for (kind, name) in &sequence.objects {
            let group = if kind.api_version.contains('/') { "apis" } else { "api" };
            let place =
                if kind.namespaced { format!("/namespaces/{}", sequence.namespace) } else { String::new() };
            let ask = |method, body: Value, content_type| Ask {
                method,
                kind: *kind,
                name: name.clone(),
                path: format!("/{group}/{}{place}/{}/{name}", kind.api_version, kind.plural),
                content_type,
                accept: "application/json",
                body: Some(body),
            };
            let gone = self
                .send(&ask("DELETE", json!({"propagationPolicy": "Background"}), "application/json"))
                .await?;
            if gone.code != 404 {
                let free = json!({"metadata": {"finalizers": null}});
                self.send(&ask("PATCH", free, "application/merge-patch+json")).await?;
            }
        }
        Ok(())
    }
}

/// Makes a namespace, if it is not there.
pub async fn namespace(client: &Client, name: &str) -> Result<(), Error> {
    let body =
        serde_json::to_vec(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
    let request = Request::post("/api/v1/namespaces").header(header::CONTENT_TYPE, "application/json");
    client.send(request.body(Body::from(body))?).await?;
    Ok(())
}

/// What one server has said of its objects: its uids and version numbers.
#[derive(Default)]
pub struct Scribe {
    uids: Vec<String>,
    /// By kind and name: uid and versions, the newest last.
    objects: BTreeMap<(&'static str, String), (String, Vec<String>)>,
}

impl Scribe {
    /// The request in this server's terms.
    pub fn fill(&self, ask: &Ask) -> Ask {
        let known = self.objects.get(&(ask.kind.name, ask.name.clone()));
        let (uid, versions) = known.cloned().unwrap_or_default();
        let newest = versions.last().cloned().unwrap_or_else(|| "99999999".to_owned());
        let old = versions.iter().rev().nth(1).cloned().unwrap_or_else(|| "99999999".to_owned());
        let uid = if uid.is_empty() { "00000000-0000-4000-8000-00000000beef".to_owned() } else { uid };
        let mut ask = ask.clone();
        let path = ask.path.clone();
        if let Some(body) = &mut ask.body {
            replace(body, &|text| match text {
                "$uid" => Some(uid.clone()),
                "$rv" => Some(newest.clone()),
                "$old" => Some(old.clone()),
                "$ns" => ask_namespace(&path),
                _ => None,
            });
        }
        ask
    }

    /// The answer in terms that both servers share.
    pub fn note(&mut self, ask: &Ask, mut answer: Answer) -> Answer {
        if answer.body.get("items").is_some_and(Value::is_null) {
            // An empty page of a built-in kind is written so; for clients it is the same.
            answer.body["items"] = json!([]);
        }
        if let Some(causes) = answer.body.pointer_mut("/details/causes").and_then(Value::as_array_mut) {
            // Go goes through maps in any order. The message is made of the causes.
            causes.sort_by_cached_key(Value::to_string);
            if answer.code == 422
                && let Some(message) = answer.body["message"].as_str()
            {
                answer.body["message"] = json!(message.split(" is invalid: ").next());
            }
        }
        if let Some(causes) = answer.body.pointer_mut("/details/causes").and_then(Value::as_array_mut) {
            // Metadata is checked up to three times by an update, and each says what is wrong.
            let mut seen = vec![];
            causes.retain(|cause| {
                !seen.contains(cause) && {
                    seen.push(cause.clone());
                    true
                }
            });
        }
        if answer.body["metadata"]["name"].is_string() {
            self.object(ask, &mut answer.body);
        } else if let Some(items) = answer.body.get_mut("items").and_then(Value::as_array_mut) {
            for item in items {
                self.object(ask, item);
            }
            if let Some(meta) = answer.body["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
                // What is empty may be absent.
                meta.retain(|_, value| *value != "");
                meta.entry("continue").and_modify(|token| *token = json!("<continue>"));
            }
        }
        if answer.body["details"] == json!({}) {
            answer.body.as_object_mut().map(|body| body.remove("details"));
        }
        let known: Vec<(String, String)> = self.words();
        replace(&mut answer.body, &|text| {
            let shared =
                known.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
            (shared != text).then_some(shared)
        });
        if answer.code == 409 {
            // A version number in a sentence.
            if let Some(message) = answer.body["message"].as_str() {
                let digits = |word: &str| word.chars().any(|c| c.is_ascii_digit());
                let said = message.split("ResourceVersion").enumerate().map(|(place, part)| {
                    if place == 0 || !digits(part) {
                        part.to_owned()
                    } else {
                        part.replace(|c: char| c.is_ascii_digit(), "")
                    }
                });
                answer.body["message"] = json!(said.collect::<Vec<_>>().join("ResourceVersion"));
            }
        }
        answer
    }

    fn words(&self) -> Vec<(String, String)> {
        self.uids.iter().enumerate().map(|(place, uid)| (uid.clone(), format!("<uid {place}>"))).collect()
    }

    fn object(&mut self, ask: &Ask, object: &mut Value) {
        let meta = &mut object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, uid, version) = (text(&meta["name"]), text(&meta["uid"]), text(&meta["resourceVersion"]));
        let dry = ask.path.contains("dryRun=All")
            || ask.body.as_ref().is_some_and(|body| body["dryRun"].is_array());
        if dry && ask.method != "GET" {
            // It was never there: its uid is nobody's.
            let known =
                self.objects.get(&(ask.kind.name, name.clone())).is_some_and(|(known, _)| *known == uid);
            if !known {
                meta["uid"] = json!("<uid>");
            }
        } else if !uid.is_empty() {
            if !self.uids.contains(&uid) {
                self.uids.push(uid.clone());
            }
            let known = self.objects.entry((ask.kind.name, name)).or_default();
            if known.0 != uid {
                *known = (uid, vec![]);
            }
            if !version.is_empty() && !known.1.contains(&version) {
                known.1.push(version.clone());
            }
            let number = known.1.iter().position(|known| *known == version);
            meta["resourceVersion"] = json!(number.map(|number| format!("<version {number}>")));
        }
        if dry && !version.is_empty() {
            meta["resourceVersion"] = json!("<some>");
        }
        for field in ["creationTimestamp", "deletionTimestamp"] {
            if meta[field].is_string() {
                meta[field] = json!("<time>");
            } else if meta[field].is_null() {
                meta.as_object_mut().map(|meta| meta.remove(field));
            }
        }
        if let Some(managers) = meta["managedFields"].as_array_mut() {
            for manager in managers.iter_mut().filter(|manager| manager["time"].is_string()) {
                manager["time"] = json!("<time>");
            }
            // Their order is that of their times, to the second.
            managers
                .sort_by_cached_key(|m| format!("{}{}{}", m["operation"], m["manager"], m["subresource"]));
        } else if meta["managedFields"].is_null() {
            meta.as_object_mut().map(|meta| meta.remove("managedFields"));
        }
        if ask.kind.name == "Service" && object["spec"]["clusterIP"].is_string() {
            object["spec"]["clusterIP"] = json!("<address>");
            object["spec"]["clusterIPs"] = json!(["<address>"]);
        }
    }
}

/// The namespace in a path.
fn ask_namespace(path: &str) -> Option<String> {
    path.split("/namespaces/").nth(1)?.split('/').next().map(str::to_owned)
}

/// Replaces texts, wherever they stand.
fn replace(value: &mut Value, with: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(other) = with(text) {
                *text = other;
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| replace(entry, with)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, with)),
        _ => {}
    }
}

/// Where two answers differ, and how.
pub fn differences(real: &Answer, model: &Answer) -> Vec<(String, String)> {
    let mut found = vec![];
    if real.code == model.code {
        differ("", Some(&real.body), Some(&model.body), &mut found);
    } else {
        let say = |answer: &Answer| format!("{} {}", answer.code, answer.body["message"]);
        found.push(("code".to_owned(), format!("real {}, model {}", say(real), say(model))));
    }
    found
}

fn differ(path: &str, real: Option<&Value>, model: Option<&Value>, found: &mut Vec<(String, String)>) {
    if real == model {
        return;
    }
    match (real, model) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            for name in left.keys().chain(right.keys().filter(|name| !left.contains_key(*name))) {
                differ(&format!("{path}.{name}"), left.get(name), right.get(name), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if left.len() == right.len() => {
            for (place, (left, right)) in left.iter().zip(right).enumerate() {
                differ(&format!("{path}[{place}]"), Some(left), Some(right), found);
            }
        }
        _ => {
            let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            found.push((path.to_owned(), format!("real {}, model {}", show(real), show(model))));
        }
    }
}
