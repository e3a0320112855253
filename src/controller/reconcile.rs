//! One unit, once: observe → judge → plan → act → publish. Never blocks on Prometheus, never holds a lock over I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    Context,
    ask::{Asked, Trials},
    cache::{Cache, Key, key, model_keys},
    error::Error,
    event::Events,
    guard::Guard,
    known::{Known, lock},
    look::Looks,
    observe::{Found, find, interpret},
    pace::Pace,
    queue::{Queue, Unit},
};
use crate::{
    api::v1alpha1::{Duration, ModelDeployment, TrafficSplit},
    mutant::{Mutant, on},
    prometheus::provider::Provider,
    revision::Refusal,
    rollout::{observed::Observed, plan, retreat},
};

/// The controllers' state: a cache, a queue, and what was asked.
pub struct Controller {
    /// What is needed from outside.
    pub cx: Context,
    /// Units that are due.
    pub queue: Queue,
    /// Evidence about candidates.
    pub trials: Trials,
    /// Events to be written.
    pub events: Events,
    /// Questions to be asked.
    pub ask: mpsc::UnboundedSender<Asked>,
    cache: RwLock<Cache>,
    /// One reconcile at a time acts on a model, whichever unit it is in.
    locks: Mutex<BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    /// Units of which some write may or may not have been applied, or was refused, and their models; and trials
    /// that another replica led until now. What is known of them may be old.
    doubted: Mutex<BTreeSet<Unit>>,
    /// Revisions whose pods the API server was asked about, and its answer.
    pub(super) vetted: Mutex<BTreeMap<Key, Result<(), Refusal>>>,
    /// What need not be worked out again.
    pub(super) known: Known,
    /// What was seen of pods.
    pub(super) looks: Looks,
    /// How often statuses are written for what is no news.
    pub(super) pace: Pace,
    /// When the present tenure began.
    led_since: Mutex<Timestamp>,
}

/// The locks of a unit's models.
type Held = Vec<tokio::sync::OwnedMutexGuard<()>>;

/// What a reconcile came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Something was written: look again at once.
    pub again: bool,
    /// When time alone may change something.
    pub next: Option<Timestamp>,
}

impl Controller {
    /// A controller that knows nothing yet.
    pub fn new(cx: Context, ask: mpsc::UnboundedSender<Asked>, events: Events) -> Self {
        Self {
            cx,
            queue: Queue::default(),
            trials: Trials::default(),
            events,
            ask,
            cache: RwLock::default(),
            locks: Mutex::default(),
            doubted: Mutex::default(),
            vetted: Mutex::default(),
            known: Known::default(),
            looks: Looks::default(),
            pace: Pace::default(),
            led_since: Mutex::new(Timestamp::MIN),
        }
    }

    /// This replica leads from now on: no deadline ran while nobody did. Trials are read live first: a watch that is late does
    /// not tell what the one before has written last, and a rollback rests on the record of it without a look.
    pub fn takes_over(&self) {
        *lock(&self.led_since) = self.cx.clock.now();
        let cache = self.cache();
        let on_trial = |model: &Guard<ModelDeployment>| {
            let status = model.object().and_then(|model| model.status.as_ref());
            status.is_some_and(|status| status.candidate_revision.is_some())
        };
        let trials = cache.models.all().filter(|model| on_trial(model));
        self.doubted().extend(trials.map(|model| Unit::Model(key(&**model))));
    }

    /// When the present tenure began.
    pub fn led_since(&self) -> Timestamp {
        *lock(&self.led_since)
    }

    /// The cache, for reading. Never held over I/O.
    pub fn cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache, for writing. Never held over I/O.
    pub fn cache_mut(&self) -> RwLockWriteGuard<'_, Cache> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reconciles one unit. One of which a write failed is read live first: whether that was applied is not known (its answer
    /// may have been lost), somebody may know more than the watches have brought, and one of them may have stalled for
    /// minutes. Nothing is ever written again on a version that may have passed.
    pub async fn reconcile(&self, unit: &Unit) -> Result<Done, Error> {
        if let Unit::Model(key) = unit
            && self.wakes_owner(key)
        {
            return Ok(Done::default());
        }
        let models = self.models_of(unit);
        // Whoever acts on these models may fail at it until then, and put them in doubt.
        let held = self.lock(&models).await;
        if parts(unit, &models).any(|part| self.doubted().contains(&part)) {
            let split = match unit {
                Unit::Split(key) => self.cache().splits.get(key).and_then(|guard| guard.object().cloned()),
                Unit::Model(_) => None,
            };
            let found = find(&self.cache(), &self.known, split.as_ref(), &models);
            self.reread(&found).await?;
            parts(unit, &models).for_each(|part| _ = self.doubted().remove(&part));
        }
        match unit {
            Unit::Split(key) => self.reconcile_split(key, &models, held).await,
            Unit::Model(key) => self.reconcile_model(key, &models).await,
        }
    }

