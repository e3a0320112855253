//! Snapshot → `ControllerRevision`, Deployment, Services.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, Deployment, DeploymentSpec},
        core::v1::{PodTemplateSpec, Service, ServicePort, ServiceSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
        runtime::RawExtension,
        util::intstr::IntOrString,
    },
};
use kube::Resource;

use crate::{
    api::v1alpha1::ModelDeployment,
    mutant::{Mutant, on},
    revision::{MODEL_LABEL, REVISION_LABEL, Snapshot, VERSION_LABEL, has_port, labels},
};

/// Ports of a revision's Service: name, number, and the protocol that proxies should speak to it. They are fixed, so
/// that a route needs to know nothing about the server behind it.
const PORTS: [(&str, i32, Option<&str>); 3] =
    [("http", 80, None), ("grpc", 9000, Some("kubernetes.io/h2c")), ("metrics", 8082, None)];

/// The `ModelDeployment` that owns what is rendered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its namespace, which is that of everything it owns.
    pub namespace: String,
    /// Its uid: another object of the same name owns nothing of this one's.
    pub uid: String,
}

/// Pods that a Service sends to, and all that it has to know of them: by that it can be made again, and point elsewhere, also
/// when somebody has deleted their snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Pods<'a> {
    revision: &'a str,
    version: &'a str,
    template: &'a PodTemplateSpec,
}

impl<'a> Pods<'a> {
    /// Those of a snapshot.
    #[must_use]
    pub const fn of(snapshot: &'a Snapshot) -> Self {
        Self {
            revision: snapshot.revision.as_str(),
            version: snapshot.version.as_str(),
            template: &snapshot.pod_template,
        }
    }

    /// Those that run. `None`: it is no Deployment that was read.
    #[must_use]
    pub fn running(deployment: &'a Deployment) -> Option<Self> {
        let version = deployment.metadata.labels.as_ref().and_then(|labels| labels.get(VERSION_LABEL));
        Some(Self {
            revision: deployment.metadata.name.as_deref()?,
            version: version.map_or("", String::as_str),
            template: &deployment.spec.as_ref()?.template,
        })
    }
}

/// The stored snapshot, with the revision's `number` (rising, for people and `kubectl rollout history`).
#[must_use]
pub fn controller_revision(owner: &Owner, snapshot: &Snapshot, number: i64) -> ControllerRevision {
    ControllerRevision {
        metadata: metadata(owner, Pods::of(snapshot), &snapshot.revision),
        revision: number,
        data: Some(RawExtension(snapshot.to_data())),
    }
}

/// The revision's pods, `replicas` of them. Nothing but `replicas` ever changes: the template is the snapshot's, so the
/// strategy never comes into play, and the Deployment keeps no history of its own. `split`: as for [`service`].
#[must_use]
pub fn deployment(
    owner: &Owner,
    snapshot: &Snapshot,
    replicas: i32,
    split: Option<OwnerReference>,
) -> Deployment {
    Deployment {
        metadata: kept_by(split, metadata(owner, Pods::of(snapshot), &snapshot.revision)),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas).filter(|_| !on(Mutant::ImplicitOne)),
            revision_history_limit: Some(0),
            selector: LabelSelector {
                match_labels: Some(selector(owner, &snapshot.revision)),
                match_expressions: None,
            },
            template: template(snapshot, replicas),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn template(snapshot: &Snapshot, replicas: i32) -> PodTemplateSpec {
    let mut template = snapshot.pod_template.clone();
    if on(Mutant::TemplateOfSize) {
        let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        annotations.insert("seatrial.dev/size".to_owned(), replicas.to_string());
    }
    template
}

/// The revision's own Service, which routes send its share to. It never points elsewhere.
///
/// `split` is the `TrafficSplit` whose route may name it: it owns the Service and the pods behind it too, so that garbage
/// collection leaves them where their `ModelDeployment` is deleted. Otherwise they could vanish before the last proxy has
/// stopped sending to them, and requests would fail.
#[must_use]
pub fn service(owner: &Owner, pods: Pods<'_>, split: Option<OwnerReference>) -> Service {
    let service = service_named(owner, pods, pods.revision);
    Service { metadata: kept_by(split, service.metadata), ..service }
}

fn kept_by(split: Option<OwnerReference>, mut metadata: ObjectMeta) -> ObjectMeta {
    metadata.owner_references.get_or_insert_default().extend(split);
    metadata
}

/// The Service `<name>`: whoever needs no share goes to the stable revision, whose `pods` these are.
#[must_use]
pub fn stable_service(owner: &Owner, pods: Pods<'_>) -> Service {
    service_named(owner, pods, &owner.name)
}

fn service_named(owner: &Owner, pods: Pods<'_>, name: &str) -> Service {
    let there = PORTS.into_iter().filter(|(port, ..)| has_port(pods.template, port));
    let ports = there.map(|(port, number, protocol)| ServicePort {
        name: Some(port.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(port.to_owned())),
        app_protocol: protocol.map(str::to_owned),
        node_port: None,
    });
    Service {
        metadata: metadata(owner, pods, name),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(if on(Mutant::SharedSelector) {
                shared(owner)
            } else {
                selector(owner, pods.revision)
            }),
            ports: Some(ports.collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn shared(owner: &Owner) -> BTreeMap<String, String> {
    BTreeMap::from([(MODEL_LABEL.to_owned(), owner.name.clone())])
}

fn selector(owner: &Owner, revision: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MODEL_LABEL.to_owned(), owner.name.clone()),
        (REVISION_LABEL.to_owned(), revision.to_owned()),
    ])
}

fn metadata(owner: &Owner, pods: Pods<'_>, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(owner.namespace.clone()),
        labels: Some(labels(&owner.name, pods.revision, pods.version)),
        owner_references: (!on(Mutant::MissingOwner)).then(|| {
            vec![OwnerReference {
                api_version: ModelDeployment::api_version(&()).into_owned(),
                kind: ModelDeployment::kind(&()).into_owned(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]
        }),
        ..ObjectMeta::default()
    }
}
