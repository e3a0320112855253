//! Whether the cluster would take what a revision needs, asked before anything of it is made.

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::Status,
};
use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::{
    act::{MANAGER, json, owner},
    cache::Key,
    error::Error,
    known::{bound, lock},
    observe::FoundModel,
    queue::Unit,
    reconcile::Controller,
};
use crate::{
    api::conditions::{ACCEPTED, truncate},
    revision::{self, NAME_TAKEN, Refusal},
    workload::{self, Owner},
};

/// So many answers are remembered.
const VETTED: usize = 1000;

/// When it is asked again that could not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// Whether an answer is about the pods: the same would come again. A server-side apply of what does not fit its schema is
/// answered by 500, as is a fault of the moment.
fn is_final(status: &Status) -> bool {
    let unfit = status.code == 500 && status.message.contains("typed patch object");
    (unfit || [400, 403, 422].contains(&status.code)) && !status.message.contains("being terminated")
}

impl Controller {
    /// Whether the API server would take the latest revision's pods: asked by a dry run, at first sight, until it
    /// knows.
    pub async fn vet(&self, model: &FoundModel) -> Result<Option<Refusal>, Error> {
        let name = model.object.name_any();
        let identity = &model.identity;
        let owner = owner(model);
        // By uid: what is made anew under the same name is asked about anew.
        let key: Key = (owner.uid.clone(), identity.name.clone());
        if model.revisions.iter().any(|r| r.name_any() == identity.name) {
            return Ok(None);
        }
        let known = lock(&self.vetted).get(&key).cloned();
        match known {
            // What is not ours is not watched: has it gone?
            Some(Some(taken)) if taken.reason == NAME_TAKEN => {
                let (namespace, uid) = (&owner.namespace, &owner.uid);
                if self.is_foreign::<ControllerRevision>(namespace, &identity.name, uid).await? {
                    return Ok(Some(taken));
                }
            }
            Some(known) => return Ok(known),
            None => {}
        }
        let Ok(snapshot) = revision::snapshot(&name, &model.object.spec, model.runtime.as_deref()) else {
            return Ok(None);
        };
        let mut deployment = workload::deployment(&owner, &snapshot, 0, None);
        // One of that name may be there, left by an earlier model: it is asked about the pods, not about their owner.
        deployment.metadata.owner_references = None;
        let mut body = json(&deployment);
        body["apiVersion"] = Value::from("apps/v1");
        body["kind"] = Value::from("Deployment");
        let api: Api<Deployment> = Api::namespaced(self.cx.api.writes.clone(), &owner.namespace);
        let params = PatchParams::apply(MANAGER).force().dry_run();
        let refusal = match api.patch(&identity.name, &params, &Patch::Apply(&body)).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) if is_final(&status) => {
                let mut message = status.message.clone();
                truncate(&mut message, 700);
                let message = format!("spec.template: the API server refuses these pods: {message}");
                Some(Refusal { condition: ACCEPTED, reason: "InvalidTemplate", message })
            }
            // A webhook that is down, say: it holds up this version, and nothing else of the unit.
            Err(kube::Error::Api(status)) if status.code == 500 => {
                let unit = Unit::Model((owner.namespace.clone(), name));
                self.queue.add(unit, Instant::now() + AGAIN);
                let mut message = status.message.clone();
                truncate(&mut message, 700);
                let message = format!("the API server cannot say yet whether it takes these pods: {message}");
                return Ok(Some(Refusal { condition: ACCEPTED, reason: "NotTriedOut", message }));
            }
            Err(error) => {
                return Err(Error::api(format!("try out Deployment {}/{}", owner.namespace, key.1))(error));
            }
        };
        self.remember(key, refusal.clone());
        Ok(refusal)
    }

    /// A name of a child is taken: the revision cannot run until that object goes, which is looked at now and then.
    pub(super) fn refuse(&self, owner: &Owner, revision: &str, kind: &str) {
        let message = format!("a {kind} {revision} exists that is not ours: delete or rename it");
        let refusal = Refusal { condition: ACCEPTED, reason: NAME_TAKEN, message };
        self.remember((owner.uid.clone(), revision.to_owned()), Some(refusal));
    }

    fn remember(&self, key: Key, refusal: Option<Refusal>) {
        let mut vetted = lock(&self.vetted);
        bound(&mut vetted, VETTED);
        vetted.insert(key, refusal);
    }
}
