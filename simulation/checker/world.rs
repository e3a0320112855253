//! A history, sorted so that questions about it are cheap: who said what when, and what the proxies carried.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seatrial::world::history::{Change, Key};

use super::{
    input::{Input, Request, Span},
    tracks::{Deployment, Lease, Model, Route, Service, Split, Tracks, record},
    trial::Share,
};

/// Everything that the invariants ask.
pub struct World<'a> {
    /// The history as it came.
    pub input: &'a Input,
    /// `ModelDeployments`.
    pub models: Tracks<'a, Model>,
    /// `TrafficSplits`.
    pub splits: Tracks<'a, Split>,
    /// Routes.
    pub routes: Tracks<'a, Route>,
    /// Deployments.
    pub deployments: Tracks<'a, Deployment>,
    /// Services.
    pub services: Tracks<'a, Service>,
    /// Leases.
    pub leases: Tracks<'a, Lease>,
    /// What the proxies carried, by namespace and backend.
    pub carried: BTreeMap<(&'a str, &'a str), Carried>,
    /// The same for one route, by route and backend.
    pub routed: BTreeMap<(&'a Key, &'a str), Carried>,
    requests: BTreeMap<u64, &'a Request>,
    /// Live reads of Deployments: who, and when they were sent.
    reads: BTreeMap<&'a str, Vec<Duration>>,
}

/// The weight of one backend at the proxies, as it changed.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// From when: the most and the least that any proxy applied.
    steps: Vec<(Duration, i64, i64)>,
}

impl Carried {
    /// The most that any proxy applied at a moment: the effective weight.
    pub fn most(&self, at: Duration) -> i64 {
        self.entry(at).map_or(0, |(_, most, _)| most)
    }

    fn entry(&self, at: Duration) -> Option<(Duration, i64, i64)> {
        let end = self.steps.partition_point(|(from, ..)| *from <= at);
        end.checked_sub(1).map(|last| self.steps[last])
    }

    /// When, up to `at`, some proxy last sent it anything; `None`: never.
    pub fn last_carried(&self, at: Duration) -> Option<Duration> {
        let end = self.steps.partition_point(|(from, ..)| *from <= at);
        let last = self.steps[..end].iter().rposition(|(_, most, _)| *most > 0)?;
        Some(self.steps[..end].get(last + 1).map_or(at, |(from, ..)| *from))
    }

    /// Notes what each proxy applies from a moment on.
    fn note(&mut self, at: Duration, weights: &[i64]) {
        let most = weights.iter().copied().max().unwrap_or(0);
        let least = weights.iter().copied().min().unwrap_or(0);
        if self.steps.last().is_none_or(|(_, m, l)| (*m, *l) != (most, least)) {
            self.steps.push((at, most, least));
        }
    }

    /// The weight that all proxies apply at a moment; `None`: they do not agree.
    pub fn agreed(&self, at: Duration) -> Option<i64> {
        let (_, most, least) = self.entry(at).unwrap_or_default();
        (most == least).then_some(most)
    }
}

/// How long the operator may not know yet that something has gone or come.
pub const NEWS: Duration = Duration::from_secs(10);
/// When the write of an operator's route or Deployment may have been read for at the earliest, without any trouble.
const FRESH: Duration = Duration::from_secs(2);
/// The same when every request on the way needs all of its tries.
const TROUBLED: Duration = Duration::from_secs(24);

impl<'a> World<'a> {
    /// Sorts a history.
    pub fn new(input: &'a Input) -> Self {
        let operators: BTreeSet<&str> = input.facts.operators.iter().map(String::as_str).collect();
        let (carried, routed) = carried(input);
        let mut world = Self {
            input,
            models: Tracks::new(),
            splits: Tracks::new(),
            routes: Tracks::new(),
            deployments: Tracks::new(),
            services: Tracks::new(),
            leases: Tracks::new(),
            carried,
            routed,
            requests: input.requests.iter().filter_map(|r| Some((r.revision?, r))).collect(),
            reads: BTreeMap::new(),
        };
        for change in &input.changes {
            let ours = operators.contains(change.by.as_str());
            match change.key.kind.as_str() {
                "ModelDeployment" => record(&mut world.models, change, ours),
                "TrafficSplit" => record(&mut world.splits, change, ours),
                "HTTPRoute" => record(&mut world.routes, change, ours),
                "Deployment" => record(&mut world.deployments, change, ours),
                "Service" => record(&mut world.services, change, ours),
                "Lease" => record(&mut world.leases, change, ours),
                _ => {}
            }
        }
        for request in &input.requests {
            let list = request.method == "GET" && request.code == Some(200);
            if list && request.key.as_ref().is_some_and(|k| k.kind == "Deployment" && k.name.is_empty()) {
                world.reads.entry(request.who.as_str()).or_default().push(request.sent);
            }
        }
        world
    }

