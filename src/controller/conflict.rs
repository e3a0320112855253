//! A `TrafficSplit` that has to yield to an older one.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    cache::Key,
    error::Error,
    observe::{Found, find, interpret},
    queue::Unit,
    reconcile::{Controller, Done},
};
use crate::{
    api::{conditions::ACCEPTED, v1alpha1::TrafficSplit},
    revision::Refusal,
    rollout::yielding,
};

impl Controller {
    /// An older `TrafficSplit` names one of the models: this one is refused as a whole, and models that only it names are by
    /// themselves. Its route follows what becomes of them.
    pub(super) async fn give_way(
        &self,
        split: &Arc<TrafficSplit>,
        rival: &str,
        model: &str,
        models: &[Key],
    ) -> Result<Done, Error> {
        let message = format!(
            "ModelDeployment {model} belongs to the older TrafficSplit {rival}: remove it from one of the two"
        );
        let conflict = Refusal { condition: ACCEPTED, reason: "Conflict", message };
        let mut found = find(&self.cache(), &self.known, Some(split), models);
        let plans = |found: &Found| {
            let observed = interpret(found, &self.known, &self.cx.providers, self.led_since());
            yielding::plan(&observed, conflict.clone(), self.cx.clock.now())
        };
        let mut plan = plans(&found);
        let mut read = Instant::now();
        if plan.confirm {
            found = self.confirm(&found, plan.urgent).await?;
            plan = plans(&found);
            read = Instant::now();
        }
        let acted = self.act(&found, &plan, read).await?;
        if acted.wrote {
            for model in models {
                self.queue.add(Unit::Model(model.clone()), Instant::now());
            }
        }
        Ok(Done { again: acted.wrote, next: plan.next })
    }
}
