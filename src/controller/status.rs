//! Statuses written: as a whole, onto the version that was read, and only when they differ.

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, ObjectMeta, error_boundary::InvalidObject},
    discovery::ApiResource,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use super::{
    act::{MANAGER, pruned},
    cache::{Key, key},
    error::Error,
    guard::Guard,
    observe::Found,
    queue::Unit,
    reconcile::{Controller, Done},
};
use crate::{
    api::{
        conditions::{ACCEPTED, READY, STALLED, truncate},
        v1alpha1::{ModelDeployment, ModelDeploymentStatus, TrafficSplit},
    },
    mutant::{Mutant, on},
    rollout::{news::is_news, plan::Plan},
};

impl Controller {
    /// Writes a model's status if it differs; whether that changed anything. It does not where the CRD is of an earlier
    /// release and drops what is new: looking again at once would go on for ever. What is no news waits a little where there is
    /// much of it. A conflict means that somebody knows more: nothing after it is done.
    pub async fn write_status(
        &self,
        client: &Client,
        found: &Found,
        plan: &Plan,
        name: &str,
    ) -> Result<bool, Error> {
        let (Some(model), Some(status)) =
            (found.models.iter().find(|m| m.object.name_any() == name), plan.models.get(name))
        else {
            return Ok(false);
        };
        if model.object.status.as_ref() == Some(status) {
            return Ok(false);
        }
        let namespace = model.object.namespace().unwrap_or_default();
        let before = model.object.status.as_ref();
        if before.is_some_and(|before| !is_news(before, status)) && !on(Mutant::WordsUnpaced) {
            let uid = model.object.uid().unwrap_or_default();
            if let Err(later) = self.pace.take(&uid, Instant::now()) {
                let alone = || Unit::Model((namespace, name.to_owned()));
                let unit = found.split.as_ref().map_or_else(alone, |split| Unit::Split(key(&**split)));
                self.queue.add(unit, later);
                return Ok(false);
            }
        }
        let body = ModelDeployment {
            metadata: guarded(model.object.meta()),
            spec: model.object.spec.clone(),
            status: Some(ModelDeploymentStatus { writer_epoch: self.epoch(), ..status.clone() }),
        };
        let api: Api<ModelDeployment> = Api::namespaced(client.clone(), &namespace);
        if on(Mutant::AnnotationsRemoved) && !model.object.annotations().is_empty() {
            let tidy = Patch::Merge(json!({"metadata": {"annotations": null}}));
            api.patch(name, &PatchParams::default(), &tidy)
                .await
                .map_err(Error::api(format!("tidy up ModelDeployment {namespace}/{name}")))?;
        }
        let written = api.replace_status(name, &params(), &body).await;
        let written =
            written.map_err(Error::api(format!("write status of ModelDeployment {namespace}/{name}")))?;
        let changed = written.resource_version() != model.object.resource_version();
        self.cache_mut().models.put(Guard::of(pruned(written)));
        Ok(changed)
    }

    /// Writes the `TrafficSplit`'s status if it differs.
    pub async fn write_split_status(
        &self,
        client: &Client,
        found: &Found,
        plan: &Plan,
    ) -> Result<bool, Error> {
        let (Some(split), Some(status)) = (&found.split, &plan.split) else { return Ok(false) };
        if split.status.as_ref() == Some(status) {
            return Ok(false);
        }
        let body = TrafficSplit {
            metadata: guarded(split.meta()),
            spec: split.spec.clone(),
            status: Some(status.clone()),
        };
        self.replace_split(client, body).await
    }

    /// The epoch of this replica's tenure. Without one the fence refuses the write anyway.
    fn epoch(&self) -> Option<i64> {
        self.cx.tenure.borrow().map(|tenure| tenure.epoch)
    }

    /// Refuses to act on a unit whose statuses the API server would not take from this replica, so that no route is written
    /// without its record, and has the Lease looked at: without that, such a leader would lead for ever and do nothing.
    pub fn check_epochs(&self, found: &Found) -> Result<(), Error> {
        // Without one, the fence refuses everything.
        let Some(own) = self.epoch() else { return Ok(()) };
        let models = found.models.iter().filter_map(|model| model.object.status.as_ref()?.writer_epoch);
        let split = found.split.iter().filter_map(|split| split.status.as_ref()?.writer_epoch);
        let Some(theirs) = models.chain(split).max().filter(|epoch| *epoch > own) else { return Ok(()) };
        self.cx
            .outranking
            .send_if_modified(|highest| theirs > std::mem::replace(highest, theirs.max(*highest)));
        Err(Error::Outranked { own, theirs })
    }

    async fn replace_split(&self, client: &Client, mut body: TrafficSplit) -> Result<bool, Error> {
        if let Some(status) = &mut body.status {
            status.writer_epoch = self.epoch();
        }
        let (namespace, name) = (body.namespace().unwrap_or_default(), body.name_any());
        let before = body.resource_version();
        let api: Api<TrafficSplit> = Api::namespaced(client.clone(), &namespace);
        let written = api.replace_status(&name, &params(), &body).await;
        let written =
            written.map_err(Error::api(format!("write status of TrafficSplit {namespace}/{name}")))?;
        let changed = written.resource_version() != before;
        self.cache_mut().splits.put(Guard::of(pruned(written)));
        Ok(changed)
    }

    /// A stored object that this release cannot read (it was stored before a rule existed): a condition says which field,
    /// and what runs goes on.
    pub async fn publish_broken<K: Resource<DynamicType = ()> + DeserializeOwned>(
        &self,
        key: &Key,
        broken: &InvalidObject,
    ) -> Result<Done, Error> {
        let generation = broken.metadata.generation.unwrap_or(0);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.cx.api.writes.clone(), &key.0, &ApiResource::erase::<K>(&()));
        let kind = K::kind(&()).into_owned();
        let action = || format!("write status of {kind} {}/{}", key.0, key.1);
        let live = api.get(&key.1).await.map_err(Error::api(action()))?;
        let field = path_of_error::<K>(&live).unwrap_or_else(|| "a field".to_owned());
        let mut message = format!(
            "the stored object cannot be read: {field}: {}; correct it and apply it again",
            broken.error
        );
        truncate(&mut message, 1024);
        let said = |c: &serde_json::Value| {
            c["type"] == ACCEPTED && c["observedGeneration"] == generation && c["message"] == message.as_str()
        };
        if live.data["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(said)) {
            return Ok(Done::default());
        }
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "InvalidSpec", "message": message.as_str(),
                   "observedGeneration": generation, "lastTransitionTime": self.cx.clock.now().to_string()})
        };
        let patch = json!({"status": {"message": message.as_str(),
            "conditions": [condition(ACCEPTED, "False"), condition(READY, "False"), condition(STALLED, "True")]}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        api.patch_status(&key.1, &params, &Patch::Merge(&patch)).await.map_err(Error::api(action()))?;
        Ok(Done::default())
    }
}

/// Which field a type cannot read, as `spec.progressDeadline`.
fn path_of_error<K: DeserializeOwned>(live: &DynamicObject) -> Option<String> {
    let value = serde_json::to_value(live).ok()?;
    let error = serde_path_to_error::deserialize::<_, K>(value).err()?;
    Some(error.path().to_string())
}

/// What the API server needs to write onto exactly the object that was read.
fn guarded(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectMeta::default()
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}
