//! A history told in lines: when, who, which object, what changed.

use std::{
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    slice,
};

use seatrial::world::history::Change;
use serde_json::Value;

use crate::checker::Request;

/// So many changed fields are told of one change; the rest are counted.
const FIELDS: usize = 8;
/// A value is cut after so many bytes.
const LONG: usize = 90;

/// One line.
pub fn line(change: &Change) -> String {
    let what = match (&change.before, &change.after) {
        (None, _) => "made".to_owned(),
        (_, None) => "gone".to_owned(),
        (Some(before), Some(after)) => told(before, after),
    };
    format!(
        "{:>10.3} {:>5} {:<12} {}/{}: {what}",
        change.at.as_secs_f64(),
        change.revision,
        change.by,
        change.key.kind,
        change.key.name
    )
}

/// A request in one line: when, who, what, and the answer's status.
pub fn asked(request: &Request) -> String {
    let key = request.key.as_ref().map(|key| format!("{}/{}", key.kind, key.name)).unwrap_or_default();
    format!(
        "{:>10.3}       {:<12} {} {key} {} {}",
        request.sent.as_secs_f64(),
        request.who,
        request.method,
        request.subresource.as_deref().unwrap_or_default(),
        request.code.map_or("no answer".to_owned(), |code| code.to_string())
    )
}

/// The first two changes in which two histories differ, as lines: where to look for what the seed does not decide.
pub fn parting(one: &[Change], other: &[Change]) -> Option<(String, String)> {
    let told = |change: Option<&Change>| {
        change.map_or("nothing".to_owned(), |change| {
            let after = change.after.as_ref().map(ToString::to_string);
            format!("{}\n    {}", line(change), after.unwrap_or_default())
        })
    };
    let first = (0..one.len().max(other.len())).find(|&at| match (one.get(at), other.get(at)) {
        (Some(one), Some(other)) => hash(slice::from_ref(one)) != hash(slice::from_ref(other)),
        _ => true,
    })?;
    Some((told(one.get(first)), told(other.get(first))))
}

/// A number for the whole history: two runs of one seed must agree on it.
pub fn hash(changes: &[Change]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for change in changes {
        let key = &change.key;
        (change.revision, change.at, &change.by).hash(&mut hasher);
        (&key.kind, &key.namespace, &key.name).hash(&mut hasher);
        change.after.as_ref().map(ToString::to_string).hash(&mut hasher);
    }
    hasher.finish()
}

fn told(before: &Value, after: &Value) -> String {
    let mut fields = vec![];
    differ(before, after, &mut String::new(), &mut fields);
    let more = fields.len().saturating_sub(FIELDS);
    fields.truncate(FIELDS);
    let mut text = fields.join("; ");
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

/// Every leaf that differs, as `path: before → after`.
fn differ(before: &Value, after: &Value, path: &mut String, found: &mut Vec<String>) {
    if before == after || path == ".metadata.managedFields" || path == ".metadata.resourceVersion" {
        return;
    }
    let length = path.len();
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let _ = write!(path, ".{key}");
                let at =
                    |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                differ(&at(old), &at(new), path, found);
                path.truncate(length);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                let _ = write!(path, "[{index}]");
                differ(old, new, path, found);
                path.truncate(length);
            }
        }
        _ => found.push(format!("{}: {} → {}", path.trim_start_matches('.'), short(before), short(after))),
    }
}

fn short(value: &Value) -> String {
    let text = if value.is_null() { "-".to_owned() } else { value.to_string() };
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
