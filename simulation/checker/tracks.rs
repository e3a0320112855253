//! The history by object: what each said after each of its changes.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use seatrial::{
    api::v1alpha1::{ModelDeploymentSpec, ModelDeploymentStatus, TrafficSplitSpec, TrafficSplitStatus},
    world::history::{Change, Key},
};

/// All states of one object, in order; under one name there may have been several objects.
#[derive(Debug)]
pub struct Track<'a, T> {
    /// One for each change.
    pub states: Vec<State<'a, T>>,
}

/// An object after one change.
#[derive(Debug)]
pub struct State<'a, T> {
    /// The change.
    pub change: &'a Change,
    /// A replica of the operator did it.
    pub ours: bool,
    /// What it says; `None`: it is gone, or nobody can read it.
    pub value: Option<T>,
}

/// One change: as it was, as it is.
pub struct Step<'t, 'a, T> {
    /// As it was.
    pub before: Option<&'t T>,
    /// As it is.
    pub after: Option<&'t T>,
    /// The change.
    pub change: &'a Change,
    /// A replica of the operator did it.
    pub ours: bool,
}

impl<'a, T> Track<'a, T> {
    /// What it said after all changes up to `revision`, that one included.
    pub fn at(&self, revision: u64) -> Option<&T> {
        let end = self.states.partition_point(|s| s.change.revision <= revision);
        end.checked_sub(1).and_then(|last| self.states[last].value.as_ref())
    }

    /// What it said at a moment of virtual time, after all changes of that moment.
    pub fn when(&self, at: Duration) -> Option<&T> {
        let end = self.states.partition_point(|s| s.change.at <= at);
        end.checked_sub(1).and_then(|last| self.states[last].value.as_ref())
    }

    /// What it says in the end.
    pub fn last(&self) -> Option<&T> {
        self.states.last().and_then(|s| s.value.as_ref())
    }

    /// Everything that it said from a moment on until the change `revision`, that one included.
    pub fn during(&self, from: Duration, revision: u64) -> impl Iterator<Item = Option<&T>> {
        let end = self.states.partition_point(|s| s.change.revision <= revision);
        let begin = self.states[..end].partition_point(|s| s.change.at <= from).saturating_sub(1);
        let unborn = self.states[..end].first().is_none_or(|s| s.change.at > from);
        unborn.then_some(None).into_iter().chain(self.states[begin..end].iter().map(|s| s.value.as_ref()))
    }

    /// Every change with its before and after.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_, 'a, T>> {
        self.states.iter().enumerate().map(|(index, state)| Step {
            before: index.checked_sub(1).and_then(|i| self.states[i].value.as_ref()),
            after: state.value.as_ref(),
            change: state.change,
            ours: state.ours,
        })
    }
}

/// The controlling owner of an object: kind and uid.
pub type Owner = Option<(String, String)>;

/// A `ModelDeployment`.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Somebody asked to delete it.
    pub deleting: bool,
    /// What the user wrote.
    pub spec: Rc<ModelDeploymentSpec>,
    /// What the operator wrote.
    pub status: Rc<ModelDeploymentStatus>,
}

impl Model {
    /// Full size, at least one.
    pub fn full(&self) -> i64 {
        i64::from(self.spec.full_size().max(1))
    }
}

/// A `TrafficSplit`.
#[derive(Clone, Debug)]
pub struct Split {
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// When it was made, as the API server says it.
    pub created: String,
    /// Somebody asked to delete it.
    pub deleting: bool,
    /// What the user wrote.
    pub spec: Rc<TrafficSplitSpec>,
    /// What the operator wrote.
    pub status: Rc<TrafficSplitStatus>,
}

impl Split {
    /// Whether it names the model.
    pub fn names(&self, model: &str) -> bool {
        self.spec.backends.iter().any(|b| b.model_deployment_ref.name == model)
    }

    /// How long a request may still run at a revision that lost its weight.
    pub fn drain(&self) -> Duration {
        let request = self.spec.route.http_route.timeouts.as_ref().and_then(|t| t.request);
        request.filter(|d| d.millis() > 0).map_or(DRAIN, |d| millis(d.millis()))
    }
}

/// The drain where nobody says how long a request may take.
pub const DRAIN: Duration = Duration::from_secs(30);

/// A generated route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its generation.
    pub generation: i64,
    /// Its controlling owner.
    pub owner: Owner,
    /// Weights in the rules for traffic.
    pub shares: BTreeMap<String, i64>,
    /// Named without traffic.
    pub idle: Vec<String>,
}

