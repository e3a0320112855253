//! The world of a file, its rollout from the first second to the last, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::{Args, Error, input::Input, whole};
use crate::api::v1alpha1::{
    Canary, ModelDeploymentStatus, Outcome, PauseReason, Percent, Phase, SloStatus, VerdictWord,
};
use crate::prometheus::client::Fault;
use crate::rollout::{apply, requests::PREFIX};
use crate::world::{
    api_server::Part,
    cluster::World,
    history::{Change, Key},
    plant::{
        behaviour::{Answers, Behaviour, Pods, Readiness},
        chance::Range,
        during::During,
        gateway,
        prometheus::{events::Events, wrong::Wrong},
        traffic::Tally,
    },
    setting::Setting,
};

/// When the new version is applied: until then the one before has long been serving.
const BEGIN: Duration = Duration::from_secs(120);
/// What is still played after the end: the pods that end then must not have traffic.
const AFTERMATH: Duration = Duration::from_secs(90);
/// From the operator's end to the start of the next one.
const RESTART: Duration = Duration::from_secs(5);

/// A rollout that was played through.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Played {
    /// How it ended.
    pub outcome: Ended,
    /// Why, in one sentence.
    pub message: String,
    /// From the new version's first second to the outcome.
    pub seconds: f64,
    /// What happened in between.
    pub timeline: Vec<Row>,
    /// The verdicts at the end, or at the moment of the breach.
    pub analysis: Vec<SloStatus>,
    /// What became of the requests from then on.
    pub requests: Requests,
    /// What was played.
    pub seed: u64,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Ended {
    /// The candidate serves.
    Promoted,
    /// The candidate was rejected.
    RolledBack,
    /// It waits for a person.
    Paused,
    /// It went on when the time was over.
    Unfinished,
}

impl Ended {
    /// For a sentence.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled back",
            Self::Paused => "paused",
            Self::Unfinished => "not finished",
        }
    }
}

/// One moment at which something changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// Seconds since the new version was applied.
    pub seconds: f64,
    /// The model's phase.
    pub phase: Phase,
    /// `2/4`.
    pub step: Option<String>,
    /// The candidate's weight.
    pub weight: Percent,
    /// The verdict over all SLOs.
    pub verdict: Option<VerdictWord>,
    /// The status sentence.
    pub message: String,
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Requests {
    /// Sent to the new version.
    pub candidate: Counted,
    /// Sent to all others.
    pub stable: Counted,
}

/// Requests, and those that were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    /// All of them.
    pub total: u64,
    /// Server errors of the model.
    pub errors: u64,
    /// Answered too late for the latency SLO.
    pub slow: u64,
    /// Not answered because nothing was there to answer: the rollout's own fault.
    pub failed: u64,
}

/// Plays the rollout of `input`.
pub(super) async fn play(args: &Args, input: Input) -> Result<Played, Error> {
    let refused = |why: crate::world::cluster::Unfit| Error::Refused(why.to_string());
    let namespace = input.split.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let model = Key::new("ModelDeployment", &namespace, &input.model);
    let canary = input.split.spec.strategy.canary.clone();
    let mut world = World::begin(setting(args, &input)).map_err(refused)?;
    let began = world.began;
    let operator = operator(&world, args);
    tokio::pin!(operator);
    let mut seen = Seen { model: model.clone(), outcome: None, analysis: vec![] };
    world.play(&mut operator, |_| false, BEGIN).await;
    seen.refusal(&world, &input)?;
    let stable = status(&world, &model).stable_revision;
    if stable.is_none() {
        let message = status(&world, &model).message;
        return Err(Error::Refused(format!("the version before does not serve after {BEGIN:?}: {message}")));
    }
    let (first, served) = (world.api.revision(), world.records.lock().served.len());
    let spec = input.after.clone();
    let edit = |object: &mut Value| object["spec"] = spec;
    let edited = world.api.edit("user", &model, Part::Object, edit);
    edited.map_err(|refused| Error::Refused(refused.to_string()))?;
    let ends = began + BEGIN + whole(args.limit);
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        let ended = world.play(&mut operator, |change| seen.ended(change, stable.as_deref()), left).await;
        seen.refusal(&world, &input)?;
        if !ended || seen.outcome != Some(Waits::Approval) {
            break;
        }
        world.play(&mut operator, |_| false, whole(args.approve_after)).await;
        approve(&world, &model);
        seen.outcome = None;
    }
    let finished = Instant::now();
    world.play(&mut operator, |_| false, AFTERMATH).await;
    let outcome = match seen.outcome {
        Some(Waits::Nothing(ended)) => ended,
        Some(Waits::Approval) | None => Ended::Unfinished,
    };
    let last = status(&world, &model);
    let candidate = last.latest_revision.clone().unwrap_or_default();
    let timeline = timeline(&world.api.since(first), &model, &canary);
    let message =
        last.history.first().filter(|record| record.revision == candidate).map(|r| r.message.clone());
    Ok(Played {
        outcome,
        message: message.filter(|_| outcome == Ended::RolledBack).unwrap_or(last.message),
        seconds: finished.duration_since(began + BEGIN).as_secs_f64(),
        timeline,
        analysis: seen.analysis,
        requests: requests(&world, served, &candidate),
        seed: args.seed,
    })
}

