//! Conditions of both kinds: their types and reasons, and the one function that sets them.
//!
//! `Accepted`, `ResolvedRefs` and `Programmed` mean what they mean in the Gateway API; `Reconciling` and `Stalled`
//! are kstatus's, which Flux and `kubectl wait` understand: they are present only while true.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The spec is valid and nothing else claims what it names.
pub const ACCEPTED: &str = "Accepted";
/// Everything that the spec names exists and may be used.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// The route that is written has been taken over by the data plane (`TrafficSplit` only).
pub const PROGRAMMED: &str = "Programmed";
/// A rollout moves (True), waits or has ended (False, with the reason).
pub const PROGRESSING: &str = "Progressing";
/// What should serve does.
pub const READY: &str = "Ready";
/// kstatus: the controller has not finished with this generation. Absent when it has.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: the controller cannot finish without a person. Absent otherwise.
pub const STALLED: &str = "Stalled";

/// The value of a condition to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// True or False; we never publish Unknown.
    pub status: bool,
    /// A `PascalCase` word for machines; bounded set.
    pub reason: &'static str,
    /// A sentence for people: what is so, and what to do about it.
    pub message: String,
}

impl State {
    /// A condition that holds.
    pub fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: true, reason, message: message.into() }
    }

    /// A condition that does not hold.
    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: false, reason, message: message.into() }
    }
}

/// Sets condition `kind`, or removes it for `None`. `lastTransitionTime` moves only when the status value changes
/// (API conventions), so that a reconcile which finds nothing new writes nothing.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    state: Option<State>,
    generation: i64,
    now: Timestamp,
) {
    let Some(state) = state else {
        conditions.retain(|c| c.type_ != kind);
        return;
    };
    let status = if state.status { "True" } else { "False" };
    let mut message = state.message;
    truncate(&mut message, 1024);
    let present = conditions.iter_mut().find(|c| c.type_ == kind);
    let since = match &present {
        Some(c) if c.status == status => c.last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: state.reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    match present {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

/// The condition `kind`, if it is there.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Since when condition `kind` is False, at the latest: conditions are stored to the second, rounded down. `None`: it is not.
#[must_use]
pub fn false_since(conditions: &[Condition], kind: &str) -> Option<Timestamp> {
    let told = get(conditions, kind).filter(|c| c.status == "False")?;
    told.last_transition_time.0.checked_add(SignedDuration::from_secs(1)).ok()
}

/// Cuts `text` to at most `limit` bytes at a character boundary: status is bounded whatever an error text brings.
pub fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_status_changes() {
        let (t0, t1) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());
        let mut all = vec![];
        set(&mut all, READY, Some(State::no("Starting", "one")), 1, t0);
        set(&mut all, READY, Some(State::no("Starting", "two")), 2, t1);
        assert_eq!((all[0].last_transition_time.0, all[0].message.as_str()), (t0, "two"));
        set(&mut all, READY, Some(State::yes("Serving", "three")), 2, t1);
        assert_eq!((all.len(), all[0].last_transition_time.0), (1, t1));
        set(&mut all, READY, None, 2, t1);
        assert!(all.is_empty());
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut text = "é".repeat(600);
        truncate(&mut text, 1023);
        assert_eq!(text.len(), 1022);
    }
}