/// Whether a revision is one of a model, by its name.
pub fn is_of(revision: &str, model: &str) -> bool {
    revision.rsplit_once('-').is_some_and(|(name, _)| name == model)
}

impl Route {
    /// The weight of a revision.
    pub fn weight(&self, revision: &str) -> i64 {
        self.shares.get(revision).copied().unwrap_or(0)
    }

    /// The weight of a model, of all its revisions.
    pub fn of_model(&self, model: &str) -> i64 {
        self.shares.iter().filter(|(name, _)| is_of(name, model)).map(|(_, weight)| weight).sum()
    }

    /// Whether the data plane knows a revision by it.
    pub fn names(&self, revision: &str) -> bool {
        self.shares.contains_key(revision) || self.idle.iter().any(|name| name == revision)
    }
}

/// A Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its uid.
    pub uid: String,
    /// Its controlling owner.
    pub owner: Owner,
    /// The model that its label names.
    pub model: String,
    /// Pods asked for; `None`: left to the default.
    pub replicas: Option<i64>,
    /// Pods that are ready.
    pub ready: i64,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its controlling owner.
    pub owner: Owner,
    /// Its selector.
    pub selector: Value,
    /// The revision that it selects.
    pub revision: String,
}

/// A Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it; empty: nobody.
    pub holder: String,
}

impl Lease {
    /// Whether a replica holds it: under its own name, or its name and the number of its life.
    pub fn is_held_by(&self, who: &str) -> bool {
        self.holder.strip_prefix(who).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// Where two values differ first, as a JSON pointer; empty when they do not.
pub fn difference(a: &Value, b: &Value) -> String {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let mut differ = keys.filter(|key| a.get(*key) != b.get(*key));
            differ.next().map_or_else(String::new, |key| {
                let none = Value::Null;
                format!("/{key}{}", difference(a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none)))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = a.iter().zip(b).position(|(a, b)| a != b);
            at.map_or_else(String::new, |at| format!("/{at}{}", difference(&a[at], &b[at])))
        }
        _ => String::new(),
    }
}

/// Milliseconds as a length of virtual time.
pub fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// What is at a JSON pointer. Thousands are asked for in each run, and [`Value::pointer`] makes texts of all names: only those
/// with a `~` in them need that.
pub fn within<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.contains('~') {
        return value.pointer(pointer);
    }
    pointer.split('/').skip(1).try_fold(value, |inside, name| match inside {
        Value::Array(entries) => entries.get(name.parse::<usize>().ok()?),
        inside => inside.get(name),
    })
}

/// The string at a JSON pointer; empty when there is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    within(value, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer.
pub fn number(value: &Value, pointer: &str) -> Option<i64> {
    within(value, pointer).and_then(Value::as_i64)
}

/// The controlling owners of an object.
pub fn owners(value: &Value) -> Vec<(String, String)> {
    let all = within(value, "/metadata/ownerReferences").and_then(Value::as_array);
    let controls = |owner: &&Value| owner["controller"] == true;
    let name = |owner: &Value| (text(owner, "/kind").to_owned(), text(owner, "/uid").to_owned());
    all.into_iter().flatten().filter(controls).map(name).collect()
}

/// The uids of the `TrafficSplit`s that something of a model is left to: they own it beside the model, or alone.
pub fn left_to(value: &Value) -> impl Iterator<Item = &str> {
    let all = within(value, "/metadata/ownerReferences").and_then(Value::as_array);
    let splits = all.into_iter().flatten().filter(|owner| text(owner, "/kind") == "TrafficSplit");
    splits.map(|owner| text(owner, "/uid"))
}

/// Reads one object; what was read before is shared where it says the same.
pub trait Read: Sized {
    /// `None`: it cannot be read.
    fn read(value: &Value, before: Option<(&Value, &Self)>) -> Option<Self>;
}

fn shared<T: for<'de> Deserialize<'de>>(
    value: &Value,
    part: &str,
    before: Option<(&Value, &Rc<T>)>,
) -> Option<Rc<T>> {
    if let Some((old, parsed)) = before
        && old.get(part) == value.get(part)
    {
        return Some(parsed.clone());
    }
    T::deserialize(value.get(part)?).ok().map(Rc::new)
}

fn status<T: for<'de> Deserialize<'de> + Default>(value: &Value, before: Option<(&Value, &Rc<T>)>) -> Rc<T> {
    if value.get("status").is_none() {
        return Rc::new(T::default());
    }
    // A status that a broken object was given has no more than conditions.
    shared(value, "status", before).unwrap_or_default()
}

