//! Whether what lives already says all that we want: then nothing is written.
//!
//! The API server adds to what it is given (defaults, cluster IPs, status) and rewrites a little of it (quantities, empty
//! values). Neither is a difference. What another field manager put into a named list (a container, a variable) is none
//! either: our apply would not take it out, and comparing it would write for ever.

use serde_json::{Map, Value};

/// Lists that server-side apply merges by key, with the fields of the key. All other lists are compared whole.
const KEYED: [(&str, &[&str]); 14] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("volumes", &["name"]),
    ("env", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("ports", &["containerPort", "port", "protocol"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("resourceClaims", &["name"]),
    ("claims", &["name"]),
    ("schedulingGates", &["name"]),
    ("ownerReferences", &["uid"]),
];

/// Plain values that the API server leaves out when they are false or zero. Others (`runAsUser: 0`,
/// `allowPrivilegeEscalation: false`) mean something, and it keeps them.
const ZERO_IS_ABSENT: [&str; 9] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "initialDelaySeconds",
    "minReadySeconds",
];

/// Numbers for which zero asks for the default.
const ZERO_IS_DEFAULT: [&str; 4] =
    ["periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold"];

/// Maps that the API server leaves out when they are empty. Other empty objects (`emptyDir: {}`) mean something.
const EMPTY_MAPS: [&str; 7] =
    ["labels", "annotations", "nodeSelector", "matchLabels", "limits", "requests", "overhead"];

/// Fields whose values, and maps whose members, are quantities: `0.5` comes back as `500m`.
const QUANTITIES: [&str; 6] = ["limits", "requests", "overhead", "sizeLimit", "divisor", "storage"];

/// Whether `live` says all that `desired` says: maps may hold more; entries of named lists are found by name, of others
/// by place, and then the length must be the same.
#[must_use]
pub fn covers(live: &Value, desired: &Value) -> bool {
    same("", Some(live), desired)
}

fn same(key: &str, live: Option<&Value>, desired: &Value) -> bool {
    let Some(live) = live.filter(|value| !value.is_null()) else { return is_nothing(key, desired) };
    match (live, desired) {
        (_, Value::Number(number)) if ZERO_IS_DEFAULT.contains(&key) && number.as_i64() == Some(0) => true,
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(field, value)| {
            let inner = if QUANTITIES.contains(&key) { key } else { field };
            same(inner, live.get(field), value)
        }),
        (Value::Array(live), Value::Array(desired)) => same_list(key, live, desired),
        (Value::String(live), Value::String(desired)) if QUANTITIES.contains(&key) && live != desired => {
            matches!((nanos(live), nanos(desired)), (Some(a), Some(b)) if a == b)
        }
        _ => live == desired,
    }
}

fn same_list(key: &str, live: &[Value], desired: &[Value]) -> bool {
    let Some((_, fields)) = KEYED.iter().find(|(list, _)| *list == key) else {
        return live.len() == desired.len() && live.iter().zip(desired).all(|(l, d)| same("", Some(l), d));
    };
    desired.iter().all(|wanted| {
        let found = live
            .iter()
            .find(|entry| fields.iter().all(|field| key_of(entry, field) == key_of(wanted, field)));
        same("", found, wanted)
    })
}

fn key_of<'a>(entry: &'a Value, field: &str) -> Option<&'a Value> {
    const TCP: &Value = &Value::Null;
    match entry.get(field) {
        Some(Value::String(text)) if field == "protocol" && text == "TCP" => Some(TCP),
        None if field == "protocol" => Some(TCP),
        value => value,
    }
}

fn is_nothing(key: &str, desired: &Value) -> bool {
    match desired {
        Value::Null => true,
        Value::Bool(flag) => !flag && ZERO_IS_ABSENT.contains(&key),
        Value::Number(number) => {
            number.as_i64() == Some(0) && (ZERO_IS_ABSENT.contains(&key) || ZERO_IS_DEFAULT.contains(&key))
        }
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => EMPTY_MAPS.contains(&key) && Map::is_empty(fields),
    }
}

/// A quantity in billionths, the finest that Kubernetes keeps (it rounds up); `None` for what is no quantity.
fn nanos(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 18 || whole.len() > 19 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, power) = scale(suffix)?;
    let scaled = digits.checked_mul(factor)?;
    let power = power + 9 - i32::try_from(fraction.len()).ok()?;
    let ten = 10_i128.checked_pow(power.unsigned_abs())?;
    if power >= 0 {
        return scaled.checked_mul(ten);
    }
    let rounded_up = i128::from(scaled % ten != 0 && scaled > 0);
    Some(scaled / ten + rounded_up)
}

