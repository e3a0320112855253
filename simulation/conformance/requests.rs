//! Random requests: few names, so that they meet; many right things, and every wrong one now and then.

use std::fmt;

use fastrand::Rng;
use serde_json::{Value, json};

/// A kind, and where it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub api_version: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    pub status: bool,
}

const fn kind(name: &'static str, api_version: &'static str, plural: &'static str) -> Kind {
    Kind { name, api_version, plural, namespaced: true, status: false }
}

/// Those that Seatrial and its users write.
pub const KINDS: [Kind; 9] = [
    Kind { status: true, ..kind("ModelDeployment", "seatrial.dev/v1alpha1", "modeldeployments") },
    Kind { status: true, ..kind("TrafficSplit", "seatrial.dev/v1alpha1", "trafficsplits") },
    Kind { namespaced: false, ..kind("ModelRuntime", "seatrial.dev/v1alpha1", "modelruntimes") },
    Kind { status: true, ..kind("Deployment", "apps/v1", "deployments") },
    kind("Service", "v1", "services"),
    kind("ControllerRevision", "apps/v1", "controllerrevisions"),
    Kind { status: true, ..kind("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes") },
    kind("Lease", "coordination.k8s.io/v1", "leases"),
    kind("Event", "events.k8s.io/v1", "events"),
];

/// One request. Texts like `$uid` and `$rv` stand for what the server last said of that object.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub kind: Kind,
    pub name: String,
    pub path: String,
    pub content_type: &'static str,
    pub accept: &'static str,
    pub body: Option<Value>,
}

