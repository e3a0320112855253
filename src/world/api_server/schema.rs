//! What the objects of a kind look like: one shape for CRDs and for what is built in.
//!
//! Read from the files in `crds/`, and from `schemas/`, which are the `OpenAPI` documents of Kubernetes 1.36 and of the
//! Gateway API 1.3 without their descriptions.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use super::rules::Rule;

/// What a value must look like.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own, as in the document")]
pub(super) struct Schema {
    /// Its form.
    pub shape: Shape,
    /// Whether `null` is a value.
    pub nullable: bool,
    /// Taken where it is absent.
    pub default: Option<Value>,
    /// Further limits.
    pub limits: Limits,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
    /// Whether there are rules here or below.
    pub ruled: bool,
    /// Whether some of them compare with the object before.
    pub transitional: bool,
    /// Whether there are defaults here or below.
    pub defaulting: bool,
    /// Whether the kind has a scale subresource.
    pub scaled: bool,
}

/// The form of a value.
#[derive(Debug)]
pub(super) enum Shape {
    /// A map or a struct.
    Object {
        /// Fields by name.
        fields: BTreeMap<String, Arc<Schema>>,
        /// What else may be there.
        rest: Rest,
        /// Fields that must be there.
        required: Vec<String>,
        /// Owned as a whole.
        atomic: bool,
    },
    /// A list.
    List {
        /// Each of its items.
        items: Arc<Schema>,
        /// How items are told apart.
        relation: Relation,
    },
    /// Anything that is neither.
    Scalar(Scalar),
    /// Anything at all.
    Any,
}

/// Fields of an object that its schema does not name.
#[derive(Debug)]
pub(super) enum Rest {
    /// They are dropped.
    Dropped,
    /// They are kept as they are.
    Kept,
    /// The object is a map: its values look like this.
    Of(Arc<Schema>),
}

/// How the items of a list are told apart when several write to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Not at all: the list is owned as a whole.
    Atomic,
    /// By their value.
    Set,
    /// By these fields.
    Keyed(Vec<String>),
}

/// A value without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    Integer,
    Number,
    Flag,
    IntOrText,
    Quantity,
    Time,
}

/// What a schema says beyond the form.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub max_properties: Option<u64>,
    /// A regular expression.
    pub pattern: Option<String>,
    pub choices: Vec<Value>,
}

impl Limits {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        let lengths = [self.min_length, self.max_length, self.min_items, self.max_items, self.max_properties];
        let numbers = [self.minimum, self.maximum];
        lengths.iter().any(Option::is_some)
            || numbers.iter().any(Option::is_some)
            || self.pattern.is_some()
            || !self.choices.is_empty()
    }
}

impl Schema {
    /// What has no schema.
    pub const fn any() -> Self {
        Self {
            shape: Shape::Any,
            nullable: true,
            default: None,
            limits: Limits {
                minimum: None,
                maximum: None,
                min_length: None,
                max_length: None,
                min_items: None,
                max_items: None,
                max_properties: None,
                pattern: None,
                choices: vec![],
            },
            rules: vec![],
            ruled: false,
            transitional: false,
            defaulting: false,
            scaled: false,
        }
    }

    /// The schema of a field and whether it is a declared one (a struct's, not a map's).
    pub fn field(&self, name: &str) -> (&Self, bool) {
        static ANY: Schema = Schema::any();
        match &self.shape {
            Shape::Object { fields, rest, .. } => match (fields.get(name), rest) {
                (Some(field), _) => (field, true),
                (None, Rest::Of(value)) => (value, false),
                (None, Rest::Kept | Rest::Dropped) => (&ANY, false),
            },
            _ => (&ANY, false),
        }
    }

    /// The schema of a list's items.
    pub fn items(&self) -> &Self {
        static ANY: Schema = Schema::any();
        match &self.shape {
            Shape::List { items, .. } => items,
            _ => &ANY,
        }
    }

    /// Whether a list or map of this schema is owned as a whole.
    pub fn is_atomic(&self) -> bool {
        matches!(
            &self.shape,
            Shape::Object { atomic: true, .. } | Shape::List { relation: Relation::Atomic, .. }
        )
    }
}

/// The schema of a kind.
pub(super) fn of(kind: &str) -> Arc<Schema> {
    let crd = |text: &str| {
        let crd: Value = serde_saphyr::from_str(text).unwrap_or_default();
        let version = &crd["spec"]["versions"][0];
        let mut schema =
            Reader { types: &Value::Null, metadata: metadata() }.root(&version["schema"]["openAPIV3Schema"]);
        schema.scaled = version["subresources"]["scale"].is_object();
        Arc::new(schema)
    };
    match kind {
        "TrafficSplit" => crd(include_str!("../../../crds/trafficsplits.yaml")),
        "ModelDeployment" => crd(include_str!("../../../crds/modeldeployments.yaml")),
        "ModelRuntime" => crd(include_str!("../../../crds/modelruntimes.yaml")),
        "HTTPRoute" | "Gateway" => {
            let document = gateway();
            Arc::new(Reader { types: &Value::Null, metadata: metadata() }.root(&document[kind]))
        }
        _ => {
            let document = built_in();
            let reader = Reader { types: &document["types"], metadata: metadata() };
            Arc::new(reader.root(reader.named(document["kinds"][kind].as_str().unwrap_or_default())))
        }
    }
}

