//! An autoscaler: writes `spec.replicas` of a `ModelDeployment` through `/scale`, whatever is going on.

use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use tokio::time::Instant;

use super::{Actor, Surroundings, chance::Range};
use crate::world::{
    api_server::Part,
    history::{Change, Key},
};

/// Who it is in the history.
pub const NAME: &str = "autoscaler";

/// What it scales, how often, and between which sizes.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The `ModelDeployment`.
    pub model: Key,
    /// From one decision to the next.
    pub every: Range,
    /// The smallest size.
    pub least: i64,
    /// The largest size.
    pub most: i64,
    /// It scales no more after this.
    pub until: Duration,
}

/// The autoscaler.
pub struct Autoscaler {
    chance: Rng,
    setting: Setting,
    next: Option<Instant>,
}

impl Autoscaler {
    /// One with this setting, in a world that began at `began`.
    #[must_use]
    pub fn new(mut chance: Rng, setting: Setting, began: Instant) -> Self {
        let next = Some(began + setting.every.draw(&mut chance));
        Self { chance, setting, next }
    }
}

impl Actor for Autoscaler {
    fn hear(&mut self, _: &Change, _: &mut Surroundings, _: Instant) {}

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        if self.next.is_none_or(|at| at > now) {
            return;
        }
        let size = self.chance.i64(self.setting.least..=self.setting.most);
        // Gone: nothing to scale.
        let _ = around.api.edit(NAME, &self.setting.model, Part::Object, |model| {
            model["spec"]["replicas"] = json!(size);
        });
        let pause = self.setting.every.draw(&mut self.chance).max(Duration::from_millis(1));
        self.next = (around.elapsed() < self.setting.until).then_some(now + pause);
    }

    fn next(&self) -> Option<Instant> {
        self.next
    }
}
