//! `x-kubernetes-validations`: CEL rules, compiled once.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use kube::core::cel::{
    KubeCelExt,
    cel::{
        Context, Program,
        objects::{Key, Map, Value as Cel},
    },
};
use serde_json::Value;

use super::{
    matching,
    named::Named,
    path::Path,
    refused::Cause,
    schema::{Relation, Rest, Scalar, Schema, Shape},
};

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    program: Option<Program>,
    /// What it looks at, its message included.
    named: Named,
    message: String,
    spoken: Option<Program>,
    reason: &'static str,
    field: String,
    /// Whether it compares with the object before.
    pub compares: bool,
    /// Whether it is asked even if there was none.
    optional: bool,
}

impl Rule {
    /// Reads a rule of a CRD.
    pub fn read(document: &Value) -> Self {
        let text = document["rule"].as_str().unwrap_or_default();
        let trimmed = text.trim();
        let mut named = Named::default();
        named.read(text);
        named.read(document["messageExpression"].as_str().unwrap_or_default());
        Self {
            program: Program::compile(text).ok(),
            named,
            message: document["message"]
                .as_str()
                .map_or_else(|| format!("failed rule: {trimmed}"), str::to_owned),
            spoken: document["messageExpression"].as_str().and_then(|text| Program::compile(text).ok()),
            reason: match document["reason"].as_str() {
                Some("FieldValueForbidden") => "FieldValueForbidden",
                Some("FieldValueRequired") => "FieldValueRequired",
                Some("FieldValueDuplicate") => "FieldValueDuplicate",
                _ => "FieldValueInvalid",
            },
            field: document["fieldPath"].as_str().unwrap_or_default().to_owned(),
            compares: text.contains("oldSelf"),
            optional: document["optionalOldSelf"] == true,
        }
    }
}

/// What rules are asked with.
pub(super) struct Rules {
    context: Context<'static>,
    /// Where, and of what they look at there (and compare it with), all rules that are asked are known to hold: an object is
    /// written many times, and what its rules ask about is the same each time.
    held: RefCell<BTreeSet<(usize, String)>>,
}

impl Default for Rules {
    fn default() -> Self {
        let mut context = Context::default().with_all();
        context.add_function("matches", matching::remembered);
        Self { context, held: RefCell::default() }
    }
}

impl Rules {
    /// All rules of an object. What has not changed is asked only by rules that compare (ratcheting).
    pub fn check(&self, schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = vec![];
        self.walk(schema, &Path::Root, value, old, &mut causes);
        causes
    }

    fn walk(
        &self,
        schema: &Schema,
        path: &Path,
        value: &Value,
        old: Option<&Value>,
        causes: &mut Vec<Cause>,
    ) {
        let unchanged = old.is_some_and(|old| old == value);
        if !schema.ruled || value.is_null() || (unchanged && !schema.transitional) {
            return;
        }
        if !schema.rules.is_empty() {
            self.ask(schema, path, value, old, unchanged, causes);
        }
        match (&schema.shape, value) {
            (Shape::Object { fields, rest, .. }, Value::Object(members)) => {
                for (name, member) in members {
                    let inner = match (fields.get(name), rest) {
                        (Some(field), _) => field,
                        (None, Rest::Of(value)) => value,
                        _ => continue,
                    };
                    let path = Path::below(path, name, fields.contains_key(name));
                    self.walk(inner, &path, member, old.and_then(|old| old.get(name)), causes);
                }
            }
            (Shape::List { items, relation }, Value::Array(entries)) => {
                for (index, entry) in entries.iter().enumerate() {
                    let same = |other: &&Value| match relation {
                        Relation::Keyed(keys) => keys.iter().all(|key| other.get(key) == entry.get(key)),
                        Relation::Set | Relation::Atomic => false,
                    };
                    let before = old.and_then(Value::as_array).and_then(|all| all.iter().find(same));
                    self.walk(items, &Path::Index(path, index), entry, before, causes);
                }
            }
            _ => {}
        }
    }

