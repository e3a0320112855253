//! Whether the cluster would take what a revision needs, asked before anything of it is made, and what it did not take.

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::Status,
};
use tokio::time::{Duration, Instant};

use super::{
    act::{MANAGER, body, owner},
    cache::Key,
    error::Error,
    known::{bound, lock},
    observe::{Found, FoundModel},
    queue::Unit,
    reconcile::Controller,
};
use crate::{
    api::conditions::{ACCEPTED, truncate},
    revision::{self, INVALID_ROUTE, NAME_TAKEN, Refusal},
    route::{self, HTTPRoute, Share},
    workload::{self, Owner},
};

/// So many answers are remembered.
const VETTED: usize = 1000;

/// When it is asked again that could not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// When it is asked again that has denied something: its rules may change, or a quota.
const DENIED: Duration = Duration::from_secs(30);

/// Reason of a refusal for now: nobody knows yet.
const NOT_TRIED_OUT: &str = "NotTriedOut";

/// Whether an answer is about the object: the same would come again. A server-side apply of what does not fit its schema is
/// answered by 500, as is a fault of the moment.
fn is_final(status: &Status) -> bool {
    let unfit = status.code == 500 && status.message.contains("typed patch object");
    unfit || [400, 422].contains(&status.code)
}

/// Why the API server does not take the route of a `TrafficSplit`; `None`: that is not about the route. There are more rules for
/// routes than we know of: those of the installed Gateway API, and the cluster's own policies.
pub(super) fn refused_route(error: &Error) -> Option<Refusal> {
    let status = error.status()?;
    let denied =
        ["denied the request", "ValidatingAdmissionPolicy"].iter().any(|word| status.message.contains(word));
    (is_final(status) || denied).then(|| {
        let message = format!("spec.route: the API server refuses this HTTPRoute: {}", said(status));
        Refusal { condition: ACCEPTED, reason: INVALID_ROUTE, message }
    })
}

fn is_of_the_moment(status: &Status) -> bool {
    status.code == 500 || (status.code == 403 && !status.message.contains("being terminated"))
}

fn said(status: &Status) -> String {
    let mut message = status.message.clone();
    truncate(&mut message, 700);
    message
}

impl Controller {
    /// As [`Self::vet`], by what is known: nobody is asked.
    pub fn vetted(&self, model: &FoundModel) -> Option<Refusal> {
        let name = &model.identity.name;
        if model.revisions.iter().any(|r| r.name_any() == *name) {
            return None;
        }
        let known = lock(&self.vetted).get(&(owner(model).uid, name.clone())).cloned();
        known.unwrap_or_else(|| {
            let message = "a rollback comes first: then the API server is asked whether it takes these pods";
            Some(Refusal { condition: ACCEPTED, reason: NOT_TRIED_OUT, message: message.to_owned() })
        })
    }

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
        let body = body(&deployment);
        let api: Api<Deployment> = Api::namespaced(self.cx.api.writes.clone(), &owner.namespace);
        let params = PatchParams::apply(MANAGER).force().dry_run();
        let refusal = match api.patch(&identity.name, &params, &Patch::Apply(&body)).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) if is_final(&status) => {
                let message = format!("spec.template: the API server refuses these pods: {}", said(&status));
                Some(Refusal { condition: ACCEPTED, reason: "InvalidTemplate", message })
            }
            // A webhook that is down, say, or denies: it holds up this version, and nothing else of the unit.
            Err(kube::Error::Api(status)) if is_of_the_moment(&status) => {
                let unit = Unit::Model((owner.namespace.clone(), name));
                let denied = status.code == 403;
                self.queue.add(unit, Instant::now() + if denied { DENIED } else { AGAIN });
                let (reason, what) = if denied {
                    ("InvalidTemplate", "spec.template: the API server refuses these pods")
                } else {
                    (NOT_TRIED_OUT, "the API server cannot say yet whether it takes these pods")
                };
                let message = format!("{what}: {}", said(&status));
                return Ok(Some(Refusal { condition: ACCEPTED, reason, message }));
            }
            Err(error) => {
                return Err(Error::api(format!("try out Deployment {}/{}", owner.namespace, key.1))(error));
            }
        };
        self.remember(key, refusal.clone());
        Ok(refusal)
    }

    /// Whether the API server would take by now the route that it has refused: asked by a dry run, now and then. Where it
    /// cannot say, its last word counts.
    pub async fn vet_route(&self, found: &mut Found) {
        let Some(split) = &found.split else { return };
        let Some((refusal, asked)) = self.known.refused_route(split) else { return };
        let (namespace, name) = (split.namespace().unwrap_or_default(), split.name_any());
        let unit = Unit::Split((namespace.clone(), name.clone()));
        if let Some(asked) = asked.filter(|asked| asked.elapsed() < DENIED) {
            self.queue.add(unit, asked + DENIED);
            return;
        }
        let share = |model: &FoundModel| Share {
            revision: model.identity.name.clone(),
            version: String::new(),
            weight: 1,
        };
        let shares: Vec<Share> = found.models.iter().map(share).collect();
        let Some(desired) = route::render(split, &shares) else { return };
        let api: Api<HTTPRoute> = Api::namespaced(self.cx.api.writes.clone(), &namespace);
        let params = PatchParams::apply(MANAGER).force().dry_run();
        let answer = api.patch(&name, &params, &Patch::Apply(&body(&desired))).await;
        let failed = answer.map_err(Error::api(format!("try out HTTPRoute {namespace}/{name}"))).err();
        found.unfit = failed.map(|error| refused_route(&error).unwrap_or(refusal));
        if found.unfit.is_some() {
            self.queue.add(unit, Instant::now() + DENIED);
        }
        self.known.note_route(split, found.unfit.clone());
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::invalid(422, "spec.rules[0].matches[0].queryParams[0].name: Invalid value", true)]
    #[case::unfit(500, "failed to create typed patch object", true)]
    #[case::a_webhook_denies(403, "admission webhook \"policy\" denied the request: no wildcard hosts", true)]
    #[case::a_policy_denies(403, "ValidatingAdmissionPolicy 'hosts' with binding 'all' denied request", true)]
    #[case::no_permission(403, "User \"seatrial\" cannot patch resource \"httproutes\"", false)]
    #[case::a_webhook_is_down(500, "failed calling webhook", false)]
    #[case::somebody_was_faster(409, "the object has been modified", false)]
    fn a_route_is_refused_by_what_is_said_about_it(
        #[case] code: u16,
        #[case] said: &str,
        #[case] refused: bool,
    ) {
        let status: Status = serde_json::from_value(
            json!({"status": "Failure", "code": code, "message": said, "reason": "x"}),
        )
        .unwrap();
        let error = Error::api("apply HTTPRoute ml/iris")(kube::Error::Api(Box::new(status)));
        let refusal = refused_route(&error);
        assert_eq!(refusal.is_some(), refused);
        assert!(refusal.is_none_or(|refusal| refusal.message.contains(said)));
    }
}