    /// Whether a version of the unit is on trial, or being taken out.
    pub fn has_candidate(&self, unit: &Unit) -> bool {
        let (models, cache) = (self.models_of(unit), self.cache());
        let mut found = models.iter().filter_map(|model| cache.models.get(model));
        found.any(|model| {
            let status = model.0.as_ref().ok().and_then(|model| model.status.as_ref());
            status.is_some_and(|status| status.candidate_revision.is_some())
        })
    }

    /// The models of a unit as the cache has it; none of one that cannot be read.
    fn models_of(&self, unit: &Unit) -> Vec<Key> {
        match unit {
            Unit::Split(key) => {
                let split = self.cache().splits.get(key);
                split.and_then(|guard| Some(model_keys(guard.object()?))).unwrap_or_default()
            }
            Unit::Model(key) => vec![key.clone()],
        }
    }

    fn doubted(&self) -> MutexGuard<'_, BTreeSet<Unit>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its models as well: the next to write to them may be another unit.
    fn doubt(&self, unit: &Unit, models: &[Key]) {
        self.doubted().extend(parts(unit, models));
    }

    /// `held`: the locks of `models`, which it named before they were taken.
    async fn reconcile_split(&self, key: &Key, models: &[Key], held: Held) -> Result<Done, Error> {
        let Some(guard) = self.cache().splits.get(key) else { return Ok(Done::default()) };
        let split = match &guard.0 {
            Ok(split) => split.clone(),
            Err(broken) => return self.publish_broken::<TrafficSplit>(key, broken).await,
        };
        if split.metadata.deletion_timestamp.is_some() {
            return Ok(Done::default());
        }
        if model_keys(&split) != models {
            return Ok(Done { again: true, next: None });
        }
        let rival = self.cache().rival(&guard);
        if let Some((rival, model)) = rival {
            // It acts on none of the models, and holds up nobody who does.
            drop(held);
            let published = self.give_way(&split, &rival, &model, models).await;
            if published.is_err() {
                self.doubt(&Unit::Split(key.clone()), models);
            }
            return published;
        }
        self.run(Unit::Split(key.clone()), Some(&split), models).await
    }

    /// What was decided about a model concerns the others that send to its revisions, too.
    fn wake_claimants(&self, models: &[Key]) {
        let cache = self.cache();
        for split in models.iter().flat_map(|model| cache.claimants(model)) {
            self.queue.add(Unit::Split(key(&*split)), tokio::time::Instant::now());
        }
    }

    /// Whether a model is in the unit of a `TrafficSplit`, which is looked at instead.
    fn wakes_owner(&self, model: &Key) -> bool {
        let owner = self.cache().owner(model);
        if let Some(split) = &owner {
            self.queue.add(Unit::Split(key(&**split)), tokio::time::Instant::now());
        }
        owner.is_some()
    }

    async fn reconcile_model(&self, key: &Key, models: &[Key]) -> Result<Done, Error> {
        if self.wakes_owner(key) {
            return Ok(Done::default());
        }
        let Some(guard) = self.cache().models.get(key) else {
            self.trials.forget(key);
            self.cx.metrics.forget(&key.0, &key.1);
            return Ok(Done::default());
        };
        if let Err(broken) = &guard.0 {
            return self.publish_broken::<ModelDeployment>(key, broken).await;
        }
        self.run(Unit::Model(key.clone()), None, models).await
    }

