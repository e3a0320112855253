//! Specs that change at random, as the CRDs' schemas allow (and do not allow): what a spec is reached by must not matter, so
//! the end must be that of a world in which the last spec was the first.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use seatrial::world::{
    history::Change,
    plant::{chance::source, user::Deed},
};
use serde_json::{Map, Value, json};

use super::{bases, end, note, told};
use crate::{
    beside,
    checker::{Invariant, Violation},
    objects::NAMESPACE,
    report::Report,
    scenario::{Scenario, Version, model_key, split_key},
    seed::{self, Outcome},
};

const CRDS: [(&str, &str); 2] = [
    ("ModelDeployment", include_str!("../../crds/modeldeployments.yaml")),
    ("TrafficSplit", include_str!("../../crds/trafficsplits.yaml")),
];

/// Runs so many sequences of changes.
pub fn run(count: u64, report: &Mutex<Report>) {
    let schemas = schemas();
    let compared = AtomicU64::new(0);
    beside(1..count + 1, |seed| {
        let (outcome, alike) = play(&changed(seed, &schemas));
        compared.fetch_add(u64::from(alike), Ordering::Relaxed);
        note(report, &format!("CHANGES={seed} make sim-plans"), &outcome);
        true
    });
    let told = format!(
        "{compared:?} of {count} ended in a spec that is served, and were compared with a world made of it"
    );
    println!("{told}");
    if compared.into_inner() * 10 < count {
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.failed.push(("the spec changes".to_owned(), told));
    }
}

/// Runs one sequence of changes and tells its history.
pub fn tell(seed: u64) {
    let changed = changed(seed, &schemas());
    told(&changed, &play(&changed).0);
}

/// What came of the changes, and whether it could be compared with a world made of the last specs.
fn play(changed: &Scenario) -> (Outcome, bool) {
    let mut outcome = seed::play(changed);
    let fresh = seed::play(&afresh(changed, &outcome.history));
    let compared = compare(&mut outcome, &fresh);
    (outcome, compared)
}

fn schemas() -> Vec<(&'static str, Value)> {
    CRDS.iter().map(|(kind, text)| (*kind, schema(text))).collect()
}

/// `spec` of a CRD's schema.
fn schema(text: &str) -> Value {
    let crd: Value = serde_saphyr::from_str(text).unwrap_or_default();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// A good rollout whose specs change three to six times.
fn changed(seed: u64, schemas: &[(&str, Value)]) -> Scenario {
    let mut chance = source(seed, "transitions");
    let mut scenario = bases::rollout(Version::Good);
    scenario.seed = seed;
    for number in 0..chance.u64(3..=6) {
        let (kind, schema) = &schemas[chance.usize(..schemas.len())];
        let key = if *kind == "TrafficSplit" { split_key("iris") } else { model_key("iris") };
        let spec = field(schema, &mut chance);
        let at = Duration::from_secs(12 + 5 * number) + Duration::from_millis(chance.u64(..3000));
        scenario.script.push((at, Deed::Merge(key, json!({"spec": spec}))));
    }
    // A field that is taken out gets its default: a window of a quarter of an hour, steps of an hour.
    scenario.splits[0].window = 900;
    scenario.splits[0].steps.iter_mut().for_each(|step| step.longest = 3600);
    scenario
}

/// The same people, who write at once what stands there at the end.
fn afresh(changed: &Scenario, history: &[Change]) -> Scenario {
    let last = |kind: &str| {
        let mine = |change: &&Change| change.key.kind == kind && change.key.namespace == NAMESPACE;
        let object = history.iter().rev().find(mine).and_then(|change| change.after.clone())?;
        Some(json!({"apiVersion": object["apiVersion"], "kind": kind, "spec": object["spec"],
                    "metadata": {"namespace": NAMESPACE, "name": object["metadata"]["name"]}}))
    };
    let made = CRDS.iter().filter_map(|(kind, _)| last(kind));
    let script = made.map(|object| (Duration::ZERO, Deed::Create(object))).collect();
    Scenario { script, ..changed.clone() }
}

/// Compares what serves. `false`: one of the worlds ended in a spec that is not served.
fn compare(outcome: &mut Outcome, fresh: &Outcome) -> bool {
    let (came, wanted) = (serving(outcome), serving(fresh));
    let (Some(came), Some(wanted)) = (came, wanted) else { return false };
    *outcome.report.evaluated.entry(Invariant::L1).or_default() += 1;
    if came != wanted {
        outcome.report.violations.push(Violation {
            invariant: Invariant::L1,
            at: outcome.lived,
            revision: None,
            message: format!("the changed specs ended in {came}; made from scratch they give {wanted}"),
        });
    }
    true
}

/// The route, the stable Service and the size of the stable revision; `None` unless the latest revision is the stable one, and
/// the specs are served as they stand.
fn serving(outcome: &Outcome) -> Option<Value> {
    let end = end(&outcome.history);
    let status = |kind: &str| {
        let last = outcome.history.iter().rev().find(|change| change.key.kind == kind)?;
        Some(last.after.as_ref()?["status"].clone())
    };
    let (model, split) = (status("ModelDeployment")?, status("TrafficSplit")?);
    let stable = model["stableRevision"].as_str()?;
    if model["phase"] != "Stable" || model["latestRevision"] != stable {
        return None;
    }
    let holds = |condition: &Value| condition["type"] == "Progressing" || condition["status"] == "True";
    let accepted = [&model, &split].into_iter().all(|status| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.filter(|condition| condition["type"] != "Stalled").all(holds)
    });
    let names = ["HTTPRoute/iris".to_owned(), "Service/iris".to_owned(), format!("Deployment/{stable}")];
    let parts: Map<String, Value> =
        names.into_iter().map(|name| (name.clone(), end[&name].clone())).collect();
    accepted.then_some(Value::Object(parts))
}

