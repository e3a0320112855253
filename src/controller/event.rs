//! Kubernetes Events: one for each transition, written in the background. A slow API server never holds up a rollout, and
//! a full queue drops Events, not work.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams, core::ObjectMeta};
use tokio::sync::mpsc;

use super::clock::Jitter;
use crate::{api::conditions::truncate, api::v1alpha1::ModelDeployment, rollout::notice::Notice};

/// How many Events may wait.
const WAITING: usize = 256;

/// Where Events are handed in.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    jitter: Jitter,
}

impl Events {
    /// The way in, and the way out.
    pub fn new(jitter: Jitter) -> (Self, mpsc::Receiver<Event>) {
        let (queue, out) = mpsc::channel(WAITING);
        (Self { queue, jitter }, out)
    }

    /// Hands in an Event about a model.
    pub fn publish(&self, model: &ModelDeployment, notice: &Notice, now: Timestamp) {
        let mut note = notice.message.clone();
        truncate(&mut note, 1024);
        let event = Event {
            metadata: ObjectMeta {
                // Unique without asking the API server: a name, and five letters of our own.
                name: Some(format!("{}.{}", model.name_any(), self.jitter.suffix(10))),
                namespace: model.namespace(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            action: Some(notice.reason.to_owned()),
            reason: Some(notice.reason.to_owned()),
            note: Some(note),
            type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(ObjectReference { resource_version: None, ..model.object_ref(&()) }),
            reporting_controller: Some("seatrial.dev/controller".to_owned()),
            reporting_instance: Some("seatrial".to_owned()),
            ..Event::default()
        };
        if self.queue.try_send(event).is_err() {
            tracing::warn!(model = model.name_any(), "too many Events wait: one is dropped");
        }
    }
}

/// Writes Events until nobody hands in any more. One that cannot be written is dropped: it is news, not state.
pub async fn write(client: Client, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::warn!(%namespace, %error, "cannot write an Event");
        }
    }
}
