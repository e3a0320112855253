//! What the API server checks of the kinds that are built in, as far as Seatrial and its users can get it wrong.

use serde_json::{Map, Value, json};

use super::{kind::Kind, metadata, refused::Cause};

/// What is wrong with an object. `old`: what it was.
pub(super) fn check(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = vec![];
    match kind.name {
        "Deployment" if old.is_none_or(|old| old["spec"] != new["spec"]) => deployment(new, old, &mut causes),
        "Service" if old.is_none_or(|old| old["spec"] != new["spec"]) => service(new, old, &mut causes),
        "Deployment" if old.is_some_and(|old| old["status"] != new["status"]) => counts(new, &mut causes),
        "Event" if old.is_none() => event(new, &mut causes),
        "ControllerRevision" => revision(new, old, &mut causes),
        "Lease" => lease(new, &mut causes),
        _ => {}
    }
    causes
}

/// The status that a new object has before anybody writes one.
pub(super) fn first_status(kind: &Kind, members: &mut Map<String, Value>) {
    let status = match kind.name {
        "Deployment" => json!({}),
        "Service" => json!({"loadBalancer": {}}),
        "Pod" => json!({"phase": "Pending"}),
        _ => return,
    };
    members.insert("status".to_owned(), status);
}

/// What the API server hands out: a Service's addresses.
pub(super) fn allocate(kind: &Kind, new: &mut Value, old: Option<&Value>, number: u64) {
    if kind.name != "Service" || !new["spec"].is_object() {
        return;
    }
    let spec = &mut new["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if let Some(kept) = old.and_then(|old| old["spec"].get(field))
            && spec[field].is_null()
        {
            spec[field] = kept.clone();
        }
    }
    if spec["clusterIP"].is_null() {
        spec["clusterIP"] = json!(format!("10.96.{}.{}", number / 250 % 250, number % 250 + 1));
    }
    if spec["clusterIPs"].is_null() {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    for (field, value) in [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn deployment(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    let selector = &spec["selector"];
    let is_empty = |value: &Value| value.as_object().is_none_or(Map::is_empty);
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if is_empty(selector) {
        let why = "empty selector is invalid for deployment";
        causes.push(Cause::invalid("spec.selector", &json!({}), why));
    }
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        if spec[field].as_i64().is_some_and(|number| number < 0) {
            let why = "must be greater than or equal to 0";
            causes.push(Cause::invalid(&format!("spec.{field}"), &spec[field], why));
        }
    }
    let labels = &spec["template"]["metadata"]["labels"];
    metadata::labels("spec.template.labels", labels, causes);
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    if selector.is_null() || wanted.clone().any(|(key, value)| labels[key] != *value) {
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
    if spec["strategy"]["type"] == "Recreate" && !spec["strategy"]["rollingUpdate"].is_null() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        causes.push(Cause::forbidden("spec.strategy.rollingUpdate", why));
    }
    pod(&spec["template"]["spec"], causes);
    if let Some(old) = old
        && old["spec"]["selector"] != *selector
    {
        causes.push(Cause::invalid("spec.selector", selector, "field is immutable"));
    }
}

/// What a Deployment's status counts must add up.
fn counts(new: &Value, causes: &mut Vec<Cause>) {
    let status = &new["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    for (field, most) in [
        ("updatedReplicas", "replicas"),
        ("readyReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ] {
        if count(field) > count(most) {
            let of = if most == "replicas" { "status." } else { "" };
            let why = format!("cannot be greater than {of}{most}");
            causes.push(Cause::invalid(&format!("status.{field}"), &json!(count(field)), &why));
        }
    }
}

/// An Event is where the object is that it is about.
fn event(new: &Value, causes: &mut Vec<Cause>) {
    let about = new["regarding"]["namespace"].as_str().unwrap_or_default();
    let namespace = &new["metadata"]["namespace"];
    if namespace != about && !(about.is_empty() && namespace == "default") {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", &json!(about), why));
    }
    for field in ["eventTime", "reason", "action", "reportingController", "reportingInstance"] {
        if new[field].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(field, ""));
        }
    }
    if !["Normal", "Warning"].contains(&new["type"].as_str().unwrap_or_default()) {
        let said = new["type"].as_str().unwrap_or_default();
        causes.push(Cause::invalid("type", &json!(said), &format!("has invalid value: {said}")));
    }
}

fn pod(spec: &Value, causes: &mut Vec<Cause>) {
    let at = "spec.template.spec";
    let containers = list(spec, "containers");
    if containers.is_empty() {
        causes.push(Cause::required(&format!("{at}.containers"), ""));
    }
    let mut seen = vec![];
    for (index, container) in containers.iter().enumerate() {
        let at = format!("{at}.containers[{index}]");
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.push(Cause::required(&format!("{at}.name"), ""));
        } else if seen.contains(&name) {
            let message = format!("Duplicate value: {name:?}");
            causes.push(Cause::new("FieldValueDuplicate", &format!("{at}.name"), message));
        }
        seen.push(name);
        if container["image"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(&format!("{at}.image"), ""));
        }
        for (place, port) in list(container, "ports").iter().enumerate() {
            let number = port["containerPort"].as_i64().unwrap_or(0);
            let field = format!("{at}.ports[{place}].containerPort");
            if number == 0 {
                causes.push(Cause::required(&field, ""));
            } else if !(1..=65535).contains(&number) {
                let why = "must be between 1 and 65535, inclusive";
                causes.push(Cause::invalid(&field, &port["containerPort"], why));
            }
        }
    }
    if spec["restartPolicy"].as_str().is_some_and(|policy| policy != "Always") {
        let message = format!("Unsupported value: {}: supported values: \"Always\"", spec["restartPolicy"]);
        causes.push(Cause::new("FieldValueNotSupported", &format!("{at}.restartPolicy"), message));
    }
}

