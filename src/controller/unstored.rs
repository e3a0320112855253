//! A revision whose snapshot somebody has deleted: its Deployment can be rendered no more, but it still runs.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    act::{MANAGER, pruned},
    error::Error,
    observe::FoundModel,
    reconcile::Controller,
};

/// The live Deployment of such a revision. `None` where a snapshot is stored: then that cannot be read, and everything of it
/// stays as it is.
pub fn unstored<'a>(model: &'a FoundModel, revision: &str) -> Option<&'a Deployment> {
    let stored = model.revisions.iter().any(|r| r.name_any() == revision);
    model.deployments.iter().find(|d| d.name_any() == revision && !stored).map(|live| &**live)
}

impl Controller {
    /// Gives the live Deployment this size and leaves the rest of it as it is, on the version that was read.
    pub async fn scale(
        &self,
        client: &Client,
        model: &FoundModel,
        revision: &str,
        replicas: i32,
    ) -> Result<bool, Error> {
        let Some(live) = unstored(model, revision) else { return Ok(false) };
        if live.spec.as_ref().and_then(|spec| spec.replicas) == Some(replicas) {
            return Ok(false);
        }
        let namespace = live.namespace().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        let body = json!({"metadata": {"uid": live.uid(), "resourceVersion": live.resource_version()},
                          "spec": {"replicas": replicas}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let scaled = api.patch(revision, &params, &Patch::Merge(&body)).await;
        let scaled = scaled.map_err(Error::api(format!("scale Deployment {namespace}/{revision}")))?;
        self.cache_mut().deployments.put(pruned(scaled));
        Ok(true)
    }
}
