//! A user's pod template over a runtime's.
//!
//! One rule for people: containers are merged by name; inside them, and in the pod, an entry of a named list
//! (environment, ports, mounts, volumes, …) replaces the entry of that name as a whole; probes and lifecycle hooks are
//! replaced whole; other lists (args, command, tolerations, …) are replaced; maps and scalars are merged.
//!
//! `DeepMerge` does most of it. Where it would mix two entries into one that no API server takes (`value` beside
//! `valueFrom`, `httpGet` beside `exec`, `emptyDir` beside a claim), the entry is put right here.

use k8s_openapi::{
    DeepMerge,
    api::core::v1::{Container, ContainerPort, PodSpec, PodTemplateSpec},
};

/// `over` laid on `base`. Entries keep the base's order; new ones follow in their own.
pub(super) fn merge(base: &PodTemplateSpec, over: &PodTemplateSpec) -> PodTemplateSpec {
    let mut merged = base.clone();
    merged.merge_from(over.clone());
    if let (Some(pod), Some(below), Some(above)) = (&mut merged.spec, &base.spec, &over.spec) {
        settle_pod(pod, below, above);
    }
    merged
}

fn settle_pod(merged: &mut PodSpec, base: &PodSpec, over: &PodSpec) {
    merged.volumes = overlay(base.volumes.as_deref(), over.volumes.as_deref(), |a, b| a.name == b.name);
    merged.host_aliases =
        overlay(base.host_aliases.as_deref(), over.host_aliases.as_deref(), |a, b| a.ip == b.ip);
    merged.resource_claims =
        overlay(base.resource_claims.as_deref(), over.resource_claims.as_deref(), |a, b| a.name == b.name);
    merged.topology_spread_constraints = overlay(
        base.topology_spread_constraints.as_deref(),
        over.topology_spread_constraints.as_deref(),
        |a, b| a.topology_key == b.topology_key && a.when_unsatisfiable == b.when_unsatisfiable,
    );
    settle_containers(&mut merged.containers, &base.containers, &over.containers);
    if let (Some(merged), Some(base), Some(over)) =
        (&mut merged.init_containers, &base.init_containers, &over.init_containers)
    {
        settle_containers(merged, base, over);
    }
}

fn settle_containers(merged: &mut [Container], base: &[Container], over: &[Container]) {
    for container in merged {
        let below = base.iter().find(|c| c.name == container.name);
        let above = over.iter().find(|c| c.name == container.name);
        if let (Some(below), Some(above)) = (below, above) {
            settle_container(container, below, above);
        }
    }
}

fn settle_container(merged: &mut Container, base: &Container, over: &Container) {
    merged.env = overlay(base.env.as_deref(), over.env.as_deref(), |a, b| a.name == b.name);
    merged.ports = overlay(base.ports.as_deref(), over.ports.as_deref(), same_port);
    merged.volume_mounts = overlay(base.volume_mounts.as_deref(), over.volume_mounts.as_deref(), |a, b| {
        a.mount_path == b.mount_path
    });
    merged.volume_devices =
        overlay(base.volume_devices.as_deref(), over.volume_devices.as_deref(), |a, b| {
            a.device_path == b.device_path
        });
    merged.liveness_probe = whole(base.liveness_probe.as_ref(), over.liveness_probe.as_ref());
    merged.readiness_probe = whole(base.readiness_probe.as_ref(), over.readiness_probe.as_ref());
    merged.startup_probe = whole(base.startup_probe.as_ref(), over.startup_probe.as_ref());
    merged.lifecycle = whole(base.lifecycle.as_ref(), over.lifecycle.as_ref());
}

/// A port is the same if it has the same name (`http` moves to another number) or the same number and protocol.
fn same_port(a: &ContainerPort, b: &ContainerPort) -> bool {
    let protocol = |p: &ContainerPort| p.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    (a.name.is_some() && a.name == b.name)
        || (a.container_port == b.container_port && protocol(a) == protocol(b))
}

fn whole<T: Clone>(base: Option<&T>, over: Option<&T>) -> Option<T> {
    over.or(base).cloned()
}