impl Ask {
    /// Whether it writes nothing.
    pub fn is_read(&self) -> bool {
        self.method == "GET" || self.path.contains("dryRun=All")
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        if let Some(body) = &self.body {
            write!(f, " {} {body}", self.content_type)?;
        }
        Ok(())
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A sequence of requests.
pub struct Sequence {
    rng: Rng,
    pub length: usize,
    pub namespace: String,
    /// Everything that may have been made.
    pub objects: Vec<(Kind, String)>,
}

impl Sequence {
    /// The same seed, the same requests.
    pub fn new(seed: u64, namespace: &str) -> Self {
        let mut rng = Rng::with_seed(seed);
        let length = rng.usize(1..=50);
        let mut objects = vec![];
        for _ in 0..rng.usize(1..=3) {
            let kind = KINDS[rng.usize(0..KINDS.len())];
            for name in ["a", "b"] {
                objects.push((kind, format!("s{seed}-{name}")));
            }
        }
        Self { rng, length, namespace: namespace.to_owned(), objects }
    }

    /// The next request.
    pub fn next(&mut self) -> Ask {
        let (kind, name) = self.objects[self.rng.usize(0..self.objects.len())].clone();
        let status = kind.status && self.rng.u8(0..4) == 0;
        let verb = match self.rng.u8(0..100) {
            // Nobody changes an Event.
            verb @ 35..90 if kind.name == "Event" => verb % 35,
            verb => verb,
        };
        match verb {
            0..8 => self.ask("GET", kind, &name, false, "", "", None),
            8..11 => Ask { accept: METADATA, ..self.ask("GET", kind, &name, false, "", "", None) },
            11..17 => self.list(kind),
            17..35 => {
                let body = self.object(kind, &name, 2);
                let query = self.choose(&["", "", "", "&dryRun=All"]);
                self.ask("POST", kind, "", false, &format!("fieldManager=maker{query}"), JSON, Some(body))
            }
            35..49 => {
                let mut body = self.object(kind, &name, 2);
                if status {
                    body["status"] = self.status(kind);
                }
                self.guard(&mut body, 6);
                self.ask("PUT", kind, &name, status, "fieldManager=writer", JSON, Some(body))
            }
            49..65 => {
                let mut body =
                    if status { json!({"status": self.status(kind)}) } else { self.edits(kind, 2) };
                self.guard(&mut body, 1);
                self.ask("PATCH", kind, &name, status, "fieldManager=patcher", MERGE, Some(body))
            }
            65..72 => {
                let body = self.json_patch(kind);
                self.ask("PATCH", kind, &name, false, "fieldManager=patcher", PATCH, Some(body))
            }
            72..90 => self.apply(kind, &name, status),
            _ => self.delete(kind, &name),
        }
    }

    fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    #[expect(clippy::too_many_arguments, reason = "a request has that many parts")]
    fn ask(
        &self,
        method: &'static str,
        kind: Kind,
        name: &str,
        status: bool,
        query: &str,
        content_type: &'static str,
        body: Option<Value>,
    ) -> Ask {
        let group = if kind.api_version.contains('/') { "apis" } else { "api" };
        let namespace =
            if kind.namespaced { format!("/namespaces/{}", self.namespace) } else { String::new() };
        let object = if name.is_empty() { String::new() } else { format!("/{name}") };
        let subresource = if status { "/status" } else { "" };
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let path =
            format!("/{group}/{}{namespace}/{}{object}{subresource}{query}", kind.api_version, kind.plural);
        let of = body.as_ref().and_then(|body| body["metadata"]["name"].as_str()).unwrap_or_default();
        let name = if name.is_empty() { of.to_owned() } else { name.to_owned() };
        Ask { method, kind, name, path, content_type, accept: JSON, body }
    }

    fn list(&mut self, kind: Kind) -> Ask {
        if !kind.namespaced || kind.name == "Event" {
            // Other sequences have theirs there too, and the API server writes Events of its own.
            let name = self.objects.iter().find(|(of, _)| *of == kind).map(|(_, name)| name.clone());
            let query = format!("fieldSelector=metadata.name%3D{}", name.unwrap_or_default());
            return self.ask("GET", kind, "", false, &query, "", None);
        }
        let query = self.choose(&[
            "",
            "limit=1",
            "labelSelector=a%3Db",
            "labelSelector=a",
            "labelSelector=%21a",
            "labelSelector=a%20in%20%28b%2Cc%29",
        ]);
        let ask = self.ask("GET", kind, "", false, query, "", None);
        if self.rng.u8(0..4) == 0 { Ask { accept: METADATA_LIST, ..ask } } else { ask }
    }

    fn delete(&mut self, kind: Kind, name: &str) -> Ask {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        match self.rng.u8(0..8) {
            0 => options["preconditions"] = json!({"uid": "$uid"}),
            1 => options["preconditions"] = json!({"uid": "00000000-0000-4000-8000-00000000dead"}),
            2 => options["preconditions"] = json!({"resourceVersion": "$rv"}),
            3 => options["preconditions"] = json!({"resourceVersion": "$old"}),
            4 => options["preconditions"] = json!({"uid": "$uid", "resourceVersion": "$rv"}),
            _ => {}
        }
        match self.rng.u8(0..8) {
            0 => options["propagationPolicy"] = json!("Foreground"),
            1 => options["propagationPolicy"] = json!("Orphan"),
            2 | 3 => options["propagationPolicy"] = json!("Background"),
            4 => options["dryRun"] = json!(["All"]),
            _ => {}
        }
        self.ask("DELETE", kind, name, false, "", JSON, Some(options))
    }

    fn apply(&mut self, kind: Kind, name: &str, status: bool) -> Ask {
        let whole = self.rng.bool();
        let mut body = if whole { self.object(kind, name, 2) } else { self.edits(kind, 2) };
        if status {
            body = json!({"status": self.status(kind)});
        }
        without_nothing(&mut body);
        body["apiVersion"] = json!(kind.api_version);
        body["kind"] = json!(kind.name);
        if self.rng.u8(0..12) > 0 {
            body["metadata"]["name"] = json!(name);
        }
        if self.rng.u8(0..8) == 0 {
            body["metadata"]["resourceVersion"] = json!(self.choose(&["$rv", "$old"]));
        }
        if self.rng.u8(0..8) == 0 {
            body["metadata"]["uid"] =
                json!(self.choose(&["$uid", "$uid", "00000000-0000-4000-8000-00000000dead"]));
        }
        let manager = self.choose(&["seatrial", "seatrial", "other", "maker"]);
        let force = self.choose(&["", "&force=true", "&force=true", "&force=true&dryRun=All"]);
        let query = format!("fieldManager={manager}{force}");
        self.ask("PATCH", kind, name, status, &query, APPLY, Some(body))
    }

    fn json_patch(&mut self, kind: Kind) -> Value {
        let one = match (self.rng.u8(0..6), kind.name) {
            (0, _) => {
                json!({"op": "add", "path": "/metadata/labels", "value": {"a": self.choose(&["b", "c"])}})
            }
            (1, _) => json!({"op": "remove", "path": "/metadata/labels"}),
            (2, _) => json!({"op": "replace", "path": "/spec/nothing/here", "value": 1}),
            (_, "Deployment" | "ModelDeployment") => {
                json!({"op": "add", "path": "/spec/replicas", "value": self.rng.u8(0..4)})
            }
            (_, "Lease") => {
                json!({"op": "add", "path": "/spec/holderIdentity", "value": self.choose(&["p", "q"])})
            }
            (_, "HTTPRoute") => {
                json!({"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": self.rng.u8(0..9)})
            }
            _ => json!({"op": "add", "path": "/metadata/annotations", "value": {"n": "1"}}),
        };
        match self.rng.u8(0..4) {
            0 => {
                json!([{"op": "test", "path": "/metadata/resourceVersion", "value": self.choose(&["$rv", "$old"])}, one])
            }
            _ => json!([one]),
        }
    }

    /// Now and then, on which version or object it is to be written.
    fn guard(&mut self, body: &mut Value, often: u8) {
        if self.rng.u8(0..8) < often {
            body["metadata"]["resourceVersion"] = json!(self.choose(&["$rv", "$rv", "$rv", "$old"]));
        }
        if self.rng.u8(0..16) < often {
            let uid = self.choose(&["$uid", "$uid", "$uid", "00000000-0000-4000-8000-00000000dead"]);
            body["metadata"]["uid"] = json!(uid);
        }
    }

    /// An object that is right, but for up to so many edits.
    fn object(&mut self, kind: Kind, name: &str, most: usize) -> Value {
        let mut object = right(kind, name);
        let edits = if self.rng.bool() { self.edits(kind, most) } else { json!({}) };
        json_patch::merge(&mut object, &edits);
        object
    }

    fn edits(&mut self, kind: Kind, most: usize) -> Value {
        let mut edits = json!({});
        for _ in 0..self.rng.usize(1..=most) {
            let all = if self.rng.u8(0..3) == 0 { everywhere() } else { special(kind) };
            json_patch::merge(&mut edits, &all[self.rng.usize(0..all.len())]);
        }
        edits
    }

    fn status(&mut self, kind: Kind) -> Value {
        let all = match kind.name {
            "Deployment" => vec![
                json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 1}),
                json!({"replicas": 0}),
                json!({"conditions": [{"type": "Available", "status": "True", "reason": "R", "message": "m",
                    "lastUpdateTime": "2026-11-21T12:00:00Z", "lastTransitionTime": "2026-11-21T12:00:00Z"}]}),
            ],
            "HTTPRoute" => vec![
                json!({"parents": [{"parentRef": {"name": "public"}, "controllerName": "example.com/gateway", "conditions": []}]}),
                json!({"parents": []}),
                json!({"parents": [{"parentRef": {"name": "public"}, "controllerName": "nonsense"}]}),
            ],
            "ModelDeployment" => vec![
                json!({"phase": "Stable", "stableRevision": "a-1", "message": "m"}),
                json!({"phase": "Nonsense"}),
                json!({"message": "again", "unknown": 1}),
                json!({"conditions": [{"type": "Ready", "status": "True", "reason": "R", "message": "m",
                    "lastTransitionTime": "2026-11-21T12:00:00Z", "observedGeneration": 1}]}),
                json!({"epoch": 5}),
                json!({"epoch": 3}),
            ],
            _ => vec![
                json!({"message": "m", "observedGeneration": 1}),
                json!({"message": 5}),
                json!({"epoch": 5}),
                json!({"epoch": 3}),
            ],
        };
        all[self.rng.usize(0..all.len())].clone()
    }
}

