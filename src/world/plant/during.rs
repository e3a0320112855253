//! What is only so for a while: faults that come and go in virtual time.

use std::time::Duration;

/// Something that holds from `from` until `until`, both since the world began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct During<T> {
    /// From when, inclusive.
    pub from: Duration,
    /// Until when, exclusive; [`Duration::MAX`]: for ever.
    pub until: Duration,
    /// What.
    pub what: T,
}

impl<T> During<T> {
    /// `what` from the beginning for ever.
    pub fn always(what: T) -> Self {
        Self { from: Duration::ZERO, until: Duration::MAX, what }
    }

    /// Whether it holds at `at`.
    #[must_use]
    pub fn holds(&self, at: Duration) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// The first of `all` that holds at `at`.
pub fn now<T>(all: &[During<T>], at: Duration) -> Option<&During<T>> {
    all.iter().find(|one| one.holds(at))
}