/// A change of one field of an object, at any depth, as a merge patch.
fn field(schema: &Value, chance: &mut Rng) -> Value {
    let Some(properties) = schema["properties"].as_object() else { return value(schema, "", chance) };
    let names: Vec<&String> = properties.keys().filter(|name| *name != "provider").collect();
    if names.is_empty() {
        return json!({});
    }
    let name = names[chance.usize(..names.len())];
    let below = &properties[name.as_str()];
    let inner = below["properties"].is_object() && chance.u8(..4) > 0;
    let new = if inner { field(below, chance) } else { value(below, name, chance) };
    json!({name.as_str(): new})
}

/// Any value for a schema: mostly one that it allows.
fn value(schema: &Value, name: &str, chance: &mut Rng) -> Value {
    if chance.u8(..12) == 0 {
        return Value::Null;
    }
    if let Some(all) = schema["enum"].as_array() {
        return all[chance.usize(..all.len())].clone();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "boolean" => json!(chance.bool()),
        "integer" => {
            let (least, most) =
                (schema["minimum"].as_i64().unwrap_or(0), schema["maximum"].as_i64().unwrap_or(6));
            json!(chance.i64(least - 1..=most.min(least + 5)))
        }
        "array" => {
            let count = chance.usize(..=3);
            (0..count).map(|_| value(&schema["items"], name, chance)).collect()
        }
        "object" => {
            let mut object = Map::new();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            for (field, below) in schema["properties"].as_object().into_iter().flatten() {
                if required.iter().any(|name| name == field) || chance.u8(..3) == 0 {
                    object.insert(field.clone(), value(below, field, chance));
                }
            }
            Value::Object(object)
        }
        _ => text(schema, name, chance),
    }
}

/// Words that fields of these names take; some are wrong on purpose.
fn text(schema: &Value, name: &str, chance: &mut Rng) -> Value {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let words: &[&str] = match name {
        "weight" | "objective" | "falseRollback" | "falsePromotion" | "tolerance" => {
            &["0%", "1%", "5%", "20%", "50%", "90%", "99.5%", "100%", "-1%"]
        }
        "progressDeadline" => &["20s", "30s", "1m"],
        "interval" => &["1s", "2s", "500ms", "11m"],
        "version" => &["1.0.0", "2.0.0", "", "a b"],
        "uri" => &["pvc://models/iris", "hf://team/iris", "s3://bucket/iris"],
        "name" => &["iris", "wine", "public", "mlserver-1.7.1", "Not A Name"],
        "namespace" => &["infra", "ml"],
        "group" => &["gateway.networking.k8s.io", ""],
        // Nobody in this world speaks for a Service's mesh.
        "kind" => &["Gateway", "Pod"],
        "value" | "path" => &["/", "/v2", "v2"],
        "dispersion" => &["0", "1", "101"],
        _ if pattern.contains("ms") || pattern.contains('h') => &["1s", "3s", "10s", "0s", "1 s"],
        _ => &["a", "x.example.com", "0.5", ""],
    };
    json!(words[chance.usize(..words.len())])
}
