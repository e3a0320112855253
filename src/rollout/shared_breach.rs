//! A breach that the stable revision shares: nobody is blamed at once, but it is not held for ever either.

use super::{
    decide::Around,
    observed::{Model, Split},
    phase::Move,
    retreat::rollback,
};
use crate::api::v1alpha1::{OnSharedBreach, Outcome, PauseReason, Phase, StepStatus};

/// Remembers since when a breach is shared; when that has lasted for `sharedBreachTimeout`, pauses or rolls back. A
/// rollout that is paused already stays so, unless it is to be rolled back.
pub(super) fn next_move(
    model: &Model,
    around: &Around<'_>,
    split: &Split,
    step: &StepStatus,
) -> Option<Move> {
    let analysis = &split.spec.analysis;
    // At 100 % there is nobody to share with: what is left of it is from before.
    let shared = model.judgement.shared.as_ref().filter(|_| model.status.phase != Phase::Watching);
    let (slo, since) = match (shared, &step.shared_since) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Move::Shared(None)),
        (Some(slo), None) => return Some(Move::Shared(Some(slo.clone()))),
        (Some(slo), Some(since)) => (slo, since),
    };
    if !around.over(since, analysis.shared_breach_timeout) {
        return None;
    }
    match analysis.on_shared_breach {
        OnSharedBreach::Pause => {
            (model.status.phase == Phase::Progressing).then_some(Move::Pause(PauseReason::SharedBreach))
        }
        OnSharedBreach::Rollback => {
            let message = format!(
                "SLO {slo} was broken for {}, and the stable revision broke it too: analysis.onSharedBreach is Rollback",
                analysis.shared_breach_timeout
            );
            let mut retreat = rollback(Outcome::RolledBack, "SharedBreach", message, around.now);
            retreat.slo = Some(slo.clone());
            Some(Move::Retreat(retreat))
        }
    }
}

#[cfg(test)]
#[path = "shared_breach_tests.rs"]
mod tests;
