//! What a person needs to see when a claim does not hold: the history, status, events, pods, and the operator's words.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, TypeMeta},
};

use super::{Scene, dynamic};

impl Scene {
    /// The scene in text. What cannot be read says so; a report never fails.
    pub async fn report(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "── what happened in {}", self.namespace);
        for (at, seen) in self.timeline.all() {
            let _ = writeln!(text, "{} {seen}", at.strftime("%H:%M:%S%.3f"));
        }
        self.report_objects(&mut text).await;
        self.report_pods(&mut text).await;
        self.report_events(&mut text).await;
        let _ = writeln!(text, "── the operator's log about it");
        match self.operator.log_tail(Some(&self.namespace), 30).await {
            Ok(lines) => text.push_str(&lines.join("\n")),
            Err(error) => text.push_str(&error.to_string()),
        }
        text
    }

    async fn report_objects(&self, text: &mut String) {
        // As they are, also those that our types cannot read.
        for kind in ["ModelDeployment", "TrafficSplit"] {
            let types = TypeMeta { api_version: "seatrial.dev/v1alpha1".into(), kind: kind.into() };
            let Ok((api, _)) = dynamic(&self.cluster.client, &types, &self.namespace).await else { continue };
            for object in api.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default() {
                let status = serde_saphyr::to_string(&object.data["status"]).unwrap_or_default();
                let _ = writeln!(text, "── {kind} {}\n{status}", object.name_any());
            }
        }
        let routes = self.routes().list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
        for route in routes {
            let data = serde_saphyr::to_string(&route.data).unwrap_or_default();
            let _ = writeln!(text, "── HTTPRoute {}\n{data}", route.name_any());
        }
    }

    async fn report_pods(&self, text: &mut String) {
        let _ = writeln!(text, "── pods");
        let pods: Api<Pod> = self.api();
        for pod in pods.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default() {
            let status = pod.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
            let (mut restarts, mut waits) = (0, String::new());
            for container in status.container_statuses.iter().flatten() {
                restarts += container.restart_count;
                if let Some(waiting) = container.state.as_ref().and_then(|s| s.waiting.as_ref()) {
                    waits = format!(
                        " {} {}",
                        waiting.reason.clone().unwrap_or_default(),
                        waiting.message.clone().unwrap_or_default()
                    );
                }
            }
            let phase = status.phase.unwrap_or_default();
            let _ = writeln!(text, "{} {phase} ready={ready} restarts={restarts}{waits}", pod.name_any());
        }
    }

    async fn report_events(&self, text: &mut String) {
        let _ = writeln!(text, "── events");
        let events: Api<Event> = self.api();
        for event in events.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default() {
            let about = event.involved_object.name.unwrap_or_default();
            let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
            let _ = writeln!(text, "{about}: {reason}: {message}");
        }
    }
}
