//! The six verbs: requests by annotation, bound to a revision, handled once.
//!
//! `request.seatrial.dev/<verb>: '{"revision": "iris-1a2b3c4d", "step": 1, "reason": "…", "by": "…"}'`

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    observed::Model,
    phase::{Move, on_trial},
    steps,
};
use crate::{
    api::{
        conditions::truncate,
        v1alpha1::{
            Canary, HandledRequest, ModelDeploymentStatus, Outcome, PauseReason, Phase, RequestOutcome,
            Rollback,
        },
    },
    mutant::{Mutant, on},
};

/// What stands before the verb in the annotation's key.
pub const PREFIX: &str = "request.seatrial.dev/";

/// The verbs, abort first: it wins when several are asked at once.
const VERBS: [(&str, Verb); 6] = [
    ("abort", Verb::Abort),
    ("pause", Verb::Pause),
    ("retry", Verb::Retry),
    ("approve", Verb::Approve),
    ("resume", Verb::Resume),
    ("promote", Verb::Promote),
];

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Give the candidate everything now (it is still watched), or end the watch.
    Promote,
    /// Take the candidate out and reject it.
    Abort,
    /// Hold the weight.
    Pause,
    /// Go on.
    Resume,
    /// Let a step end that needs an approval.
    Approve,
    /// Try a rejected revision again.
    Retry,
}

/// A request that was not handled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The verb as it was written.
    pub verb: String,
    /// The annotation's value, cut at 256 bytes: what makes a request the same as an earlier one.
    pub value: String,
    /// What it means, or what is wrong with it.
    pub body: Result<(Verb, Body), String>,
}

/// The annotation's value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The revision that is meant.
    pub revision: String,
    /// The step that is meant (approve).
    #[serde(default)]
    pub step: Option<i32>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who, for the record.
    #[serde(default)]
    pub by: Option<String>,
}

/// The requests in an object's annotations that its status does not list as handled, in the order of [`VERBS`].
#[must_use]
pub fn pending(annotations: &BTreeMap<String, String>, status: &ModelDeploymentStatus) -> Vec<Request> {
    let mut found: Vec<Request> = annotations
        .iter()
        .filter_map(|(key, value)| key.strip_prefix(PREFIX).map(|verb| parse(verb, value)))
        .filter(|r| {
            on(Mutant::RequestHandledTwice)
                || !status.requests.iter().any(|h| h.verb == r.verb && h.value == r.value)
        })
        .collect();
    found.sort_by_key(|r| VERBS.iter().position(|(name, _)| *name == r.verb).unwrap_or(VERBS.len()));
    found
}

fn parse(verb: &str, value: &str) -> Request {
    let body = match VERBS.iter().find(|(name, _)| *name == verb) {
        None => Err(format!("there is no verb {verb:?}: use promote, abort, pause, resume, approve or retry")),
        Some((_, meant)) => serde_json::from_str(value).map(|body| (*meant, body)).map_err(|e| {
            format!("the value is not a request ({e}): write for instance {{\"revision\": \"iris-1a2b3c4d\", \"by\": \"me\"}}")
        }),
    };
    let mut value = value.to_owned();
    truncate(&mut value, 256);
    let mut verb = verb.to_owned();
    truncate(&mut verb, 63);
    Request { verb, value, body }
}

/// What handling a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, by this move.
    Move(Move, String),
    /// Done: this step is approved.
    Approved(i32, String),
    /// Done: this revision may be tried again.
    Forgiven(String, String),
    /// Not done; why, and what to write instead.
    Refused(String),
}

