//! The schedule of a canary: which step comes next, what it needs, where an edited schedule goes on.

use crate::api::v1alpha1::{Approval, Canary, Percent, Step, StepStart, StepStatus};

/// The judge's own default, and the shortest rollout that its published error rates and times are for.
const LEAST_PLANNED_BLOCKS: u32 = 240;

/// The step at `index`; `None` before the first and after the last.
#[must_use]
pub fn get(canary: &Canary, index: i32) -> Option<&Step> {
    usize::try_from(index).ok().and_then(|i| canary.steps.get(i))
}

/// How many steps there are.
#[must_use]
pub fn count(canary: &Canary) -> i32 {
    i32::try_from(canary.steps.len()).unwrap_or(i32::MAX)
}

/// The weight at `index`: the step's, or everything after the last one.
#[must_use]
pub fn weight(canary: &Canary, index: i32) -> Percent {
    get(canary, index).map_or(Percent::ALL, |step| step.weight)
}

/// For people: `2/4` at the second of four steps, `4/4` after the last.
#[must_use]
pub fn progress(canary: &Canary, index: i32) -> String {
    let count = count(canary);
    format!("{}/{count}", (index + 1).clamp(1, count))
}

/// Whether the step may end only after an approval.
#[must_use]
pub fn needs_approval(canary: &Canary, index: i32) -> bool {
    get(canary, index).is_some_and(|step| step.approval == Approval::Required)
}

/// Replicas of the candidate at `index`: what the step says, else the share of `full` that its weight needs, rounded
/// up, at least 1; everything after the last step. Never more than full size unless the step says so.
#[must_use]
pub fn replicas(canary: &Canary, index: i32, full: i32) -> i32 {
    match get(canary, index) {
        None => full,
        Some(step) => step.replicas.unwrap_or_else(|| share_of(full, step.weight)),
    }
}

/// Replicas of the candidate for the weight that it has: what its step needs, and more where the steps became smaller in
/// mid-rollout (they were edited, or the model has moved to another `TrafficSplit`) and the weight is still the larger one.
#[must_use]
pub fn needed(canary: &Canary, status: &StepStatus, full: i32) -> i32 {
    let of_step = replicas(canary, status.index, full);
    let outgrown = status.weight > weight(canary, status.index);
    if outgrown { of_step.max(share_of(full, status.weight)) } else { of_step }
}

/// The most replicas that a candidate needs at any step: more than full size where a step says so.
#[must_use]
pub fn most(canary: &Canary, full: i32) -> i32 {
    (0..count(canary)).map(|index| replicas(canary, index, full)).fold(full, i32::max)
}

/// ⌈full · weight⌉, at least 1.
#[must_use]
pub fn share_of(full: i32, weight: Percent) -> i32 {
    let (full, ppm) = (i64::from(full), i64::from(weight.ppm()));
    let replicas = (full * ppm + 999_999) / 1_000_000;
    i32::try_from(replicas).unwrap_or(i32::MAX).max(1)
}

/// About how many blocks of `interval` milliseconds a rollout lasts: its bakes and the rollback window, at least an hour
/// of 15 s.
#[must_use]
pub fn planned_blocks(canary: &Canary, interval: i64) -> u32 {
    let bakes = canary.steps.iter().fold(0_i64, |sum, step| sum.saturating_add(step.bake.millis()));
    let whole = bakes.saturating_add(canary.rollback_window.millis());
    let blocks = whole.saturating_add(interval.max(1) - 1).div_euclid(interval.max(1));
    u32::try_from(blocks).unwrap_or(u32::MAX).max(LEAST_PLANNED_BLOCKS)
}

/// Pods of stable, at full size, for every pod of the candidate at the step where it has the fewest; at least 1.
#[must_use]
pub fn pods_ratio(canary: &Canary, full: i32) -> f64 {
    let fewest = (0..count(canary)).map(|index| replicas(canary, index, full)).min().unwrap_or(full);
    f64::from(full.max(1)) / f64::from(fewest.clamp(1, full.max(1)))
}

/// Where an edited schedule goes on: the first step whose weight is at least the present one; after all of them, the
/// last. `None` while the schedule still agrees with the status.
#[must_use]
pub fn reindex(canary: &Canary, status: &StepStatus) -> Option<i32> {
    let present = status.weight;
    if get(canary, status.index).is_some_and(|step| step.weight == present) {
        return None;
    }
    let index = canary.steps.iter().position(|step| step.weight >= present).unwrap_or(canary.steps.len() - 1);
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    (index != status.index).then_some(index)
}

/// How many beginnings in a row, up to the last, are of the step with this index.
fn last_run(starts: &[StepStart], index: i32) -> usize {
    starts.iter().rev().take_while(|start| start.index == index).count()
}

/// When the weight of the present step was effective for the first time; `None` while it never was.
#[must_use]
pub fn began(status: &StepStatus) -> Option<&StepStart> {
    status.starts.get(status.starts.len() - last_run(&status.starts, status.index))
}

/// Since when the weight of the present step is effective without interruption; `None` while it is not.
#[must_use]
pub fn effective(status: &StepStatus) -> Option<&StepStart> {
    status.starts.last().filter(|start| start.index == status.index && start.until.is_none())
}

