//! A Prometheus: scrapes the proxies, and answers what Seatrial asks.
//!
//! Its data is exact, its answers are the HTTP API's bytes; a good one that would be read as it was written is handed over
//! without that. What may be wrong with them is in [`wrong`].

pub mod answer;
pub mod events;
pub mod series;
pub mod wrong;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneSyncService;

use self::{answer::Asked, events::Events, series::Series, wrong::Wrong};
use super::{
    Actor, Surroundings,
    agenda::Agenda,
    chance::Range,
    during::{self, During},
};
use crate::{
    prometheus::client::{Fault, Handed, Transport},
    revision::REVISION_LABEL,
    world::history::Change,
};

/// How often it scrapes, how fast it answers, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How often it scrapes each proxy.
    pub scrape: Duration,
    /// How long an answer takes.
    pub answers: Range,
    /// The model's own counters, for SLOs with `ratio`.
    pub events: Vec<Events>,
    /// What is wrong with its answers, for a while.
    pub faults: Vec<During<Wrong>>,
    /// When it does not scrape.
    pub stalls: Vec<During<()>>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            scrape: Duration::from_secs(15),
            answers: Range::millis(2, 40),
            events: vec![],
            faults: vec![],
            stalls: vec![],
        }
    }
}

/// The Prometheus. Its clones, and the transports to it, are the same one.
#[derive(Clone)]
pub struct Prometheus(Arc<Mutex<Inside>>);

struct Inside {
    setting: Setting,
    chance: Rng,
    began: Instant,
    series: Series,
    asked: u64,
}

impl Prometheus {
    /// One with this setting, in a world that began at `began`.
    #[must_use]
    pub fn new(chance: Rng, setting: Setting, began: Instant) -> Self {
        Self(Arc::new(Mutex::new(Inside { setting, chance, began, series: Series::default(), asked: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests it got.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// The way to it, for the controllers.
    #[must_use]
    pub fn transport(&self) -> Transport {
        let own = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request| own.clone().answer(request)))
    }

    /// The actor that scrapes for it.
    #[must_use]
    pub fn scraper(&self) -> Scraper {
        Scraper { prometheus: self.clone(), due: Agenda::default(), targets: 0 }
    }

    async fn answer(self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Fault> {
        let (pause, wrong) = {
            let mut inside = self.lock();
            inside.asked += 1;
            let Inside { setting, chance, began, .. } = &mut *inside;
            let wrong = during::now(&setting.faults, began.elapsed()).map(|one| one.what.clone());
            (setting.answers.draw(chance) + wrong.as_ref().map_or(Duration::ZERO, Wrong::pause), wrong)
        };
        sleep(pause).await;
        if let Some(fault) = wrong.as_ref().and_then(Wrong::fault) {
            return Err(fault);
        }
        let asked = Asked::read(request.body());
        let unspoiled = asked.as_ref().filter(|_| wrong.is_none());
        if let Some(series) = unspoiled.and_then(|asked| answer::series(asked, &mut self.lock().series)) {
            let mut response = respond(200, vec![]);
            response.extensions_mut().insert(Handed(series));
            return Ok(response);
        }
        let good = asked.and_then(|asked| answer::answer(&asked, &mut self.lock().series, wrong.as_ref()));
        let Some(good) = good else {
            return Ok(respond(
                400,
                br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_vec(),
            ));
        };
        Ok(match &wrong {
            Some(wrong) => wrong.spoil(good),
            None => respond(200, good.into_bytes()),
        })
    }
}

fn respond(status: u16, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

/// Scrapes every proxy at its own moment of each interval.
pub struct Scraper {
    prometheus: Prometheus,
    due: Agenda<usize>,
    targets: usize,
}

impl Actor for Scraper {
    fn hear(&mut self, _: &Change, _: &mut Surroundings, _: Instant) {}

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        let mut inside = self.prometheus.lock();
        let Inside { setting, chance, series, .. } = &mut *inside;
        while self.targets < around.counters.len() {
            let first = Range { least: Duration::ZERO, most: setting.scrape }.draw(chance);
            self.due.add(now + first, self.targets);
            self.targets += 1;
        }
        while let Some((at, target)) = self.due.due(now) {
            self.due.add(at + setting.scrape, target);
            if during::now(&setting.stalls, at.duration_since(around.began)).is_some() {
                continue;
            }
            let time = around.clock.now().as_millisecond();
            for body in around.bodies.values() {
                if let Some(revision) = body.labels.get(REVISION_LABEL) {
                    series.value_of(revision, around.versions.of(&body.version).answers.value);
                }
            }
            series.scrape(target, time, &around.counters[target]);
            if target == 0 {
                let answers = |revision: &str| {
                    let body = around
                        .bodies
                        .values()
                        .find(|body| body.labels.get(REVISION_LABEL).is_some_and(|label| label == revision));
                    body.map(|body| &around.versions.of(&body.version).answers)
                };
                events::scrape(&setting.events, series, time, &around.counters, answers, chance);
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}

#[cfg(test)]
mod tests;
