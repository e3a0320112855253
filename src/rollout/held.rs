//! Time at a weight that is held: by a pause, or until the pods of the next step are ready. It goes on with the stay before
//! it, so that the candidate is compared with the stable revision then too: a breach shows at every moment with traffic.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    decide::{Around, BEGINNINGS},
    phase::Move,
    steps,
};
use crate::{
    api::v1alpha1::{ModelDeploymentStatus, Percent, StepStart, StepStatus},
    route::{RouteView, Share},
};

/// Begins once the weight was held for a whole block, so that a rollout without delays writes nothing more; ends when the
/// route says something else.
pub(super) fn next_move(step: &StepStatus, around: &Around<'_>) -> Option<Move> {
    let last = step.starts.last()?;
    let Some(until) = &last.until else {
        return (last.index != step.index && !around.at_granted).then_some(Move::Interrupt);
    };
    let since = around.settled_since()?.max(until.0);
    let interval = around.split?.spec.analysis.interval;
    let held = around.at_granted && steps::granted(step) > Percent::ZERO;
    (held && around.over(&MicroTime(since), interval) && step.starts.len() < BEGINNINGS).then_some(Move::Hold)
}

/// Writes down that it begins.
pub(super) fn begin(step: &mut StepStatus, now: Timestamp) {
    let weight = steps::granted(step);
    if let Some(index) = step.starts.last().map(|start| start.index) {
        step.starts.push(StepStart { index, weight, since: now.into(), until: None });
    }
}

/// Ends what is held in `status` if the route that is about to be written gives its candidate another weight than the live
/// one does.
pub(super) fn end(
    status: &mut ModelDeploymentStatus,
    live: Option<&RouteView>,
    route: &[Share],
    now: Timestamp,
) {
    let Some(candidate) = &status.candidate_revision else { return };
    let present = live.and_then(|view| view.shares.get(candidate)).copied().unwrap_or(0);
    let next = route.iter().find(|share| share.revision == *candidate).map_or(0, |share| share.weight);
    if let Some(step) = status.step.as_mut().filter(|_| present != next) {
        let index = step.index;
        if let Some(start) = step.starts.last_mut().filter(|s| s.until.is_none() && s.index != index) {
            start.until = Some(now.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        rollout::observed::Split,
        route::{Acceptance, Effective},
    };

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A trial whose 5 % were effective from 0 s to 10 s (or still are), now at step `index` with `weight`.
    fn step(index: i32, weight: &str, still: bool) -> StepStatus {
        let until = if still { json!(null) } else { json!("1970-01-01T00:00:10.000000Z") };
        let since = "1970-01-01T00:00:00.000000Z";
        let start = json!({"index": 0, "weight": "5%", "since": since, "until": until});
        let step =
            json!({"index": index, "progress": "", "weight": weight, "since": since, "starts": [start]});
        serde_json::from_value(step).unwrap()
    }

    /// With blocks of 15 s.
    fn split() -> Split {
        let spec = json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
            "backends": [{"modelDeploymentRef": {"name": "iris"}}],
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
            "strategy": {"canary": {"steps": [{"weight": "5%", "bake": "5s"}, {"weight": "50%", "bake": "5s"}]}}
        });
        Split::of(serde_json::from_value(spec).unwrap())
    }

    fn moved(step: &StepStatus, at_granted: bool, settled: Option<i64>, now: i64) -> Option<Move> {
        let effective = settled.map_or_else(
            || Effective::Unaccepted { message: String::new() },
            |since| Effective::Settled { since: second(since) },
        );
        let around = Around {
            split: Some(&split()),
            effective: &effective,
            at_goal: false,
            at_granted,
            candidate_weight: 500,
            busy: false,
            now: second(now),
            led_since: Timestamp::MIN,
        };
        next_move(step, &around)
    }

    #[rstest]
    #[case::a_block_has_passed(true, Some(0), 25, Some(Move::Hold))]
    #[case::not_yet(true, Some(0), 24, None)]
    #[case::the_route_is_new(true, Some(20), 34, None)]
    #[case::the_route_is_new_and_a_block_has_passed(true, Some(20), 35, Some(Move::Hold))]
    #[case::it_is_not_effective(true, None, 60, None)]
    #[case::the_route_says_something_else(false, Some(0), 60, None)]
    fn what_goes_on_for_a_whole_block_is_held(
        #[case] at_granted: bool,
        #[case] settled: Option<i64>,
        #[case] now: i64,
        #[case] expected: Option<Move>,
    ) {
        assert_eq!(moved(&step(1, "50%", false), at_granted, settled, now), expected);
        assert_eq!(moved(&step(0, "5%", false), at_granted, settled, now), expected, "a pause in its step");
    }

    #[test]
    fn somebody_elses_route_interrupts_it() {
        assert_eq!(moved(&step(1, "50%", true), false, Some(0), 60), Some(Move::Interrupt));
        assert_eq!(moved(&step(1, "50%", true), true, Some(0), 60), None);
        assert_eq!(moved(&step(0, "5%", true), false, Some(0), 60), None, "that is its step's own");
    }

    #[test]
    fn it_is_time_of_the_stay_before() {
        let mut step = step(1, "50%", false);
        begin(&mut step, second(30));
        let stays: Vec<_> = (0..2).map(|at| steps::stay(&step.starts, at)).collect();
        assert_eq!(stays[0], stays[1]);
        assert_eq!((steps::granted(&step), steps::began(&step)), ("5%".parse().unwrap(), None));
    }

    #[rstest]
    #[case::another_weight(5000, true)]
    #[case::the_same(500, false)]
    fn it_ends_before_another_weight_is_written(#[case] weight: i32, #[case] ends: bool) {
        let status = json!({"phase": "Progressing", "attempt": 1, "stableRevision": "iris-a", "candidateRevision": "iris-b"});
        let mut status: ModelDeploymentStatus = serde_json::from_value(status).unwrap();
        status.step = Some(step(1, "50%", true));
        let view = RouteView {
            uid: String::new(),
            generation: 3,
            shares: [("iris-a".to_owned(), 9500), ("iris-b".to_owned(), 500)].into(),
            idle: [].into(),
            acceptance: Acceptance::Accepted,
        };
        let share = Share { revision: "iris-b".to_owned(), version: String::new(), weight };
        end(&mut status, Some(&view), &[share], second(30));
        let until = status.step.unwrap().starts[0].until.clone();
        assert_eq!(until, ends.then(|| MicroTime(second(30))));
    }
}
