//! What is told to people when something changes: one Event each, only on transitions.

use crate::api::v1alpha1::{
    HandledRequest, ModelDeploymentStatus, Outcome, PauseReason, Percent, RequestOutcome, Rollback,
    StepStatus,
};

/// An Event to be published on the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Somebody should look at it.
    pub warning: bool,
    /// A `PascalCase` word; bounded set.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
    /// A rollout ended so: counted in the metrics.
    pub ended: Option<Outcome>,
}

impl Notice {
    /// News.
    #[must_use]
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            message: message.into(),
            ended: (reason == "Promoted").then_some(Outcome::Promoted),
        }
    }

    /// Bad news.
    #[must_use]
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into(), ended: None }
    }

    /// A step was taken.
    #[must_use]
    pub fn advanced(step: &StepStatus) -> Self {
        if step.weight == Percent::ALL {
            return Self::normal(
                "Watching",
                "every step passed: the candidate gets all traffic and is watched",
            );
        }
        Self::normal("StepTaken", format!("step {}: the candidate gets {}", step.progress, step.weight))
    }

    /// The rollout is held.
    #[must_use]
    pub fn paused(reason: PauseReason) -> Self {
        let message = match reason {
            PauseReason::Requested => "the weight is held as somebody asked; the SLOs are still judged",
            PauseReason::ApprovalMissing => {
                "the step passed and waits for an approval; the SLOs are still judged"
            }
            PauseReason::Inconclusive => "the step is undecided at its maxDuration; the weight is held",
            PauseReason::SharedBreach => {
                "an SLO is still broken, by the stable revision too; the weight is held until a person looks"
            }
        };
        Self {
            warning: matches!(reason, PauseReason::Inconclusive | PauseReason::SharedBreach),
            reason: "Paused",
            message: message.to_owned(),
            ended: None,
        }
    }

    /// The stable revision shares a breach.
    #[must_use]
    pub fn shared(slo: &str) -> Self {
        let message = format!(
            "SLO {slo} is broken by the stable revision too: the weight is held, the candidate is not blamed"
        );
        Self::warning("SharedBreach", message)
    }

    /// The candidate is taken out.
    #[must_use]
    pub fn retreat(rollback: &Rollback, status: &ModelDeploymentStatus) -> Self {
        let candidate = status.candidate_revision.as_deref().unwrap_or_default();
        let warning = matches!(rollback.outcome, Outcome::RolledBack | Outcome::Withdrawn);
        let message = format!("revision {candidate} is taken out: {}", rollback.message);
        Self { warning, reason: "RollingBack", message, ended: None }
    }

    /// The candidate is out.
    #[must_use]
    pub fn settled(rollback: &Rollback, candidate: &str) -> Self {
        let reason = match rollback.outcome {
            Outcome::RolledBack => "RolledBack",
            Outcome::Superseded => "Superseded",
            Outcome::Reverted => "Reverted",
            Outcome::Withdrawn => "Withdrawn",
            Outcome::Cancelled => "Cancelled",
            Outcome::Promoted => "Promoted",
        };
        let message = format!("revision {candidate} has no traffic any more and is drained");
        Self { warning: false, reason, message, ended: Some(rollback.outcome) }
    }

    /// A request was handled.
    #[must_use]
    pub fn request(record: &HandledRequest) -> Self {
        match record.outcome {
            RequestOutcome::Done => {
                Self::normal("RequestDone", format!("{}: {}", record.verb, record.message))
            }
            RequestOutcome::Refused => {
                Self::warning("RequestRefused", format!("{}: {}", record.verb, record.message))
            }
        }
    }
}