/// Each entry of `over` takes the place of the first one in `base` that is the same, and of any further one.
fn overlay<T: Clone>(base: Option<&[T]>, over: Option<&[T]>, same: fn(&T, &T) -> bool) -> Option<Vec<T>> {
    let (Some(below), Some(above)) = (base, over) else { return over.or(base).map(<[T]>::to_vec) };
    let mut placed = vec![false; above.len()];
    let mut list = Vec::with_capacity(below.len() + above.len());
    for entry in below {
        match above.iter().position(|new| same(entry, new)) {
            None => list.push(entry.clone()),
            Some(index) if !placed[index] => {
                placed[index] = true;
                list.push(above[index].clone());
            }
            Some(_) => {}
        }
    }
    list.extend(above.iter().zip(placed).filter(|(_, placed)| !placed).map(|(new, _)| new.clone()));
    Some(list)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::revision::template::parse;

    /// Merges two pod specs whose only container is `m`, given by its fields.
    fn containers(base: Value, over: Value) -> Value {
        let wrap = |mut container: Value| {
            container["name"] = json!("m");
            json!({"containers": [container]})
        };
        let mut merged = pods(wrap(base), wrap(over))["containers"][0].take();
        merged.as_object_mut().unwrap().remove("name");
        merged
    }

    fn pods(base: Value, over: Value) -> Value {
        let read = |spec: Value| parse(&json!({"spec": spec}), "t").unwrap();
        let mut merged = serde_json::to_value(merge(&read(base), &read(over)).spec.unwrap()).unwrap();
        if merged["containers"] == json!([]) {
            merged.as_object_mut().unwrap().remove("containers");
        }
        merged
    }

    #[rstest]
    #[case::scalars(json!({"image": "a", "workingDir": "/"}), json!({"image": "b"}), json!({"image": "b", "workingDir": "/"}))]
    #[case::args_are_replaced(json!({"args": ["a", "b"], "command": ["c"]}), json!({"args": ["d"]}), json!({"args": ["d"], "command": ["c"]}))]
    #[case::env_by_name_and_whole(
        json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
        json!({"env": [{"name": "C", "value": "3"}, {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}),
        json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]})
    )]
    #[case::env_from_is_replaced(
        json!({"envFrom": [{"configMapRef": {"name": "a"}}]}), json!({"envFrom": [{"secretRef": {"name": "b"}}]}),
        json!({"envFrom": [{"secretRef": {"name": "b"}}]})
    )]
    #[case::a_port_moves_by_name(
        json!({"ports": [{"name": "http", "containerPort": 80}, {"name": "grpc", "containerPort": 81}]}),
        json!({"ports": [{"name": "http", "containerPort": 81}]}),
        json!({"ports": [{"name": "http", "containerPort": 81}]})
    )]
    #[case::a_port_is_named_anew(
        json!({"ports": [{"name": "web", "containerPort": 80}]}), json!({"ports": [{"name": "http", "containerPort": 80}]}),
        json!({"ports": [{"name": "http", "containerPort": 80}]})
    )]
    #[case::mounts_by_path_and_whole(
        json!({"volumeMounts": [{"name": "a", "mountPath": "/a", "readOnly": true, "subPath": "s"}, {"name": "b", "mountPath": "/b"}]}),
        json!({"volumeMounts": [{"name": "c", "mountPath": "/a"}]}),
        json!({"volumeMounts": [{"name": "c", "mountPath": "/a"}, {"name": "b", "mountPath": "/b"}]})
    )]
    #[case::probes_whole(
        json!({"readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 2}, "livenessProbe": {"exec": {"command": ["x"]}}, "startupProbe": {"failureThreshold": 9}}),
        json!({"readinessProbe": {"exec": {"command": ["y"]}}, "startupProbe": {"grpc": {"port": 1}}}),
        json!({"readinessProbe": {"exec": {"command": ["y"]}}, "livenessProbe": {"exec": {"command": ["x"]}}, "startupProbe": {"grpc": {"port": 1}}})
    )]
    #[case::lifecycle_whole(
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}), json!({"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}),
        json!({"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}})
    )]
    #[case::resources_by_name(
        json!({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}),
        json!({"resources": {"requests": {"cpu": "2"}, "limits": {"nvidia.com/gpu": 1}}}),
        json!({"resources": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}}})
    )]
    #[case::security_context_by_field(
        json!({"securityContext": {"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}}}),
        json!({"securityContext": {"runAsUser": 5, "capabilities": {"add": ["X"]}}}),
        json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 5, "capabilities": {"drop": ["ALL"], "add": ["X"]}}})
    )]
    fn a_container(#[case] base: Value, #[case] over: Value, #[case] merged: Value) {
        assert_eq!(containers(base, over), merged);
    }

    #[rstest]
    #[case::containers_by_name(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
        json!({"containers": [{"name": "c"}, {"name": "b", "image": "2"}]}),
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]})
    )]
    #[case::init_containers_by_name_and_env_whole(
        json!({"initContainers": [{"name": "a", "env": [{"name": "A", "value": "1"}]}]}),
        json!({"initContainers": [{"name": "a", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}]}),
        json!({"initContainers": [{"name": "a", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}]})
    )]
    #[case::volumes_by_name_and_whole(
        json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "c", "emptyDir": {}}, {"name": "a", "persistentVolumeClaim": {"claimName": "x"}}]}),
        json!({"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "x"}}, {"name": "b", "emptyDir": {}}, {"name": "c", "emptyDir": {}}]})
    )]
    #[case::tolerations_are_replaced(
        json!({"tolerations": [{"key": "a"}]}), json!({"tolerations": [{"key": "b"}]}), json!({"tolerations": [{"key": "b"}]})
    )]
    #[case::node_selector_is_replaced(
        json!({"nodeSelector": {"a": "1"}}), json!({"nodeSelector": {"b": "2"}}), json!({"nodeSelector": {"b": "2"}})
    )]
    #[case::pull_secrets_by_name(
        json!({"imagePullSecrets": [{"name": "a"}]}), json!({"imagePullSecrets": [{"name": "b"}, {"name": "a"}]}),
        json!({"imagePullSecrets": [{"name": "a"}, {"name": "b"}]})
    )]
    #[case::host_aliases_whole(
        json!({"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}]}), json!({"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]}),
        json!({"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]})
    )]
    #[case::claims_whole(
        json!({"resourceClaims": [{"name": "g", "resourceClaimName": "a"}]}), json!({"resourceClaims": [{"name": "g", "resourceClaimTemplateName": "b"}]}),
        json!({"resourceClaims": [{"name": "g", "resourceClaimTemplateName": "b"}]})
    )]
    #[case::spread_whole(
        json!({"topologySpreadConstraints": [{"topologyKey": "z", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}]}),
        json!({"topologySpreadConstraints": [{"topologyKey": "z", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}, {"topologyKey": "z", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}]}),
        json!({"topologySpreadConstraints": [{"topologyKey": "z", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}, {"topologyKey": "z", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}]})
    )]
    fn a_pod(#[case] base: Value, #[case] over: Value, #[case] merged: Value) {
        assert_eq!(pods(base, over), merged);
    }

    #[test]
    fn labels_and_annotations_are_merged() {
        let read = |m: Value| parse(&json!({"metadata": m}), "t").unwrap();
        let merged = merge(
            &read(json!({"labels": {"a": "1", "b": "1"}})),
            &read(json!({"labels": {"b": "2"}, "annotations": {"c": "3"}})),
        );
        assert_eq!(
            serde_json::to_value(merged).unwrap(),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"c": "3"}}})
        );
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        let base = parse(
            &json!({"spec": {"containers": [{"name": "m", "args": ["a"], "env": [{"name": "A"}]}], "volumes": [{"name": "v"}]}}),
            "t",
        )
        .unwrap();
        for over in [json!({}), json!({"spec": {}}), json!({"spec": {"containers": [{"name": "m"}]}})] {
            assert_eq!(merge(&base, &parse(&over, "t").unwrap()), base);
        }
    }
}
