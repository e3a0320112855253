//! Sets of fields: who owns what of an object, as `managedFields` says it.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::schema::{Relation, Schema, Shape};

/// One step from an object into a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a field.
    Field(String),
    /// Into the entry of a keyed list: its key fields, as JSON.
    Key(String),
    /// Into an entry of a set: its value, as JSON.
    Value(String),
}

/// Some fields of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(BTreeMap<Step, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The field itself is in the set.
    pub member: bool,
    /// Fields below it.
    pub below: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.0.is_empty()
    }
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => self.0.entry(last.clone()).or_default().member = true,
            [first, rest @ ..] => self.0.entry(first.clone()).or_default().below.insert(rest),
        }
    }

    /// Puts in what is said of a field, if anything is.
    pub fn put(&mut self, step: Step, node: Node) {
        if !node.is_empty() {
            self.0.insert(step, node);
        }
    }

    /// Whether the field itself is in the set.
    pub fn has(&self, step: &Step) -> bool {
        self.0.get(step).is_some_and(|node| node.member)
    }

    /// The fields below one.
    pub fn below(&self, step: &Step) -> Option<&Self> {
        self.0.get(step).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// The fields of both.
    pub fn union(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }

    fn add(&mut self, other: &Self) {
        for (step, theirs) in &other.0 {
            if let Some(ours) = self.0.get_mut(step) {
                ours.member |= theirs.member;
                ours.below.add(&theirs.below);
            } else {
                self.0.insert(step.clone(), theirs.clone());
            }
        }
    }

    /// The fields that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.pick(|step, ours| {
            let theirs = other.0.get(step);
            let below = theirs.map(|theirs| ours.below.intersection(&theirs.below)).unwrap_or_default();
            Node { member: ours.member && theirs.is_some_and(|theirs| theirs.member), below }
        })
    }

    /// The fields that are not in the other. What lies below a field of the other stays.
    pub fn difference(&self, other: &Self) -> Self {
        self.pick(|step, ours| match other.0.get(step) {
            Some(theirs) => {
                Node { member: ours.member && !theirs.member, below: ours.below.difference(&theirs.below) }
            }
            None => ours.clone(),
        })
    }

    /// The fields that are neither in the other nor below a field of it.
    pub fn without(&self, other: &Self) -> Self {
        self.pick(|step, ours| match other.0.get(step) {
            Some(theirs) if theirs.member => Node::default(),
            Some(theirs) => Node { member: ours.member, below: ours.below.without(&theirs.below) },
            None => ours.clone(),
        })
    }

    /// Whether some field is in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|(step, ours)| {
            let theirs = other.0.get(step);
            theirs.is_some_and(|theirs| ours.member && theirs.member || ours.below.meets(&theirs.below))
        })
    }

    /// Whether all fields of the other are in it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.iter().all(|(step, theirs)| {
            let ours = self.0.get(step);
            ours.is_some_and(|ours| (ours.member || !theirs.member) && ours.below.holds(&theirs.below))
        })
    }

    fn pick(&self, node: impl Fn(&Step, &Node) -> Node) -> Self {
        let picked = self.0.iter().map(|(step, ours)| (step, node(step, ours)));
        Self(picked.filter(|(_, node)| !node.is_empty()).map(|(step, node)| (step.clone(), node)).collect())
    }

    /// The set with every declared field on the way to a member.
    pub fn with_named(&self, schema: &Schema) -> Self {
        let nodes = self.0.iter().map(|(step, node)| {
            let (inner, declared) = match step {
                Step::Field(name) => schema.field(name),
                Step::Key(_) | Step::Value(_) => (schema.items(), false),
            };
            let named = declared && !node.below.is_empty();
            let below = if node.below.is_empty() { Self::default() } else { node.below.with_named(inner) };
            (step.clone(), Node { member: node.member || named, below })
        });
        Self(nodes.collect())
    }

    /// All members, as people write them: `.spec.replicas`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = vec![];
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        let path_of = |step: &Step| match step {
            Step::Field(name) => format!("{prefix}.{name}"),
            Step::Key(key) => {
                let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("{prefix}[{}]", fields.join(","))
            }
            Step::Value(value) => format!("{prefix}[={value}]"),
        };
        paths.extend(self.0.iter().filter(|(_, node)| node.member).map(|(step, _)| path_of(step)));
        for (step, node) in &self.0 {
            node.below.collect(&path_of(step), paths);
        }
    }
}

impl Serialize for Set {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (step, node) in &self.0 {
            let name = match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Key(key) => format!("k:{key}"),
                Step::Value(value) => format!("v:{value}"),
            };
            map.serialize_entry(&name, &Inner(node))?;
        }
        map.end()
    }
}

struct Inner<'a>(&'a Node);

impl Serialize for Inner<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.0.member && !self.0.below.is_empty() {
            map.serialize_entry(".", &Map::new())?;
        }
        for (step, node) in &self.0.below.0 {
            let name = match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Key(key) => format!("k:{key}"),
                Step::Value(value) => format!("v:{value}"),
            };
            map.serialize_entry(&name, &Inner(node))?;
        }
        map.end()
    }
}

/// The step to an entry of a list whose entries can be told apart.
///
/// # Errors
/// It has no key.
pub(super) fn step_of(list: &Schema, entry: &Value) -> Result<Step, String> {
    let Shape::List { items, relation } = &list.shape else {
        return Err("invalid indexing of non-associative list".to_owned());
    };
    match relation {
        Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        Relation::Set => match entry {
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".to_owned())
            }
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            value => Ok(Step::Value(value.to_string())),
        },
        Relation::Keyed(keys) => {
            let Value::Object(members) = entry else {
                return Err("associative list with keys may not have non-map elements".to_owned());
            };
            let mut names: Vec<&String> = keys.iter().collect();
            names.sort();
            let mut found = Map::new();
            for name in names {
                if let Some(value) = members.get(name).or_else(|| items.field(name).0.default.as_ref()) {
                    found.insert(name.clone(), value.clone());
                }
            }
            if found.is_empty() {
                return Err(format!(
                    "associative list with keys has an element that omits all key fields {keys:?} (and doesn't have default values for any key fields)"
                ));
            }
            Ok(Step::Key(Value::Object(found).to_string()))
        }
    }
}