    /// Whether a replica of the operator did it.
    pub fn ours(&self, change: &Change) -> bool {
        self.input.facts.operators.contains(&change.by)
    }

    /// The request that became this change.
    pub fn request(&self, revision: u64) -> Option<&'a Request> {
        self.requests.get(&revision).copied()
    }

    /// When a change of ours was asked for: what comes on its way is not judged by what was made meanwhile.
    pub fn sent(&self, change: &Change) -> Duration {
        self.request(change.revision).map_or(change.at, |request| request.sent)
    }

    /// From when on the operator may have read what this write of its rests on: two seconds; under faults, since its last
    /// live read (S2).
    pub fn read_from(&self, change: &Change) -> Duration {
        let sent = self.sent(change);
        let usual = sent.saturating_sub(FRESH);
        let reads = self.reads.get(change.by.as_str()).map(Vec::as_slice).unwrap_or_default();
        let end = reads.partition_point(|at| *at <= sent);
        let last = end.checked_sub(1).map(|i| reads[i]).filter(|at| *at + TROUBLED >= sent);
        match last {
            Some(at) if overlap(&self.input.facts.faults, at, change.at) > Duration::ZERO => at.min(usual),
            _ => usual,
        }
    }

    /// The last change that was surely known when a write of ours was sent: ten seconds without anything in the way have gone
    /// by since.
    pub fn known(&self, change: &Change) -> u64 {
        let sent = self.sent(change);
        let (mut from, mut last) = (sent.saturating_sub(NEWS), sent);
        while from < last {
            last = from;
            from = sent.saturating_sub(NEWS + self.hindered(from, sent));
        }
        let changes = &self.input.changes;
        let end = changes.partition_point(|earlier| earlier.at <= from);
        end.checked_sub(1).map_or(0, |last| changes[last].revision)
    }

    /// The effective weight of a backend.
    pub fn effective(&self, namespace: &str, backend: &str, at: Duration) -> i64 {
        self.carried.get(&(namespace, backend)).map_or(0, |c| c.most(at))
    }

    /// The model that a revision belongs to, by its Deployment's label, else by the name.
    pub fn model_of(
        &self,
        namespace: &str,
        revision: &str,
    ) -> Option<(&'a Key, &super::tracks::Track<'a, Model>)> {
        let (model, _) = revision.rsplit_once('-')?;
        self.models
            .iter()
            .find(|(key, _)| key.namespace == namespace && key.name == model)
            .map(|(key, track)| (*key, track))
    }

    /// The oldest `TrafficSplit` that names a model after the change `revision`.
    pub fn split_of(&self, model: &Key, revision: u64) -> Option<(&'a Key, &Split)> {
        self.splits
            .iter()
            .filter(|(key, _)| key.namespace == model.namespace)
            .filter_map(|(key, track)| track.at(revision).map(|split| (*key, split)))
            .filter(|(_, split)| !split.deleting && split.names(&model.name))
            .min_by_key(|(key, split)| (split.created.clone(), key.name.clone()))
    }

    /// The Deployment of a revision.
    pub fn deployment(
        &self,
        namespace: &str,
        revision: &str,
    ) -> Option<&super::tracks::Track<'a, Deployment>> {
        self.deployments.get(&Key::new("Deployment", namespace, revision))
    }

    /// For how long, between two moments, all proxies gave a candidate at least its share (in parts per million) of what they
    /// sent to it and to its stable revision together by a route.
    pub fn held(
        &self,
        route: &Key,
        (candidate, stable): (&str, &str),
        ppm: i64,
        (from, until): (Duration, Duration),
    ) -> Duration {
        let both = [candidate, stable].map(|name| self.routed.get(&(route, name)));
        let times = both.iter().flatten().flat_map(|c| c.steps.iter().map(|(at, ..)| *at));
        let mut times: Vec<Duration> =
            times.filter(|at| *at > from && *at < until).chain([from, until]).collect();
        times.sort_unstable();
        let agreed = |at: Duration| {
            let [candidate, stable] = both.map(|c| c.map_or(Some(0), |c| c.agreed(at)));
            Some(Share { candidate: candidate?, whole: candidate? + stable? })
        };
        let holds = |at: Duration| agreed(at).is_some_and(|s| s.candidate > 0 && !s.is_below(ppm));
        times.windows(2).filter(|pair| holds(pair[0])).map(|pair| pair[1].saturating_sub(pair[0])).sum()
    }

    /// The most pods of a revision that were ready at one time between a moment and a change.
    pub fn most_ready(&self, namespace: &str, revision: &str, from: Duration, until: u64) -> i64 {
        let track = self.deployment(namespace, revision);
        track.map_or(0, |t| t.during(from, until).map(|d| d.map_or(0, |d| d.ready)).max().unwrap_or(0))
    }

    /// The fewest pods of a revision that were ready at one time between a moment and a change.
    pub fn least_ready(&self, namespace: &str, revision: &str, from: Duration, until: u64) -> i64 {
        let track = self.deployment(namespace, revision);
        track.map_or(0, |t| t.during(from, until).map(|d| d.map_or(0, |d| d.ready)).min().unwrap_or(0))
    }

    /// How long something stood in the operator's way between two moments: faults, and no leader.
    pub fn hindered(&self, from: Duration, until: Duration) -> Duration {
        let facts = &self.input.facts;
        let all: Vec<Span> = facts.faults.iter().chain(&facts.absent).copied().collect();
        overlap(&all, from, until)
    }

    /// The moment by which so much time has gone by in which nothing stood in the operator's way.
    pub fn unhindered(&self, from: Duration, length: Duration) -> Duration {
        let mut until = from + length;
        loop {
            let later = from + length + self.hindered(from, until);
            if later == until {
                return until;
            }
            until = later;
        }
    }

    /// Whether something stood in the operator's way between two moments, or just before.
    pub fn calm(&self, from: Duration, until: Duration) -> bool {
        self.hindered(from.saturating_sub(Duration::from_secs(30)), until) == Duration::ZERO
    }
}

