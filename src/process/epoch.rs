//! The epochs in the statuses: what the API server refuses a deposed leader's writes by.
//!
//! A leader writes its epoch into every status that it changes, and a rule of the CRDs refuses a lower one than there is
//! (reliability.md §6.3). So a replica that has been suspended, and wakes up in the middle of a write while another
//! leads, changes no status; and every decision is a status first.

use kube::{
    Api, Client, Resource,
    api::{DynamicObject, ListParams},
    discovery::ApiResource,
};

use crate::{
    api::v1alpha1::{ModelDeployment, TrafficSplit},
    process::leader::Floor,
};

/// Objects a page: the memory that a new leader needs for the answer.
const PAGE: u32 = 500;

/// Where a new leader learns the highest epoch that stands in any status: read live, page by page, once a tenure. A
/// Lease that was deleted counts from 0 again; without this, its next holder could write nothing.
#[must_use]
pub fn floor(reads: Client) -> Floor {
    std::sync::Arc::new(move || {
        let reads = reads.clone();
        Box::pin(async move {
            let models = highest::<ModelDeployment>(&reads).await?;
            Ok(models.max(highest::<TrafficSplit>(&reads).await?))
        })
    })
}

async fn highest<K: Resource<DynamicType = ()>>(reads: &Client) -> Result<i64, kube::Error> {
    let api: Api<DynamicObject> = Api::all_with(reads.clone(), &ApiResource::erase::<K>(&()));
    let mut params = ListParams::default().limit(PAGE);
    let mut highest = 0;
    loop {
        let page = api.list(&params).await?;
        let epochs = page.items.iter().filter_map(|object| object.data["status"]["writerEpoch"].as_i64());
        highest = epochs.fold(highest, i64::max);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(highest),
        }
    }
}