fn setting(args: &Args, input: &Input) -> Setting {
    let spec = &input.split.spec;
    let mut setting = Setting::usual(args.seed, input.objects.clone());
    setting.provider_name.clone_from(&spec.analysis.provider);
    let most = crate::api::v1alpha1::Duration::from_secs(15);
    let scrape = args.scrape_interval.unwrap_or(spec.analysis.interval.min(most));
    setting.provider.scrape_interval = scrape;
    setting.prometheus.scrape = whole(scrape);
    setting.proxies.rate = args.rate;
    let below = spec.slos.iter().find_map(|slo| slo.latency.as_ref()).map(|latency| whole(latency.below));
    setting.proxies.slow = below.unwrap_or(setting.proxies.slow);
    let label = setting.provider.revision_label.clone().unwrap_or_else(|| "revision".to_owned());
    setting.prometheus.events = spec
        .slos
        .iter()
        .filter_map(|slo| slo.ratio.as_ref())
        .filter_map(|ratio| Events::of(&ratio.bad, &ratio.total, &label))
        .collect();
    let away = |(from, to): &(Duration, Duration)| During {
        from: BEGIN + *from,
        until: BEGIN + *to,
        what: Wrong::Transport(Fault::Unreachable, Duration::ZERO),
    };
    setting.prometheus.faults = args.prometheus_away.iter().map(away).collect();
    if let Some(late) = args.gateway_late {
        let what = gateway::Fault { parent: None, what: gateway::Wrong::Slow(whole(late)) };
        setting.gateway.faults = vec![During { from: BEGIN, until: Duration::MAX, what }];
    }
    let value = args.candidate_value.unwrap_or_else(|| within(input));
    let stable = Answers {
        errors: args.stable_errors.fraction(),
        latency: args.stable_latency.clone(),
        value: within(input),
        ..Answers::default()
    };
    let candidate = Answers {
        errors: args.candidate_errors.fraction(),
        latency: args.candidate_latency.clone(),
        bad_events: args.candidate_bad_events.fraction(),
        value,
        ..Answers::default()
    };
    let pods = Pods {
        start: Range::exactly(whole(args.start_time)),
        readiness: if args.never_ready { Readiness::Never } else { Readiness::Holds },
        crash_after: args.crash_after.map(whole),
        ..Pods::default()
    };
    setting.versions.usual.answers = stable;
    let behaviour = Behaviour { pods, answers: candidate };
    setting.versions.named = BTreeMap::from([(input.version.clone(), behaviour)]);
    setting
}

/// A value that the first custom query's limits allow.
fn within(input: &Input) -> f64 {
    let limits = input.split.spec.slos.iter().find_map(|slo| slo.threshold.as_ref());
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
    match limits.map(|limits| (number(&limits.min), number(&limits.max))) {
        Some((Some(min), Some(max))) => f64::midpoint(min, max),
        Some((min, max)) => min.or(max).unwrap_or(1.0),
        None => 1.0,
    }
}

/// The operator: one replica, started anew where that was asked for.
fn operator(world: &World, args: &Args) -> impl Future<Output = ()> + use<> {
    let began = world.began;
    let mut restarts: Vec<Instant> =
        args.operator_restart.iter().map(|at| began + BEGIN + whole(*at)).collect();
    restarts.sort();
    let epochs = 1..=i64::try_from(restarts.len()).unwrap_or(i64::MAX - 1).saturating_add(1);
    let api = world.api.clone();
    let replicas = world.replicas();
    async move {
        for epoch in epochs {
            let run = replicas.run(epoch, || api.client("seatrial"));
            match restarts.get(usize::try_from(epoch - 1).unwrap_or(usize::MAX)) {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = sleep_until(*at) => {}
                        () = run => {}
                    }
                    sleep(RESTART).await;
                }
                None => run.await,
            }
        }
    }
}