/// How much of the time between two moments the spans cover together; what two of them cover counts once.
pub fn overlap(spans: &[Span], from: Duration, until: Duration) -> Duration {
    let mut cut: Vec<(Duration, Duration)> = spans
        .iter()
        .map(|span| (span.from.max(from), span.until.min(until)))
        .filter(|(begin, end)| begin < end)
        .collect();
    cut.sort_unstable();
    let (mut total, mut reached) = (Duration::ZERO, Duration::ZERO);
    for (begin, end) in cut {
        let begin = begin.max(reached);
        total += end.saturating_sub(begin);
        reached = reached.max(end);
    }
    total
}

type Shares<'a> = BTreeMap<(&'a Key, usize), &'a [(String, i64)]>;

/// What the proxies carried in all, and by each route.
#[allow(clippy::type_complexity, reason = "two maps of the same")]
fn carried(input: &Input) -> (BTreeMap<(&str, &str), Carried>, BTreeMap<(&Key, &str), Carried>) {
    let mut all: BTreeMap<(&str, &str), Carried> = BTreeMap::new();
    let mut routed: BTreeMap<(&Key, &str), Carried> = BTreeMap::new();
    let proxies: BTreeSet<usize> = input.applied.iter().map(|a| a.proxy).collect();
    let mut now: Shares<'_> = BTreeMap::new();
    for applied in &input.applied {
        let at = (&applied.route, applied.proxy);
        let before = now.insert(at, &applied.shares).unwrap_or_default();
        let touched: BTreeSet<&str> =
            before.iter().chain(&applied.shares).map(|(name, _)| name.as_str()).collect();
        let namespace = applied.route.namespace.as_str();
        for backend in touched {
            let weight = |proxy: usize, of: &dyn Fn(&Key) -> bool| -> i64 {
                let mine = now.iter().filter(|((key, p), _)| *p == proxy && of(key));
                let all = mine.flat_map(|(_, shares)| *shares);
                all.filter(|(name, _)| name == backend).map(|(_, weight)| *weight).sum()
            };
            let weights = |of: &dyn Fn(&Key) -> bool| -> Vec<i64> {
                proxies.iter().map(|proxy| weight(*proxy, of)).collect()
            };
            let here = weights(&|key| key.namespace == namespace);
            all.entry((namespace, backend)).or_default().note(applied.at, &here);
            let here = weights(&|key| *key == applied.route);
            routed.entry((&applied.route, backend)).or_default().note(applied.at, &here);
        }
    }
    (all, routed)
}
