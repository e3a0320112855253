//! Which faults a seed has: a random subset of the kinds (a swarm), each in a window of its own.

use std::time::Duration;

use fastrand::Rng;

use super::{Fault, Moment, What};

/// The kinds, each as chance makes it.
const KINDS: [fn(&mut Rng) -> What; 26] = [
    |_| What::Lost,
    |_| What::AnswerLost,
    |chance| What::Late(millis(chance, 500, 8000)),
    |chance| What::Twice(millis(chance, 0, 3000)),
    |_| What::Status(409),
    |_| What::Status(429),
    |_| What::Status(500),
    |_| What::Status(503),
    |_| What::Status(504),
    |_| What::Reset,
    |_| What::Truncated,
    |_| What::CutOff,
    |_| What::Deaf,
    |_| What::Down,
    |chance| What::Stale(millis(chance, 500, 60_000)),
    |chance| What::Skip(millis(chance, 500, 5000)),
    |_| What::Again,
    |_| What::Stall,
    |chance| What::Slow(millis(chance, 50, 5000)),
    |_| What::Close,
    |_| What::Gone,
    |chance| {
        const PLURALS: [&str; 6] =
            ["deployments", "services", "httproutes", "trafficsplits", "modeldeployments", "leases"];
        What::Forbidden(PLURALS[chance.usize(..PLURALS.len())])
    },
    |_| What::Kill,
    |_| What::Suspended,
    |_| What::Restart,
    |chance| What::Clock(if chance.bool() { 3600 } else { -3600 }),
];

/// Kinds that were thought of later. They are drawn last, so that whatever else goes wrong in a seed stays what it was.
const LATER: [fn(&mut Rng) -> What; 4] = [
    |chance| What::AnswerLate(millis(chance, 1, 3000)),
    |chance| What::Denied(written(chance)),
    |chance| What::Unwell(written(chance)),
    |_| What::Forbidden("pods"),
];

/// A kind that the operator writes, by plural.
fn written(chance: &mut Rng) -> &'static str {
    const PLURALS: [&str; 6] =
        ["deployments", "services", "httproutes", "controllerrevisions", "trafficsplits", "modeldeployments"];
    PLURALS[chance.usize(..PLURALS.len())]
}

/// Draws the faults of a world; none is on at or after `end`.
pub fn swarm(chance: &mut Rng, end: Duration) -> Vec<Fault> {
    let mut faults = vec![];
    // One world in eight is healthy, one in eight has a bit of everything.
    let often = match chance.u8(..8) {
        0 => return faults,
        1 => 60,
        _ => 12,
    };
    some_of(&KINDS, often, chance, end, &mut faults);
    if chance.u8(..100) < often * 2 {
        for _ in 0..chance.u8(1..=3) {
            let what = crash(chance);
            faults.push(Fault { replica: Some(chance.usize(..2)), ..place(what, chance, end) });
        }
    }
    if chance.u8(..100) < 5 {
        let plural = ["httproutes", "gateways"][chance.usize(..2)];
        let until = millis(chance, 1000, 15_000).min(end);
        let (replica, from, id) = (None, Duration::ZERO, chance.u64(..));
        faults.push(Fault { id, what: What::Missing(plural), replica, from, until, share: 1000 });
    }
    some_of(&LATER, often, chance, end, &mut faults);
    faults
}

/// Each of the kinds with this chance, in parts per hundred.
fn some_of(
    kinds: &[fn(&mut Rng) -> What],
    often: u8,
    chance: &mut Rng,
    end: Duration,
    faults: &mut Vec<Fault>,
) {
    for kind in kinds {
        if chance.u8(..100) < often {
            for _ in 0..chance.u8(1..=2) {
                let what = kind(chance);
                faults.push(place(what, chance, end));
            }
        }
    }
}

fn crash(chance: &mut Rng) -> What {
    let moment = [Moment::BeforeSend, Moment::AfterApply, Moment::AfterAnswer][chance.usize(..3)];
    What::Crash { after: chance.u32(1..=50), moment, away: millis(chance, 100, 20_000) }
}

/// A window, a replica and a share that fit the kind.
fn place(what: What, chance: &mut Rng, end: Duration) -> Fault {
    let last = u64::try_from(end.as_millis()).unwrap_or(u64::MAX).max(2);
    let from = Duration::from_millis(chance.u64(0..last - 1));
    let longest = match what {
        // Longer than the lease, or shorter than the renewal's deadline.
        What::Suspended | What::Kill | What::CutOff | What::Deaf | What::Stall => 40_000,
        What::Down | What::Forbidden(_) | What::Denied(_) | What::Unwell(_) | What::Restart => 20_000,
        What::Crash { .. } => last,
        _ => 60_000,
    };
    let from = if matches!(what, What::Crash { .. }) { Duration::ZERO } else { from };
    let until = (from + millis(chance, 200, longest)).min(end);
    let until = if matches!(what, What::Crash { .. }) { end } else { until };
    let share = match what {
        What::CutOff
        | What::Deaf
        | What::Down
        | What::Stall
        | What::Forbidden(_)
        | What::Denied(_)
        | What::Unwell(_)
        | What::Kill
        | What::Suspended
        | What::Restart
        | What::Crash { .. }
        | What::Stale(_)
        | What::Clock(_) => 1000,
        _ => [10, 50, 200, 500][chance.usize(..4)],
    };
    let one = !matches!(what, What::Down | What::Clock(_)) && chance.u8(..3) > 0;
    let replica = one.then(|| chance.usize(..2));
    Fault { id: chance.u64(..), what, replica, from, until, share }
}

fn millis(chance: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(chance.u64(least..=most.max(least)))
}
