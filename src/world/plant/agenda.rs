//! What an actor has to do, and when.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Tasks by time; those of the same moment in the order in which they were put in.
#[derive(Clone, Debug)]
pub struct Agenda<T> {
    tasks: BTreeMap<(Instant, u64), T>,
    number: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { tasks: BTreeMap::new(), number: 0 }
    }
}

impl<T> Agenda<T> {
    /// Puts `task` in for `at`.
    pub fn add(&mut self, at: Instant, task: T) {
        self.number += 1;
        self.tasks.insert((at, self.number), task);
    }

    /// Takes out the earliest task that is due at `now`, with the time that it was put in for.
    pub fn due(&mut self, now: Instant) -> Option<(Instant, T)> {
        let first = self.tasks.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), task) = first.remove_entry();
        Some((at, task))
    }

    /// When the earliest task is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }
}

impl<T: PartialEq> Agenda<T> {
    /// Puts `task` in for `at` unless the same is there for then or earlier; takes out a later one.
    pub fn add_once(&mut self, at: Instant, task: T) {
        let known = self.tasks.iter().find(|(_, known)| **known == task).map(|(key, _)| *key);
        match known {
            Some((earlier, _)) if earlier <= at => {}
            Some(later) => {
                self.tasks.remove(&later);
                self.add(at, task);
            }
            None => self.add(at, task),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_come_out_by_time_and_then_by_order_and_one_that_is_there_once_is_not_doubled() {
        let now = Instant::now();
        let after = |secs| now + Duration::from_secs(secs);
        let mut agenda = Agenda::default();
        agenda.add(after(2), "late");
        agenda.add(after(1), "first");
        agenda.add(after(1), "second");
        agenda.add_once(after(3), "first");
        agenda.add_once(after(1), "late");
        assert_eq!(agenda.due(now), None);
        let all: Vec<_> = std::iter::from_fn(|| agenda.due(after(9))).map(|(_, task)| task).collect();
        assert_eq!(all, ["first", "second", "late"]);
        assert_eq!(agenda.next(), None);
    }
}
