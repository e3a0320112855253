use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{
    api::conditions::PROGRAMMED,
    rollout::observed::{Route, Split},
    route::Acceptance,
};

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

/// A candidate whose step's weight was written and is not effective yet.
fn model() -> Model {
    let status = json!({
        "phase": "Progressing", "stableRevision": "a", "candidateRevision": "b", "latestRevision": "b", "attempt": 1,
        "step": {"index": 0, "progress": "1/1", "weight": "10%", "since": now(), "entered": now(), "starts": []},
    });
    Model::of_iris(status)
}

/// A route about which its gateway says this, which the status shows as not programmed since so many seconds.
fn split(acceptance: Acceptance, silent: Option<i64>) -> Split {
    let mut split = Split::of_iris();
    let (shares, idle) = (BTreeMap::from([("a".to_owned(), 9000), ("b".to_owned(), 1000)]), BTreeSet::new());
    split.route = Route::Live(RouteView { uid: "r".to_owned(), generation: 2, shares, idle, acceptance });
    let since = now() - SignedDuration::from_secs(silent.unwrap_or_default());
    let told = if silent.is_some() { State::no("NotAccepted", "") } else { State::yes("Programmed", "") };
    conditions::set(&mut split.status.conditions, PROGRAMMED, Some(told), 1, since);
    split
}

fn silent() -> Acceptance {
    Acceptance::Pending { parent: "Gateway infra/public".to_owned() }
}

fn refuses() -> Acceptance {
    let (parent, reason) = ("Gateway infra/public".to_owned(), "NotAllowed".to_owned());
    Acceptance::Refused { parent, reason, message: "no".to_owned() }
}

#[rstest]
#[case::it_was_written_just_now(silent(), None, "its weight is not effective yet: 0 of 0 pods ready")]
#[case::for_a_moment(silent(), Some(5), "its weight is not effective yet: 0 of 0 pods ready")]
#[case::for_longer(silent(), Some(6), "its weight is not effective: Gateway infra/public is silent")]
#[case::it_says_no(refuses(), None, "its weight is not effective: Gateway infra/public is silent")]
fn that_a_gateway_is_silent_is_said_when_it_is_news(
    #[case] acceptance: Acceptance,
    #[case] since: Option<i64>,
    #[case] said: &str,
) {
    let (model, split) = (model(), split(acceptance, since));
    let effective = Effective::Unaccepted { message: "Gateway infra/public is silent".to_owned() };
    let around = Around {
        split: Some(&split),
        effective: &effective,
        at_goal: true,
        at_granted: true,
        candidate_weight: 1000,
        busy: false,
        led_since: Timestamp::MIN,
        now: now(),
    };
    let mut status = model.status.clone();
    super::model(&model, &mut status, &around);
    assert_eq!(status.message, format!("2 (b) has 10% at step 1/1; {said}"));
}
