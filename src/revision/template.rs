//! Reads a raw pod template into its type without losing anything in silence: every unknown field, wrong type, missing
//! name, `null` and `$patch` is reported with its path.

use std::fmt::Write;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// What is wrong at one place: `spec.template.spec.containers[0].imag: unknown field`.
pub(super) type Problem = String;

/// Lists whose entries have a name of their own, with the field that holds it. An entry that occurs twice is a mistake
/// that merging would hide.
const NAMED: [(&str, &str); 5] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
];

/// The pod template in `raw`, which the user finds under `path`; or everything that is wrong with it, at least one
/// problem, in the order of the document.
pub(super) fn parse(raw: &Value, path: &str) -> Result<PodTemplateSpec, Vec<Problem>> {
    let mut problems = Vec::new();
    forbidden(raw, path, &mut problems);
    foreign_metadata(raw, path, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    typed(raw, path)
}

/// A pod template that we stored ourselves: as [`parse`], but our own labels may be there.
pub(super) fn read(stored: &Value) -> Result<PodTemplateSpec, Vec<Problem>> {
    typed(stored, "data.template")
}

fn typed(raw: &Value, path: &str) -> Result<PodTemplateSpec, Vec<Problem>> {
    let text = serde_json::to_string_pretty(raw).unwrap_or_default();
    let typed: PodTemplateSpec =
        serde_json::from_str(&text).map_err(|error| vec![type_error(raw, path, &error)])?;
    let known = serde_json::to_value(&typed).unwrap_or_default();
    let mut problems = Vec::new();
    compare(raw, &known, path, &mut problems);
    if problems.is_empty() { Ok(typed) } else { Err(problems) }
}

/// A list of problems as the end of a sentence: the first five, and how many more there are.
pub(super) fn sentence(problems: &[Problem]) -> String {
    let mut text = problems.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("; ");
    if problems.len() > 5 {
        let _ = write!(text, "; and {} more", problems.len() - 5);
    }
    text
}

/// `null` (which means "remove" in one kind of patch and nothing in another) and the directives of strategic merge.
fn forbidden(value: &Value, path: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Null => {
            problems.push(format!("{path}: null is not supported; leave the field out, or write its value"));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                forbidden(item, &format!("{path}[{index}]"), problems);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                if key.starts_with('$') {
                    problems.push(format!(
                        "{path}.{key}: patch directives are not supported; the template is merged by name, and what the runtime sets can be replaced but not removed"
                    ));
                } else {
                    forbidden(item, &format!("{path}.{key}"), problems);
                }
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Of a pod template's metadata only labels and annotations reach the pods; ours are not the user's to set.
fn foreign_metadata(raw: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(metadata) = raw.get("metadata").and_then(Value::as_object) else { return };
    for key in metadata.keys().filter(|key| !["labels", "annotations"].contains(&key.as_str())) {
        problems
            .push(format!("{path}.metadata.{key}: only labels and annotations may be given here; remove it"));
    }
    for field in ["labels", "annotations"] {
        let keys = metadata.get(field).and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
        for key in keys.filter(|key| key.starts_with("seatrial.dev/")) {
            problems.push(format!(
                "{path}.metadata.{field}.{key}: keys under seatrial.dev/ are set by the operator; remove it"
            ));
        }
    }
}

/// What the type does not know (in `raw`, not in `known`), and what it needs (a name or a port that it filled with
/// nothing).
fn compare(raw: &Value, known: &Value, path: &str, problems: &mut Vec<Problem>) {
    match (raw, known) {
        (Value::Object(given), Value::Object(read)) => {
            for (key, item) in given {
                match read.get(key) {
                    Some(counterpart) => {
                        unique(key, item, &format!("{path}.{key}"), problems);
                        compare(item, counterpart, &format!("{path}.{key}"), problems);
                    }
                    None => problems.push(format!("{path}.{key}: unknown field")),
                }
            }
            for (key, item) in read {
                if !given.contains_key(key) && (item == "" || item == 0) {
                    problems.push(format!("{path}.{key}: required"));
                }
            }
        }
        (Value::Array(given), Value::Array(read)) => {
            for (index, (item, counterpart)) in given.iter().zip(read).enumerate() {
                compare(item, counterpart, &format!("{path}[{index}]"), problems);
            }
        }
        _ => {}
    }
}

fn unique(list: &str, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let (Some((_, field)), Some(items)) = (NAMED.iter().find(|(name, _)| *name == list), value.as_array())
    else {
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let name = &item[*field];
        if !name.is_null() && items[..index].iter().any(|earlier| earlier[*field] == *name) {
            problems.push(format!("{path}[{index}]: a second entry with {field} {name}; write it once"));
        }
    }
}

/// serde's error knows the line of the pretty-printed text, and each line of that belongs to one path.
fn type_error(raw: &Value, path: &str, error: &serde_json::Error) -> Problem {
    let mut lines = Vec::new();
    paths_by_line(raw, path, &mut lines);
    let place = lines.get(error.line().saturating_sub(1)).map_or(path, String::as_str);
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("{place}: {what}")
}

/// One path for each line of `serde_json::to_string_pretty`.
fn paths_by_line(value: &Value, path: &str, lines: &mut Vec<String>) {
    lines.push(path.to_owned());
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, item)| (format!("{path}.{key}"), item)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(i, item)| (format!("{path}[{i}]"), item)).collect()
        }
        _ => Vec::new(),
    };
    if !inner.is_empty() {
        for (place, item) in inner {
            paths_by_line(item, &place, lines);
        }
        lines.push(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::unknown(json!({"spec": {"containers": [{"name": "a", "imag": "x"}]}}), "t.spec.containers[0].imag: unknown field")]
    #[case::unknown_in_a_probe(
        json!({"spec": {"containers": [{"name": "a", "readinessProbe": {"httpGet": {"port": 1, "pth": "/"}}}]}}),
        "t.spec.containers[0].readinessProbe.httpGet.pth: unknown field"
    )]
    #[case::at_the_top(json!({"containers": []}), "t.containers: unknown field")]
    #[case::nothing_at_all(json!({"spec": {"nodeName": null}}), "t.spec.nodeName: null is not supported; leave the field out, or write its value")]
    #[case::directive(
        json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
        "t.spec.containers[0].$patch: patch directives are not supported; the template is merged by name, and what the runtime sets can be replaced but not removed"
    )]
    #[case::wrong_type(
        json!({"spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b", "ports": [{"name": "http", "containerPort": "80"}]}]}}),
        "t.spec.containers[1].ports[0].containerPort: invalid type: string \"80\", expected i32"
    )]
    #[case::list_expected(
        json!({"spec": {"containers": {"name": "a"}}}),
        "t.spec.containers: invalid type: map, expected a sequence"
    )]
    #[case::not_an_object(json!("x"), "t: invalid type: string \"x\", expected PodTemplateSpec")]
    #[case::no_name(json!({"spec": {"containers": [{"image": "x"}]}}), "t.spec.containers[0].name: required")]
    #[case::no_port(json!({"spec": {"containers": [{"name": "a", "ports": [{"name": "http"}]}]}}), "t.spec.containers[0].ports[0].containerPort: required")]
    #[case::twice(
        json!({"spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]}]}}),
        "t.spec.containers[0].env[1]: a second entry with name \"X\"; write it once"
    )]
    #[case::metadata(json!({"metadata": {"namespace": "x"}}), "t.metadata.namespace: only labels and annotations may be given here; remove it")]
    #[case::our_label(
        json!({"metadata": {"labels": {"seatrial.dev/model": "x"}}}),
        "t.metadata.labels.seatrial.dev/model: keys under seatrial.dev/ are set by the operator; remove it"
    )]
    fn a_mistake_is_reported_with_its_path(#[case] raw: Value, #[case] problem: &str) {
        assert_eq!(parse(&raw, "t").unwrap_err(), [problem]);
    }

    #[test]
    fn every_unknown_field_is_reported() {
        let raw = json!({"spec": {"a": 1, "containers": [{"name": "m", "b": 2}], "volumes": [{"name": "v", "c": {}}]}});
        let problems = parse(&raw, "t").unwrap_err();
        assert_eq!(
            sentence(&problems),
            "t.spec.a: unknown field; t.spec.containers[0].b: unknown field; t.spec.volumes[0].c: unknown field"
        );
        let many: Vec<Problem> = (0..7).map(|i| i.to_string()).collect();
        assert_eq!(sentence(&many), "0; 1; 2; 3; 4; and 2 more");
    }

    #[test]
    fn quantities_may_be_numbers_and_ports_may_be_names() {
        let raw = json!({"spec": {"containers": [{
            "name": "a", "resources": {"limits": {"cpu": 2, "nvidia.com/gpu": 1}},
            "startupProbe": {"httpGet": {"port": "http"}}, "securityContext": {}, "args": [], "env": [{"name": "E", "value": ""}],
        }], "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"operator": "Exists"}]}});
        parse(&raw, "t").unwrap();
    }

    proptest::proptest! {
        #[test]
        fn no_document_makes_it_panic(text in "[\\[\\]{}\":,a-z0-9.$ ]{0,60}") {
            if let Ok(raw) = serde_json::from_str::<Value>(&text) {
                let _ = parse(&raw, "t");
            }
        }
    }
}
