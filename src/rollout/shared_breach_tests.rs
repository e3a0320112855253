use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    rollout::{
        apply,
        evidence::{Judgement, Observability, ProvenBreach},
    },
    route::Effective,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn ago(seconds: i64) -> Value {
    json!(now() - SignedDuration::from_secs(seconds))
}

fn split(analysis: &Value) -> Split {
    let mut split = Split::of_iris();
    split.spec.analysis = serde_json::from_value(analysis.clone()).unwrap();
    split
}

/// A model with a candidate at 10 %, whose breach is shared (or not), as the status has it since so many seconds.
fn model(phase: &str, shared: bool, since: Option<i64>) -> Model {
    let mut status = json!({
        "phase": phase, "stableRevision": "a", "candidateRevision": "b", "latestRevision": "b", "attempt": 1,
        "step": {"index": 0, "progress": "1/1", "weight": "10%", "since": ago(2000), "entered": ago(2000),
                 "starts": [{"index": 0, "since": ago(2000)}]},
    });
    if let Some(since) = since {
        status["step"]["sharedSince"] = ago(since);
    }
    let judgement = Judgement {
        shared: shared.then(|| "availability".to_owned()),
        observability: Observability::Yes,
        ..Judgement::default()
    };
    Model { judgement, ..Model::of_iris(status) }
}

fn decided(model: &Model, analysis: &Value) -> Option<Move> {
    let (split, effective) = (split(analysis), Effective::Settled { since: now() });
    let around = Around {
        split: Some(&split),
        effective: &effective,
        at_goal: true,
        at_granted: true,
        candidate_weight: 0,
        busy: false,
        led_since: Timestamp::MIN,
        now: now(),
    };
    next_move(model, &around, &split, model.status.step.as_ref().unwrap())
}

#[rstest]
#[case::begins(true, None, Some(Move::Shared(Some("availability".to_owned()))))]
#[case::goes_on(true, Some(899), None)]
#[case::lasts_too_long(true, Some(900), Some(Move::Pause(PauseReason::SharedBreach)))]
#[case::ends(false, Some(100), Some(Move::Shared(None)))]
#[case::there_is_none(false, None, None)]
fn by_default_a_shared_breach_is_held_for_a_quarter_of_an_hour_and_then_paused(
    #[case] shared: bool,
    #[case] since: Option<i64>,
    #[case] expected: Option<Move>,
) {
    assert_eq!(decided(&model("Progressing", shared, since), &json!({})), expected);
}

#[test]
fn whoever_fears_an_overloaded_neighbour_rolls_back_instead() {
    let analysis = json!({"onSharedBreach": "Rollback", "sharedBreachTimeout": "2m"});
    assert_eq!(decided(&model("Progressing", true, Some(119)), &analysis), None);
    for phase in ["Progressing", "Paused"] {
        let Some(Move::Retreat(rollback)) = decided(&model(phase, true, Some(120)), &analysis) else {
            panic!("{phase} is not rolled back")
        };
        assert_eq!(
            (rollback.reason.as_str(), rollback.slo.as_deref()),
            ("SharedBreach", Some("availability"))
        );
        assert!(rollback.message.contains("the stable revision broke it too"), "{}", rollback.message);
    }
}

#[test]
fn a_rollout_that_is_paused_stays_so_and_one_at_100_percent_shares_with_nobody() {
    assert_eq!(decided(&model("Paused", true, Some(5000)), &json!({})), None);
    let analysis = json!({"onSharedBreach": "Rollback"});
    assert_eq!(decided(&model("Watching", true, None), &analysis), None);
    assert_eq!(decided(&model("Watching", true, Some(5000)), &analysis), Some(Move::Shared(None)));
}

#[test]
fn a_breach_of_its_own_is_not_held_up_by_one_that_is_shared() {
    let mut both = model("Progressing", true, Some(10));
    both.judgement.breach = Some(ProvenBreach { slo: "latency".to_owned(), message: "slow".to_owned() });
    let (split, effective) = (split(&json!({})), Effective::Settled { since: now() });
    let around = Around {
        split: Some(&split),
        effective: &effective,
        at_goal: true,
        at_granted: true,
        candidate_weight: 0,
        busy: false,
        led_since: Timestamp::MIN,
        now: now(),
    };
    let Some(Move::Retreat(rollback)) = crate::rollout::decide::next_move(&both, &around) else {
        panic!("it is not rolled back")
    };
    assert_eq!(rollback.reason, "Breach");
}

#[test]
fn what_is_shared_is_remembered_told_once_and_forgotten_by_whoever_resumes() {
    let before = model("Progressing", true, None);
    let canary = split(&json!({})).spec.strategy.canary;
    let begun = Move::Shared(Some("availability".to_owned()));
    let (status, told) = apply::apply(&before, Some(&canary), &begun, now());
    assert_eq!(status.step.as_ref().unwrap().shared_since.as_ref().map(|t| t.0), Some(now()));
    assert!(told.len() == 1 && told[0].reason == "SharedBreach" && told[0].warning, "{told:?}");
    let held = Model { status, ..before };
    let (paused, told) = apply::apply(&held, Some(&canary), &Move::Pause(PauseReason::SharedBreach), now());
    assert!(told[0].warning && told[0].message.contains("the stable revision too"), "{told:?}");
    let (resumed, _) = apply::apply(&Model { status: paused, ..held }, Some(&canary), &Move::Resume, now());
    assert_eq!(resumed.step.unwrap().shared_since, None, "it is held for as long again");
}