    async fn lock(&self, models: &[Key]) -> Held {
        let sorted: BTreeSet<&Key> = models.iter().collect();
        let mut held = vec![];
        for model in sorted {
            let lock = {
                let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
                // Nobody holds it and nobody waits for it: only the map knows it.
                locks.retain(|key, lock| key == model || Arc::strong_count(lock) > 1);
                locks.entry(model.clone()).or_default().clone()
            };
            held.push(lock.lock_owned().await);
        }
        held
    }

    /// The heart of it.
    async fn run(
        &self,
        unit: Unit,
        split: Option<&Arc<TrafficSplit>>,
        models: &[Key],
    ) -> Result<Done, Error> {
        let mut found = find(&self.cache(), &self.known, split, models);
        let mut read = tokio::time::Instant::now();
        let provider =
            split.and_then(|s| self.cx.providers.get(&s.spec.analysis.provider)).map(|s| &s.provider);
        let mut observed = interpret(&found, &self.known, &self.cx.providers, self.led_since());
        let now = self.cx.clock.now();
        let answered = self.judge(&mut observed, models, provider, now);
        let urgent = retreat::is_urgent(&observed);
        if self.look_closer(&mut found, urgent).await {
            observed = self.interpret_again(&found, &observed);
        }
        let mut plan = plan::plan(&observed, now);
        if plan.confirm && split.is_none() && self.is_claimed_after_all(models).await? {
            return Ok(Done::default());
        }
        if plan.confirm {
            // Before anything is taken away or raised, the unit is read live; what the watches say may be old.
            let mut live = self.confirm(&found, plan.urgent).await?;
            if live.split.as_ref().is_some_and(|split| model_keys(split) != models) {
                // It names other models now: what was read is not the unit any more.
                return Ok(Done { again: true, next: None });
            }
            self.look_closer(&mut live, urgent).await;
            observed = self.interpret_again(&live, &observed);
            plan = plan::plan(&observed, self.cx.clock.now());
            found = live;
            read = tokio::time::Instant::now();
        }
        let acted = self.act(&found, &plan, read).await;
        self.publish(&found, &observed, &plan, &acted, answered);
        if acted.is_err() {
            self.doubt(&unit, models);
        }
        let acted = acted?;
        if acted.wrote && !found.elsewhere.is_empty() {
            self.wake_claimants(models);
        }
        Ok(Done { again: acted.wrote, next: plan.next })
    }

    /// What was found now, with the verdicts from before.
    fn interpret_again(&self, found: &Found, before: &Observed) -> Observed {
        let mut observed = interpret(found, &self.known, &self.cx.providers, self.led_since());
        for (model, seen) in observed.models.iter_mut().zip(&before.models) {
            if model.name == seen.name {
                model.judgement = seen.judgement.clone();
            }
        }
        observed
    }

    /// The verdicts on every candidate of the unit; sends the questions that are due. When the newest answer came.
    fn judge(
        &self,
        observed: &mut Observed,
        keys: &[Key],
        provider: Option<&Provider>,
        now: Timestamp,
    ) -> Option<tokio::time::Instant> {
        let mut newest = None;
        let ahead = self.cx.clock.ahead();
        let scrape = provider.map_or(Duration::from_secs(15), Provider::scrape_interval);
        for model in &mut observed.models {
            let Some(key) = keys.iter().find(|k| k.1 == model.name) else { continue };
            let judged = self.trials.judge(key, model, observed.split.as_ref(), scrape, now, ahead);
            model.judgement = judged.judgement;
            newest = newest.max(judged.answered);
            for question in judged.due {
                // The receiver lives as long as `run`; after that nobody needs answers.
                let _ = self.ask.send(question);
            }
        }
        newest
    }
}

/// A unit, and its models as units.
fn parts(unit: &Unit, models: &[Key]) -> impl Iterator<Item = Unit> {
    models.iter().cloned().map(Unit::Model).chain([unit.clone()])
}

/// How long to wait before a failed reconcile is tried again, by how often it failed: 0.1 s to 30 s; 2 s where there is a
/// candidate, which nobody judges meanwhile.
#[must_use]
pub fn backoff(failures: u32, has_candidate: bool) -> std::time::Duration {
    let millis = 100_u64.saturating_mul(1 << failures.min(9));
    let most = if has_candidate && !on(Mutant::BackoffBlind) { 2_000 } else { 30_000 };
    std::time::Duration::from_millis(if on(Mutant::BackoffMissing) { 20 } else { millis.min(most) })
}