/// The last weight of this rollout that was effective: what a pause holds.
#[must_use]
pub fn granted(status: &StepStatus) -> Percent {
    status.starts.last().map_or(Percent::ZERO, |start| start.weight.min(status.weight))
}

/// What [`StepStart::index`] is when its schedule is not the present one.
pub const EARLIER: i32 = -1;

/// Time at a step, interruptions aside. A step that is taken again (its schedule was edited and set back, or its model was in
/// another `TrafficSplit`) is another stay: what was measured before proves nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Index of the step.
    pub index: i32,
    /// No other stay of the trial has it: how many beginnings there were before.
    pub number: i32,
}

/// The stay that one of the beginnings is of.
#[must_use]
pub fn stay(starts: &[StepStart], position: usize) -> Option<Stay> {
    let index = starts.get(position)?.index;
    Some(after(&starts[..position], index))
}

/// The stay at the present step, which may be without a beginning yet.
#[must_use]
pub fn present(status: &StepStatus) -> Stay {
    after(&status.starts, status.index)
}

/// The stay at a step that begins, or goes on, after these beginnings.
fn after(starts: &[StepStart], index: i32) -> Stay {
    let before = starts.len() - last_run(starts, index);
    Stay { index, number: i32::try_from(before).unwrap_or(i32::MAX) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn canary(steps: &serde_json::Value, window: &str) -> Canary {
        serde_json::from_value(json!({"steps": steps, "rollbackWindow": window})).unwrap()
    }

    #[rstest]
    #[case::at_its_step("50%", 0, 2)]
    #[case::the_steps_became_smaller("50%", 1, 2)]
    #[case::far_smaller("100%", 1, 4)]
    #[case::the_user_says_how_many("50%", 2, 3)]
    #[case::after_the_last("100%", 3, 4)]
    fn a_candidate_needs_pods_for_the_weight_that_it_has(
        #[case] weight: &str,
        #[case] index: i32,
        #[case] needed: i32,
    ) {
        let of_steps = json!([{"weight": "50%"}, {"weight": "10%"}, {"weight": "60%", "replicas": 3}]);
        let status =
            json!({"index": index, "progress": "", "weight": weight, "since": "2026-01-01T00:00:00.000000Z"});
        let status: StepStatus = serde_json::from_value(status).unwrap();
        let canary = canary(&of_steps, "15m");
        assert_eq!(super::needed(&canary, &status, 4), needed);
        assert_eq!((most(&canary, 4), most(&canary, 2)), (4, 3));
    }

    #[test]
    fn a_step_that_is_taken_again_is_another_stay() {
        let began = |indices: &[i32]| -> StepStatus {
            let start =
                |index: &i32| json!({"index": index, "weight": "5%", "since": "2026-01-01T00:00:00.000000Z"});
            let starts: Vec<_> = indices.iter().map(start).collect();
            let status = json!({"index": 1, "progress": "", "weight": "50%", "since": "2026-01-01T00:00:00.000000Z",
                                "starts": starts});
            serde_json::from_value(status).unwrap()
        };
        for (indices, number) in [
            (&[][..], 0),
            (&[0][..], 1),
            (&[0, 1][..], 1),
            (&[0, 1, 1][..], 1), // interrupted
            (&[EARLIER, EARLIER][..], 2),
            (&[EARLIER, EARLIER, 1][..], 2),
        ] {
            let status = began(indices);
            assert_eq!(present(&status), Stay { index: 1, number }, "{indices:?}");
            if status.starts.last().is_some_and(|start| start.index == 1) {
                assert_eq!(stay(&status.starts, indices.len() - 1), Some(present(&status)), "{indices:?}");
            }
            let expected = if indices.is_empty() { Percent::ZERO } else { "5%".parse().unwrap() };
            assert_eq!(granted(&status), expected, "{indices:?}");
        }
    }

    #[test]
    fn a_long_rollout_is_planned_for_and_a_short_one_as_an_hour() {
        let long = canary(&json!([{"weight": "5%", "bake": "4h"}, {"weight": "50%", "bake": "7h"}]), "1h");
        assert_eq!(planned_blocks(&long, 15_000), 12 * 240);
        assert_eq!(planned_blocks(&long, 3_600_000), 240);
        assert_eq!(planned_blocks(&canary(&json!([{"weight": "5%"}]), "15m"), 15_000), 240);
    }

    #[test]
    fn a_candidate_has_as_many_fewer_pods_as_at_its_smallest_step() {
        let steps = canary(&json!([{"weight": "5%"}, {"weight": "50%"}]), "15m");
        for (full, ratio) in [(1, 1.0), (2, 2.0), (4, 4.0), (40, 20.0)] {
            assert!(
                (pods_ratio(&steps, full) - ratio).abs() < 1e-9,
                "{full} pods: {}",
                pods_ratio(&steps, full)
            );
        }
        let whole = canary(&json!([{"weight": "5%", "replicas": 9}]), "15m");
        assert!((pods_ratio(&whole, 4) - 1.0).abs() < 1e-9, "more pods than stable are no noisier");
    }
}
