//! The loop: units that are due are reconciled while this process leads, answers are put aside as they come.

use std::{any::Any, collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    ask::Asked,
    error::Error,
    event::{self, Events},
    queue::Unit,
    reconcile::{Controller, Done, backoff},
    watch,
};
use crate::{
    mutant::{Mutant, on},
    prometheus::client,
    rollout::question::{Answer, Unanswered},
};

/// Units that are reconciled at the same time. Each needs a connection for as long as a write takes.
const AT_ONCE: usize = 32;
/// Questions under way at the same time.
const QUESTIONS: usize = 16;

/// Runs the controllers until `stop`; then what is under way is given up. Dropping the future is a crash: it loses time,
/// nothing else. Boxed, so that it is compiled here and not once more in everything that runs it.
pub fn run(cx: Context, stop: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(all(cx, stop))
}

async fn all(cx: Context, stop: CancellationToken) {
    let (ask, questions) = mpsc::unbounded_channel();
    let (events, out) = Events::new(cx.jitter.clone());
    let controller = Arc::new(Controller::new(cx.clone(), ask, events));
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = reconciles(&controller) => {}
        () = answers(&controller, questions) => {}
        () = watch::watches(&controller) => {}
        () = event::write(cx.api.writes.clone(), out) => {}
    }
}

/// Reconciles what is due.
async fn reconciles(controller: &Arc<Controller>) {
    let mut tenure = controller.cx.tenure.clone();
    let mut running: FuturesUnordered<BoxFuture<'_, (Unit, Result<Done, Error>)>> = FuturesUnordered::new();
    let mut failures: BTreeMap<Unit, u32> = BTreeMap::new();
    let mut epoch = None;
    loop {
        let now = tenure.borrow_and_update().map(|tenure| tenure.epoch);
        let leads = now.is_some() || on(Mutant::StandbyWrites);
        if now != std::mem::replace(&mut epoch, now) {
            // What was begun in another tenure rests on what was read in it.
            running.clear();
            controller.queue.abandon();
            controller.takes_over();
        }
        controller.cx.metrics.leads(leads);
        tokio::select! {
            biased;
            // First: writes that end because a tenure did are woken in any order.
            changed = tenure.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some((unit, result)) = running.next() => finish(controller, &mut failures, unit, result),
            unit = controller.queue.next(), if leads && running.len() < AT_ONCE => {
                running.push(one(controller, unit).boxed());
            }
        }
    }
}

async fn one(controller: &Arc<Controller>, unit: Unit) -> (Unit, Result<Done, Error>) {
    let began = Instant::now();
    // A panic would end the whole loop: it is this unit's fault alone.
    let result = AssertUnwindSafe(controller.reconcile(&unit)).catch_unwind().await;
    let result = result.unwrap_or_else(|panic| Err(Error::Panic(said(&*panic))));
    let kind = match &unit {
        Unit::Split(_) => "TrafficSplit",
        Unit::Model(_) => "ModelDeployment",
    };
    controller.cx.metrics.reconciled(kind, result.is_ok(), began.elapsed());
    (unit, result)
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn finish(
    controller: &Arc<Controller>,
    failures: &mut BTreeMap<Unit, u32>,
    unit: Unit,
    result: Result<Done, Error>,
) {
    controller.queue.done(&unit);
    let now = Instant::now();
    match result {
        Ok(done) => {
            failures.remove(&unit);
            let next = done.next.map(|at| until(at.duration_since(controller.cx.clock.now())));
            match (done.again, next) {
                (true, _) => controller.queue.add(unit, now),
                (false, Some(wait)) => controller.queue.add(unit, now + wait),
                (false, None) => {}
            }
        }
        Err(error) => {
            let count = failures.entry(unit.clone()).or_default();
            let wait = controller.cx.jitter.spread(backoff(*count, controller.has_candidate(&unit)));
            *count = count.saturating_add(1);
            if error.is_leaving() || (error.is_stale() && *count < 3) {
                tracing::debug!(?unit, %error, "somebody was faster, or it goes: looking again");
            } else {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(?unit, %error, source, "cannot reconcile; trying again");
            }
            controller.queue.add(unit, now + wait);
        }
    }
}

/// From now on; a millisecond more than asked, so that the moment is over when it is looked at.
fn until(wait: jiff::SignedDuration) -> Duration {
    Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(1)
}

/// Asks questions and puts the answers aside.
async fn answers(controller: &Arc<Controller>, mut questions: mpsc::UnboundedReceiver<Asked>) {
    let mut under_way: FuturesUnordered<BoxFuture<'_, (Asked, Result<Answer, Unanswered>)>> =
        FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((asked, answer)) = under_way.next() => {
                let model = asked.model.clone();
                let counted = answer.as_ref().map(|_| ()).map_err(|u| u.reason);
                controller.cx.metrics.asked(&asked.question.provider, counted);
                if let Err(unanswered) = &answer {
                    tracing::debug!(namespace = %model.0, model = %model.1, reason = unanswered.reason, "{unanswered}");
                }
                if controller.trials.answered(asked, answer) {
                    controller.queue.add(Unit::Model(model), Instant::now());
                }
            }
            Some(asked) = questions.recv(), if under_way.len() < QUESTIONS => {
                under_way.push(question(controller, asked).boxed());
            }
        }
    }
}

async fn question(controller: &Arc<Controller>, asked: Asked) -> (Asked, Result<Answer, Unanswered>) {
    let answer = match controller.cx.providers.get(&asked.question.provider) {
        Some(source) => client::ask(&source.transport, &source.provider, &asked.question).await,
        None => {
            Err(Unanswered { reason: "BadQuestion", message: "its provider is not configured".to_owned() })
        }
    };
    (asked, answer)
}
