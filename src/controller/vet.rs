//! Whether the cluster would take what a revision needs, asked before anything of it is made.

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::Value;

use super::{
    act::{MANAGER, json, owner},
    cache::Key,
    error::Error,
    known::{bound, lock},
    observe::FoundModel,
    reconcile::Controller,
};
use crate::{
    api::conditions::{ACCEPTED, truncate},
    revision::{self, NAME_TAKEN, Refusal},
    workload::{self, Owner},
};

/// So many answers are remembered.
const VETTED: usize = 1000;

impl Controller {
    /// Whether the API server would take the latest revision's pods: asked once, by a dry run, at first sight. A
    /// server-side apply of a wrong template answers 500, which later could not be told from a fault.
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
            Err(kube::Error::Api(status))
                if [400, 403, 422, 500].contains(&status.code)
                    && !status.message.contains("being terminated") =>
            {
                let mut message = status.message.clone();
                truncate(&mut message, 700);
                let message = format!("spec.template: the API server refuses these pods: {message}");
                Some(Refusal { condition: ACCEPTED, reason: "InvalidTemplate", message })
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