fn service(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    let ports = list(spec, "ports");
    if ports.is_empty() && spec["clusterIP"] != "None" && spec["type"] != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    let mut names = vec![];
    let mut numbers = vec![];
    for (index, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(&format!("{at}.name"), ""));
        } else if !name.is_empty() && names.contains(&name) {
            let message = format!("Duplicate value: {name:?}");
            causes.push(Cause::new("FieldValueDuplicate", &format!("{at}.name"), message));
        }
        names.push(name);
        if !port["port"].as_i64().is_some_and(|number| (1..=65535).contains(&number)) {
            let why = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(&format!("{at}.port"), &port["port"], why));
            if port["targetPort"] == port["port"] {
                causes.push(Cause::invalid(&format!("{at}.targetPort"), &port["port"], why));
            }
        }
        let number = (&port["protocol"], &port["port"]);
        if numbers.contains(&number) {
            let value = json!({"port": port["port"], "protocol": port["protocol"]});
            let message = format!("Duplicate value: {value}");
            causes.push(Cause::new("FieldValueDuplicate", &at, message));
        }
        numbers.push(number);
    }
    metadata::labels("spec.selector", &spec["selector"], causes);
    if let Some(old) = old {
        for field in ["clusterIP"] {
            if old["spec"][field] != spec[field] {
                let field = format!("spec.{field}s[0]");
                let why = "may not change once set";
                causes.push(Cause::invalid(&field, &json!([spec["clusterIP"]]), why));
            }
        }
    }
}

fn revision(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if old.is_none() && new["data"].is_null() {
        causes.push(Cause::required("data", "data is mandatory"));
    }
    if new["revision"].as_i64().unwrap_or(0) < 0 {
        causes.push(Cause::invalid("revision", &new["revision"], "must be greater than or equal to 0"));
    }
    if old.is_some_and(|old| old["data"] != new["data"]) {
        causes.push(Cause::invalid("data", &new["data"], "field is immutable"));
    }
}

fn lease(new: &Value, causes: &mut Vec<Cause>) {
    for field in ["leaseDurationSeconds", "leaseTransitions"] {
        let least = i64::from(field == "leaseDurationSeconds");
        if new["spec"][field].as_i64().is_some_and(|number| number < least) {
            let why =
                if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            causes.push(Cause::invalid(&format!("spec.{field}"), &new["spec"][field], why));
        }
    }
}
