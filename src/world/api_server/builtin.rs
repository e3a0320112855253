//! Defaults of the kinds that are built in: of pods, Deployments and Services as far as Seatrial writes them.

use serde_json::{Map, Value, json};

use super::kind::Kind;

/// Fills in what is absent.
pub(super) fn default(kind: &Kind, object: &mut Value) {
    match kind.name {
        "Deployment" => deployment(object),
        "Service" => service(object),
        "ControllerRevision" => set(object, "revision", json!(0)),
        "Lease" => set(object, "spec", json!({})),
        "Event" => {
            set(object, "regarding", json!({}));
            set(object, "deprecatedSource", json!({}));
            for field in ["eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"] {
                set(object, field, Value::Null);
            }
        }
        "Pod" => {
            pod_spec(&mut object["spec"]);
            set(&mut object["spec"], "enableServiceLinks", json!(true));
        }
        _ => {}
    }
}

fn set(object: &mut Value, field: &str, default: Value) {
    if !object.is_object() {
        if !object.is_null() {
            return;
        }
        *object = Value::Object(Map::new());
    }
    if object[field].is_null() {
        object[field] = default;
    }
}

fn entries<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn deployment(object: &mut Value) {
    set(object, "spec", json!({}));
    let spec = &mut object["spec"];
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    set(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    set(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        set(strategy, "rollingUpdate", json!({}));
        set(&mut strategy["rollingUpdate"], "maxUnavailable", json!("25%"));
        set(&mut strategy["rollingUpdate"], "maxSurge", json!("25%"));
    }
    set(spec, "template", json!({}));
    set(&mut spec["template"], "metadata", json!({}));
    set(&mut spec["template"], "spec", json!({}));
    pod_spec(&mut spec["template"]["spec"]);
    for condition in object.get_mut("status").into_iter().flat_map(|status| entries(status, "conditions")) {
        set(condition, "lastUpdateTime", Value::Null);
        set(condition, "lastTransitionTime", Value::Null);
    }
}

fn pod_spec(spec: &mut Value) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        set(spec, "serviceAccount", account);
    } else if let Some(account) = spec.get("serviceAccount").cloned() {
        set(spec, "serviceAccountName", account);
    }
    for list in ["containers", "initContainers"] {
        entries(spec, list).for_each(container);
    }
    entries(spec, "volumes").for_each(volume);
}

fn container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let image = container["image"].as_str().unwrap_or_default();
    let latest = !image.contains('@')
        && image.rsplit('/').next().is_some_and(|last| !last.contains(':') || last.ends_with(":latest"));
    set(container, "imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    set(container, "resources", json!({}));
    entries(container, "ports").for_each(|port| set(port, "protocol", json!("TCP")));
    for env in entries(container, "env") {
        if env["valueFrom"]["fieldRef"].is_object() {
            set(&mut env["valueFrom"]["fieldRef"], "apiVersion", json!("v1"));
        }
        if env["valueFrom"]["resourceFieldRef"].is_object() {
            set(&mut env["valueFrom"]["resourceFieldRef"], "divisor", json!("0"));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[name].is_object() {
            probe(&mut container[name]);
        }
    }
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"][hook]["httpGet"].is_object() {
            http_get(&mut container["lifecycle"][hook]["httpGet"]);
        }
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe[field] == 0 {
            probe[field] = json!(value);
        }
        set(probe, field, json!(value));
    }
    if probe["httpGet"].is_object() {
        http_get(&mut probe["httpGet"]);
    }
    if probe["grpc"].is_object() {
        set(&mut probe["grpc"], "service", json!(""));
    }
}

fn http_get(get: &mut Value) {
    set(get, "path", json!("/"));
    set(get, "scheme", json!("HTTP"));
}

fn volume(volume: &mut Value) {
    let Some(members) = volume.as_object_mut() else { return };
    if members.keys().all(|name| name == "name") {
        members.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if volume[source].is_object() {
            set(&mut volume[source], "defaultMode", json!(420));
        }
    }
    if volume["hostPath"].is_object() {
        set(&mut volume["hostPath"], "type", json!(""));
    }
    for source in volume.get_mut("projected").into_iter().flat_map(|projected| entries(projected, "sources"))
    {
        if source["serviceAccountToken"].is_object() {
            set(&mut source["serviceAccountToken"], "expirationSeconds", json!(3600));
        }
    }
    for item in volume.get_mut("downwardAPI").into_iter().flat_map(|files| entries(files, "items")) {
        if item["fieldRef"].is_object() {
            set(&mut item["fieldRef"], "apiVersion", json!("v1"));
        }
    }
}

fn service(object: &mut Value) {
    set(object, "spec", json!({}));
    let spec = &mut object["spec"];
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "type", json!("ClusterIP"));
    set(spec, "internalTrafficPolicy", json!("Cluster"));
    for port in entries(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        let target = &port["targetPort"];
        if target.is_null() || *target == 0 || *target == "" {
            port["targetPort"] = number;
        }
    }
}
