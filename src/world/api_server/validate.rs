//! What a CRD's schema says about the values of an object, in the API server's words.

use std::{cell::LazyCell, fmt::Display, ops::Deref};

use serde_json::Value;

use super::{
    matching,
    path::Path,
    refused::Cause,
    rules::Rules,
    schema::{Limits, Rest, Scalar, Schema, Shape},
};

/// Everything that is wrong with an object. `old`: what it was; parts that have not changed are not looked at again.
/// `of_status`: only that is written, and messages begin there.
pub(super) fn validate(
    rules: &Rules,
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    of_status: bool,
) -> Vec<Cause> {
    let mut causes = vec![];
    Walk { causes: &mut causes, of_status }.value(schema, &Path::Root, value, old);
    causes.sort_by(|a, b| a.field.cmp(&b.field));
    scale(schema, value, &mut causes);
    let blocking = |cause: &Cause| {
        matches!(
            cause.reason,
            "FieldValueRequired"
                | "FieldValueTypeInvalid"
                | "FieldValueTooLong"
                | "FieldValueTooMany"
                | "FieldValueNotSupported"
        )
    };
    if causes.iter().any(blocking) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        causes.push(Cause::new("FieldValueInvalid", "<nil>", format!("Invalid value: null: {why}")));
        return causes;
    }
    causes.extend(rules.check(schema, value, old));
    causes
}

/// A kind with a scale subresource has its replicas looked at once more.
fn scale(schema: &Schema, value: &Value, causes: &mut Vec<Cause>) {
    let replicas = &value["spec"]["replicas"];
    if !schema.scaled || replicas.is_null() {
        return;
    }
    let said = match replicas.as_i64() {
        Some(0..) => return,
        Some(number) => format!("Invalid value: {number}: should be a non-negative integer"),
        None => {
            let is = type_of(replicas);
            let shown = replicas.as_str().map_or_else(|| replicas.to_string(), str::to_owned);
            format!(
                "Invalid value: 0: .spec.replicas accessor error: {shown} is of the type {is}, expected int64"
            )
        }
    };
    causes.push(Cause::new("FieldValueInvalid", ".spec.replicas", said));
}

struct Walk<'a> {
    causes: &'a mut Vec<Cause>,
    of_status: bool,
}

impl Walk<'_> {
    fn say(&mut self, reason: &'static str, path: &str, message: String) {
        self.causes.push(Cause::new(reason, path, message));
    }

    fn value(&mut self, schema: &Schema, path: &Path, value: &Value, old: Option<&Value>) {
        if old == Some(value) || value.is_null() && schema.nullable || matches!(schema.shape, Shape::Any) {
            return;
        }
        if let Some(wanted) = wrong_type(schema, value) {
            let (is, path) = (type_of(value), path.to_string());
            let within = within(self.of_status, &path);
            let message = format!("Invalid value: {is:?}: {within} in body must be of type {wanted}: {is:?}");
            return self.say("FieldValueTypeInvalid", &path, message);
        }
        if schema.limits.any() {
            // Written out only for what breaks one.
            self.limits(&schema.limits, &LazyCell::new(|| path.to_string()), value);
        }
        match (&schema.shape, value) {
            (Shape::Object { fields, rest, required, .. }, Value::Object(members)) => {
                for name in required.iter().filter(|name| !members.contains_key(*name)) {
                    self.causes.push(Cause::required(&Path::below(path, name, true).to_string(), ""));
                }
                for (name, member) in
                    members.iter().filter(|(name, _)| *name != "metadata" || !path.is_root())
                {
                    let old = old.and_then(|old| old.get(name));
                    match (fields.get(name), rest) {
                        (Some(field), _) => self.value(field, &Path::below(path, name, true), member, old),
                        (None, Rest::Of(inner)) => {
                            self.value(inner, &Path::below(path, name, false), member, old);
                        }
                        (None, Rest::Kept | Rest::Dropped) => {}
                    }
                }
            }
            (Shape::List { items, .. }, Value::Array(entries)) => {
                for (index, entry) in entries.iter().enumerate() {
                    self.value(items, &Path::Index(path, index), entry, None);
                }
            }
            _ => {}
        }
    }

    fn limits(&mut self, limits: &Limits, path: &impl Deref<Target = String>, value: &Value) {
        let of_status = self.of_status;
        let should = |value: &dyn Display, what: String| {
            format!("Invalid value: {value}: {} in body should {what}", within(of_status, path))
        };
        let invalid = "FieldValueInvalid";
        if !limits.choices.is_empty() && !limits.choices.contains(value) {
            let choices: Vec<String> =
                limits.choices.iter().filter(|c| !c.is_null()).map(Value::to_string).collect();
            let message = format!("Unsupported value: {value}: supported values: {}", choices.join(", "));
            self.say("FieldValueNotSupported", path, message);
        }
        if let Some(number) = value.as_f64() {
            if let Some(least) = limits.minimum.filter(|least| number < *least) {
                self.say(invalid, path, should(value, format!("be greater than or equal to {least}")));
            }
            if let Some(most) = limits.maximum.filter(|most| number > *most) {
                self.say(invalid, path, should(value, format!("be less than or equal to {most}")));
            }
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count() as u64;
            if let Some(most) = limits.max_length.filter(|most| length > *most) {
                self.say("FieldValueTooLong", path, format!("Too long: may not be more than {most} bytes"));
            }
            if let Some(least) = limits.min_length.filter(|least| length < *least) {
                self.say(invalid, path, should(value, format!("be at least {least} chars long")));
            }
            let matches = |pattern: &&String| matching::matches(pattern, text) == Some(true);
            if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !matches(pattern)) {
                self.say(invalid, path, should(value, format!("match '{pattern}'")));
            }
        }
        if let Some(entries) = value.as_array() {
            let count = entries.len() as u64;
            if let Some(most) = limits.max_items.filter(|most| count > *most) {
                self.say(
                    "FieldValueTooMany",
                    path,
                    format!("Too many: {count}: must have at most {most} items"),
                );
            }
            if let Some(least) = limits.min_items.filter(|least| count < *least) {
                self.say(invalid, path, should(&count, format!("have at least {least} items")));
            }
        }
        if let Some(members) = value.as_object()
            && let Some(most) = limits.max_properties.filter(|most| members.len() as u64 > *most)
        {
            let count = members.len();
            self.say("FieldValueTooMany", path, format!("Too many: {count}: must have at most {most} items"));
        }
    }
}

/// The path as messages about the body say it.
fn within(of_status: bool, path: &str) -> &str {
    path.strip_prefix("status.").filter(|_| of_status).unwrap_or(path)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type that it should have, if it has another.
pub(super) fn wrong_type(schema: &Schema, value: &Value) -> Option<&'static str> {
    let (fits, wanted) = match &schema.shape {
        Shape::Any => return None,
        Shape::Object { .. } => (value.is_object(), "object"),
        Shape::List { .. } => (value.is_array(), "array"),
        Shape::Scalar(Scalar::Text | Scalar::Time) => (value.is_string(), "string"),
        Shape::Scalar(Scalar::Integer) => {
            (value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0), "integer")
        }
        Shape::Scalar(Scalar::Number) => (value.is_number(), "number"),
        Shape::Scalar(Scalar::Flag) => (value.is_boolean(), "boolean"),
        Shape::Scalar(Scalar::IntOrText | Scalar::Quantity) => {
            (value.is_string() || value.is_number(), "integer,string")
        }
    };
    (!fits).then_some(wanted)
}