    fn ask(
        &self,
        schema: &Schema,
        path: &Path,
        value: &Value,
        old: Option<&Value>,
        unchanged: bool,
        causes: &mut Vec<Cause>,
    ) {
        let applies =
            |rule: &&Rule| !(rule.compares && old.is_none() && !rule.optional || !rule.compares && unchanged);
        let rules: Vec<&Rule> = schema.rules.iter().filter(applies).collect();
        if rules.is_empty() {
            return;
        }
        let named: Vec<&Named> = rules.iter().map(|rule| &rule.named).collect();
        let compare = rules.iter().any(|rule| rule.compares);
        let mut told = String::new();
        for seen in [Some(value), old.filter(|_| compare)] {
            seen.inspect(|seen| tell(seen, schema, &named, &mut told));
            told.push(if unchanged { '=' } else { ';' });
        }
        let seen = (std::ptr::from_ref(schema).addr(), told);
        if self.held.borrow().contains(&seen) {
            return;
        }
        let before = causes.len();
        let mut scope = self.context.new_inner_scope();
        scope.add_variable_from_value("self", cel(value, schema, &named));
        if let Some(old) = old.filter(|_| compare) {
            scope.add_variable_from_value("oldSelf", cel(old, schema, &named));
        }
        for rule in rules {
            let holds = rule.program.as_ref().map(|program| program.execute(&scope));
            let spoken = || match rule.spoken.as_ref().map(|program| program.execute(&scope)) {
                Some(Ok(Cel::String(text))) => text.to_string(),
                _ => rule.message.clone(),
            };
            let why = match holds {
                Some(Ok(Cel::Bool(true))) => continue,
                Some(Ok(Cel::Bool(false))) => spoken(),
                Some(Ok(other)) => format!("rule evaluation error: {other:?} is no bool"),
                Some(Err(error)) => format!("rule evaluation error: {error}"),
                None => format!("rule compile error: {}", rule.message),
            };
            let field = format!("{path}{}", rule.field);
            let field = if field.is_empty() { "<nil>" } else { field.trim_start_matches('.') };
            causes.push(Cause::new(rule.reason, field, worded(rule.reason, value, &why)));
        }
        if causes.len() == before {
            self.held.borrow_mut().insert(seen);
        }
    }
}

fn worded(reason: &str, value: &Value, why: &str) -> String {
    match reason {
        "FieldValueForbidden" => format!("Forbidden: {why}"),
        "FieldValueRequired" => format!("Required value: {why}"),
        "FieldValueDuplicate" => format!("Duplicate value: {value}"),
        _ if value.is_object() || value.is_array() => format!("Invalid value: {why}"),
        _ => format!("Invalid value: {value}: {why}"),
    }
}

/// Words that CEL keeps for itself: as field names they are written `__namespace__`.
const RESERVED: [&str; 23] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "__",
    "",
];

/// The fields of an object that somebody names, with what is named below them. A null in a field that may be null is like none.
fn parts<'a, 'n>(
    members: &'a serde_json::Map<String, Value>,
    schema: &'a Schema,
    named: &'n [&'n Named],
) -> impl Iterator<Item = (String, &'a Value, &'a Schema, Vec<&'n Named>)> {
    members.iter().filter(|(_, member)| !member.is_null()).filter_map(|(name, member)| {
        let (inner, declared) = schema.field(name);
        let key =
            if declared && RESERVED.contains(&name.as_str()) { format!("__{name}__") } else { name.clone() };
        let below: Vec<&Named> = named.iter().filter_map(|named| named.below(&key)).collect();
        (!below.is_empty()).then_some((key, member, inner, below))
    })
}

/// What somebody names of a JSON value, as text.
fn tell(value: &Value, schema: &Schema, named: &[&Named], text: &mut String) {
    let Value::Object(members) = value else { return text.push_str(&value.to_string()) };
    text.push('{');
    for (key, member, inner, below) in parts(members, schema, named) {
        text.push_str(&key);
        text.push(':');
        tell(member, inner, &below, text);
        text.push(',');
    }
    text.push('}');
}

/// A JSON value as CEL sees it, as far as somebody names it.
fn cel(value: &Value, schema: &Schema, named: &[&Named]) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), &schema.shape) {
            (Some(whole), Shape::Scalar(Scalar::Integer | Scalar::IntOrText) | Shape::Any) => Cel::Int(whole),
            _ => Cel::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(
            items.iter().map(|item| cel(item, schema.items(), &[&Named::WHOLE])).collect(),
        )),
        Value::Object(members) => {
            let entries = parts(members, schema, named)
                .map(|(key, member, inner, below)| (Key::String(Arc::new(key)), cel(member, inner, &below)));
            Cel::Map(Map { map: Arc::new(entries.collect()) })
        }
    }
}