/// Without nulls and without the maps that they leave empty: nobody applies those, and the real server stores an empty map of
/// labels that the next write, whatever it is, takes out again.
fn without_nothing(value: &mut Value) {
    if let Value::Object(members) = value {
        members.values_mut().for_each(without_nothing);
        members.retain(|name, member| !(member.is_null() || *member == json!({}) && name != "errors"));
    }
}

/// Edits that fit every kind.
fn everywhere() -> Vec<Value> {
    let owner = |uid: &str, kind: &str| json!({"apiVersion": "v1", "kind": kind, "name": "o", "uid": uid});
    vec![
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"labels": {"a": "c", "d": "e"}}}),
        json!({"metadata": {"labels": {"a": null}}}),
        json!({"metadata": {"labels": {"no good": "b"}}}),
        json!({"metadata": {"labels": {"a": "no good"}}}),
        json!({"metadata": {"annotations": {"n": "1"}}}),
        json!({"metadata": {"annotations": {"n": "2", "m": "3"}}}),
        json!({"metadata": {"annotations": null}}),
        json!({"metadata": {"finalizers": ["seatrial.dev/test"]}}),
        json!({"metadata": {"finalizers": ["seatrial.dev/test", "seatrial.dev/more"]}}),
        json!({"metadata": {"finalizers": null}}),
        json!({"metadata": {"ownerReferences": [owner("1", "ConfigMap")]}}),
        json!({"metadata": {"ownerReferences": [owner("1", "ConfigMap"), owner("2", "Pod")]}}),
        json!({"metadata": {"ownerReferences": [owner("1", "")]}}),
        json!({"metadata": {"generation": 77}}),
        json!({"metadata": {"deletionTimestamp": "2026-11-21T12:00:00Z"}}),
        json!({"metadata": {"unknown": "x"}}),
        json!({"unknown": "x"}),
    ]
}

