//! A revision's name: the hash of what the user asked to run, as canonical JSON.
//!
//! It depends on `model`, `runtimeRef` and `template` as given and on nothing else: not on the order of keys or fields,
//! not on defaults of a later release, not on `replicas`. The golden vectors in the tests may never change.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use serde_json::{Number, Value, json};
use sha2::{Digest, Sha256};

use crate::api::v1alpha1::ModelDeploymentSpec;

/// Number of the algorithm, stored with each revision. A release that hashes otherwise takes the next number and keeps
/// this one for the revisions that have it.
pub const ALGORITHM: i32 = 1;

/// Lower-case letters without vowels and digits that look like none: no words, and valid inside a DNS-1035 label.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Who a revision is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// `<name>-<hash8>`: the name of its `ControllerRevision`, Deployment and Service.
    pub name: String,
    /// SHA-256 of the canonical JSON, in hexadecimal: tells two revisions of the same name apart.
    pub hash: String,
    /// [`ALGORITHM`].
    pub algorithm: i32,
}

/// The identity of what `spec` asks to run, for the `ModelDeployment` called `name`.
#[must_use]
pub fn identity(name: &str, spec: &ModelDeploymentSpec) -> Identity {
    let digest = Sha256::digest(canonical(spec));
    let mut hash = String::with_capacity(64);
    let mut head: u64 = 0;
    for (index, byte) in digest.iter().enumerate() {
        let _ = write!(hash, "{byte:02x}");
        if index < 8 {
            head = head << 8 | u64::from(*byte);
        }
    }
    Identity { name: format!("{name}-{}", hash8(head)), hash, algorithm: ALGORITHM }
}

/// What is hashed.
fn canonical(spec: &ModelDeploymentSpec) -> Vec<u8> {
    let mut text = vec![];
    write_members(&mut text, asked(spec).iter().map(|(name, part)| (*name, &**part)));
    text
}

/// The three parts that make a revision, each only if it is given, in order of their names.
fn asked(spec: &ModelDeploymentSpec) -> Vec<(&'static str, Cow<'_, Value>)> {
    let mut parts = vec![];
    if let Some(model) = &spec.model {
        let fields = [
            ("version", Some(&model.version)),
            ("uri", model.uri.as_ref()),
            ("format", model.format.as_ref()),
        ];
        let given = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
        parts.push(("model", Cow::Owned(Value::Object(given.collect()))));
    }
    if let Some(runtime) = &spec.runtime_ref {
        parts.push(("runtimeRef", Cow::Owned(json!({"name": runtime.name}))));
    }
    if let Some(template) = &spec.template {
        parts.push(("template", Cow::Borrowed(template)));
    }
    parts
}

/// Eight characters of [`ALPHABET`]: 38 bits of the hash.
fn hash8(mut head: u64) -> String {
    let base = ALPHABET.len() as u64;
    let mut text = String::with_capacity(8);
    for _ in 0..8 {
        let digit = usize::try_from(head % base).unwrap_or_default();
        text.push(char::from(ALPHABET[digit]));
        head /= base;
    }
    text
}

/// JSON with sorted keys, no white space, and one form for each number.
fn write_canonical(text: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => plain(text, value),
        Value::Number(number) => text.extend(canonical_number(number).bytes()),
        Value::Array(items) => {
            text.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write_canonical(text, item);
            }
            text.push(b']');
        }
        Value::Object(fields) => {
            // Sorted here, whatever serde_json's features make of a map's own order.
            if fields.keys().is_sorted() {
                write_members(text, fields.iter().map(|(key, item)| (key.as_str(), item)));
            } else {
                let sorted: BTreeMap<_, _> = fields.iter().collect();
                write_members(text, sorted.into_iter().map(|(key, item)| (key.as_str(), item)));
            }
        }
    }
}

fn write_members<'a>(text: &mut Vec<u8>, members: impl Iterator<Item = (&'a str, &'a Value)>) {
    text.push(b'{');
    for (index, (key, item)) in members.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        plain(text, key);
        text.push(b':');
        write_canonical(text, item);
    }
    text.push(b'}');
}

/// What has one form only.
fn plain<T: serde::Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) {
    // Nothing can fail: it is written to memory.
    let _ = serde_json::to_writer(text, value);
}

