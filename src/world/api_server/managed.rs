//! Who owns which field (`metadata.managedFields`), and server-side apply.

use std::sync::{Arc, OnceLock};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{
    fields::{Set, Step},
    merge::{compare, mentioned, merge, remove},
    misfits::misfits,
    refused::{Cause, Refused},
    schema::Schema,
};

/// Who owns what of an object.
pub(super) type Managed = Arc<Vec<Manager>>;

/// One who writes an object, in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    pub id: Id,
    /// When its fields last changed.
    pub time: String,
    pub fields: Arc<Set>,
}

/// What tells managers apart. Sorted as the API server lists them: those that apply first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    /// Whether it applies; otherwise it updates.
    pub applies: bool,
    pub name: String,
    pub api_version: String,
    /// `status`, or empty.
    pub subresource: &'static str,
}

impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("manager", &self.id.name)?;
        map.serialize_entry("operation", if self.id.applies { "Apply" } else { "Update" })?;
        map.serialize_entry("apiVersion", &self.id.api_version)?;
        if !self.time.is_empty() {
            map.serialize_entry("time", &self.time)?;
        }
        map.serialize_entry("fieldsType", "FieldsV1")?;
        map.serialize_entry("fieldsV1", &*self.fields)?;
        if !self.id.subresource.is_empty() {
            map.serialize_entry("subresource", self.id.subresource)?;
        }
        map.end()
    }
}

/// A write, as far as ownership goes.
pub(super) struct Writer<'a> {
    pub schema: &'a Schema,
    /// As in `kind:`.
    pub kind: &'a str,
    pub id: Id,
    pub now: String,
    /// Fields that this kind of write does not reach.
    pub ignored: Set,
}

impl Writer<'_> {
    /// Who owns what after an update from `live` (absent: it is made) to `new`.
    pub fn updated(&self, managed: &Managed, live: Option<&Value>, new: &Value) -> Managed {
        if live.is_some() && managed.is_empty() {
            return managed.clone();
        }
        let nothing = empty(self.kind);
        let difference = compare(self.schema, live.unwrap_or(&nothing), new).without(&self.ignored);
        let gained = difference.modified.union(&difference.added);
        if gained.is_empty() && difference.removed.is_empty() {
            return managed.clone();
        }
        let written = gained.difference(stripped());
        let mut own = None;
        let mut after = vec![];
        for manager in managed.iter() {
            if manager.id == self.id && !written.is_empty() {
                // Its own earlier fields lose what went, like everybody's, and are joined with what it wrote.
                let left = left(&manager.fields, &Set::default(), &difference.removed);
                own =
                    Some(if left.holds(&written) { left } else { Arc::new((*left).clone().union(&written)) });
                continue;
            }
            let left = left(&manager.fields, &gained, &difference.removed);
            if !left.is_empty() {
                after.push(Manager { fields: left, ..manager.clone() });
            }
        }
        if !written.is_empty() {
            let fields = own.unwrap_or_else(|| Arc::new(written));
            after.push(Manager { id: self.id.clone(), time: self.now.clone(), fields });
        }
        sorted(after)
    }

    /// Server-side apply of `config`: the new object and who owns what of it.
    ///
    /// # Errors
    /// The config does not fit the schema (500), or others own what it changes (409).
    pub fn applied(
        &self,
        managed: &Managed,
        live: Option<&Value>,
        config: &Value,
        force: bool,
        names: (&str, &str),
    ) -> Result<(Value, Managed), Refused> {
        let wrong = misfits(self.schema, config);
        if !wrong.is_empty() {
            let wrong = if let [one] = &wrong[..] {
                one.clone()
            } else {
                format!("errors:\n  {}", wrong.join("\n  "))
            };
            let message = format!("failed to create typed patch object ({}; {}): {wrong}", names.0, names.1);
            return Err(Refused::new(500, "", message));
        }
        let nothing = Value::Object(serde_json::Map::new());
        let base = live.unwrap_or(&nothing);
        let mut managers: Vec<Manager> = managed.to_vec();
        if managers.is_empty() && live.is_some() {
            managers.extend(self.before_first_apply(base));
        }
        let merged = merge(self.schema, Some(base), Some(config)).unwrap_or_default();
        let set = mentioned(self.schema, config).without(&self.ignored);
        let last = managers.iter().position(|m| m.id.is_of(&self.id)).map(|place| managers.remove(place));
        let new = match &last {
            // Nothing was left out: nothing is taken away.
            Some(last) if last.fields.difference(&set).is_empty() => merged,
            Some(last) => self.prune(&merged, &last.fields, &managers, &set),
            None => merged,
        };
        let difference = compare(self.schema, base, &new).without(&self.ignored);
        let gained = difference.modified.clone().union(&difference.added);
        let conflicts: Vec<(&Manager, Set)> = managers
            .iter()
            .map(|manager| (manager, manager.fields.intersection(&gained)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
        for manager in &mut managers {
            manager.fields = left(&manager.fields, &gained, &difference.removed);
        }
        managers.retain(|manager| !manager.fields.is_empty());
        let fields = set.difference(stripped());
        if !fields.is_empty() {
            // A manager that changes nothing brings no time with it.
            let time =
                if new == *base { last.map(|last| last.time).unwrap_or_default() } else { self.now.clone() };
            managers.push(Manager { id: self.id.clone(), time, fields: Arc::new(fields) });
        }
        Ok((new, sorted(managers)))
    }

    /// What lives without an owner belongs to nobody in particular from the first apply on.
    fn before_first_apply(&self, live: &Value) -> Option<Manager> {
        let nothing = empty(self.kind);
        let added = compare(self.schema, &nothing, live).without(&self.ignored).added;
        let fields = added.difference(stripped());
        let id = Id { applies: false, name: "before-first-apply".to_owned(), ..self.id.clone() };
        (!fields.is_empty()).then(|| Manager { id, time: self.now.clone(), fields: Arc::new(fields) })
    }

    /// Takes away what this manager applied last and does not apply now, unless somebody else owns it.
    fn prune(&self, merged: &Value, last: &Set, others: &[Manager], set: &Set) -> Value {
        let named = |set: &Set| set.with_named(self.schema);
        let cut = |value: &Value, fields: &Set| remove(self.schema, value, fields).unwrap_or_default();
        let last = named(last);
        let pruned = cut(merged, &last);
        let owned = others.iter().fold(set.clone(), |all, manager| all.union(&manager.fields));
        let all = named(&mentioned(self.schema, merged));
        let kept = named(&mentioned(self.schema, &pruned)).union(&named(&owned));
        let pruned = cut(merged, &all.difference(&kept));
        let left = named(&mentioned(self.schema, &pruned));
        cut(merged, &all.difference(&left).intersection(&last))
    }
}

impl Id {
    /// Whether it is the same manager: for one that applies, the version does not count.
    fn is_of(&self, other: &Self) -> bool {
        let version = self.applies || self.api_version == other.api_version;
        (self.applies, &self.name, self.subresource) == (other.applies, &other.name, other.subresource)
            && version
    }
}

fn conflict(conflicts: &[(&Manager, Set)]) -> Refused {
    let who = |manager: &Manager| {
        let sub = match manager.id.subresource {
            "" => String::new(),
            subresource => format!(" with subresource {subresource:?}"),
        };
        let using =
            if manager.id.applies { String::new() } else { format!(" using {}", manager.id.api_version) };
        format!("with {:?}{sub}{using}", manager.id.name)
    };
    let mut all: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(m, set)| (who(m), set.paths())).collect();
    all.sort();
    let cause =
        |who: &str, path: &String| Cause::new("FieldManagerConflict", path, format!("conflict {who}"));
    let causes: Vec<Cause> =
        all.iter().flat_map(|(who, paths)| paths.iter().map(|path| cause(who, path))).collect();
    let said: Vec<String> =
        all.iter().map(|(who, paths)| format!("conflicts {who}:\n- {}", paths.join("\n- "))).collect();
    let message = match &causes[..] {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        _ => format!("Apply failed with {} conflicts: {}", causes.len(), said.join("\n")),
    };
    Refused { causes, ..Refused::new(409, "Conflict", message) }
}

