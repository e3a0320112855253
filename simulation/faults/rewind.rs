//! A list as an API server that lags behind would give it: the list of now, with the newest changes taken back.

use std::{collections::BTreeMap, time::Duration};

use axum::body::Body;
use http::Response;
use http_body_util::BodyExt;
use seatrial::world::history::{Change, Key};
use serde_json::{Value, json};
use tower::BoxError;

use super::wire::{AnyBody, Wire, full};
use crate::requests;

/// Whether a path is a list from which a watch begins: across namespaces. Our live reads name one.
pub fn is_of_a_watch(path: &str) -> bool {
    !path.contains("/namespaces/") && path.contains("limit=")
}

/// The answer as it would have been `by` earlier.
pub async fn rewound(
    answer: Response<Body>,
    path: &str,
    by: Duration,
    wire: &Wire,
) -> Result<Response<AnyBody>, BoxError> {
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let Ok(mut list) = serde_json::from_slice::<Value>(&bytes) else {
        return Ok(Response::from_parts(head, full(bytes)));
    };
    let (Some(kind), Some(then)) = (requests::kind_of(path), wire.weather.now().checked_sub(by)) else {
        return Ok(Response::from_parts(head, full(bytes)));
    };
    let newer: Vec<Change> = wire.api.since(0).into_iter().filter(|change| change.at > then).collect();
    let Some(first) = newer.first() else { return Ok(Response::from_parts(head, full(bytes))) };
    let revision = first.revision - 1;
    take_back(&mut list, kind, path, &newer);
    list["metadata"]["resourceVersion"] = json!(revision.to_string());
    let mut response = Response::from_parts(head, full(list.to_string()));
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    Ok(response)
}

fn take_back(list: &mut Value, kind: &str, path: &str, newer: &[Change]) {
    let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let name = |item: &Value| {
        let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
        Key::new(kind, &text("namespace"), &text("name"))
    };
    let mut objects: BTreeMap<Key, Value> = items.into_iter().map(|item| (name(&item), item)).collect();
    for change in newer.iter().rev().filter(|change| change.key.kind == kind) {
        match &change.before {
            Some(before) if selected(path, before) => {
                objects.insert(change.key.clone(), (**before).clone());
            }
            _ => {
                objects.remove(&change.key);
            }
        }
    }
    list["items"] = Value::Array(objects.into_values().collect());
}

/// The two label selectors of our watches: a label that is there, and one with a value.
fn selected(path: &str, object: &Value) -> bool {
    let Some(selector) = path.split(['?', '&']).find_map(|part| part.strip_prefix("labelSelector=")) else {
        return true;
    };
    let selector = selector.replace("%2F", "/").replace("%3D", "=");
    let labels = &object["metadata"]["labels"];
    match selector.split_once('=') {
        Some((label, value)) => labels[label] == value,
        None => !labels[selector.as_str()].is_null(),
    }
}
