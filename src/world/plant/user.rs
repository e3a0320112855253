//! People: what they write, and when.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Actor, Surroundings, agenda::Agenda};
use crate::{
    rollout::requests::PREFIX,
    world::{
        api_server::Part,
        history::{Change, Key},
    },
};

/// One thing that somebody does. What cannot be done (the object is gone, the API server refuses) is left.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Asks a `ModelDeployment` for another version.
    Version(Key, String),
    /// Changes an object by a JSON merge patch.
    Merge(Key, Value),
    /// Makes an object.
    Create(Value),
    /// Deletes an object.
    Delete(Key),
    /// One of the six verbs, about a revision.
    Verb {
        /// The `ModelDeployment`.
        model: Key,
        /// promote, abort, pause, resume, approve or retry.
        verb: &'static str,
        /// Which revision is meant.
        about: About,
        /// Which step (approve).
        step: Option<i32>,
    },
}

/// Which revision a verb is about; looked up when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The one on trial.
    Candidate,
    /// The one that was rejected last.
    Rejected,
    /// This one.
    Named(String),
}

/// Somebody with a list of things to do.
pub struct User {
    who: &'static str,
    due: Agenda<Deed>,
}

impl User {
    /// `who` does each deed so long after `began`.
    #[must_use]
    pub fn new(who: &'static str, began: Instant, script: Vec<(Duration, Deed)>) -> Self {
        let mut due = Agenda::default();
        for (at, deed) in script {
            due.add(began + at, deed);
        }
        Self { who, due }
    }

    fn act_on(&self, deed: Deed, around: &Surroundings) {
        let api = &around.api;
        let done = match deed {
            Deed::Version(model, version) => api.edit(self.who, &model, Part::Object, |model| {
                model["spec"]["model"]["version"] = json!(version);
            }),
            Deed::Merge(key, patch) => {
                api.edit(self.who, &key, Part::Object, |object| json_patch::merge(object, &patch))
            }
            Deed::Create(object) => api.create(self.who, object),
            Deed::Delete(key) => {
                let _ = api.delete(self.who, &key);
                return;
            }
            Deed::Verb { model, verb, about, step } => {
                let Some(revision) = api.get(&model).and_then(|live| named(&about, &live)) else { return };
                let mut body = json!({"revision": revision, "by": self.who});
                // The same request is not handled twice.
                body["reason"] = json!(format!("at {} ms", around.elapsed().as_millis()));
                if let Some(step) = step {
                    body["step"] = json!(step);
                }
                api.edit(self.who, &model, Part::Object, |model| {
                    model["metadata"]["annotations"][format!("{PREFIX}{verb}")] = json!(body.to_string());
                })
            }
        };
        if let Err(refused) = done {
            tracing::debug!(who = self.who, %refused, "a deed came to nothing");
        }
    }
}

fn named(about: &About, model: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match about {
        About::Candidate => text(&model["status"]["candidateRevision"]),
        About::Rejected => text(&model["status"]["rejected"][0]["revision"]),
        About::Named(name) => Some(name.clone()),
    }
}

impl Actor for User {
    fn hear(&mut self, _: &Change, _: &mut Surroundings, _: Instant) {}

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        while let Some((_, deed)) = self.due.due(now) {
            self.act_on(deed, around);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}