fn status(world: &World, model: &Key) -> ModelDeploymentStatus {
    world.api.get(model).and_then(|live| read(&live)).unwrap_or_default()
}

fn read(model: &Value) -> Option<ModelDeploymentStatus> {
    ModelDeploymentStatus::deserialize(&model["status"]).ok()
}

/// What a rollout waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// An approval.
    Approval,
    /// Nothing: it is over.
    Nothing(Ended),
}

/// What the changes of the model have shown so far.
struct Seen {
    model: Key,
    outcome: Option<Waits>,
    analysis: Vec<SloStatus>,
}

impl Seen {
    /// Whether the rollout is over, or waits for somebody, after this change.
    fn ended(&mut self, change: &Change, stable: Option<&str>) -> bool {
        if change.key != self.model {
            return false;
        }
        let Some(status) = change.after.as_ref().and_then(|model| read(model)) else { return false };
        if !status.analysis.is_empty() {
            self.analysis.clone_from(&status.analysis);
        }
        let last = status.history.first().filter(|record| record.from.as_deref() == stable);
        let promoted = last.is_some_and(|record| record.outcome == Outcome::Promoted);
        self.outcome = match (status.phase, status.pause.as_ref().map(|pause| pause.reason)) {
            (Phase::Stable, _) if promoted => Some(Waits::Nothing(Ended::Promoted)),
            (Phase::RolledBack, _) => Some(Waits::Nothing(Ended::RolledBack)),
            (Phase::Paused, Some(PauseReason::ApprovalMissing)) => Some(Waits::Approval),
            (Phase::Paused, Some(_)) => Some(Waits::Nothing(Ended::Paused)),
            _ => None,
        };
        // What cannot be acted on never ends by itself.
        self.outcome.is_some() || is_refused(change.after.as_deref()).is_some()
    }

    /// What the controllers do not accept in the file's objects.
    fn refusal(&self, world: &World, input: &Input) -> Result<(), Error> {
        let name = input.split.metadata.name.clone().unwrap_or_default();
        let split = Key::new("TrafficSplit", &self.model.namespace, &name);
        for key in [split, self.model.clone()] {
            if let Some(why) = is_refused(world.api.get(&key).as_deref()) {
                return Err(Error::Refused(format!("{}: {why}", key.kind)));
            }
        }
        Ok(())
    }
}

/// The message of a condition that says no to what people wrote.
fn is_refused(object: Option<&Value>) -> Option<String> {
    let conditions = object?["status"]["conditions"].as_array()?;
    let no = |c: &&Value| {
        ["Accepted", "ResolvedRefs"].iter().any(|kind| c["type"] == *kind) && c["status"] == "False"
    };
    conditions.iter().find(no)?["message"].as_str().map(str::to_owned)
}

fn approve(world: &World, model: &Key) {
    let status = status(world, model);
    let (Some(revision), Some(step)) = (&status.candidate_revision, &status.step) else { return };
    let value = json!({"revision": revision, "step": step.index, "by": "simulate"}).to_string();
    // It was there a moment ago, and nobody deletes it here.
    let _ = world.api.edit("user", model, Part::Object, |model| {
        model["metadata"]["annotations"][format!("{PREFIX}approve")] = json!(value);
    });
}

/// The moments at which phase, step, weight or verdict of the model changed.
fn timeline(changes: &[Change], model: &Key, canary: &Canary) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![];
    for change in changes.iter().filter(|change| change.key == *model) {
        let Some(status) = change.after.as_ref().and_then(|model| read(model)) else { continue };
        let row = Row {
            seconds: change.at.saturating_sub(BEGIN).as_secs_f64(),
            phase: status.phase,
            step: status.step.as_ref().map(|step| step.progress.clone()),
            weight: apply::candidate_weight(&status, Some(canary)),
            verdict: status.verdict,
            message: status.message,
        };
        let same = |last: &Row| {
            (last.phase, &last.step, last.weight, last.verdict)
                == (row.phase, &row.step, row.weight, row.verdict)
        };
        if !rows.last().is_some_and(same) {
            rows.push(row);
        }
    }
    rows
}

fn requests(world: &World, served: usize, candidate: &str) -> Requests {
    let mut all = Requests::default();
    for one in world.records.lock().served.iter().skip(served) {
        let into = if one.backend == candidate { &mut all.candidate } else { &mut all.stable };
        let Tally { requests, errors, slow, failed } =
            Tally { requests: one.requests, errors: one.errors, slow: one.slow, failed: one.failed };
        into.total += requests;
        into.errors += errors;
        into.slow += slow;
        into.failed += failed;
    }
    all
}
