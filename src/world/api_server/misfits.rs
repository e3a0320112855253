//! What does not fit a schema, as server-side apply says it.

use serde_json::Value;

use super::{
    fields::{Set, step_of},
    schema::{Relation, Rest, Scalar, Schema, Shape},
    validate::wrong_type,
};

/// What is wrong with a value that somebody wants to apply: `.spec.foo: field not declared in schema`.
pub(super) fn misfits(schema: &Schema, value: &Value) -> Vec<String> {
    let mut found = vec![];
    if !fits(schema, value) {
        misfit(schema, "", value, &mut found);
    }
    found
}

/// Whether [`misfits`] would find nothing: most values fit, and then nobody needs to know where they stand.
fn fits(schema: &Schema, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    if wrong_type(schema, value).is_some() {
        return false;
    }
    match (&schema.shape, value) {
        (Shape::Object { fields, rest, .. }, Value::Object(members)) => {
            members.iter().all(|(name, member)| match (fields.get(name), rest) {
                (Some(field), _) => fits(field, member),
                (None, Rest::Of(inner)) => fits(inner, member),
                (None, Rest::Kept) => true,
                (None, Rest::Dropped) => false,
            })
        }
        (Shape::List { items, relation }, Value::Array(entries)) => {
            let told_apart = *relation == Relation::Atomic || {
                let steps: Vec<_> = entries.iter().map_while(|entry| step_of(schema, entry).ok()).collect();
                steps.len() == entries.len() && (1..steps.len()).all(|i| !steps[..i].contains(&steps[i]))
            };
            told_apart && entries.iter().all(|entry| fits(items, entry))
        }
        _ => true,
    }
}

fn misfit(schema: &Schema, path: &str, value: &Value, found: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    if wrong_type(schema, value).is_some() {
        found.push(format!("{path}: {}", of_another_type(schema, value)));
        return;
    }
    match (&schema.shape, value) {
        (Shape::Object { fields, rest, .. }, Value::Object(members)) => {
            for (name, member) in members {
                let path = format!("{path}.{name}");
                match (fields.get(name), rest) {
                    (Some(field), _) => misfit(field, &path, member, found),
                    (None, Rest::Of(inner)) => misfit(inner, &path, member, found),
                    (None, Rest::Kept) => {}
                    (None, Rest::Dropped) => found.push(format!("{path}: field not declared in schema")),
                }
            }
        }
        (Shape::List { items, relation }, Value::Array(entries)) => {
            let mut seen = vec![];
            for (index, entry) in entries.iter().enumerate() {
                if *relation == Relation::Atomic {
                    misfit(items, &format!("{path}[{index}]"), entry, found);
                    continue;
                }
                match step_of(schema, entry) {
                    Err(why) => found.push(format!("{path}: element {index}: {why}")),
                    Ok(step) => {
                        let mut named = Set::default();
                        named.insert(std::slice::from_ref(&step));
                        let here = named.paths().remove(0);
                        if seen.contains(&step) {
                            found.push(format!("{path}: duplicate entries for key {here}"));
                        }
                        misfit(items, &format!("{path}{here}"), entry, found);
                        seen.push(step);
                    }
                }
            }
        }
        _ => {}
    }
}

fn of_another_type(schema: &Schema, value: &Value) -> String {
    let wanted = match &schema.shape {
        Shape::Object { .. } => "map",
        Shape::List { .. } => "list",
        Shape::Scalar(Scalar::Integer | Scalar::Number) => "numeric (int or float)",
        Shape::Scalar(Scalar::Flag) => "boolean",
        Shape::Scalar(_) | Shape::Any => "string",
    };
    let of_parts = !matches!(schema.shape, Shape::Scalar(_));
    let is = match value {
        Value::Object(_) => "map".to_owned(),
        Value::Array(_) => "list".to_owned(),
        Value::String(text) if of_parts => format!("&{{{text}}}"),
        Value::String(_) => "string".to_owned(),
        Value::Bool(_) if !of_parts => "boolean".to_owned(),
        other => format!("&value.valueUnstructured{{Value:{other}}}"),
    };
    format!("expected {wanted}, got {is}")
}
