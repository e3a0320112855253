//! The phases of a model and the moves between them: the one table.
//!
//! | phase | means | leaves to |
//! | --- | --- | --- |
//! | Pending | nothing has ever served | ready and its route effective → Stable |
//! | Stable | one revision serves, none is on trial | a latest revision that is neither stable nor rejected, its turn → Preparing; a rejected one → `RolledBack` |
//! | Preparing | candidate starts and warms up at weight 0 | ready → Progressing; deadline, abort → `RollingBack`; newer → Preparing; spec set back, scaled to 0 → Stable |
//! | Progressing | candidate has its step's weight | step passed → next; last passed → Watching; breach, pods lost, weight not effective → `RollingBack` |
//! | Paused | weight held, SLOs still judged | resume, approve → Progressing; breach, abort → `RollingBack` |
//! | Watching | candidate at 100 %, the old revision warm | window over → Stable; breach → `RollingBack` |
//! | `RollingBack` | stable at 100 % written; waiting until effective and drained | rejected → `RolledBack`; superseded, set back → Stable; withdrawn → Preparing |
//! | `RolledBack` | stable serves, the latest revision is rejected | new revision, retry → Preparing; spec set back, or not its turn yet → Stable |

use crate::{
    api::v1alpha1::{Duration, Outcome, PauseReason, Percent, Phase, Rollback},
    mutant::{Mutant, on},
};
use jiff::Timestamp;

/// One change of a model's state. A plan takes at most one, and writes it down before it acts on it (design §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Pending → Stable: the first revision serves.
    Serve,
    /// → Preparing: the latest revision becomes the candidate; one that was preparing before it is superseded.
    Prepare,
    /// Preparing → Progressing: the candidate is ready for its first weight.
    Enter,
    /// The step's weight is effective since then: its bake begins.
    Begin {
        /// From when it counts.
        since: Timestamp,
    },
    /// The step's weight is effective no more (somebody else wrote the route, another backend came): what is measured until
    /// it is again belongs to no step.
    Interrupt,
    /// The last weight that was effective is so still, or again, while a pause or a step that waits for its pods holds it:
    /// what is measured goes on with that stay.
    Hold,
    /// Progressing → Progressing at the next step, or Watching after the last.
    Advance,
    /// The user changed the steps: go on at this index, at the weight that is there already.
    Reindex {
        /// The step whose rules hold now.
        index: i32,
    },
    /// → Paused.
    Pause(PauseReason),
    /// Paused → Progressing (or Preparing, if it never had weight).
    Resume,
    /// Watching → Stable: the candidate is the stable revision. `warm` keeps the old one at full size for so long.
    Promote {
        /// What is left of the rollback window, when a newer revision cuts it short.
        warm: Option<Duration>,
        /// Why, for people.
        why: &'static str,
    },
    /// Progressing or Paused → Watching, because somebody asked for it.
    Skip,
    /// → `RollingBack`.
    Retreat(Rollback),
    /// `RollingBack` → what its outcome says.
    Settle,
    /// Preparing or `RolledBack` → Stable: the spec asks for the stable revision again.
    Revert,
    /// Preparing or `RolledBack` → Stable: the latest revision has to wait, for its turn or for pods at all.
    Await,
    /// Stable → `RolledBack`: the spec asks for a rejected revision.
    Decline,
    /// Measurements went missing, or came back.
    Observable(bool),
    /// The stable revision began to share a breach of this SLO, or (`None`) does no longer.
    Shared(Option<String>),
}

/// What the table needs to know beside the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The present step is the last one.
    pub last_step: bool,
    /// The candidate was given weight in this attempt.
    pub had_weight: bool,
    /// What comes after `RollingBack`.
    pub outcome: Option<Outcome>,
}

/// The phase after `step` from `phase`; `None` where the table has no such arrow.
#[must_use]
pub fn after(phase: Phase, step: &Move, facts: Facts) -> Option<Phase> {
    use Phase::{Paused, Pending, Preparing, Progressing, RolledBack, RollingBack, Stable, Watching};
    Some(match (phase, step) {
        (Pending, Move::Serve)
        | (Preparing | Watching, Move::Promote { .. })
        | (Preparing | RolledBack, Move::Revert | Move::Await) => Stable,
        (Stable | Preparing | RolledBack, Move::Prepare) => Preparing,
        (Preparing, Move::Enter) => Progressing,
        (
            Progressing | Watching | Paused,
            Move::Begin { .. } | Move::Interrupt | Move::Hold | Move::Observable(_) | Move::Shared(_),
        )
        | (Preparing, Move::Observable(_))
        | (Progressing | Paused | Preparing, Move::Reindex { .. }) => phase,
        (Progressing, Move::Advance) => {
            if facts.last_step {
                Watching
            } else {
                Progressing
            }
        }
        (Preparing | Progressing, Move::Pause(_)) => Paused,
        (Paused, Move::Resume) => {
            if facts.had_weight {
                Progressing
            } else {
                Preparing
            }
        }
        (Preparing | Progressing | Paused, Move::Skip) => Watching,
        (Preparing | Progressing | Paused | Watching, Move::Retreat(_)) => RollingBack,
        (RollingBack, Move::Settle) => match facts.outcome? {
            Outcome::RolledBack | Outcome::Cancelled => RolledBack,
            Outcome::Superseded | Outcome::Reverted => Stable,
            Outcome::Withdrawn => Preparing,
            Outcome::Promoted => return None,
        },
        (Stable, Move::Decline) => RolledBack,
        _ => return None,
    })
}

/// Whether a revision is on trial in this phase: it has a candidate whose fate is open.
#[must_use]
pub fn on_trial(phase: Phase) -> bool {
    matches!(phase, Phase::Preparing | Phase::Progressing | Phase::Paused | Phase::Watching)
}

/// The candidate's weight in a phase: what the route should say once everything is ready. `granted` is the last weight
/// that was effective: a pause never raises it.
#[must_use]
pub fn weight(phase: Phase, step: Percent, granted: Percent) -> Percent {
    match phase {
        Phase::Progressing => step,
        Phase::Paused if on(Mutant::PauseRaises) => step,
        Phase::RollingBack if on(Mutant::RollbackKeepsWeight) => step,
        Phase::Paused => granted,
        Phase::Watching => Percent::ALL,
        Phase::Pending | Phase::Stable | Phase::Preparing | Phase::RollingBack | Phase::RolledBack => {
            Percent::ZERO
        }
    }
}
