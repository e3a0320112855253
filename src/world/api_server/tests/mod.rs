//! What the controllers and the actors ask of an API server, answered as the real one does.

mod apply;
mod controllers;
mod owned;
mod speed;

use serde_json::{Value, json};

use super::*;

/// An empty server at noon.
fn server() -> ApiServer {
    ApiServer::new(Clock::at("2026-11-21T12:00:00Z".parse().unwrap()))
}

/// A model that asks for nothing special.
fn model(name: &str) -> Value {
    json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name, "namespace": "ml"},
        "spec": {"model": {"version": "1", "uri": "pvc://models/iris/1", "format": "sklearn"},
                 "runtimeRef": {"name": "mlserver-1.7.1"}, "replicas": 2}})
}

/// A split with one SLO and one step.
fn split(name: &str) -> Value {
    json!({"apiVersion": "seatrial.dev/v1alpha1", "kind": "TrafficSplit", "metadata": {"name": name, "namespace": "ml"},
        "spec": {"route": {"httpRoute": {"parentRefs": [{"name": "public", "namespace": "infra"}]}},
                 "backends": [{"modelDeploymentRef": {"name": "iris"}}],
                 "strategy": {"canary": {"steps": [{"weight": "5%", "bake": "5m"}]}},
                 "slos": [{"name": "availability", "objective": "99.5%", "errors": {}}]}})
}

/// A Deployment of one container.
fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "ml"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
                 "template": {"metadata": {"labels": {"app": name}},
                              "spec": {"containers": [{"name": "model", "image": "server:1"}]}}}})
}
