//! Lists: whole or by pages, of now or of a revision that is not forgotten.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    kind::Kind,
    labels::Selector,
    refused::Refused,
    request::{Query, Target},
    store::{Metadata, Store, Version},
};

type Live = BTreeMap<(String, String), Arc<Version>>;

/// Whether only metadata is wanted.
pub(super) fn wants_metadata(accept: &str) -> bool {
    accept.contains("as=PartialObjectMetadata")
}

/// An object's metadata alone.
pub(super) fn metadata_of(version: &Version) -> Vec<u8> {
    let mut bytes = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#.to_vec();
    let meta = Metadata(&version.value["metadata"], version.owners());
    bytes.extend(serde_json::to_vec(&meta).unwrap_or_default());
    bytes.push(b'}');
    bytes
}

impl Store {
    /// Answers a list request.
    pub fn page(&self, target: &Target, query: &Query, accept: &str) -> Result<Vec<u8>, Refused> {
        let selector = Selector::new(query.get("labelSelector"), query.get("fieldSelector"))?;
        let (at, start) = self.start(query)?;
        let past = if at == self.revision { None } else { Some(self.at(target.kind, at)) };
        let empty = Live::new();
        let live = match &past {
            Some(past) => past,
            None => self.kinds.get(target.kind.name).map_or(&empty, |objects| &objects.live),
        };
        let limit = query.number("limit").filter(|limit| *limit > 0).unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let inside = |name: &(String, String)| target.namespace.is_empty() || name.0 == target.namespace;
        let mut found = live
            .range(start..)
            .filter(|(name, version)| inside(name) && (selector.is_all() || selector.takes(&version.value)));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let rest: Vec<_> = found.map(|(name, _)| name).collect();
        let mut meta = json!({"resourceVersion": at.to_string()});
        if let Some((namespace, name)) = rest.first() {
            meta["continue"] = json!(format!("{at}:{namespace}/{name}"));
            if selector.is_all() {
                meta["remainingItemCount"] = json!(rest.len());
            }
        }
        Ok(written(target.kind, &meta, page.into_iter().map(|(_, version)| version), wants_metadata(accept)))
    }

    /// Of which revision, and from which object on.
    fn start(&self, query: &Query) -> Result<(u64, (String, String)), Refused> {
        let token = query.get("continue");
        if !token.is_empty() {
            let read = || {
                let (at, name) = token.split_once(':')?;
                let (namespace, name) = name.split_once('/')?;
                Some((at.parse().ok()?, (namespace.to_owned(), name.to_owned())))
            };
            let (at, start) = read().ok_or_else(|| Refused::bad("continue key is not valid".to_owned()))?;
            if at < self.compacted {
                return Err(Refused::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
                ));
            }
            return Ok((at, start));
        }
        let given = query.get("resourceVersion");
        let asked = match given {
            "" | "0" => 0,
            text => text
                .parse()
                .map_err(|_| Refused::bad(format!("Invalid value: {text:?}: must be a number")))?,
        };
        if asked > self.revision {
            let message = format!("Timeout: Too large resource version: {asked}, current: {}", self.revision);
            return Err(Refused::new(504, "Timeout", message));
        }
        let exact = query.get("resourceVersionMatch") == "Exact" && asked > 0;
        if exact && asked < self.compacted {
            return Err(Refused::expired("The resourceVersion for the provided list is too old."));
        }
        Ok((if exact { asked } else { self.revision }, Default::default()))
    }

    /// The objects of a kind as they were after a revision.
    fn at(&self, kind: &Kind, revision: u64) -> Live {
        let Some(objects) = self.kinds.get(kind.name) else { return Live::new() };
        let mut live = objects.live.clone();
        for event in objects.log.iter().rev().take_while(|event| event.revision > revision) {
            let name = event.object.value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let name = (event.namespace.clone(), name);
            match &event.before {
                Some(before) => live.insert(name, before.clone()),
                None => live.remove(&name),
            };
        }
        live
    }
}

fn written<'a>(
    kind: &Kind,
    meta: &Value,
    page: impl Iterator<Item = &'a Arc<Version>>,
    partial: bool,
) -> Vec<u8> {
    let (name, api_version) = if partial {
        ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned())
    } else {
        (kind.name, kind.api_version())
    };
    let mut bytes =
        format!(r#"{{"kind":"{name}List","apiVersion":"{api_version}","metadata":{meta},"items":["#)
            .into_bytes();
    let head = format!(r#"{{"apiVersion":"{api_version}","kind":"{name}","#).into_bytes();
    for (index, version) in page.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        if partial {
            bytes.extend(metadata_of(version));
            continue;
        }
        let whole = version.bytes();
        // Items of built-in kinds come without their kind: the list says it.
        match whole.strip_prefix(&head[..]).filter(|_| !kind.custom) {
            Some(rest) => {
                bytes.push(b'{');
                bytes.extend_from_slice(rest);
            }
            None if kind.custom => bytes.extend_from_slice(&whole),
            None => {
                let mut item = version.whole();
                if let Some(members) = item.as_object_mut() {
                    members.remove("apiVersion");
                    members.remove("kind");
                }
                bytes.extend(serde_json::to_vec(&item).unwrap_or_default());
            }
        }
    }
    bytes.extend_from_slice(b"]}");
    bytes
}