fn built_in() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(include_str!("schemas/builtin.json")).unwrap_or_default())
}

fn gateway() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(include_str!("schemas/gateway.json")).unwrap_or_default())
}

/// The schema of every object's metadata.
fn metadata() -> Arc<Schema> {
    static METADATA: OnceLock<Arc<Schema>> = OnceLock::new();
    let read = || {
        let document = built_in();
        let reader = Reader { types: &document["types"], metadata: Arc::new(Schema::any()) };
        Arc::new(reader.read(reader.named("meta.v1.ObjectMeta")))
    };
    METADATA.get_or_init(read).clone()
}

/// Reads `OpenAPI` documents.
struct Reader<'a> {
    /// Named types; `null` for a CRD, which has none.
    types: &'a Value,
    metadata: Arc<Schema>,
}

impl Reader<'_> {
    fn named(&self, name: &str) -> &Value {
        &self.types[name]
    }

    /// A whole object: its metadata is the same for all kinds.
    fn root(&self, document: &Value) -> Schema {
        let mut schema = self.read(document);
        if let Shape::Object { fields, .. } = &mut schema.shape {
            for field in ["apiVersion", "kind"] {
                fields.entry(field.to_owned()).or_insert_with(|| Arc::new(text()));
            }
            fields.insert("metadata".to_owned(), self.metadata.clone());
        }
        schema
    }

    fn read(&self, document: &Value) -> Schema {
        if let Some(name) = document["$ref"].as_str() {
            let mut schema = self.read(self.named(name));
            if !document["default"].is_null() && self.types.is_null() {
                schema.default = Some(document["default"].clone());
            }
            return schema;
        }
        let shape = self.shape(document);
        let rules: Vec<Rule> = list(&document["x-kubernetes-validations"]).iter().map(Rule::read).collect();
        // What is built in is defaulted by code; its document's defaults only complete the keys of lists.
        let default = document.get("default").cloned();
        let (mut has_rules, mut defaulting) = (!rules.is_empty(), default.is_some());
        let mut transitional = rules.iter().any(|rule| rule.compares);
        let mut below = |schema: &Schema| {
            has_rules |= schema.ruled;
            transitional |= schema.transitional;
            defaulting |= schema.defaulting;
        };
        match &shape {
            Shape::Object { fields, rest, .. } => {
                for field in fields.values() {
                    below(field);
                }
                if let Rest::Of(value) = rest {
                    below(value);
                }
            }
            Shape::List { items, .. } => below(items),
            Shape::Scalar(_) | Shape::Any => {}
        }
        let nullable = document["nullable"] == true;
        Schema {
            shape,
            nullable,
            default,
            limits: limits(document),
            rules,
            ruled: has_rules,
            transitional,
            defaulting,
            scaled: false,
        }
    }

    fn shape(&self, document: &Value) -> Shape {
        let keeps = document["x-kubernetes-preserve-unknown-fields"] == true;
        if document["x-kubernetes-int-or-string"] == true {
            return Shape::Scalar(Scalar::IntOrText);
        }
        match document["type"].as_str() {
            Some("object") => {
                let fields: BTreeMap<String, Arc<Schema>> = document["properties"]
                    .as_object()
                    .map(|all| {
                        all.iter().map(|(name, field)| (name.clone(), Arc::new(self.read(field)))).collect()
                    })
                    .unwrap_or_default();
                let values = &document["additionalProperties"];
                // A built-in object without fields is raw JSON, which is owned as a whole.
                let raw = fields.is_empty() && values.is_null() && !self.types.is_null();
                let rest = match values {
                    Value::Object(_) => Rest::Of(Arc::new(self.read(values))),
                    _ if keeps || raw || *values == true => Rest::Kept,
                    _ => Rest::Dropped,
                };
                let atomic = raw || document["x-kubernetes-map-type"] == "atomic";
                let required = strings(&document["required"]);
                Shape::Object { fields, rest, required, atomic }
            }
            Some("array") => {
                let relation = match document["x-kubernetes-list-type"].as_str() {
                    Some("map") => Relation::Keyed(strings(&document["x-kubernetes-list-map-keys"])),
                    Some("set") => Relation::Set,
                    _ => Relation::Atomic,
                };
                Shape::List { items: Arc::new(self.read(&document["items"])), relation }
            }
            Some("string") => Shape::Scalar(match document["format"].as_str() {
                Some("int-or-string") => Scalar::IntOrText,
                Some("date-time") => Scalar::Time,
                None if std::ptr::eq(document, self.named("api.resource.Quantity")) => Scalar::Quantity,
                _ => Scalar::Text,
            }),
            Some("integer") => Shape::Scalar(Scalar::Integer),
            Some("number") => Shape::Scalar(Scalar::Number),
            Some("boolean") => Shape::Scalar(Scalar::Flag),
            _ => Shape::Any,
        }
    }
}

fn text() -> Schema {
    Schema { shape: Shape::Scalar(Scalar::Text), nullable: false, ..Schema::any() }
}

fn limits(document: &Value) -> Limits {
    let number = |name: &str| document[name].as_f64();
    let count = |name: &str| document[name].as_u64();
    Limits {
        minimum: number("minimum"),
        maximum: number("maximum"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        max_properties: count("maxProperties"),
        pattern: document["pattern"].as_str().map(str::to_owned),
        choices: list(&document["enum"]).to_vec(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
