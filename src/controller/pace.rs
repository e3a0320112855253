//! How often a status is written for what is no news: a few times at once, then every ten seconds.

use std::{collections::BTreeMap, sync::Mutex};

use tokio::time::{Duration, Instant};

use super::known::{bound, lock};

/// So many writes may come at once: what happens in the life of a healthy rollout.
const BURST: u32 = 3;
/// After them, one for each of these.
const EVERY: Duration = Duration::from_secs(10);
/// So many objects are remembered; one that is forgotten may write at once again.
const MOST: usize = 4096;

/// When the next such write of an object may be, by uid: the generic cell rate algorithm (ITU-T I.371), one number an object.
#[derive(Debug, Default)]
pub struct Pace(Mutex<BTreeMap<String, Instant>>);

impl Pace {
    /// Counts a write of `uid` at `now`.
    ///
    /// # Errors
    /// It is too early: from when on it is not.
    pub fn take(&self, uid: &str, now: Instant) -> Result<(), Instant> {
        let mut full = lock(&self.0);
        // When as much as may come at once may come again.
        let at = full.get(uid).map_or(now, |at| (*at).max(now));
        let earliest = at.checked_sub(EVERY * (BURST - 1)).unwrap_or(now);
        if earliest > now {
            return Err(earliest);
        }
        if !full.contains_key(uid) {
            full.retain(|_, at| *at > now);
            bound(&mut full, MOST);
        }
        full.insert(uid.to_owned(), at + EVERY);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_at_once_then_one_in_ten_seconds() {
        let (pace, began) = (Pace::default(), Instant::now() + Duration::from_mins(1));
        let after = |seconds| began + Duration::from_secs(seconds);
        for _ in 0..3 {
            assert_eq!(pace.take("a", after(0)), Ok(()));
        }
        assert_eq!(pace.take("a", after(0)), Err(after(10)));
        assert_eq!(pace.take("b", after(0)), Ok(()), "each object for itself");
        assert_eq!(pace.take("a", after(9)), Err(after(10)));
        assert_eq!(pace.take("a", after(10)), Ok(()));
        assert_eq!(pace.take("a", after(11)), Err(after(20)));
        assert_eq!([0, 0, 0].map(|_| pace.take("a", after(100))), [Ok(()); 3], "at rest it forgets");
        assert!(pace.take("a", after(100)).is_err());
    }
}