fn is_deleting(value: &Value) -> bool {
    within(value, "/metadata/deletionTimestamp").is_some_and(|v| !v.is_null())
}

impl Read for Model {
    fn read(value: &Value, before: Option<(&Value, &Self)>) -> Option<Self> {
        Some(Self {
            uid: text(value, "/metadata/uid").to_owned(),
            generation: number(value, "/metadata/generation").unwrap_or(0),
            deleting: is_deleting(value),
            spec: shared(value, "spec", before.map(|(v, m)| (v, &m.spec)))?,
            status: status(value, before.map(|(v, m)| (v, &m.status))),
        })
    }
}

impl Read for Split {
    fn read(value: &Value, before: Option<(&Value, &Self)>) -> Option<Self> {
        Some(Self {
            uid: text(value, "/metadata/uid").to_owned(),
            generation: number(value, "/metadata/generation").unwrap_or(0),
            created: text(value, "/metadata/creationTimestamp").to_owned(),
            deleting: is_deleting(value),
            spec: shared(value, "spec", before.map(|(v, s)| (v, &s.spec)))?,
            status: status(value, before.map(|(v, s)| (v, &s.status))),
        })
    }
}

/// Whether no caller's request matches the rule: it names revisions, it carries nothing.
pub fn is_idle(rule: &Value) -> bool {
    let matches = rule.get("matches").and_then(Value::as_array);
    let headers = |m: &Value| m.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
    matches.into_iter().flatten().flat_map(headers).any(|h| text(&h, "/name") == "x-seatrial-idle")
}

/// The backends of a rule.
pub fn backends(rule: &Value) -> impl Iterator<Item = &Value> {
    rule.get("backendRefs").and_then(Value::as_array).into_iter().flatten()
}

/// The rules of a route.
pub fn rules(route: &Value) -> impl Iterator<Item = &Value> {
    within(route, "/spec/rules").and_then(Value::as_array).into_iter().flatten()
}

impl Read for Route {
    fn read(value: &Value, _: Option<(&Value, &Self)>) -> Option<Self> {
        let mut route = Self {
            generation: number(value, "/metadata/generation").unwrap_or(0),
            owner: owners(value).into_iter().next(),
            shares: BTreeMap::new(),
            idle: vec![],
        };
        for rule in rules(value) {
            let idle = is_idle(rule);
            for backend in backends(rule) {
                let name = text(backend, "/name").to_owned();
                if idle {
                    route.idle.push(name);
                } else {
                    *route.shares.entry(name).or_default() += number(backend, "/weight").unwrap_or(1);
                }
            }
        }
        Some(route)
    }
}

impl Read for Deployment {
    fn read(value: &Value, _: Option<(&Value, &Self)>) -> Option<Self> {
        Some(Self {
            uid: text(value, "/metadata/uid").to_owned(),
            owner: owners(value).into_iter().next(),
            model: text(value, "/metadata/labels/seatrial.dev~1model").to_owned(),
            replicas: number(value, "/spec/replicas"),
            ready: number(value, "/status/readyReplicas").unwrap_or(0),
        })
    }
}

impl Read for Service {
    fn read(value: &Value, _: Option<(&Value, &Self)>) -> Option<Self> {
        Some(Self {
            owner: owners(value).into_iter().next(),
            selector: within(value, "/spec/selector").cloned().unwrap_or_default(),
            revision: text(value, "/spec/selector/seatrial.dev~1revision").to_owned(),
        })
    }
}

impl Read for Lease {
    fn read(value: &Value, _: Option<(&Value, &Self)>) -> Option<Self> {
        Some(Self { holder: text(value, "/spec/holderIdentity").to_owned() })
    }
}

/// The tracks of all objects of one kind.
pub type Tracks<'a, T> = BTreeMap<&'a Key, Track<'a, T>>;

/// Takes one change into the tracks of its kind.
pub fn record<'a, T: Read>(tracks: &mut Tracks<'a, T>, change: &'a Change, ours: bool) {
    let track = tracks.entry(&change.key).or_insert_with(|| Track { states: vec![] });
    let value = change.after.as_ref().and_then(|after| {
        let before =
            track.states.last().and_then(|last| Some((&**last.change.after.as_ref()?, last.value.as_ref()?)));
        T::read(after, before)
    });
    track.states.push(State { change, ours, value });
}