fn right(kind: Kind, name: &str) -> Value {
    let mut object = match kind.name {
        "ModelDeployment" => {
            json!({"spec": {"model": {"version": "1", "uri": "pvc://models/iris/1", "format": "sklearn"},
            "runtimeRef": {"name": "mlserver-1.7.1"}, "replicas": 2}})
        }
        "TrafficSplit" => {
            json!({"spec": {"route": {"httpRoute": {"parentRefs": [{"name": "public", "namespace": "infra"}]}},
            "backends": [{"modelDeploymentRef": {"name": "iris"}}],
            "strategy": {"canary": {"steps": [{"weight": "5%", "bake": "5m"}]}},
            "slos": [{"name": "availability", "objective": "99.5%", "errors": {}}]}})
        }
        "ModelRuntime" => {
            json!({"spec": {"formats": ["sklearn"], "template": {"spec": {"containers": [{"name": "model", "image": "x"}]}}}})
        }
        "Deployment" => json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template":
            {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "model", "image": "server:1"}]}}}}),
        "Service" => json!({"spec": {"type": "ClusterIP", "selector": {"app": "x"}, "ports":
            [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]}}),
        "ControllerRevision" => json!({"revision": 1, "data": {"a": {"b": [1, 2]}}}),
        "HTTPRoute" => json!({"spec": {"parentRefs": [{"name": "public"}], "hostnames": ["a.example.com"],
            "rules": [{"backendRefs": [{"name": "a", "port": 80, "weight": 1}]}]}}),
        "Event" => {
            json!({"eventTime": "2026-11-21T12:00:00.000000Z", "action": "A", "reason": "R", "note": "n",
            "type": "Normal", "reportingController": "seatrial.dev/controller", "reportingInstance": "seatrial", "regarding": {"kind": "ModelDeployment", "name": "iris", "namespace": "$ns"}})
        }
        _ => json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 1,
            "renewTime": "2026-11-21T12:00:00.000000Z"}}),
    };
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.name);
    object["metadata"] = json!({"name": name});
    object
}

/// Edits of one kind.
fn special(kind: Kind) -> Vec<Value> {
    match kind.name {
        "ModelDeployment" => of_models(),
        "TrafficSplit" => of_splits(),
        "ModelRuntime" => of_runtimes(),
        "Deployment" => of_deployments(),
        "Service" => of_services(),
        "ControllerRevision" => of_revisions(),
        "HTTPRoute" => of_routes(),
        "Event" => of_events(),
        _ => of_leases(),
    }
}

fn of_models() -> Vec<Value> {
    vec![
        json!({"spec": {"replicas": 3}}),
        json!({"spec": {"replicas": null}}),
        json!({"spec": {"replicas": -1}}),
        json!({"spec": {"replicas": "two"}}),
        json!({"spec": {"model": {"version": "2"}}}),
        json!({"spec": {"model": null}}),
        json!({"spec": {"model": {"uri": ""}}}),
        json!({"spec": {"progressDeadline": "5m"}}),
        json!({"spec": {"progressDeadline": "often"}}),
        json!({"spec": {"runtimeRef": null}}),
        json!({"spec": {"unknown": {"a": 1}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "model", "image": "y", "anything": [1]}]}}}}),
        json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}),
        json!({"spec": null}),
    ]
}

fn of_splits() -> Vec<Value> {
    vec![
        json!({"spec": {"backends": []}}),
        json!({"spec": {"backends": [{"modelDeploymentRef": {"name": "a"}}, {"modelDeploymentRef": {"name": "b"}}]}}),
        json!({"spec": {"strategy": {"canary": {"steps": [{"weight": "5%"}, {"weight": "50%", "bake": "1m", "replicas": 2}]}}}}),
        json!({"spec": {"strategy": {"canary": {"steps": [{"weight": "half"}]}}}}),
        json!({"spec": {"strategy": {"blueGreen": {}}}}),
        json!({"spec": {"analysis": {"interval": "30s"}}}),
        json!({"spec": {"analysis": {"interval": "1ms"}}}),
        json!({"spec": {"analysis": {"onInconclusive": "Panic"}}}),
        json!({"spec": {"route": {"httpRoute": {"hostnames": ["b.example.com"]}}}}),
        json!({"spec": {"route": {"httpRoute": {"matches": [{"path": {"value": "/v2"}}]}}}}),
        json!({"spec": {"route": {"httpRoute": {"parentRefs": [{"kind": "Service", "name": "s"}]}}}}),
        json!({"spec": {"slos": []}}),
        json!({"spec": {"slos": null}}),
        json!({"spec": {"slos": [{"name": "latency", "objective": "99%", "latency": {"below": "300ms"}}]}}),
    ]
}

