//! `metadata`, which has the same rules for all kinds.

use serde_json::Value;

use super::{
    kind::{Kind, Names},
    refused::Cause,
};

/// What is wrong with an object's metadata. `old`: what it was.
pub(super) fn check(kind: &Kind, meta: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = vec![];
    if old.is_none() {
        name(kind, meta, &mut causes);
    }
    if old.is_none_or(|old| old["labels"] != meta["labels"]) {
        labels("metadata.labels", &meta["labels"], &mut causes);
    }
    if old.is_none_or(|old| old["annotations"] != meta["annotations"]) {
        for key in keys(&meta["annotations"]) {
            if let Some(why) = qualified(&key.to_lowercase()) {
                causes.push(Cause::invalid("metadata.annotations", &Value::from(key.as_str()), &why));
            }
        }
    }
    owners(meta, &mut causes);
    let finalizers = |meta: &Value| meta["finalizers"].as_array().cloned().unwrap_or_default();
    for finalizer in finalizers(meta) {
        let text = finalizer.as_str().unwrap_or_default();
        if let Some(why) = qualified(text) {
            causes.push(Cause::invalid("metadata.finalizers", &finalizer, &why));
        }
    }
    if let Some(old) = old.filter(|old| !old["deletionTimestamp"].is_null()) {
        let before = finalizers(old);
        let mut fresh: Vec<String> =
            finalizers(meta).iter().filter(|f| !before.contains(f)).map(Value::to_string).collect();
        fresh.sort();
        if !fresh.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                fresh.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    causes
}

fn name(kind: &Kind, meta: &Value, causes: &mut Vec<Cause>) {
    let name = meta["name"].as_str().unwrap_or_default();
    let value = Value::from(name);
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if kind.names == Names::Label1035 && !is_label_1035(name) {
        causes.push(Cause::invalid("metadata.name", &value, LABEL_1035));
    } else if kind.names == Names::Subdomain && !is_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &value, SUBDOMAIN));
    }
}

/// Labels as a set of keys and values.
pub(super) fn labels(field: &str, labels: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(why) = qualified(key) {
            causes.push(Cause::invalid(field, &Value::from(key.clone()), &why));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 || !(text.is_empty() || is_name(text)) {
            causes.push(Cause::invalid(field, value, LABEL_VALUE));
        }
    }
}

fn owners(meta: &Value, causes: &mut Vec<Cause>) {
    let owners = meta["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    for owner in owners {
        let empty = |field: &str| owner[field].as_str().is_none_or(str::is_empty);
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if empty(field) {
                let field = format!("metadata.ownerReferences.{field}");
                causes.push(Cause::invalid(&field, &Value::from(""), why));
            }
        }
    }
    let controllers = owners.iter().filter(|owner| owner["controller"] == true).count();
    if controllers > 1 {
        let why = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", &meta["ownerReferences"], why));
    }
}

fn keys(map: &Value) -> impl Iterator<Item = &String> {
    map.as_object().into_iter().flat_map(serde_json::Map::keys)
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Why a key of a label is none.
fn qualified(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        return Some(format!("prefix part {SUBDOMAIN}"));
    }
    (name.len() > 63 || !is_name(name)).then(|| NAME.to_owned())
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn is_label_1035(text: &str) -> bool {
    text.len() <= 63 && is_dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}