/// An object of which nothing is said. What is built in has parts even then, which nobody brings.
fn empty(kind: &str) -> Value {
    match kind {
        "Deployment" => {
            let template = json!({"metadata": {}, "spec": {"containers": null}});
            json!({"metadata": {}, "spec": {"strategy": {}, "template": template}, "status": {}})
        }
        "Service" => json!({"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}}),
        "Pod" => json!({"metadata": {}, "spec": {"containers": null}, "status": {}}),
        "ControllerRevision" => json!({"metadata": {}, "revision": 0}),
        "Lease" => json!({"metadata": {}, "spec": {}}),
        "Event" => {
            json!({"metadata": {}, "regarding": {}, "eventTime": null, "deprecatedSource": {},
                "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null})
        }
        _ => json!({}),
    }
}

/// What is left to a manager when somebody else has gained some fields and others are gone.
fn left(fields: &Arc<Set>, gained: &Set, removed: &Set) -> Arc<Set> {
    if fields.meets(gained) || fields.meets(removed) {
        Arc::new(fields.difference(gained).difference(removed))
    } else {
        fields.clone()
    }
}

/// Fields that nobody owns.
fn stripped() -> &'static Set {
    static STRIPPED: OnceLock<Set> = OnceLock::new();
    STRIPPED.get_or_init(nobodys)
}

fn nobodys() -> Set {
    let mut set = Set::default();
    let field = |name: &str| Step::Field(name.to_owned());
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert(&[field(name)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.insert(&[field("metadata"), field(name)]);
    }
    set
}

fn sorted(mut managers: Vec<Manager>) -> Managed {
    let key = |m: &Manager| {
        (!m.id.applies, m.time.clone(), m.id.name.clone(), m.id.api_version.clone(), m.id.subresource)
    };
    managers.sort_by_key(key);
    Arc::new(managers)
}