/// A suffix as a factor and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    if let Some(index) = BINARY.iter().position(|name| *name == suffix) {
        return Some((1_i128 << (10 * (index + 1)), 0));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *power));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (exponent.abs() <= 18).then_some((1, exponent))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::more_in_a_map(json!({"a": 1, "b": {"c": 2, "d": 3}}), json!({"b": {"c": 2}}), true)]
    #[case::less_in_a_map(json!({"b": {}}), json!({"b": {"c": 2}}), false)]
    #[case::another_value(json!({"a": 1}), json!({"a": 2}), false)]
    #[case::another_type(json!({"a": "1"}), json!({"a": 1}), false)]
    #[case::longer_list(json!({"args": ["a", "b"]}), json!({"args": ["a"]}), false)]
    #[case::another_order(json!({"args": ["a", "b"]}), json!({"args": ["b", "a"]}), false)]
    #[case::shorter_list(json!({"args": ["a"]}), json!({"args": ["a", "b"]}), false)]
    #[case::defaults_in_a_plain_list(json!({"rules": [{"a": 1, "weight": 1}]}), json!({"rules": [{"a": 1}]}), true)]
    #[case::defaults_in_a_named_list(
        json!({"containers": [{"name": "m", "image": "x", "terminationMessagePath": "/dev/termination-log"}]}),
        json!({"containers": [{"name": "m", "image": "x"}]}), true
    )]
    #[case::a_sidecar_of_someone_else(
        json!({"containers": [{"name": "other"}, {"name": "m", "image": "x"}]}), json!({"containers": [{"name": "m", "image": "x"}]}), true
    )]
    #[case::a_container_missing(json!({"containers": [{"name": "other"}]}), json!({"containers": [{"name": "m"}]}), false)]
    #[case::a_port_with_the_default_protocol(
        json!({"ports": [{"containerPort": 1, "protocol": "UDP"}, {"containerPort": 1, "protocol": "TCP", "name": "a"}]}),
        json!({"ports": [{"containerPort": 1, "name": "a"}]}), true
    )]
    #[case::a_service_port_on_another_target(
        json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": "grpc"}]}), json!({"ports": [{"port": 80, "targetPort": "http"}]}), false
    )]
    #[case::another_owner_too(
        json!({"ownerReferences": [{"uid": "1"}, {"uid": "2"}]}), json!({"ownerReferences": [{"uid": "2"}]}), true
    )]
    #[case::not_the_owner(json!({"ownerReferences": [{"uid": "1"}]}), json!({"ownerReferences": [{"uid": "2"}]}), false)]
    #[case::canonical_quantities(
        json!({"requests": {"cpu": "500m", "memory": "1Gi"}}), json!({"requests": {"cpu": "0.5", "memory": "1024Mi"}}), true
    )]
    #[case::another_quantity(json!({"limits": {"cpu": "500m"}}), json!({"limits": {"cpu": "0.6"}}), false)]
    #[case::only_there_are_quantities(json!({"value": "1"}), json!({"value": "1000m"}), false)]
    #[case::empty_values_left_out(
        json!({}), json!({"args": [], "value": "", "readOnly": false, "initialDelaySeconds": 0, "nodeSelector": {}, "x": null}), true
    )]
    #[case::zero_asks_for_the_default(json!({"periodSeconds": 10}), json!({"periodSeconds": 0}), true)]
    #[case::an_empty_dir_is_something(json!({"hostPath": {}}), json!({"emptyDir": {}}), false)]
    #[case::a_promise_taken_away(json!({}), json!({"allowPrivilegeEscalation": false}), false)]
    #[case::root_is_a_number(json!({}), json!({"runAsUser": 0}), false)]
    fn a_live_object(#[case] live: Value, #[case] desired: Value, #[case] covered: bool) {
        assert_eq!(covers(&live, &desired), covered);
    }

    #[rstest]
    #[case("1", "1000m")]
    #[case("1.5Gi", "1536Mi")]
    #[case("1e3", "1k")]
    #[case("0.5", "500000u")]
    #[case("1E", "1000P")]
    #[case("0.0000000001", "1n")]
    #[case("16Ei", "16384Pi")]
    fn quantities_are_compared_by_value(#[case] a: &str, #[case] b: &str) {
        assert!(nanos(a).is_some());
        assert_eq!(nanos(a), nanos(b));
    }

    #[rstest]
    #[case("")]
    #[case("x")]
    #[case("1Zi")]
    #[case("1e99")]
    #[case("99999999999999999999")]
    #[case("--1")]
    fn what_is_no_quantity_equals_none(#[case] text: &str) {
        assert_eq!(nanos(text), None);
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "[a-z0-9]{0,4}".prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let key = prop_oneof![Just("args".to_owned()), Just("limits".to_owned()), "[a-z]{1,3}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn everything_covers_itself(value in any_json()) {
            proptest::prop_assert!(covers(&value, &value));
        }

        #[test]
        fn no_two_documents_make_it_panic(live in any_json(), desired in any_json()) {
            let _ = covers(&live, &desired);
        }
    }
}
