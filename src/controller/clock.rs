//! Time and chance, as values: the only places that read a wall clock or a source of randomness.
//!
//! There are two times. [`Clock::now`] is steady: it stands in every status, and every deadline, drain, hold and window is
//! counted by it, so that a machine whose clock is set (or was wrong when it started) ends none of them early.
//! [`Clock::wall`] is the machine's, which may jump: Prometheus is asked by it, because its samples bear the time of a machine
//! that follows the same time server. In a simulation both start where the seed says and move with tokio's paused time.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// By how much the API server's time may seem to be behind on one and the same clock: it is rounded down, and on its way for
/// a while.
const EXPLAINED: SignedDuration = SignedDuration::from_secs(3);

/// An anchor taken once plus the tokio time since then: steady. With the jumps so far: the wall time.
///
/// Clones share their jumps and what was agreed on.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor: Timestamp,
    since: Instant,
    /// Milliseconds.
    jumped: Arc<AtomicI64>,
    /// What had been jumped when the steady time began.
    began: i64,
    agreed: Arc<OnceLock<SignedDuration>>,
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
        Self {
            anchor,
            since: Instant::now(),
            jumped: Arc::default(),
            began: 0,
            agreed: Arc::default(),
            follows_machine: false,
        }
    }

    /// The clock of another process that begins now on the same machine: its steady time starts from the wall.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { began: self.jumped.load(Ordering::Relaxed), agreed: Arc::default(), ..self.clone() }
    }

    /// The steady time: it never goes backwards, but for the one moment at which it is agreed on, and no jump moves it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.moved(self.offset())
    }

    /// The wall time. It may go backwards when the clock jumps, and stays at the ends of the calendar instead of passing them.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.moved(SignedDuration::from_millis(self.jumped.load(Ordering::Relaxed)))
    }

    /// How far the wall time is ahead of the steady time.
    #[must_use]
    pub fn ahead(&self) -> SignedDuration {
        SignedDuration::from_millis(self.jumped.load(Ordering::Relaxed)).saturating_sub(self.offset())
    }

    /// How far the steady time is ahead of the anchor's.
    fn offset(&self) -> SignedDuration {
        self.agreed.get().copied().unwrap_or(SignedDuration::from_millis(self.began))
    }

    /// The anchor, and what has gone by since then, and `by`.
    fn moved(&self, by: SignedDuration) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        let moved = elapsed.saturating_add(by);
        self.anchor.checked_add(moved).unwrap_or(if moved.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
    }

    /// From now on the steady time goes on from `time`: the API server's, which all replicas share, so that one with a wrong
    /// clock goes on with what another wrote. Only the first time counts: afterwards what it wrote itself has to agree.
    ///
    /// A difference that rounding and a slow answer explain is none: machines that follow a time server stay by it, so that
    /// a restart finds the same blocks of requests. `ahead` is how far the wall time is ahead of the steady time of whoever
    /// led before: within what is explained, that is exact, and `time` is not.
    pub fn agree(&self, time: Timestamp, ahead: SignedDuration) {
        let candidates = [ahead, SignedDuration::ZERO].map(|ahead| self.wall().saturating_sub(ahead));
        let explained = |by: &Timestamp| by.duration_since(time).abs() < EXPLAINED;
        let by = candidates.into_iter().filter_map(Result::ok).find(explained).unwrap_or(time);
        let _ = self.agreed.set(by.duration_since(self.moved(SignedDuration::ZERO)));
    }

    /// Whether the steady time was agreed on: until then it may be as wrong as the machine's.
    #[must_use]
    pub fn has_agreed(&self) -> bool {
        self.agreed.get().is_some()
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
        let by = machine().duration_since(self.wall());
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
    async fn wall_time_moves_with_tokio_time_and_with_jumps_and_steady_time_without() {
        let clock = Clock::at(noon());
        assert_eq!((clock.now(), clock.wall()), (noon(), noon()));
        tokio::time::advance(Duration::from_secs(90)).await;
        let clone = clock.clone();
        clone.jump(SignedDuration::from_hours(-1));
        let steady = "2026-11-21T12:01:30Z".parse().unwrap();
        assert_eq!((clock.now(), clock.wall()), (steady, "2026-11-21T11:01:30Z".parse().unwrap()));
        clock.jump(SignedDuration::from_hours(2));
        assert_eq!((clone.now(), clone.wall()), (steady, "2026-11-21T13:01:30Z".parse().unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_begins_with_a_wrong_clock_goes_on_from_the_api_servers() {
        let machine = Clock::at(noon());
        machine.jump(SignedDuration::from_hours(1));
        let clock = machine.anew();
        let wrong = "2026-11-21T13:00:00Z".parse().unwrap();
        assert_eq!((clock.now(), clock.wall(), clock.ahead()), (wrong, wrong, SignedDuration::ZERO));
        let clone = clock.clone();
        clone.agree(noon(), SignedDuration::ZERO);
        machine.jump(SignedDuration::from_hours(-1));
        tokio::time::advance(Duration::from_secs(90)).await;
        clone.agree(wrong, SignedDuration::ZERO);
        let right = "2026-11-21T12:01:30Z".parse().unwrap();
        assert_eq!((clock.now(), clock.wall()), (right, right), "what was agreed on stays");
    }

    #[test]
    fn a_clock_stays_within_the_calendar() {
        let clock = Clock::at(noon());
        clock.jump(SignedDuration::MAX);
        assert_eq!(clock.wall(), Timestamp::MAX);
        clock.jump(SignedDuration::MIN);
        clock.jump(SignedDuration::MIN);
        assert_eq!(clock.wall(), Timestamp::MIN);
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
