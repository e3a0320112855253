//! What becomes of an object when the API server reads it: unknown fields go, defaults come.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    kind::Kind,
    schema::{Rest, Scalar, Schema, Shape},
};

/// Prunes and fills in an object that somebody wrote.
pub(super) fn decode(kind: &Kind, object: &mut Value) {
    let schema = kind.schema();
    if kind.custom {
        prune(schema, object, true);
        if let (Shape::Object { fields, .. }, Some(meta)) = (&schema.shape, object.get_mut("metadata")) {
            compact(&fields["metadata"], "metadata", meta);
        }
        default(schema, object);
    } else if kind.is_served() {
        prune(schema, object, true);
        compact(schema, "", object);
        super::builtin::default(kind, object);
    }
}

/// Drops what the schema does not name.
fn prune(schema: &Schema, value: &mut Value, root: bool) {
    match (&schema.shape, value) {
        (Shape::Object { fields, rest, .. }, Value::Object(members)) => {
            let mut dropped = false;
            for (name, member) in members.iter_mut() {
                match (fields.get(name), rest) {
                    (Some(_), _) if root && name == "managedFields" => {}
                    (Some(field), _) => prune(field, member, false),
                    (None, Rest::Of(inner)) => prune(inner, member, false),
                    (None, Rest::Kept) => {}
                    (None, Rest::Dropped) => dropped = true,
                }
            }
            if dropped {
                members.retain(|name, _| fields.contains_key(name));
            }
        }
        (Shape::List { items, .. }, Value::Array(entries)) => {
            for entry in entries {
                prune(items, entry, false);
            }
        }
        _ => {}
    }
}

/// Fills in the defaults of a CRD. A null where none may stand counts as absent.
fn default(schema: &Schema, value: &mut Value) {
    if !schema.defaulting {
        return;
    }
    match (&schema.shape, value) {
        (Shape::Object { fields, rest, .. }, Value::Object(members)) => {
            for (name, field) in fields.iter().filter(|(_, field)| field.defaulting) {
                let null = members.get(name).is_some_and(Value::is_null) && !field.nullable;
                if let Some(given) = field.default.as_ref().filter(|_| null || !members.contains_key(name)) {
                    members.insert(name.clone(), given.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    default(field, member);
                }
            }
            if let Rest::Of(inner) = rest {
                let others = members.iter_mut().filter(|(name, _)| !fields.contains_key(*name));
                others.for_each(|(_, member)| default(inner, member));
            }
        }
        (Shape::List { items, .. }, Value::Array(entries)) => {
            for entry in entries {
                default(items, entry);
            }
        }
        _ => {}
    }
}

/// Numbers and flags of which the zero is left out, because Go cannot tell it from nothing.
const ZERO_IS_ABSENT: [&str; 16] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "initialDelaySeconds",
    "paused",
    "minReadySeconds",
    "hostPort",
    "nodePort",
    "publishNotReadyAddresses",
    "containerPort",
    "deprecatedCount",
    "generation",
];
/// Counters of a Deployment's or Pod's status, of which the zero is left out too.
const COUNTERS: [&str; 7] = [
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "terminatingReplicas",
];
/// Lists that stay when they are empty.
const KEPT_LISTS: [&str; 2] = ["containers", "volumes."];
/// Texts that stay when they are empty: pointers in Go.
const KEPT_TEXTS: [&str; 7] =
    ["holderIdentity", "preferredHolder", "strategy", "name", "status", "type", "storageClassName"];

/// Drops what a Go struct would not write again: nulls, and most empty values.
fn compact(schema: &Schema, path: &str, value: &mut Value) {
    match (&schema.shape, value) {
        (Shape::Object { fields, rest, .. }, Value::Object(members)) => {
            if matches!(rest, Rest::Kept) {
                return;
            }
            let in_status = path == "status";
            let stays = |field: Option<&Arc<Schema>>, name: &str, member: &Value| {
                field.map_or(!member.is_null(), |field| stays(field, name, member, in_status))
            };
            let mut all_stay = true;
            for (name, member) in members.iter_mut() {
                let field = fields.get(name);
                match (field, rest) {
                    (Some(field), _) => compact(field, name, member),
                    (None, Rest::Of(inner)) => compact(inner, path, member),
                    _ => {}
                }
                all_stay &= stays(field, name, member);
            }
            if !all_stay {
                members.retain(|name, member| stays(fields.get(name), name, member));
            }
        }
        (Shape::List { items, .. }, Value::Array(entries)) => {
            for entry in entries {
                compact(items, path, entry);
            }
        }
        (Shape::Scalar(Scalar::Quantity), quantity) => {
            if let Some(canonical) = super::quantity::canonical(quantity) {
                *quantity = Value::String(canonical);
            }
        }
        _ => {}
    }
}

fn stays(field: &Schema, name: &str, value: &Value, in_status: bool) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag || !ZERO_IS_ABSENT.contains(&name),
        Value::Number(number) => {
            number.as_i64() != Some(0)
                || !(ZERO_IS_ABSENT.contains(&name) || in_status && COUNTERS.contains(&name))
        }
        Value::String(text) => !text.is_empty() || KEPT_TEXTS.contains(&name),
        Value::Array(entries) => !entries.is_empty() || KEPT_LISTS.contains(&name),
        // An empty map is nothing, an empty struct may mean something.
        Value::Object(members) => {
            !Map::is_empty(members) || !matches!(&field.shape, Shape::Object { rest: Rest::Of(_), .. })
        }
    }
}