/// Decides on one request.
#[must_use]
pub fn answer(request: &Request, model: &Model, canary: Option<&Canary>, now: Timestamp) -> Answer {
    let (verb, body) = match &request.body {
        Ok(parsed) => parsed,
        Err(wrong) => return Answer::Refused(wrong.clone()),
    };
    let status = &model.status;
    if *verb == Verb::Retry {
        return retry(body, model);
    }
    let candidate = status.candidate_revision.as_deref();
    if candidate != Some(body.revision.as_str()) || !on_trial(status.phase) {
        let trial = match candidate {
            Some(name) if on_trial(status.phase) => format!("revision {name} is on trial"),
            _ => "no revision is on trial".to_owned(),
        };
        return Answer::Refused(format!("{trial}, not {}", body.revision));
    }
    match verb {
        Verb::Abort => abort(body, now),
        Verb::Pause => pause(status.phase),
        Verb::Resume if status.phase == Phase::Paused => {
            Answer::Move(Move::Resume, "the rollout goes on".to_owned())
        }
        Verb::Resume => Answer::Refused(format!("the rollout is not paused, it is {:?}", status.phase)),
        Verb::Approve => approve(body, status, canary),
        Verb::Promote | Verb::Retry => promote(status, canary.is_some()),
    }
}

fn retry(body: &Body, model: &Model) -> Answer {
    if !model.is_rejected(&body.revision) {
        return Answer::Refused(format!("revision {} is not rejected", body.revision));
    }
    Answer::Forgiven(body.revision.clone(), format!("revision {} may be tried again", body.revision))
}

fn abort(body: &Body, now: Timestamp) -> Answer {
    let by = body.by.as_deref().unwrap_or("somebody");
    let mut message =
        format!("{by} asked to abort{}", body.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default());
    truncate(&mut message, 512);
    let rollback = Rollback {
        outcome: Outcome::RolledBack,
        reason: "Aborted".to_owned(),
        message,
        slo: None,
        since: now.into(),
    };
    Answer::Move(Move::Retreat(rollback), "the candidate is taken out and rejected".to_owned())
}

fn pause(phase: Phase) -> Answer {
    match phase {
        Phase::Watching => Answer::Refused(
            "the candidate has all traffic already: abort it, or promote it to end the watch".to_owned(),
        ),
        Phase::Paused => Answer::Refused("the rollout is paused already".to_owned()),
        _ => Answer::Move(Move::Pause(PauseReason::Requested), "the weight is held until resume".to_owned()),
    }
}

fn approve(body: &Body, status: &ModelDeploymentStatus, canary: Option<&Canary>) -> Answer {
    let (Some(step), Some(canary)) = (&status.step, canary) else {
        return Answer::Refused("a model without a TrafficSplit has no steps to approve".to_owned());
    };
    let wanted = body.step.unwrap_or(step.index);
    if usize::try_from(wanted).ok().and_then(|i| canary.steps.get(i)).is_none() {
        return Answer::Refused(format!(
            "there is no step {wanted}: steps are counted from 0 to {}",
            canary.steps.len() - 1
        ));
    }
    if !steps::needs_approval(canary, wanted) {
        return Answer::Refused(format!("step {wanted} needs no approval"));
    }
    Answer::Approved(wanted, format!("step {wanted} is approved"))
}

fn promote(status: &ModelDeploymentStatus, split: bool) -> Answer {
    let has_all = status.step.as_ref().is_some_and(|step| steps::began(step).is_some());
    match status.phase {
        Phase::Watching if !has_all => Answer::Refused(
            "the candidate gets all traffic once its pods are ready: ask again when it has it".to_owned(),
        ),
        Phase::Watching => Answer::Move(
            Move::Promote { warm: None, why: "somebody asked to promote it" },
            "the watch ends and the candidate is stable".to_owned(),
        ),
        _ if split => Answer::Move(Move::Skip, "the candidate gets all traffic and is watched".to_owned()),
        _ => Answer::Refused(
            "without a TrafficSplit the candidate takes over by itself once it is ready".to_owned(),
        ),
    }
}

/// The record of a handled request.
#[must_use]
pub fn record(request: &Request, answer: &Answer, now: Timestamp) -> HandledRequest {
    let (outcome, message) = match answer {
        Answer::Move(_, message) | Answer::Approved(_, message) | Answer::Forgiven(_, message) => {
            (RequestOutcome::Done, message)
        }
        Answer::Refused(message) => (RequestOutcome::Refused, message),
    };
    let mut message = message.clone();
    truncate(&mut message, 512);
    HandledRequest {
        verb: request.verb.clone(),
        value: request.value.clone(),
        outcome,
        message,
        at: now.into(),
    }
}
