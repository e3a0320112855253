//! A closer look at what is not at rest.

use std::{collections::BTreeMap, sync::Mutex};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{Api, ResourceExt, api::ListParams};
use tokio::time::{Duration, Instant};

use super::{
    known::{bound, lock},
    observe::{Found, FoundModel},
    queue::Unit,
    reconcile::Controller,
    vet::AGAIN,
};
use crate::{
    api::v1alpha1::Phase,
    mutant::{Mutant, on},
    revision::REVISION_LABEL,
    workload::{self, Trouble},
};

/// How long a look at pods holds while their Deployment says the same: what we write ourselves wakes the unit at once, and each
/// time the same would be seen.
const HOLDS: Duration = Duration::from_secs(1);
/// So many looks are remembered.
const MOST: usize = 256;

/// The last looks at pods, by their Deployment's uid, and at names, by the uid of the model that wants one: of those that were
/// free.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pods: Mutex<BTreeMap<String, Look>>,
    names: Mutex<BTreeMap<String, Instant>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Look {
    /// The Deployment's version.
    version: String,
    at: Instant,
    /// What was wrong.
    trouble: Option<Trouble>,
}

impl Looks {
    fn get(&self, of: &Deployment) -> Option<Look> {
        let looks = lock(&self.pods);
        let last = looks.get(of.metadata.uid.as_ref()?)?;
        let holds = of.metadata.resource_version.as_ref() == Some(&last.version) && last.at.elapsed() < HOLDS;
        holds.then(|| last.clone())
    }

    fn note(&self, of: &Deployment, trouble: Option<Trouble>) {
        let (Some(uid), Some(version)) = (of.uid(), of.resource_version()) else { return };
        let mut looks = lock(&self.pods);
        bound(&mut looks, MOST);
        looks.insert(uid, Look { version, at: Instant::now(), trouble });
    }
}

impl Controller {
    /// What is looked up only when it matters: pods of a candidate that is not ready, whether a name is free, whether the
    /// API server would take the pods. Nothing of it is read for a unit at rest, nor (`urgent`) before a rollback. Whether
    /// anything came of it. What cannot be looked up holds up nothing.
    pub(super) async fn look_closer(&self, found: &mut Found, urgent: bool) -> bool {
        let before = found.unfit.clone();
        if urgent {
            for model in &mut found.models {
                model.unfit = self.vetted(model);
            }
            return true;
        }
        self.vet_route(found).await;
        for model in &mut found.models {
            let status = model.object.status.as_ref();
            let starting = status.is_none_or(|status| status.phase == Phase::Pending);
            let watched = status.and_then(|status| {
                if starting { status.latest_revision.clone() } else { status.candidate_revision.clone() }
            });
            let name = model.object.name_any();
            if starting && !model.services.iter().any(|s| s.name_any() == name) {
                model.name_taken = self.is_taken(model).await;
            }
            model.unfit = self.vet(model).await;
            let watched = watched.and_then(|revision| {
                model.deployments.iter().find(|deployment| deployment.name_any() == revision)
            });
            if let Some(deployment) = watched {
                let trouble = self.look_at_pods(model, deployment).await;
                let name = deployment.name_any();
                model.trouble.extend(trouble.map(|trouble| (name, trouble)));
            }
        }
        let news =
            |model: &FoundModel| model.name_taken || model.unfit.is_some() || !model.trouble.is_empty();
        found.unfit != before || found.models.iter().any(news)
    }

    /// Whether somebody else has the name of a model's stable Service. It is looked at once more before that is made.
    async fn is_taken(&self, model: &FoundModel) -> bool {
        let (namespace, name) = (model.object.namespace().unwrap_or_default(), model.object.name_any());
        let uid = model.object.uid().unwrap_or_default();
        if lock(&self.looks.names).get(&uid).is_some_and(|at| at.elapsed() < HOLDS) {
            return false;
        }
        let taken = self.is_foreign::<Service>(&namespace, &name, &uid).await;
        let taken = taken
            .inspect_err(|error| tracing::warn!(%error, "cannot tell whether its name is free: it goes on"))
            .unwrap_or(false);
        if !taken {
            let mut names = lock(&self.looks.names);
            bound(&mut names, MOST);
            names.insert(uid, Instant::now());
        }
        taken
    }

    /// What is wrong with pods of a Deployment that are not all ready. Where nobody can say, nothing is known: an operator that
    /// may not list pods (a Role was edited) still takes a candidate without pods off its route.
    async fn look_at_pods(&self, model: &FoundModel, deployment: &Deployment) -> Option<Trouble> {
        let health = workload::health(deployment);
        if health.ready >= health.desired || !health.observed {
            return None;
        }
        if let Some(look) = self.looks.get(deployment) {
            return look.trouble;
        }
        let namespace = deployment.namespace().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.cx.api.reads.clone(), &namespace);
        let params =
            ListParams::default().labels(&format!("{REVISION_LABEL}={}", deployment.name_any())).limit(50);
        match api.list(&params).await {
            Ok(pods) => {
                let trouble = workload::trouble(&pods.items);
                self.looks.note(deployment, trouble.clone());
                trouble
            }
            Err(_) if on(Mutant::PodListNeeded) => std::future::pending().await,
            Err(error) => {
                tracing::warn!(%namespace, revision = deployment.name_any(), %error, "cannot list its pods: it goes on without");
                self.queue.add(Unit::Model((namespace, model.object.name_any())), Instant::now() + AGAIN);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::TroubleKind;

    fn deployment(uid: &str, version: &str) -> Deployment {
        let meta = json!({"name": "iris-a", "namespace": "ml", "uid": uid, "resourceVersion": version});
        serde_json::from_value(json!({"metadata": meta})).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_holds_for_a_second_while_its_deployment_says_the_same() {
        let looks = Looks::default();
        let trouble = Trouble { kind: TroubleKind::CrashLoop, message: "exit 1".to_owned() };
        looks.note(&deployment("a", "7"), Some(trouble.clone()));
        looks.note(&deployment("b", "7"), None);
        let of = |uid, version| looks.get(&deployment(uid, version)).map(|look| look.trouble);
        assert_eq!(of("a", "7"), Some(Some(trouble)));
        assert_eq!(of("b", "7"), Some(None), "nothing is wrong");
        assert_eq!(of("a", "8"), None, "a pod came or went");
        assert_eq!(of("c", "7"), None, "another Deployment");
        tokio::time::advance(HOLDS).await;
        assert_eq!(of("a", "7"), None, "it is old");
    }
}
