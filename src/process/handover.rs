//! What a leader's steady time goes on from: what the Lease tells of its holder's.
//!
//! Holds, drains and deadlines stand in statuses as moments of the steady time of whoever began them. A leader whose steady
//! time were ahead of that of the one before would end them early.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use tokio::time::Instant;

use super::leader::LEASE;

/// How far the wall time is ahead of the holder's steady time (`PT2.1s`): on the Lease of a process that began with a wrong
/// clock, and of those after it, who go on with its blocks of requests. Elsewhere both are the same, and nothing is noted.
const AHEAD: &str = "seatrial.dev/wall-ahead";

/// The Lease as last seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// What it said.
    pub lease: Lease,
    /// When it was last seen to say something new, or to vanish.
    pub since: Instant,
    /// It has been deleted since.
    pub vanished: bool,
}

impl Seen {
    /// Who holds it; empty: nobody.
    pub fn holder(&self) -> &str {
        self.lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }

    /// Its holder's steady time, as far as this replica has watched time go by since its last renewal.
    pub fn steady(&self) -> Option<Timestamp> {
        let elapsed = SignedDuration::try_from(self.since.elapsed()).ok()?;
        self.lease.spec.as_ref()?.renew_time.as_ref()?.0.checked_add(elapsed).ok()
    }

    /// How far the wall time was ahead of its holder's steady time, as the holder notes where they differ.
    pub fn ahead(&self) -> SignedDuration {
        let noted = self.lease.metadata.annotations.as_ref().and_then(|all| all.get(AHEAD));
        noted.and_then(|ahead| ahead.parse().ok()).unwrap_or_default()
    }

    /// When its holder's time is up.
    pub fn expires(&self) -> Instant {
        let seconds = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let lasts = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        self.since + if self.vanished { LEASE } else { lasts.unwrap_or(LEASE) }
    }
}

/// Notes how far the wall time is ahead of the steady time, to the millisecond; nothing where they are the same.
pub(super) fn note_ahead(metadata: &mut ObjectMeta, ahead: SignedDuration) {
    let annotations = metadata.annotations.get_or_insert_default();
    if ahead.is_zero() {
        annotations.remove(AHEAD);
    } else {
        annotations.insert(AHEAD.to_owned(), ahead.to_string());
    }
    metadata.annotations.take_if(|all| all.is_empty());
}

/// From when the steady time of a new leader goes on. Never ahead of the one before, or what that has begun would end early:
/// from its last renewal, as far as this replica has watched time go by since then; with what went by before that told by
/// the API server's time, which is rounded and may have been on its way for a while.
pub(super) fn goes_on_from(before: Option<&Seen>, lease: &Lease, now: Timestamp) -> Timestamp {
    let written = written_at(lease);
    let Some(watched) = before.and_then(Seen::steady) else { return written.unwrap_or(now) };
    let careful = |time: Timestamp| time.saturating_sub(SignedDuration::from_secs(2)).unwrap_or(time);
    watched.max(written.map_or(now, careful))
}

/// The API server's own time at the newest write of an object, to the second.
fn written_at(lease: &Lease) -> Option<Timestamp> {
    lease.metadata.managed_fields.iter().flatten().filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::clock::Clock;

    /// A leader's Lease is seen by the next one this long after it was written.
    fn handed_over(leader: &Clock, next: &Clock) -> Timestamp {
        let mut lease = Lease::default();
        note_ahead(&mut lease.metadata, leader.ahead());
        let seen = Seen { lease, since: Instant::now(), vanished: false };
        next.agree(leader.now() - SignedDuration::from_secs(1), seen.ahead());
        next.now()
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_leader_goes_on_exactly_where_one_that_began_with_a_wrong_clock_is() {
        let noon = "2026-11-21T12:00:07.3Z".parse().unwrap();
        let machine = Clock::at(noon);
        machine.jump(SignedDuration::from_hours(1));
        let leader = machine.anew();
        leader.agree(noon - SignedDuration::from_millis(2345), SignedDuration::ZERO);
        let meanwhile = machine.anew();
        assert_eq!(handed_over(&leader, &meanwhile), leader.now(), "while the clock is still wrong");
        machine.jump(SignedDuration::from_hours(-1));
        let next = machine.anew();
        assert_eq!(handed_over(&leader, &next), leader.now());
        assert_eq!(handed_over(&next, &machine.anew()), leader.now(), "and so does the one after it");
    }

    #[test]
    fn a_leader_whose_clock_was_right_notes_nothing() {
        let mut metadata = ObjectMeta::default();
        note_ahead(&mut metadata, SignedDuration::ZERO);
        assert_eq!(metadata, ObjectMeta::default());
    }
}