/// `1`, `1.0` and `1e0` are one number: the API server may hand any of them back.
fn canonical_number(number: &Number) -> String {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if !number.is_i64() && !number.is_u64() => {
            if float == 0.0 {
                "0".to_owned()
            } else if float.fract() == 0.0 && float.abs() < EXACT {
                format!("{float:.0}")
            } else {
                format!("{float}")
            }
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn spec(value: Value) -> ModelDeploymentSpec {
        serde_json::from_value(value).unwrap()
    }

    fn name_of(value: Value) -> String {
        identity("iris", &spec(value)).name
    }

    /// Computed by another program (Python's json and hashlib). A change here means that every model of every user is rolled out anew: never edit a vector.
    #[rstest]
    #[case::whole(
        json!({"model": {"version": "2.1.0", "uri": "pvc://models/iris/2.1.0", "format": "sklearn"},
               "runtimeRef": {"name": "mlserver-1.7.1"},
               "template": {"spec": {"containers": [{"name": "model", "resources": {"requests": {"cpu": "500m"}}}]}}}),
        "iris-p6d9pqrk", "8c97f9fd73cbbc6bbc4745df18ada1230ae75d798ffd4c62542b0ac8628f19a9"
    )]
    #[case::without_template(
        json!({"model": {"version": "1"}, "runtimeRef": {"name": "mlserver-1.7.1"}}),
        "iris-kb4gblz8", "9cc4b920ec5deb175a15bf85e76db9b2bd498655b1cb169b881c9a4d70c0e47c"
    )]
    #[case::template_alone(
        json!({"template": {"spec": {"terminationGracePeriodSeconds": 30, "containers": []}}}),
        "iris-wq629ml2", "67a32004351d383ffda6560bb86d1315f445295f183c01937888614753ce6889"
    )]
    fn golden(#[case] given: Value, #[case] name: &str, #[case] hash: &str) {
        let identity = identity("iris", &spec(given));
        assert_eq!((identity.name.as_str(), identity.hash.as_str(), identity.algorithm), (name, hash, 1));
    }

    #[test]
    fn what_is_hashed_is_exactly_what_was_asked() {
        let given = json!({"model": {"version": "1", "format": "sklearn"}, "replicas": 3, "template": {"b": 1.0, "a": ["ü\n", null]}});
        assert_eq!(
            String::from_utf8(canonical(&spec(given))).unwrap(),
            r#"{"model":{"format":"sklearn","version":"1"},"template":{"a":["ü\n",null],"b":1}}"#
        );
    }

    #[test]
    fn size_and_patience_are_not_part_of_a_revision() {
        let base = json!({"model": {"version": "1"}, "runtimeRef": {"name": "r"}});
        let mut more = base.clone();
        more["replicas"] = json!(7);
        more["progressDeadline"] = json!("1h");
        more["revisionHistoryLimit"] = json!(9);
        assert_eq!(name_of(base), name_of(more));
    }

    #[test]
    fn each_part_changes_the_name() {
        let names: std::collections::BTreeSet<_> = [
            json!({"model": {"version": "1"}, "runtimeRef": {"name": "r"}}),
            json!({"model": {"version": "2"}, "runtimeRef": {"name": "r"}}),
            json!({"model": {"version": "1", "format": "f"}, "runtimeRef": {"name": "r"}}),
            json!({"model": {"version": "1", "uri": "f"}, "runtimeRef": {"name": "r"}}),
            json!({"model": {"version": "1"}, "runtimeRef": {"name": "s"}}),
            json!({"model": {"version": "1"}, "runtimeRef": {"name": "r"}, "template": {}}),
        ]
        .map(name_of)
        .into();
        assert_eq!(names.len(), 6);
    }

    #[rstest]
    #[case("1.0", "1")]
    #[case("1e0", "1")]
    #[case("-0.0", "0")]
    #[case("0.50", "0.5")]
    #[case("18446744073709551615", "18446744073709551615")]
    #[case("1e21", "1000000000000000000000")]
    fn a_number_has_one_form(#[case] given: &str, #[case] form: &str) {
        let mut text = vec![];
        write_canonical(&mut text, &serde_json::from_str(given).unwrap());
        assert_eq!(String::from_utf8(text).unwrap(), form);
    }

    proptest! {
        #[test]
        fn the_name_is_a_dns_label(version in "[a-z0-9.]{1,20}", name in "[a-z][a-z0-9-]{0,52}[a-z0-9]") {
            let identity = identity(&name, &spec(json!({"model": {"version": version}})));
            prop_assert!(identity.name.len() <= 63);
            let tail = identity.name.strip_prefix(&format!("{name}-")).unwrap();
            prop_assert!(tail.len() == 8 && tail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        }

        #[test]
        fn the_order_of_keys_is_nothing(pairs in proptest::collection::btree_map("[a-z]{1,6}", 0..100_i64, 0..8)) {
            let forward: serde_json::Map<_, _> = pairs.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
            let backward: serde_json::Map<_, _> = pairs.iter().rev().map(|(k, v)| (k.clone(), json!(v))).collect();
            prop_assert_eq!(name_of(json!({"template": forward})), name_of(json!({"template": backward})));
        }
    }
}
