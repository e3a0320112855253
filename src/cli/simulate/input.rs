//! A file of YAML → the objects of a world: what serves, what is rolled out, and who gets traffic.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::api::v1alpha1::{ModelDeployment, TrafficSplit};

/// What is rolled out, and where.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// The `TrafficSplit`.
    pub split: TrafficSplit,
    /// All objects to begin with: the models as they serve, then the `TrafficSplit`.
    pub objects: Vec<Value>,
    /// The model whose new version is rolled out: its name.
    pub model: String,
    /// Its new spec.
    pub after: Value,
    /// What the new version is called.
    pub version: String,
}

/// The objects in `text`.
///
/// Errors name the field and say what to write instead.
pub(super) fn read(text: &str) -> Result<Input, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let of_kind = |kind: &str| documents.iter().filter(|d| d["kind"] == *kind).cloned().collect::<Vec<_>>();
    let mut splits = of_kind("TrafficSplit").into_iter();
    let split = splits.next().ok_or("it holds no TrafficSplit: put it into the file that is simulated")?;
    if splits.next().is_some() {
        return Err("it holds more than one TrafficSplit: put each in a file of its own".to_owned());
    }
    let split: TrafficSplit = typed(split)?;
    let mut models: Vec<ModelDeployment> =
        of_kind("ModelDeployment").into_iter().map(typed).collect::<Result<_, _>>()?;
    let named: Vec<&str> = split.spec.backends.iter().map(|b| b.model_deployment_ref.name.as_str()).collect();
    for model in &models {
        let name = model.metadata.name.as_deref().unwrap_or_default();
        if !named.contains(&name) {
            let others = named.join(", ");
            return Err(format!(
                "ModelDeployment {name:?} gets no traffic: spec.backends of the TrafficSplit names {others}; write its name there, or take it out of the file"
            ));
        }
    }
    let Some(first) = named.first() else {
        return Err("TrafficSplit: spec.backends is empty: name a ModelDeployment".to_owned());
    };
    let count = |models: &[ModelDeployment], name: &str| models.iter().filter(|m| is(m, name)).count();
    // The one that has two versions in the file, else the first that is there, else the first backend's.
    let twice = named.iter().find(|name| count(&models, name) > 1);
    let there = named.iter().find(|name| count(&models, name) > 0);
    let model = (*twice.or(there).unwrap_or(first)).to_owned();
    let namespace = split.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    for name in &named {
        if count(&models, name) == 0 {
            models.push(made_up(name)?);
        }
    }
    let mut own: Vec<ModelDeployment> = models.iter().filter(|m| is(m, &model)).cloned().collect();
    let mut after = own.pop().ok_or("a model is lost")?;
    let version = new_version(&mut after);
    let before = own.pop().unwrap_or_else(|| before(&after, &version));
    models.retain(|m| !is(m, &model));
    models.push(before);
    let objects = models.iter().map(value).chain([value(&split)]).map(|mut object| {
        object["metadata"]["namespace"] = json!(namespace);
        object
    });
    let objects = objects.collect();
    Ok(Input { split, objects, model, after: value(&after)["spec"].clone(), version })
}

fn is(model: &ModelDeployment, name: &str) -> bool {
    model.metadata.name.as_deref() == Some(name)
}

/// An object as its type reads it: a wrong value, an unknown or a missing field is named by its path.
fn typed<T: DeserializeOwned + Serialize>(document: Value) -> Result<T, String> {
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    if !document["metadata"]["name"].is_string() {
        return Err(format!("{kind}: metadata.name is missing: give it a name, for instance iris"));
    }
    let typed: T = serde_path_to_error::deserialize(&document).map_err(|error| {
        let path = error.path().to_string();
        format!("{kind}: {path}: {}", error.into_inner())
    })?;
    match unknown(&document["spec"], &value(&typed)["spec"], "spec") {
        Some(path) => Err(format!(
            "{kind}: {path}: unknown field; `kubectl explain {}.spec --recursive` lists those that there are",
            kind.to_lowercase()
        )),
        None => Ok(typed),
    }
}

/// The first field that is in `given` and not in `read`.
fn unknown(given: &Value, read: &Value, path: &str) -> Option<String> {
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => given.iter().find_map(|(field, value)| {
            let path = format!("{path}.{field}");
            match read.get(field) {
                Some(read) => unknown(value, read, &path),
                // What says nothing is not kept.
                None => {
                    let nothing =
                        value.is_null() || value == &json!([]) || value == &json!({}) || value == &json!("");
                    (!nothing).then_some(path)
                }
            }
        }),
        (Value::Array(given), Value::Array(read)) => {
            let mut pairs = given.iter().zip(read).enumerate();
            pairs.find_map(|(index, (given, read))| unknown(given, read, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}

fn value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn made_up(name: &str) -> Result<ModelDeployment, String> {
    let object = json!({
        "apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name},
        "spec": {"model": {"version": "new", "format": "any"}, "runtimeRef": {"name": "made-up"}, "replicas": 2},
    });
    serde_json::from_value(object).map_err(|error| error.to_string())
}

/// What the new version is called; one without a name gets one, because behaviour goes by it.
fn new_version(after: &mut ModelDeployment) -> String {
    if after.spec.version().is_empty() {
        named(after, "new");
    }
    after.spec.version().to_owned()
}

/// The version before: the same but for its name.
fn before(after: &ModelDeployment, version: &str) -> ModelDeployment {
    let mut before = after.clone();
    named(&mut before, if version == "before" { "serving" } else { "before" });
    before
}

fn named(model: &mut ModelDeployment, version: &str) {
    match &mut model.spec.model {
        Some(model) => version.clone_into(&mut model.version),
        None => {
            model.spec.model =
                Some(crate::api::v1alpha1::Model { version: version.to_owned(), uri: None, format: None });
        }
    }
}