fn of_runtimes() -> Vec<Value> {
    vec![
        json!({"spec": {"formats": ["onnx"]}}),
        json!({"spec": {"template": {"spec": {"containers": []}}}}),
        json!({"spec": null}),
    ]
}

fn of_deployments() -> Vec<Value> {
    vec![
        json!({"spec": {"replicas": 2}}),
        json!({"spec": {"replicas": -1}}),
        json!({"spec": {"replicas": null}}),
        json!({"spec": {"replicas": "two"}}),
        json!({"spec": {"paused": true}}),
        json!({"spec": {"revisionHistoryLimit": 0}}),
        json!({"spec": {"selector": {"matchLabels": {"other": "y"}}}}),
        json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        json!({"spec": {"template": {"metadata": {"labels": {"more": "1"}}}}}),
        json!({"spec": {"template": {"spec": {"containers": []}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "model", "image": "server:2", "args": ["a", "b"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9000}]}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "model", "image": "server",
                "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"cpu": "2000m"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5, "initialDelaySeconds": 0}}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "model"}, {"name": "model", "image": "x"}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "x"}, {"name": "model", "image": "server:1"}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "model", "image": "server:1", "imag": "x"}]}}}}),
        json!({"spec": {"template": {"spec": {"volumes": [{"name": "v"}, {"name": "w", "configMap": {"name": "c"}}]}}}}),
        json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}, "terminationGracePeriodSeconds": 5}}}}),
        json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
        json!({"spec": null}),
    ]
}

fn of_services() -> Vec<Value> {
    vec![
        json!({"spec": {"ports": [{"port": 80}]}}),
        json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}),
        json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "grpc", "port": 9000, "appProtocol": "kubernetes.io/h2c"}]}}),
        json!({"spec": {"ports": [{"name": "http", "port": 0}]}}),
        json!({"spec": {"ports": []}}),
        json!({"spec": {"selector": {"app": "y"}}}),
        json!({"spec": {"selector": null}}),
        json!({"spec": {"unknown": 1}}),
    ]
}

fn of_revisions() -> Vec<Value> {
    vec![
        json!({"data": {"a": {"b": [1]}}}),
        json!({"data": null}),
        json!({"revision": 2}),
        json!({"revision": -1}),
    ]
}

fn of_routes() -> Vec<Value> {
    vec![
        json!({"spec": {"rules": [{"backendRefs": [{"name": "a", "port": 80, "weight": 9}, {"name": "b", "port": 80, "weight": 1}]}]}}),
        json!({"spec": {"rules": [{"matches": [{"path": {"value": "/v2"}}, {"headers": [{"name": "h", "value": "v"}]}],
                "backendRefs": [{"name": "a", "port": 80, "filters": [{"type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {"set": [{"name": "x-model-version", "value": "1"}]}}]}], "timeouts": {"request": "10s"}}]}}),
        json!({"spec": {"rules": [{"backendRefs": [{"name": "a"}]}]}}),
        json!({"spec": {"rules": [{"matches": [{"path": {"value": "nowhere"}}]}]}}),
        json!({"spec": {"rules": []}}),
        json!({"spec": {"hostnames": ["b.example.com", "c.example.com"]}}),
        json!({"spec": {"hostnames": ["NO"]}}),
        json!({"spec": {"hostnames": []}}),
        json!({"spec": {"parentRefs": [{"name": "public", "sectionName": "http"}, {"group": "", "kind": "Service", "name": "s", "port": 80}]}}),
        json!({"spec": {"parentRefs": [{"name": "public"}, {"name": "public"}]}}),
    ]
}

fn of_events() -> Vec<Value> {
    vec![json!({"note": "other"}), json!({"type": "Warning"}), json!({"reason": ""})]
}

fn of_leases() -> Vec<Value> {
    vec![
        json!({"spec": {"holderIdentity": "b"}}),
        json!({"spec": {"holderIdentity": ""}}),
        json!({"spec": {"holderIdentity": null}}),
        json!({"spec": {"leaseDurationSeconds": 0}}),
        json!({"spec": {"leaseTransitions": 2, "renewTime": "2026-11-21T12:00:05.123456Z"}}),
        json!({"spec": {"leaseTransitions": 0}}),
    ]
}
