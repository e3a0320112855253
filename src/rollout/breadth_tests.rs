//! Every phase, with a crash after any write and with stale views: breadth first over all that can happen to one model
//! and its route, each state visited once.
//!
//! The world is small and exact: statuses and the route are guarded by version, a reducing plan is made again on a live
//! read, a crash loses the rest of a plan. What the gateway, the pods, Prometheus and the user do are choices.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    evidence::{Judgement, Observability, ProvenBreach},
    observed::{Latest, Model, Observed, Route, Split, StableService, Workload},
    plan::{Plan, Write, plan},
    requests, retreat,
};
use crate::{
    api::v1alpha1::{
        Duration, ModelDeploymentSpec, ModelDeploymentStatus, Percent, Phase, SloStatus, TrafficSplitSpec,
        TrafficSplitStatus, VerdictWord,
    },
    revision::Refusal,
    route::{Acceptance, RouteView},
};

const FULL: i32 = 2;

/// Everything that lives in the API server, and what the judge would say.
#[derive(Clone, Debug)]
struct World {
    now: Timestamp,
    status: ModelDeploymentStatus,
    split: Option<TrafficSplitStatus>,
    wanted: &'static str,
    workloads: BTreeMap<String, (i32, i32)>,
    service: Option<String>,
    route: Option<(i64, BTreeMap<String, i32>)>,
    idle: BTreeSet<String>,
    accepted: i64,
    /// What the route said since the last generation that was accepted, that one included: what a proxy may apply.
    unsettled: Vec<BTreeMap<String, i32>>,
    verdict: Verdict,
    baked: bool,
    requests: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Undecided,
    Pass,
    Fail,
    Shared,
    Blind,
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    /// The controller runs and dies after so many writes that changed something.
    Run(usize),
    /// It runs on what it saw one event ago.
    Stale,
    Ready(&'static str),
    Lost(&'static str),
    Accept,
    Judge(Verdict),
    Wait(i64),
    Want(&'static str),
    Ask(&'static str),
    SplitDeleted,
}

fn split_spec() -> TrafficSplitSpec {
    serde_json::from_value(json!({
        "route": {"httpRoute": {"parentRefs": [{"name": "public"}], "timeouts": {"request": "5s"}}},
        "backends": [{"modelDeploymentRef": {"name": "iris"}}],
        "strategy": {"canary": {"rollbackWindow": "10s", "steps": [
            {"weight": "10%", "bake": "5s", "maxDuration": "60s"},
            {"weight": "50%", "bake": "5s", "maxDuration": "60s", "approval": "Required"}]}},
        "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
        "analysis": {"holdBudget": "20s", "sharedBreachTimeout": "10s"}
    }))
    .unwrap()
}

fn model_spec() -> ModelDeploymentSpec {
    serde_json::from_value(json!({"template": {}, "replicas": FULL, "progressDeadline": "100s"})).unwrap()
}

impl World {
    fn new() -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            status: ModelDeploymentStatus::default(),
            split: Some(TrafficSplitStatus::default()),
            wanted: "a",
            workloads: BTreeMap::new(),
            service: None,
            route: None,
            idle: BTreeSet::new(),
            accepted: 0,
            unsettled: vec![],
            verdict: Verdict::Undecided,
            baked: false,
            requests: BTreeMap::new(),
        }
    }

    fn observed(&self) -> Observed {
        let split = self.split.clone().map(|status| Split {
            status,
            route: self.route.as_ref().map_or(Route::Absent, |(generation, shares)| {
                let accepted = self.accepted >= *generation;
                let parent = || Acceptance::Pending { parent: "Gateway public".to_owned() };
                let acceptance = if accepted { Acceptance::Accepted } else { parent() };
                Route::Live(RouteView {
                    uid: String::new(),
                    generation: *generation,
                    shares: shares.clone(),
                    idle: self.idle.clone(),
                    acceptance,
                })
            }),
            ..Split::of(split_spec())
        });
        Observed { split, models: vec![self.model()], led_since: Timestamp::MIN }
    }

    fn model(&self) -> Model {
        let workload = |(name, (desired, ready)): (&String, &(i32, i32))| {
            let created = Some(self.now - SignedDuration::from_secs(if name == "a" { 9 } else { 5 }));
            let workload = Workload {
                version: name.clone(),
                created,
                desired: *desired,
                ready: *ready,
                uncounted: false,
                trouble: None,
            };
            (name.clone(), workload)
        };
        Model {
            name: "iris".to_owned(),
            generation: 1,
            spec: model_spec(),
            latest: Ok(Latest { revision: self.wanted.to_owned(), version: self.wanted.to_owned() }),
            workloads: self.workloads.iter().map(workload).collect(),
            service: self.service.clone().map_or(StableService::Absent, StableService::On),
            requests: requests::pending(&self.requests, &self.status),
            judgement: self.judgement(),
            elsewhere: BTreeSet::new(),
            status: self.status.clone(),
        }
    }

    fn judgement(&self) -> Judgement {
        let Some(step) = &self.status.step else { return Judgement::default() };
        let begun = step.starts.last().is_some_and(|s| s.index == step.index);
        let word = match self.verdict {
            Verdict::Undecided => VerdictWord::Undecided,
            Verdict::Pass => VerdictWord::Pass,
            Verdict::Fail => VerdictWord::Fail,
            Verdict::Shared => VerdictWord::Shared,
            Verdict::Blind => VerdictWord::Unobservable,
        };
        let name = "availability".to_owned();
        let has_weight = step.entered.is_some();
        Judgement {
            slos: vec![SloStatus {
                name: name.clone(),
                verdict: word,
                estimate: None,
                interval: None,
                requests: 0,
                requests_needed: None,
                message: String::new(),
            }],
            breach: (self.verdict == Verdict::Fail && has_weight)
                .then(|| ProvenBreach { slo: name.clone(), message: "bad".to_owned() }),
            shared: (self.verdict == Verdict::Shared && has_weight).then_some(name),
            // What was proven before Prometheus went stays proven.
            pass: (self.verdict == Verdict::Pass || (self.verdict == Verdict::Blind && self.baked)) && begun,
            baked: Duration::from_secs(if self.baked && begun { 3600 } else { 0 }),
            observability: if self.verdict == Verdict::Blind {
                Observability::No("Prometheus is away".to_owned())
            } else {
                Observability::Yes
            },
            next: None,
        }
    }

    /// Carries out at most `limit` writes that change something; what was read is checked as the API server does.
    fn act(&mut self, seen: &World, limit: usize) {
        let mut made: Plan = plan(&seen.observed(), self.now);
        let mut basis = seen.clone();
        if made.confirm {
            basis = self.clone();
            made = plan(&basis.observed(), self.now);
        }
        let mut left = limit;
        for write in &made.writes {
            let before = self.clone();
            if left == 0 || !self.write(write, &made, &basis) {
                return;
            }
            if self.key() != before.key() {
                left -= 1;
                self.check(&before, write);
            }
        }
    }

    /// One write; false when the API server refuses it.
    fn write(&mut self, write: &Write, made: &Plan, basis: &World) -> bool {
        match write {
            Write::Status { .. } => {
                let new = made.models["iris"].clone();
                if new != basis.status {
                    if self.status != basis.status {
                        return false;
                    }
                    self.status = new;
                }
            }
            Write::SplitStatus => {
                let new = made.split.clone();
                if new != basis.split {
                    if self.split != basis.split {
                        return false;
                    }
                    self.split = new;
                }
            }
            Write::Snapshot { revision, .. } => {
                self.workloads.entry(revision.clone()).or_insert((0, 0));
            }
            Write::Service { .. } | Write::DeleteDeployment { .. } | Write::DeleteService { .. } => {}
            Write::StableService { revision, .. } => self.service = Some(revision.clone()),
            Write::Deployment { revision, replicas, .. } => {
                let seen = basis.workloads.get(revision).copied().unwrap_or((0, 0));
                if *replicas < seen.0 && self.workloads.get(revision) != Some(&seen) {
                    return false;
                }
                if *replicas != seen.0 {
                    let live = self.workloads.entry(revision.clone()).or_insert((0, 0));
                    *live = (*replicas, live.1.min(*replicas));
                }
            }
            Write::Delete { revision, .. } => {
                self.workloads.remove(revision);
            }
            Write::Route(shares) => {
                let idle: BTreeSet<String> =
                    shares.iter().filter(|s| s.weight == 0).map(|s| s.revision.clone()).collect();
                let shares: BTreeMap<String, i32> =
                    shares.iter().filter(|s| s.weight > 0).map(|s| (s.revision.clone(), s.weight)).collect();
                let seen = basis.route.as_ref();
                if seen.map(|r| &r.1) != Some(&shares) || basis.idle != idle {
                    if self.route.as_ref() != seen || self.idle != basis.idle || self.split.is_none() {
                        return false;
                    }
                    self.unsettled.push(shares.clone());
                    self.route = Some((seen.map_or(1, |r| r.0 + 1), shares));
                    self.idle = idle;
                }
            }
        }
        true
    }

    /// What must hold after every single write (the numbers are reliability.md's).
    fn check(&self, before: &World, write: &Write) {
        let empty = BTreeMap::new();
        let shares = self.route.as_ref().map_or(&empty, |r| &r.1);
        let was = before.route.as_ref().map_or(&empty, |r| &r.1);
        if !shares.is_empty() {
            assert_eq!(shares.values().sum::<i32>(), 10_000, "S1: weights sum to the whole: {shares:?}");
            assert!(shares.values().all(|w| *w > 0), "S1: no weight of 0 is written: {shares:?}");
        }
        let candidate = self.status.candidate_revision.clone().unwrap_or_default();
        for (revision, weight) in shares {
            let before_weight = was.get(revision).copied().unwrap_or(0);
            if *weight <= before_weight {
                continue;
            }
            let (_, ready) = self.workloads.get(revision).copied().unwrap_or((0, 0));
            // A rollback does not stop to read: it goes by what the watches said a moment ago.
            assert!(
                ready > 0 || self.status.phase == Phase::RollingBack,
                "S2: {revision} rises to {weight} with no pod ready ({write:?})"
            );
            let rejected = self.status.rejected.iter().any(|r| r.revision == *revision);
            assert!(!rejected, "S12: {revision} is rejected and rises");
            if *revision == candidate {
                let allowed = self.status.step.as_ref().map_or(0, |s| s.weight.ppm() / 100);
                assert!(*weight <= allowed, "S8: {revision} rises to {weight}, its step allows {allowed}");
                let holds = matches!(self.status.phase, Phase::Progressing | Phase::Watching);
                assert!(holds, "S7: {revision} rises in {:?}", self.status.phase);
            }
        }
        let index = |world: &World| world.status.step.as_ref().map_or(-1, |s| s.index);
        let held = matches!(self.verdict, Verdict::Shared | Verdict::Blind);
        if held && self.requests.is_empty() {
            let same = self.status.candidate_revision == before.status.candidate_revision;
            let risen = same && before.status.step.is_some() && index(self) > index(before);
            assert!(!risen, "S11: step {} begins while the verdict is {:?}", index(self), self.verdict);
        }
        for (revision, (desired, _)) in &before.workloads {
            let (now, _) = self.workloads.get(revision).copied().unwrap_or((0, 0));
            if now < *desired {
                let served = shares.contains_key(revision) && self.split.is_some();
                assert!(!served, "S4/S16: {revision} shrinks while it has weight");
                assert!(self.status.stable_revision.as_deref() != Some(revision), "S4: stable shrinks");
                let may_apply = self.unsettled.iter().any(|shares| shares.contains_key(revision));
                assert!(
                    !may_apply || self.split.is_none(),
                    "S16: {revision} shrinks while a proxy may still send to it"
                );
            }
        }
    }

    fn happen(&mut self, event: &Event, seen: &World) {
        match event {
            Event::Run(writes) => {
                let basis = self.clone();
                self.act(&basis, *writes);
            }
            Event::Stale => {
                // The judge and the clock are the process's own; only objects are stale.
                let mut basis = seen.clone();
                (basis.now, basis.verdict, basis.baked) = (self.now, self.verdict, self.baked);
                self.act(&basis, usize::MAX);
            }
            Event::Ready(revision) => {
                if let Some(w) = self.workloads.get_mut(*revision) {
                    w.1 = w.0;
                }
            }
            Event::Lost(revision) => {
                if let Some(w) = self.workloads.get_mut(*revision) {
                    w.1 = 0;
                }
            }
            Event::Accept => {
                self.accepted = self.route.as_ref().map_or(0, |r| r.0);
                self.unsettled = self.route.iter().map(|r| r.1.clone()).collect();
            }
            Event::Judge(Verdict::Blind) => self.verdict = Verdict::Blind,
            Event::Judge(verdict) => (self.verdict, self.baked) = (*verdict, *verdict == Verdict::Pass),
            Event::Wait(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Event::Want(revision) => self.wanted = revision,
            Event::Ask(verb) => {
                let revision = self.status.candidate_revision.clone().unwrap_or_else(|| "b".to_owned());
                let value = json!({"revision": revision, "step": 1}).to_string();
                self.requests.insert(format!("{}{verb}", requests::PREFIX), value);
            }
            Event::SplitDeleted => {
                self.split = None;
                self.route = None;
                self.idle.clear();
            }
        }
    }

    /// The state without the names of moments: how long ago is what counts, and only up to two minutes.
    fn key(&self) -> String {
        let age = |text: &str| -> Option<String> {
            let at: Timestamp = text.parse().ok()?;
            Some(format!("-{}s", self.now.duration_since(at).as_secs().min(120)))
        };
        let mut value = json!([self.status, self.split]);
        for gone in ["history", "attempt", "conditions", "message"] {
            value[0].as_object_mut().unwrap().remove(gone);
        }
        if let Some(split) = value[1].as_object_mut() {
            split.remove("conditions");
            split.remove("message");
            if let Some(route) = split.get_mut("route").filter(|r| !r.is_null()) {
                let behind =
                    self.route.as_ref().map_or(0, |r| r.0) - route["generation"].as_i64().unwrap_or(0);
                route["generation"] = json!(behind);
            }
        }
        walk(&mut value, &age);
        let shares = self.route.as_ref().map(|r| &r.1);
        let unaccepted = self.route.as_ref().is_some_and(|r| self.accepted < r.0);
        let may: BTreeSet<&String> = self.unsettled.iter().flat_map(BTreeMap::keys).collect();
        let rest =
            (may, &self.workloads, &self.service, shares, unaccepted, self.verdict, self.baked, self.wanted);
        format!("{value} {rest:?} {:?}", self.requests.keys())
    }
}

fn walk(value: &mut Value, age: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(shorter) = age(text) {
                *text = shorter;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|v| walk(v, age)),
        Value::Object(all) => all.values_mut().for_each(|v| walk(v, age)),
        _ => {}
    }
}

/// All that may happen in a state, the controller first.
fn events(world: &World) -> Vec<Event> {
    let mut all = vec![Event::Run(usize::MAX), Event::Run(1), Event::Run(2), Event::Stale];
    all.extend([Event::Ready("a"), Event::Ready("b"), Event::Lost("b"), Event::Accept]);
    all.extend(
        [Verdict::Pass, Verdict::Fail, Verdict::Shared, Verdict::Undecided, Verdict::Blind].map(Event::Judge),
    );
    all.extend([Event::Wait(6), Event::Wait(110), Event::Want("b"), Event::Want("a"), Event::Want("c")]);
    if world.requests.is_empty() {
        all.extend(["approve", "abort", "pause", "promote"].map(Event::Ask));
    }
    if world.split.is_some() && world.status.stable_revision.is_some() {
        all.push(Event::SplitDeleted);
    }
    all
}

/// From here on everything goes well: whatever was going on comes to an end, and stays there.
fn settles(world: &World) -> Phase {
    settled(world).status.phase
}

fn settled(world: &World) -> World {
    let mut world = world.clone();
    world.verdict = Verdict::Pass;
    world.baked = true;
    for turn in 0..80 {
        for revision in ["a", "b", "c"] {
            world.happen(&Event::Ready(revision), &world.clone());
        }
        world.happen(&Event::Accept, &world.clone());
        if world.status.phase == Phase::Paused && turn % 8 == 0 {
            let revision = world.status.candidate_revision.clone().unwrap_or_default();
            for (verb, n) in [("approve", 1), ("resume", 2)] {
                let value = json!({"revision": revision, "step": 1, "by": format!("{turn}-{n}")}).to_string();
                world.requests.insert(format!("{}{verb}", requests::PREFIX), value);
            }
        }
        world.happen(&Event::Run(usize::MAX), &world.clone());
        world.now += SignedDuration::from_secs(7);
    }
    let before = world.key();
    world.happen(&Event::Run(usize::MAX), &world.clone());
    assert_eq!(before, world.key(), "a settled state is a fixed point");
    let served = world.split.is_none() || world.route.is_some();
    assert!(served, "a settled state has its route");
    world
}

#[test]
fn every_phase_survives_crashes_and_stale_views() {
    let (depth, most) = (7, 3_000);
    let start = World::new();
    let mut seen = BTreeSet::from([start.key()]);
    let mut phases = BTreeSet::new();
    let mut ends = BTreeMap::new();
    let mut queue = VecDeque::from([(start.clone(), start, 0)]);
    // Seeds from the middle of a rollout: breadth first from the beginning alone would spend itself on the start.
    for prefix in prefixes().into_iter().chain(rolled_back()).chain(shared()) {
        let (before, world) = prefix;
        if seen.insert(world.key()) {
            queue.push_back((before, world, depth - 4));
        }
    }
    let mut checked = 0;
    while let Some((before, world, at)) = queue.pop_front() {
        phases.insert(world.status.phase);
        checked += 1;
        if checked % 31 == 0 {
            *ends.entry(settles(&world)).or_insert(0) += 1;
        }
        if at >= depth || seen.len() > most {
            continue;
        }
        for event in events(&world) {
            let mut next = world.clone();
            next.happen(&event, &before);
            if seen.insert(next.key()) {
                queue.push_back((world.clone(), next, at + 1));
            }
        }
    }
    assert_eq!(phases.len(), 8, "all phases were reached: {phases:?}");
    assert!(
        ends.keys().all(|p| matches!(p, Phase::Stable | Phase::RolledBack)),
        "every state comes to an end: {ends:?}"
    );
    assert!(checked > 2_000, "only {checked} states");
}

/// A rollout that goes well, one event after the other; each state with the one before it.
fn prefixes() -> Vec<(World, World)> {
    let mut world = World::new();
    let mut all = vec![];
    let script = "run ready-a run accept run wait run run accept run wait run \
        want-b run ready-b run accept run wait run run accept run wait run \
        pass run run ready-b run accept run wait run run approve run \
        run run ready-b run accept run wait run run wait run run";
    let event = |word: &str| match word {
        "ready-a" => Event::Ready("a"),
        "ready-b" => Event::Ready("b"),
        "accept" => Event::Accept,
        "wait" => Event::Wait(6),
        "want-b" => Event::Want("b"),
        "pass" => Event::Judge(Verdict::Pass),
        "approve" => Event::Ask("approve"),
        _ => Event::Run(usize::MAX),
    };
    for event in script.split_whitespace().map(event) {
        let before = world.clone();
        world.happen(&event, &before.clone());
        all.push((before, world.clone()));
    }
    assert_eq!(world.status.stable_revision.as_deref(), Some("b"), "{:?}", world.status);
    all
}

/// The same rollout with a breach at its first step.
fn rolled_back() -> Vec<(World, World)> {
    let run = || Event::Run(usize::MAX);
    at_first_step([Event::Judge(Verdict::Fail), run(), Event::Accept, run(), Event::Wait(9), run(), run()])
}

/// The same rollout with a breach that stable shares, for longer than it is held.
fn shared() -> Vec<(World, World)> {
    let run = || Event::Run(usize::MAX);
    at_first_step([
        Event::Judge(Verdict::Shared),
        run(),
        Event::Wait(6),
        run(),
        Event::Wait(6),
        run(),
        Event::Judge(Verdict::Undecided),
    ])
}

/// The rollout that goes well as far as its first step, and from there on these events.
fn at_first_step<const N: usize>(events: [Event; N]) -> Vec<(World, World)> {
    let begun = |(_, world): &(World, World)| {
        world.status.phase == Phase::Progressing
            && world.status.step.as_ref().is_some_and(|s| !s.starts.is_empty())
    };
    let (_, mut world) = prefixes().into_iter().find(begun).unwrap();
    let mut all = vec![];
    for event in events {
        let before = world.clone();
        world.happen(&event, &before.clone());
        all.push((before, world.clone()));
    }
    all
}

#[test]
fn a_rejected_revision_is_not_tried_again() {
    let (_, mut world) = rolled_back().pop().unwrap();
    assert_eq!(world.status.phase, Phase::RolledBack, "{:?}", world.status);
    assert_eq!(world.status.rejected[0].revision, "b");
    assert_eq!(world.route.as_ref().unwrap().1, BTreeMap::from([("a".to_owned(), 10_000)]));
    assert_eq!(settles(&world), Phase::RolledBack);
    for event in [Event::Want("a"), Event::Run(usize::MAX), Event::Want("b"), Event::Run(usize::MAX)] {
        world.happen(&event, &world.clone());
    }
    assert_eq!(settles(&world), Phase::RolledBack, "setting the spec back and forth does not help");
    world.requests.insert("request.seatrial.dev/retry".to_owned(), json!({"revision": "b"}).to_string());
    assert_eq!(settles(&world), Phase::Stable, "a retry does");
}

#[test]
fn a_shared_breach_is_held_at_its_weight_and_then_waits_for_a_person() {
    let states = shared();
    let (_, held) = &states[3];
    assert_eq!(held.status.phase, Phase::Progressing, "{:?}", held.status);
    assert!(held.status.step.as_ref().unwrap().shared_since.is_some(), "{:?}", held.status);
    assert_eq!(held.route.as_ref().unwrap().1["b"], 1_000);
    let (_, paused) = states.last().unwrap();
    assert_eq!(paused.status.phase, Phase::Paused, "{:?}", paused.status);
    assert_eq!(paused.route.as_ref().unwrap().1["b"], 1_000, "held, not taken back");
    assert_eq!(settles(paused), Phase::Stable, "a person resumes it");
}

#[test]
fn a_good_candidate_is_promoted_and_the_old_one_drained() {
    let (_, world) = prefixes().pop().unwrap();
    assert_eq!(world.status.phase, Phase::Stable);
    assert_eq!(world.status.history[0].revision, "b");
    assert_eq!(world.route.as_ref().unwrap().1, BTreeMap::from([("b".to_owned(), 10_000)]));
    assert_eq!(Percent::ALL.ppm() / 100, 10_000);
}

#[test]
fn a_deadline_that_went_by_while_nobody_led_rejects_nobody() {
    let trial = |phase| matches!(phase, Phase::Preparing | Phase::Progressing | Phase::Watching);
    for (_, mut world) in prefixes().into_iter().filter(|(_, world)| trial(world.status.phase)) {
        let phase = world.status.phase;
        for event in [Event::Ready("b"), Event::Accept, Event::Wait(120)] {
            world.happen(&event, &world.clone());
        }
        let end = settled(&world);
        assert_eq!(end.status.stable_revision.as_deref(), Some("b"), "in {phase:?}: {:?}", end.status);
    }
}

#[test]
fn the_first_revision_serves_on_when_the_spec_moves_on_before_it_is_stable() {
    let reached = |(_, world): &(World, World)| {
        world.status.phase == Phase::Pending && world.service.is_some() && world.route.is_some()
    };
    let (_, mut world) = prefixes().into_iter().find(reached).unwrap();
    for event in [Event::Want("b"), Event::Run(usize::MAX), Event::Run(usize::MAX), Event::Run(usize::MAX)] {
        world.happen(&event, &world.clone());
    }
    assert_eq!(world.status.stable_revision.as_deref(), Some("a"));
    assert_eq!(world.status.candidate_revision.as_deref(), Some("b"), "{:?}", world.status);
    assert!(world.workloads["a"].0 > 0, "it keeps its pods");
}

#[test]
fn a_paused_model_without_a_traffic_split_waits_and_is_not_rejected() {
    let mut world = World { split: None, ..World::new() };
    for event in
        [Event::Run(9), Event::Ready("a"), Event::Run(9), Event::Run(9), Event::Want("b"), Event::Run(9)]
    {
        world.happen(&event, &world.clone());
    }
    assert_eq!(world.status.phase, Phase::Preparing, "{:?}", world.status);
    for event in [Event::Ask("pause"), Event::Run(9), Event::Run(9), Event::Ready("b"), Event::Run(9)] {
        world.happen(&event, &world.clone());
    }
    assert_eq!(world.status.phase, Phase::Paused, "{:?}", world.status);
    assert!(world.status.rejected.is_empty());
    world.happen(&Event::Ask("resume"), &world.clone());
    let world = settled(&world);
    assert_eq!(world.status.phase, Phase::Stable);
    assert_eq!(world.status.stable_revision.as_deref(), Some("b"));
}

/// Perhaps for ever: its image is gone, or somebody has deleted it with its snapshot.
#[test]
fn a_newer_revision_begins_beside_a_stable_one_that_is_down_and_the_one_before_serves_on_meanwhile() {
    let run = || Event::Run(usize::MAX);
    let weights = |world: &World| world.route.as_ref().unwrap().1.clone();
    let of = |all: &[(&str, i32)]| all.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
    let (_, mut world) =
        at_first_step([Event::Lost("a"), Event::Want("c"), run(), run(), run()]).pop().unwrap();
    assert_eq!(
        (world.status.phase, world.status.candidate_revision.as_deref()),
        (Phase::Preparing, Some("c"))
    );
    assert_eq!(weights(&world), of(&[("a", 9000), ("b", 1000)]), "who serves goes on");
    world.happen(&Event::Lost("b"), &world.clone());
    assert!(!plan(&world.observed(), world.now).confirm, "nothing moves to nobody");
    world.happen(&Event::Ready("b"), &world.clone());
    let events = [Event::Ready("c"), run(), Event::Accept, run(), Event::Wait(11), run(), run()];
    for event in &events {
        world.happen(event, &world.clone());
    }
    assert_eq!(weights(&world), of(&[("a", 8000), ("b", 1000), ("c", 1000)]), "{:?}", world.status);
    for event in [Event::Ready("a"), run(), run()] {
        world.happen(&event, &world.clone());
    }
    assert_eq!(weights(&world), of(&[("a", 9000), ("c", 1000)]), "the stable revision takes over");
    assert_eq!(settled(&world).status.stable_revision.as_deref(), Some("c"));
}

/// A webhook that is down refuses sizes, say, while a candidate has to be taken out.
#[test]
fn a_rollback_changes_the_route_before_any_size_is_raised() {
    let wanted = |world: &World, what: fn(&Write) -> bool| {
        let plan = plan(&world.observed(), world.now);
        plan.writes.iter().position(what).expect("no such write")
    };
    let is_route: fn(&Write) -> bool = |write| matches!(write, Write::Route(_));
    let of_stable: fn(&Write) -> bool =
        |write| matches!(write, Write::Deployment { revision, .. } if revision == "a");
    let on_trial = prefixes().into_iter().map(|(_, world)| world);
    let mut trials: Vec<World> =
        on_trial.filter(|world| world.status.phase == Phase::Progressing && world.route.is_some()).collect();
    assert!(!trials.is_empty());
    for world in &mut trials {
        world.workloads.insert("a".to_owned(), (1, 1));
        assert!(wanted(world, of_stable) < wanted(world, is_route), "what rises needs its pods first");
        world.verdict = Verdict::Fail;
        let plan = plan(&world.observed(), world.now);
        if plan.models["iris"].phase == Phase::RollingBack {
            assert!(wanted(world, is_route) < wanted(world, of_stable));
            assert!(
                plan.writes.iter().position(|w| matches!(w, Write::Status { .. }))
                    < Some(wanted(world, is_route))
            );
        }
    }
    let rolled_back =
        |world: &World| plan(&world.observed(), world.now).models["iris"].phase == Phase::RollingBack;
    assert!(trials.iter().any(rolled_back), "no trial was taken out");
}

/// Before a rollback nobody is asked what its pods lack, or whether a newer version could run: it comes to the same.
#[test]
fn what_is_not_looked_at_before_a_rollback_does_not_change_it() {
    let mut urgent = vec![];
    for (_, mut world) in prefixes().into_iter().chain(rolled_back()) {
        for event in [Event::Want("b"), Event::Want("c"), Event::Run(1), Event::Ask("abort")] {
            world.happen(&event, &world.clone());
            world.verdict = if matches!(event, Event::Ask(_)) { Verdict::Pass } else { Verdict::Fail };
            let seen = world.observed();
            if !retreat::is_urgent(&seen) {
                continue;
            }
            let mut unseen = seen.clone();
            for model in &mut unseen.models {
                let message = "nobody has been asked".to_owned();
                model.latest = Err(Refusal { condition: "Accepted", reason: "NotTriedOut", message });
                model.workloads.values_mut().for_each(|workload| workload.trouble = None);
            }
            let taken_out = |observed: &Observed| {
                let plan = plan(observed, world.now);
                let route = plan.writes.into_iter().find(|write| matches!(write, Write::Route(_)));
                (plan.models["iris"].phase, route)
            };
            assert_eq!(taken_out(&seen).0, Phase::RollingBack, "{event:?} in {:?}", world.status);
            assert_eq!(taken_out(&unseen), taken_out(&seen), "{event:?} in {:?}", world.status);
            urgent.push(world.status.phase);
        }
    }
    assert!(
        [Phase::Progressing, Phase::Watching, Phase::RollingBack].iter().all(|p| urgent.contains(p)),
        "{urgent:?}"
    );
}
