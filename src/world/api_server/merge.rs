//! Values as structures: compared, merged and cut by fields. The rules are those of Kubernetes'
//! `structured-merge-diff`: maps and keyed lists have parts, atomic ones and scalars are one leaf each.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    fields::{Node, Set, Step, step_of},
    schema::{Schema, Shape},
};

/// How two values differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub removed: Set,
    pub modified: Set,
    pub added: Set,
}

impl Difference {
    /// The difference without some fields and all below them.
    pub fn without(&self, fields: &Set) -> Self {
        Self {
            removed: self.removed.without(fields),
            modified: self.modified.without(fields),
            added: self.added.without(fields),
        }
    }
}

/// What a value is made of, by its schema.
enum Parts<'a> {
    Fields(&'a Map<String, Value>),
    Entries(&'a [Value]),
    Leaf,
}

fn parts<'a>(schema: &Schema, value: &'a Value) -> Parts<'a> {
    match (value, &schema.shape) {
        (Value::Object(members), Shape::Object { .. } | Shape::Any) if !schema.is_atomic() => {
            Parts::Fields(members)
        }
        (Value::Array(entries), Shape::List { .. }) if !schema.is_atomic() => Parts::Entries(entries),
        _ => Parts::Leaf,
    }
}

/// The entries of a list by their steps, in order. Entries that stand there twice come out together.
fn indexed<'a>(schema: &Schema, entries: &'a [Value]) -> Vec<(Step, Vec<&'a Value>)> {
    let mut order: Vec<(Step, Vec<&Value>)> = vec![];
    for entry in entries {
        let Ok(step) = step_of(schema, entry) else { continue };
        match order.iter_mut().find(|(known, _)| *known == step) {
            Some((_, same)) => same.push(entry),
            None => order.push((step, vec![entry])),
        }
    }
    order
}

/// Every leaf and every item that a value mentions.
pub(super) fn mentioned(schema: &Schema, value: &Value) -> Set {
    mention(schema, value).below
}

fn mention(schema: &Schema, value: &Value) -> Node {
    let mut node = Node::default();
    match parts(schema, value) {
        Parts::Leaf => {
            // A null where a map or a list could stand is nothing; its parent says whether it is mentioned.
            node.member = !(value.is_null()
                && matches!(schema.shape, Shape::Object { .. } | Shape::List { .. })
                && !schema.is_atomic());
        }
        Parts::Fields(members) => {
            for (name, member) in members {
                let (inner, declared) = schema.field(name);
                let mut below = mention(inner, member);
                below.member |=
                    !declared || member.is_null() || member.as_object().is_some_and(Map::is_empty);
                node.below.put(Step::Field(name.clone()), below);
            }
        }
        Parts::Entries(entries) => {
            for (step, same) in indexed(schema, entries) {
                let below =
                    if let [entry] = same[..] { mention(schema.items(), entry) } else { Node::default() };
                node.below.put(step, Node { member: true, ..below });
            }
        }
    }
    node
}

/// How `new` differs from `old`.
pub(super) fn compare(schema: &Schema, old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    Compare { path: vec![], difference: &mut difference }.both(schema, Some(old), Some(new));
    difference
}

struct Compare<'a> {
    path: Vec<Step>,
    difference: &'a mut Difference,
}

