//! Requests as the checker reads them: which object a path is about, and what guards its body.

use std::{borrow::Cow, fmt};

use http::Method;
use seatrial::world::history::{Change, Key};
use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::checker::Request;

/// Kinds by their plural, as far as the operator asks for them.
const KINDS: [(&str, &str); 14] = [
    ("modeldeployments", "ModelDeployment"),
    ("trafficsplits", "TrafficSplit"),
    ("modelruntimes", "ModelRuntime"),
    ("deployments", "Deployment"),
    ("services", "Service"),
    ("controllerrevisions", "ControllerRevision"),
    ("httproutes", "HTTPRoute"),
    ("gateways", "Gateway"),
    ("pods", "Pod"),
    ("leases", "Lease"),
    ("events", "Event"),
    ("endpointslices", "EndpointSlice"),
    ("replicasets", "ReplicaSet"),
    ("horizontalpodautoscalers", "HorizontalPodAutoscaler"),
];

/// The kind that a path is about.
pub fn kind_of(path: &str) -> Option<&'static str> {
    let path = path.split('?').next()?;
    path.split('/').find_map(|part| KINDS.iter().find(|(plural, _)| *plural == part)).map(|(_, kind)| *kind)
}

/// What a body is guarded by: its metadata, or the preconditions of a deletion. Reading ends there; what comes after it is most
/// of the body.
fn guards(body: &[u8]) -> Meta {
    let mut found = Meta::default();
    // It ends in the middle: an error that nobody is told.
    let _ = serde_json::Deserializer::from_slice(body).deserialize_map(Search(&mut found));
    found
}

struct Search<'a>(&'a mut Meta);

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of Kubernetes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if matches!(&*name, "metadata" | "preconditions") {
                *self.0 = map.next_value()?;
                break;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    resource_version: Option<String>,
}

/// A request as it leaves a replica.
pub fn read(who: &str, method: &Method, path: &str, body: &[u8]) -> Request {
    let (plain, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = plain.split('/').filter(|part| !part.is_empty()).collect();
    let namespace = parts.iter().position(|p| *p == "namespaces").and_then(|at| parts.get(at + 1));
    let plural = parts.iter().position(|part| KINDS.iter().any(|(plural, _)| plural == part));
    let guards = guards(body);
    let name = plural.and_then(|at| parts.get(at + 1)).map(ToString::to_string);
    let name = name.or(guards.name).unwrap_or_default();
    let key = kind_of(plain).map(|kind| Key::new(kind, namespace.copied().unwrap_or_default(), &name));
    Request {
        who: who.to_owned(),
        method: verb(method),
        key,
        subresource: plural.and_then(|at| parts.get(at + 2)).map(ToString::to_string),
        dry_run: query.contains("dryRun"),
        uid: guards.uid,
        resource_version: guards.resource_version,
        ..Request::default()
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

/// The change that a request became, among those that were made while it was carried out.
pub fn became(request: &Request, changes: &[Change]) -> Option<u64> {
    let key = request.key.as_ref()?;
    changes.iter().find(|change| change.by == request.who && change.key == *key).map(|change| change.revision)
}
