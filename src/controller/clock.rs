//! Time and chance, as values: the only places that read a wall clock or a source of randomness.
//!
//! In production the clock follows the machine; in a simulation it starts where the seed says and moves with tokio's paused
//! time. Durations are measured by tokio time alone, so a wall clock that jumps cannot end a bake or a lease.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Wall time: an anchor taken once, plus the tokio time since then, plus the jumps so far.
///
/// Clones share their jumps.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor: Timestamp,
    since: Instant,
    jumped: Arc<AtomicI64>,
    follows_machine: bool,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { follows_machine: true, ..Self::at(machine()) }
    }

    /// A clock that shows `anchor` now and knows nothing of the machine's: for tests and simulations.
    #[must_use]
    pub fn at(anchor: Timestamp) -> Self {
        Self { anchor, since: Instant::now(), jumped: Arc::default(), follows_machine: false }
    }

    /// The wall time. It may go backwards when the clock jumps, and stays at the ends of the calendar instead of passing them.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        let jumped = SignedDuration::from_millis(self.jumped.load(Ordering::Relaxed));
        let moved = elapsed.saturating_add(jumped);
        self.anchor.checked_add(moved).unwrap_or(if moved.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
    }

    /// Moves the wall time by `by`, to the millisecond, for all clones: what a time server or a suspended machine does.
    pub fn jump(&self, by: SignedDuration) {
        let millis =
            i64::try_from(by.as_millis()).unwrap_or(if by.is_negative() { i64::MIN } else { i64::MAX });
        let _ = self
            .jumped
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |jumped| Some(jumped.saturating_add(millis)));
    }

    /// Follows the machine's clock if that has been set anew, or went on while this process was suspended. Returns by how
    /// much, if by more than half a second. A clock made by [`Clock::at`] never moves.
    pub fn follow(&self) -> Option<SignedDuration> {
        if !self.follows_machine {
            return None;
        }
        let by = machine().duration_since(self.now());
        (by.abs() > SignedDuration::from_millis(500)).then(|| {
            self.jump(by);
            by
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where wall time enters")]
fn machine() -> Timestamp {
    Timestamp::now()
}

/// Chance, for spreading what many would otherwise do at the same moment. Clones draw from the same source.
#[derive(Clone, Debug)]
pub struct Jitter(Arc<Mutex<fastrand::Rng>>);

impl Jitter {
    /// A source that differs from process to process.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// A source that draws the same numbers each time.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// `around` ± 20 %.
    #[must_use]
    pub fn spread(&self, around: Duration) -> Duration {
        let chance = self.0.lock().unwrap_or_else(PoisonError::into_inner).f64();
        around.mul_f64(0.4f64.mul_add(chance, 0.8))
    }

    /// `length` letters out of a–z, for names that must differ.
    #[must_use]
    pub fn suffix(&self, length: usize) -> String {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (0..length).map(|_| source.char('a'..='z')).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noon() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn wall_time_moves_with_tokio_time_and_with_jumps() {
        let clock = Clock::at(noon());
        assert_eq!(clock.now(), noon());
        tokio::time::advance(Duration::from_secs(90)).await;
        let clone = clock.clone();
        clone.jump(SignedDuration::from_hours(-1));
        assert_eq!(clock.now(), "2026-11-21T11:01:30Z".parse().unwrap());
        clock.jump(SignedDuration::from_hours(2));
        assert_eq!(clone.now(), "2026-11-21T13:01:30Z".parse().unwrap());
    }

    #[test]
    fn a_clock_stays_within_the_calendar() {
        let clock = Clock::at(noon());
        clock.jump(SignedDuration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
        clock.jump(SignedDuration::MIN);
        clock.jump(SignedDuration::MIN);
        assert_eq!(clock.now(), Timestamp::MIN);
    }

    #[test]
    fn the_systems_clock_follows_the_machine_after_a_jump_and_a_test_clock_does_not() {
        let system = Clock::system();
        assert_eq!(system.follow(), None);
        system.jump(SignedDuration::from_hours(-1));
        assert_eq!(system.follow().unwrap().as_hours(), 1);
        assert_eq!(system.follow(), None);
        let fixed = Clock::at(noon());
        assert_eq!(fixed.follow(), None);
    }

    proptest! {
        #[test]
        fn a_spread_stays_within_a_fifth(seed: u64, millis in 0..600_000_u64) {
            let (around, jitter) = (Duration::from_millis(millis), Jitter::seeded(seed));
            let spread = jitter.spread(around);
            prop_assert!(spread >= around.mul_f64(0.8) && spread <= around.mul_f64(1.2));
            prop_assert_eq!(spread, Jitter::seeded(seed).spread(around));
        }
    }
}
