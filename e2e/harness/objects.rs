//! Objects of any kind: read from YAML, applied, listed.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, ValidationDirective},
    core::{GroupVersionKind, TypeMeta},
    discovery::{Scope, pinned_kind},
};
use serde_json::Value;

use super::{Broken, Outcome};

/// The name under which the scenarios apply, as a team's Git tool would.
pub const TEAM: &str = "team";

/// An HTTPRoute.
pub fn route_kind() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    ApiResource::from_gvk_with_plural(&kind, "httproutes")
}

/// The documents of a YAML text.
pub fn parse(yaml: &str) -> Outcome<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(yaml)?)
}

/// The API of an object's kind; a namespaced object without a namespace belongs to `namespace`.
pub async fn dynamic(
    client: &Client,
    types: &TypeMeta,
    namespace: &str,
) -> Outcome<(Api<DynamicObject>, ApiResource)> {
    let kind = GroupVersionKind::try_from(types.clone())?;
    let (resource, capabilities) =
        pinned_kind(client, &kind).await.map_err(|e| Broken::from(e).of(format!("kind {}", kind.kind)))?;
    let api = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    Ok((api, resource))
}

/// Applies an object by server-side apply with strict validation, as `kubectl apply --server-side` does.
/// `dry_run` asks the API server and changes nothing.
pub async fn apply(
    client: &Client,
    object: &Value,
    namespace: &str,
    dry_run: bool,
) -> Outcome<DynamicObject> {
    let types: TypeMeta = serde_json::from_value(object.clone())?;
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let home = object.namespace().unwrap_or_else(|| namespace.to_owned());
    let (api, _) = dynamic(client, &types, &home).await?;
    let how = PatchParams {
        dry_run,
        force: true,
        field_manager: Some(TEAM.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    Ok(api.patch(&object.name_any(), &how, &Patch::Apply(&object)).await?)
}

/// The pods of a revision.
pub async fn pods_of(client: &Client, namespace: &str, revision: &str) -> Outcome<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let label = format!("seatrial.dev/revision={revision}");
    Ok(pods.list(&ListParams::default().labels(&label)).await?.items)
}
