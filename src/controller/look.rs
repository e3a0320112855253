//! A closer look at what is not at rest.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    error::Error,
    observe::{Found, FoundModel},
    reconcile::Controller,
};
use crate::{api::v1alpha1::Phase, revision::REVISION_LABEL, workload};

impl Controller {
    /// What is looked up only when it matters: pods of a candidate that is not ready, whether a name is free, whether the
    /// API server would take the pods. Nothing of it is read for a unit at rest, nor (`urgent`) before a rollback. Whether
    /// anything came of it.
    pub(super) async fn look_closer(&self, found: &mut Found, urgent: bool) -> Result<bool, Error> {
        let before = found.unfit.clone();
        if urgent {
            for model in &mut found.models {
                model.unfit = self.vetted(model);
            }
            return Ok(true);
        }
        self.vet_route(found).await;
        for model in &mut found.models {
            let namespace = model.object.namespace().unwrap_or_default();
            let status = model.object.status.as_ref();
            let starting = status.is_none_or(|status| status.phase == Phase::Pending);
            let watched = status.and_then(|status| {
                if starting { status.latest_revision.clone() } else { status.candidate_revision.clone() }
            });
            let name = model.object.name_any();
            if starting && !model.services.iter().any(|s| s.name_any() == name) {
                model.name_taken = self
                    .is_foreign::<Service>(&namespace, &name, &model.object.uid().unwrap_or_default())
                    .await?;
            }
            model.unfit = self.vet(model).await?;
            let Some(revision) = watched else { continue };
            let Some(deployment) = model.deployments.iter().find(|d| d.name_any() == revision) else {
                continue;
            };
            let health = workload::health(deployment);
            if health.ready < health.desired && health.observed {
                let api: Api<Pod> = Api::namespaced(self.cx.api.reads.clone(), &namespace);
                let params = ListParams::default().labels(&format!("{REVISION_LABEL}={revision}")).limit(50);
                let list = api.list(&params).await;
                let pods = list.map_err(Error::api(format!("list pods of {namespace}/{revision}")))?.items;
                model.pods.insert(revision, pods);
            }
        }
        let news = |model: &FoundModel| model.name_taken || model.unfit.is_some() || !model.pods.is_empty();
        Ok(found.unfit != before || found.models.iter().any(news))
    }
}
