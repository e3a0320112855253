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
    api::conditions::truncate,
    revision::{INVALID_ROUTE, NAME_TAKEN, Refusal, Snapshot},
    route::{self, HTTPRoute, Share},
    workload::{self, Owner},
};

/// So many answers are remembered.
const VETTED: usize = 1000;

/// When it is asked again that could not answer.
pub(super) const AGAIN: Duration = Duration::from_secs(5);
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
        let message = format!("spec.route: the API server refuses this HTTPRoute: {}", said(error));
        Refusal::spec(INVALID_ROUTE, message)
    })
}

fn said(error: &Error) -> String {
    let mut message = error.status().map_or_else(|| error.to_string(), |status| status.message.clone());
    truncate(&mut message, 700);
    message
}

fn refused_pods(said: &str) -> Refusal {
    Refusal::spec("InvalidTemplate", format!("spec.template: the API server refuses these pods: {said}"))
}

/// By uid: what is made anew under the same name is asked about anew.
fn key_of(model: &FoundModel) -> Key {
    (owner(model).uid, model.identity.name.clone())
}

impl Controller {
    /// What is known already of whether the API server takes the latest revision's pods.
    fn answered(&self, model: &FoundModel) -> Option<Result<(), Refusal>> {
        let stored = model.revisions.iter().any(|r| r.name_any() == model.identity.name);
        if stored { Some(Ok(())) } else { lock(&self.vetted).get(&key_of(model)).cloned() }
    }

    /// As [`Self::vet`], by what is known: nobody is asked.
    pub fn vetted(&self, model: &FoundModel) -> Option<Refusal> {
        let nobody_asked = || {
            let why = "a rollback comes first: then the API server is asked whether it takes these pods";
            Err(Refusal::spec(NOT_TRIED_OUT, why))
        };
        self.answered(model).unwrap_or_else(nobody_asked).err()
    }

    /// Why the API server would not take the latest revision's pods: asked by a dry run, at first sight, until it knows. That
    /// it does not say holds up this version, and nothing else of the unit.
    pub async fn vet(&self, model: &FoundModel) -> Option<Refusal> {
        let owner = owner(model);
        match self.answered(model) {
            // What is not ours is not watched: has it gone?
            Some(Err(taken)) if taken.reason == NAME_TAKEN => {
                let revision = &model.identity.name;
                let there =
                    self.is_foreign::<ControllerRevision>(&owner.namespace, revision, &owner.uid).await;
                if !matches!(there, Ok(false)) {
                    return Some(taken);
                }
            }
            Some(known) => return known.err(),
            None => {}
        }
        let snapshot = self.known.fresh(&model.object, model.runtime.as_deref()).ok()?;
        let answer = match self.try_out(&owner, &snapshot).await {
            Ok(()) => Ok(()),
            Err(error) if error.status().is_some_and(is_final) => Err(refused_pods(&said(&error))),
            Err(error) => {
                let denied = error.code() == Some(403) && !error.is_leaving();
                let again = Instant::now() + if denied { DENIED } else { AGAIN };
                self.queue.add(Unit::Model((owner.namespace, owner.name)), again);
                let said = said(&error);
                return Some(if denied {
                    refused_pods(&said)
                } else {
                    Refusal::spec(
                        NOT_TRIED_OUT,
                        format!("the API server cannot say yet whether it takes these pods: {said}"),
                    )
                });
            }
        };
        self.remember(key_of(model), answer.clone());
        answer.err()
    }

    async fn try_out(&self, owner: &Owner, snapshot: &Snapshot) -> Result<(), Error> {
        let mut deployment = workload::deployment(owner, snapshot, 0, None);
        // One of that name may be there, left by an earlier model: it is asked about the pods, not about their owner.
        deployment.metadata.owner_references = None;
        let api: Api<Deployment> = Api::namespaced(self.cx.api.writes.clone(), &owner.namespace);
        let params = PatchParams::apply(MANAGER).force().dry_run();
        let name = deployment.name_any();
        let tried = api.patch(&name, &params, &Patch::Apply(&body(&deployment))).await;
        tried.map(drop).map_err(Error::api(format!("try out Deployment {}/{name}", owner.namespace)))
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
        self.remember((owner.uid.clone(), revision.to_owned()), Err(Refusal::spec(NAME_TAKEN, message)));
    }

    fn remember(&self, key: Key, answer: Result<(), Refusal>) {
        let mut vetted = lock(&self.vetted);
        bound(&mut vetted, VETTED);
        vetted.insert(key, answer);
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
