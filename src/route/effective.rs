//! Whether the weights that are written are those that the data plane applies.
//!
//! A parent's word that it has accepted a generation is not yet its last proxy's: from the moment that all parents are
//! first *seen* to have accepted, a propagation allowance must pass. That moment needs memory, which is
//! `TrafficSplit.status.route`; where the memory is not of the live route, the allowance has not begun.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Acceptance, RouteView, TOTAL};
use crate::{
    api::v1alpha1::{Duration, Percent, RevisionShare, RouteStatus},
    mutant::{Mutant, on},
};

/// Whether the live route's weights are effective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effective {
    /// They are: no data plane applies anything older.
    Settled {
        /// Since when: a propagation allowance after all parents were first seen to have accepted them. What must last
        /// from then on (a drain, a bake) has not begun before.
        since: Timestamp,
    },
    /// Every parent has accepted; proxies may still apply the weights before.
    Waiting {
        /// When the allowance is over.
        until: Timestamp,
    },
    /// Not every parent has accepted: what is applied is unknown.
    Unaccepted {
        /// One sentence: which parent, and why.
        message: String,
    },
}

impl Effective {
    /// Whether no data plane applies anything older.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Settled { .. })
    }
}

/// Judges `view` at `now`, given what was remembered of it and the provider's propagation allowance. A memory of the
/// future (the clock was set back) is none.
#[must_use]
pub fn effective(
    view: &RouteView,
    memory: Option<&RouteStatus>,
    propagation: Duration,
    now: Timestamp,
) -> Effective {
    match &view.acceptance {
        Acceptance::Pending { parent } => {
            let message =
                format!("{parent} has not accepted generation {} of the route yet", view.generation);
            return Effective::Unaccepted { message };
        }
        Acceptance::Refused { parent, reason, message } => {
            let message = format!("{parent} refuses the route ({reason}): {message}");
            return Effective::Unaccepted { message };
        }
        Acceptance::Accepted => {}
    }
    let since = memory.filter(|memory| recalls(memory, view, now)).map_or(now, |memory| memory.since.0);
    let allowance = if on(Mutant::NoPropagation) { Duration::default() } else { propagation };
    let until = since.saturating_add(allowance.signed()).unwrap_or(Timestamp::MAX);
    if now >= until { Effective::Settled { since: until } } else { Effective::Waiting { until } }
}

/// What `TrafficSplit.status.route` should hold: the memory while it is of the live route or the route is not accepted
/// (what was accepted last may still be applied), else a new one that begins now. Where there is no route, that is
/// remembered, by the generation that none has.
#[must_use]
pub fn remember(
    view: Option<&RouteView>,
    memory: Option<&RouteStatus>,
    now: Timestamp,
) -> Option<RouteStatus> {
    let Some(view) = view else {
        let known = memory.filter(|memory| memory.generation == 0 && memory.since.0 <= now).cloned();
        let (uid, shares) = (String::new(), vec![]);
        return known.or(Some(RouteStatus { uid, generation: 0, shares, since: MicroTime(now) }));
    };
    let kept = memory
        .filter(|memory| memory.generation > 0)
        .filter(|memory| view.acceptance != Acceptance::Accepted || recalls(memory, view, now));
    if kept.is_some() || view.acceptance != Acceptance::Accepted {
        return kept.cloned();
    }
    let (uid, shares) = (view.uid.clone(), as_shares(&view.shares));
    Some(RouteStatus { uid, generation: view.generation, shares, since: MicroTime(now) })
}

fn recalls(memory: &RouteStatus, view: &RouteView, now: Timestamp) -> bool {
    let same = memory.uid == view.uid && memory.generation == view.generation;
    same && memory.shares == as_shares(&view.shares) && memory.since.0 <= now
}

/// Weights as percentages, in the order of names.
fn as_shares(weights: &BTreeMap<String, i32>) -> Vec<RevisionShare> {
    let share = |(name, weight): (&String, &i32)| {
        let ppm = weight.clamp(&0, &TOTAL) * (Percent::ALL.ppm() / TOTAL);
        RevisionShare { name: name.clone(), weight: Percent::from_ppm(ppm).unwrap_or_default() }
    };
    weights.iter().map(share).collect()
}
