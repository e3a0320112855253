//! The garbage collector: what belongs to a deleted object goes after it.

use fastrand::Rng;
use serde_json::Value;
use tokio::time::Instant;

use super::{Actor, Surroundings, chance::Range};
use crate::world::history::Change;

/// Who it is in the history.
pub const NAME: &str = "garbage-collector";

/// The garbage collector.
pub struct Garbage {
    chance: Rng,
    delay: Range,
    next: Option<Instant>,
}

impl Garbage {
    /// One that takes `delay` to notice something.
    #[must_use]
    pub fn new(chance: Rng, delay: Range) -> Self {
        Self { chance, delay, next: None }
    }
}

impl Actor for Garbage {
    fn hear(&mut self, change: &Change, _: &mut Surroundings, now: Instant) {
        let ends = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
        // An orphan may also be made when its owner is gone already.
        let concerns = match (&change.before, &change.after) {
            (_, None) => true,
            (None, Some(made)) => made["metadata"]["ownerReferences"].is_array(),
            (Some(_), Some(changed)) => ends(changed),
        };
        if concerns && self.next.is_none() {
            self.next = Some(now + self.delay.draw(&mut self.chance));
        }
    }

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        if self.next.is_some_and(|at| at <= now) {
            // What it deletes is heard of, and may leave more to do.
            self.next = None;
            around.api.collect_garbage(NAME);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.next
    }
}
