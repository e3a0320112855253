//! Selectors of labels and fields.

use serde_json::Value;

use super::refused::Refused;

/// Which objects a list or watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<(String, Wanted)>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    There,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector` of a request.
    ///
    /// # Errors
    /// They cannot be read, or ask for fields that cannot be asked for.
    pub fn new(labels: &str, fields: &str) -> Result<Self, Refused> {
        let labels = split(labels).into_iter().map(requirement).collect::<Option<_>>();
        let labels = labels.ok_or_else(|| Refused::bad("unable to parse requirement".to_owned()))?;
        let mut by_field = vec![];
        for part in fields.split(',').filter(|part| !part.is_empty()) {
            let (name, value, equal) = match part.split_once("!=") {
                Some((name, value)) => (name, value, false),
                None => match part.split_once("==").or_else(|| part.split_once('=')) {
                    Some((name, value)) => (name, value, true),
                    None => return Err(Refused::bad(format!("invalid selector: '{part}'"))),
                },
            };
            if !["metadata.name", "metadata.namespace"].contains(&name) {
                return Err(Refused::bad(format!("field label not supported: {name}")));
            }
            by_field.push((name.to_owned(), value.to_owned(), equal));
        }
        Ok(Self { labels, fields: by_field })
    }

    /// Whether it is about all objects.
    pub fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether it is about this object.
    pub fn takes(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let fits = |(key, wanted): &(String, Wanted)| {
            let value = labels.get(key).and_then(Value::as_str);
            match wanted {
                Wanted::There => value.is_some(),
                Wanted::Absent => value.is_none(),
                Wanted::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
                Wanted::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            }
        };
        let field = |(name, wanted, equal): &(String, String, bool)| {
            let name = name.strip_prefix("metadata.").unwrap_or_default();
            (object["metadata"][name].as_str().unwrap_or_default() == wanted) == *equal
        };
        self.labels.iter().all(fits) && self.fields.iter().all(field)
    }
}

/// At commas, but not within parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (vec![], 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn requirement(text: &str) -> Option<(String, Wanted)> {
    let owned = |key: &str, wanted| Some((key.trim().to_owned(), wanted));
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = text.split_once("!=") {
        return owned(key, Wanted::NotIn(one(value)));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return owned(key, Wanted::In(one(value)));
    }
    if let Some(key) = text.strip_prefix('!') {
        return owned(key, Wanted::Absent);
    }
    let values = |list: &str| -> Option<Vec<String>> {
        let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((key, list)) = text.split_once(" notin ") {
        return owned(key, Wanted::NotIn(values(list)?));
    }
    if let Some((key, list)) = text.split_once(" in ") {
        return owned(key, Wanted::In(values(list)?));
    }
    (!text.contains(' ')).then(|| (text.to_owned(), Wanted::There))
}
