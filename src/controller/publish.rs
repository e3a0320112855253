//! What a reconcile tells: events, metrics, a line of the log.

use kube::ResourceExt;
use tokio::time::Instant;

use super::{act::Acted, error::Error, metrics::ModelSeries, observe::Found, reconcile::Controller};
use crate::{
    api::v1alpha1::Phase,
    rollout::{
        apply,
        observed::{Model, Observed},
        phase,
        plan::Plan,
    },
};

impl Controller {
    /// Events, metrics, and how long a breach took from its answer to the route.
    pub(super) fn publish(
        &self,
        found: &Found,
        observed: &Observed,
        plan: &Plan,
        acted: &Result<Acted, Error>,
        answered: Option<Instant>,
    ) {
        let wrote_status = |name: &str| acted.as_ref().is_ok_and(|a| a.statuses.iter().any(|s| s == name));
        for (name, notice) in &plan.notices {
            let Some(model) = found.models.iter().find(|m| m.object.name_any() == *name) else { continue };
            if wrote_status(name) {
                if let Some(outcome) = notice.ended {
                    self.cx.metrics.rollout_ended(outcome);
                }
                tracing::info!(
                    namespace = model.object.namespace(),
                    model = name,
                    reason = notice.reason,
                    "{}",
                    notice.message
                );
                self.events.publish(&model.object, notice, self.cx.clock.now());
            }
        }
        let canary = observed.split.as_ref().map(|s| &s.spec.strategy.canary);
        for model in &observed.models {
            let Some(status) = plan.models.get(&model.name) else { continue };
            let Some(object) = found.models.iter().find(|m| m.object.name_any() == model.name) else {
                continue;
            };
            let namespace = object.object.namespace().unwrap_or_default();
            let series = ModelSeries {
                phase: status.phase,
                candidate_weight: apply::candidate_weight(status, canary),
                verdicts: status.analysis.iter().map(|s| (s.name.clone(), s.verdict)).collect(),
            };
            self.cx.metrics.show(&namespace, &model.name, series);
        }
        if let (Some(at), Ok(acted)) = (answered, acted)
            && acted.routed
            && observed.models.iter().any(|m| began_rollback(m, plan))
        {
            self.cx.metrics.routed_after_answer(at.elapsed());
        }
    }
}

/// Whether this very plan decided that a breach is proven.
fn began_rollback(model: &Model, plan: &Plan) -> bool {
    let after = plan.models.get(&model.name);
    phase::on_trial(model.status.phase)
        && model.judgement.breach.is_some()
        && after.is_some_and(|s| s.phase == Phase::RollingBack)
}