impl Compare<'_> {
    fn both(&mut self, schema: &Schema, old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        let empty = |value: Option<&Value>| match value {
            Some(Value::Object(members)) => members.is_empty(),
            Some(Value::Array(entries)) => entries.is_empty(),
            Some(value) => value.is_null(),
            None => true,
        };
        let kind = |value: Option<&Value>| match value.map(|value| parts(schema, value)) {
            Some(Parts::Fields(_)) => Some('m'),
            Some(Parts::Entries(_)) => Some('l'),
            Some(Parts::Leaf) if value.is_some_and(Value::is_null) => None,
            Some(Parts::Leaf) => Some('v'),
            None => None,
        };
        let leaf = match (kind(old), kind(new)) {
            (Some('v'), _) | (_, Some('v')) | (None, None) => true,
            (Some(a), Some(b)) if a != b => true,
            _ => empty(old) && empty(new),
        };
        if leaf {
            match (old, new) {
                (None, _) => self.difference.added.insert(&self.path),
                (_, None) => self.difference.removed.insert(&self.path),
                _ => self.difference.modified.insert(&self.path),
            }
            return;
        }
        if kind(old).or(kind(new)) == Some('m') {
            self.fields(schema, old.and_then(Value::as_object), new.and_then(Value::as_object));
        } else {
            let (old, new) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            self.entries(schema, old.map_or(&[], Vec::as_slice), new.map_or(&[], Vec::as_slice));
        }
        if old.is_none() {
            self.difference.added.insert(&self.path);
        } else if new.is_none() {
            self.difference.removed.insert(&self.path);
        }
    }

    fn fields(
        &mut self,
        schema: &Schema,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
    ) {
        let names = old.into_iter().flat_map(Map::keys);
        let fresh = new
            .into_iter()
            .flat_map(Map::keys)
            .filter(|name| !old.is_some_and(|old| old.contains_key(*name)));
        for name in names.chain(fresh) {
            let (before, after) = (old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)));
            if before != after {
                self.path.push(Step::Field(name.clone()));
                self.both(schema.field(name).0, before, after);
                self.path.pop();
            }
        }
    }

    fn entries(&mut self, schema: &Schema, old: &[Value], new: &[Value]) {
        let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (indexed(schema, old).into_iter().collect(), indexed(schema, new).into_iter().collect());
        let none = vec![];
        for step in old.keys().chain(new.keys().filter(|step| !old.contains_key(*step))) {
            let (before, after) = (old.get(step).unwrap_or(&none), new.get(step).unwrap_or(&none));
            self.path.push(step.clone());
            match (before.len(), after.len()) {
                (0 | 1, 0 | 1) => {
                    self.both(schema.items(), before.first().copied(), after.first().copied());
                }
                (2.., 2..) if before != after => self.difference.modified.insert(&self.path),
                (2.., 2..) => {}
                (2.., _) => {
                    self.both(schema.items(), None, after.first().copied());
                    self.difference.removed.insert(&self.path);
                }
                (_, 2..) => {
                    self.both(schema.items(), before.first().copied(), None);
                    self.difference.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}

/// `live` with everything that `config` says. Nothing is removed.
pub(super) fn merge(schema: &Schema, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let (Some(old), Some(new)) = (live, config) else { return config.or(live).cloned() };
    match (parts(schema, old), parts(schema, new)) {
        (Parts::Fields(old), Parts::Fields(new)) if !old.is_empty() || !new.is_empty() => {
            let mut merged = old.clone();
            for (name, value) in new {
                let inner = schema.field(name).0;
                let value = merge(inner, old.get(name), Some(value)).unwrap_or_default();
                merged.insert(name.clone(), value);
            }
            Some(Value::Object(merged))
        }
        (Parts::Entries(old), Parts::Entries(new)) if !old.is_empty() || !new.is_empty() => {
            Some(Value::Array(merge_entries(schema, old, new)))
        }
        // A null where a map or list lives takes nothing away.
        (Parts::Fields(members), Parts::Leaf) if new.is_null() && !members.is_empty() => Some(old.clone()),
        (Parts::Entries(entries), Parts::Leaf) if new.is_null() && !entries.is_empty() => Some(old.clone()),
        _ => Some(new.clone()),
    }
}

/// Entries in the order of `new` where both have them, others of `old` where they stood.
fn merge_entries(schema: &Schema, old: &[Value], new: &[Value]) -> Vec<Value> {
    let steps =
        |entries: &[Value]| -> Vec<Step> { entries.iter().filter_map(|e| step_of(schema, e).ok()).collect() };
    let (left, right) = (steps(old), steps(new));
    let find = |steps: &[Step], step: &Step| {
        let mut places = steps.iter().enumerate().filter(|(_, other)| *other == step).map(|(place, _)| place);
        // What stands there twice is merged with nothing.
        places.next().filter(|_| places.next().is_none())
    };
    let mut shared = right.iter().filter(|step| left.contains(step)).peekable();
    let (mut merged, mut taken) = (vec![], vec![]);
    let (mut l, mut r) = (0, 0);
    let both = |step: &Step| {
        let live = find(&left, step).map(|place| &old[place]);
        merge(schema.items(), live, find(&right, step).map(|place| &new[place]))
    };
    while l < left.len() || r < right.len() {
        if let (Some(step), Some(other)) = (left.get(l), right.get(r)) {
            if step == other {
                taken.push(step.clone());
                merged.extend(both(step));
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            if right.contains(step) && shared.peek().is_some_and(|next| *next != step) {
                l += 1;
                continue;
            }
        }
        if let Some(step) = left.get(l) {
            if !right.contains(step) {
                merged.push(old[l].clone());
                l += 1;
                continue;
            }
            if taken.contains(step) {
                l += 1;
            }
        }
        if let Some(step) = right.get(r) {
            taken.push(step.clone());
            merged.extend(both(step));
            r += 1;
            if shared.peek() == Some(&step) {
                shared.next();
            }
        }
    }
    merged
}

/// The value without some fields; `None`: nothing was in it, or all that was is gone. One that only lost something of what is
/// in its members stays, however empty they are.
pub(super) fn remove(schema: &Schema, value: &Value, fields: &Set) -> Option<Value> {
    let mut stays = false;
    match parts(schema, value) {
        Parts::Leaf if matches!(value, Value::Object(_) | Value::Array(_)) => None,
        Parts::Leaf => Some(value.clone()),
        Parts::Fields(members) => {
            let mut kept = Map::new();
            for (name, member) in members {
                let step = Step::Field(name.clone());
                if fields.has(&step) {
                    continue;
                }
                let below = fields.below(&step);
                stays |= below.is_some();
                kept.insert(name.clone(), without(schema.field(name).0, member, below));
            }
            (stays || !kept.is_empty()).then_some(Value::Object(kept))
        }
        Parts::Entries(entries) => {
            let mut kept = vec![];
            for entry in entries {
                let Ok(step) = step_of(schema, entry) else { continue };
                if fields.has(&step) {
                    continue;
                }
                let below = fields.below(&step);
                stays |= below.is_some();
                kept.push(without(schema.items(), entry, below));
            }
            (stays || !kept.is_empty()).then_some(Value::Array(kept))
        }
    }
}

/// A member without some of its own: empty, when none is left.
fn without(schema: &Schema, member: &Value, fields: Option<&Set>) -> Value {
    let Some(fields) = fields else { return member.clone() };
    remove(schema, member, fields).unwrap_or_else(|| match member {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(vec![]),
        _ => Value::Null,
    })
}
