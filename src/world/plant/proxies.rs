//! The data plane: proxies that apply routes and endpoints late, serve the traffic, and count requests and failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use tokio::time::Instant;

use super::{
    Actor, Surroundings,
    agenda::Agenda,
    chance::Range,
    during::{self, During},
    endpoints::Ready,
    gateway::{Config, News},
    kubelet::Sent,
    traffic::{Counters, Tally, answer, split, under_way},
};
use crate::{
    revision::REVISION_LABEL,
    world::history::{Applied, Change, Key, Served},
};

/// How many proxies there are, how late they are, and how much they have to do.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many. With several parents of a route they are shared out among them.
    pub count: usize,
    /// From the gateway's taking over of a route until a proxy applies it, mostly.
    pub lag: Range,
    /// The share of updates that take longer: up to `longest`.
    pub stragglers: f64,
    /// The longest that an update of a route takes. Must stay within the provider's propagation allowance: that is what
    /// the allowance promises. See `faults`.
    pub longest: Duration,
    /// From a change of a Service's ready pods until a proxy knows.
    pub endpoints: Range,
    /// From the first route that names a Service until a proxy has its endpoints; requests fail until then.
    pub warms: Range,
    /// Requests a second for each route, all proxies together.
    pub rate: u64,
    /// How often requests are counted.
    pub tick: Duration,
    /// How often a record of what was served is written, unless something failed.
    pub record: Duration,
    /// An answer is late when it takes longer.
    pub slow: Duration,
    /// When which proxy is restarted: its counters begin at 0 again.
    pub restarts: Vec<(Duration, usize)>,
    /// So much longer does every update of a route take for a while. Only for worlds whose checker knows of it.
    pub faults: Vec<During<Duration>>,
}

impl Default for Setting {
    /// Three proxies, mostly within half a second, 50 requests a second.
    fn default() -> Self {
        Self {
            count: 3,
            lag: Range::millis(10, 500),
            stragglers: 0.1,
            longest: Duration::from_secs(4),
            endpoints: Range::millis(10, 300),
            warms: Range::millis(10, 300),
            rate: 50,
            tick: Duration::from_secs(1),
            record: Duration::from_secs(10),
            slow: Duration::from_millis(300),
            restarts: vec![],
            faults: vec![],
        }
    }
}

/// All proxies.
pub struct Proxies {
    chance: Rng,
    setting: Setting,
    all: Vec<Proxy>,
    due: Agenda<(usize, Update)>,
    ticks: Option<Instant>,
    recorded: Instant,
    tallies: BTreeMap<(Key, String), Tally>,
}

#[derive(Default)]
struct Proxy {
    routes: BTreeMap<Key, Active>,
    endpoints: BTreeMap<Key, Ready>,
    /// Services that its routes name, and from when on it has their endpoints.
    clusters: BTreeMap<Key, Instant>,
    /// No update overtakes an earlier one of the same object.
    latest: BTreeMap<Key, Instant>,
    counted: Option<Instant>,
    turn: usize,
}

struct Active {
    config: Arc<Config>,
    credits: Vec<i64>,
    /// Parts of a request that are owed: microseconds times rate.
    owed: u128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Update {
    Route(Key, Option<Arc<Config>>),
    Endpoints(Key, Ready),
    Restart,
    /// A cluster has its first endpoints: what was sent until now is counted without them.
    Warm,
}

impl Proxies {
    /// Proxies with this setting, in a world that began at `began`.
    #[must_use]
    pub fn new(chance: Rng, setting: Setting, began: Instant) -> Self {
        let mut due = Agenda::default();
        for (at, proxy) in setting.restarts.iter().filter(|(_, proxy)| *proxy < setting.count) {
            due.add(began + *at, (*proxy, Update::Restart));
        }
        let all = (0..setting.count).map(|_| Proxy::default()).collect();
        Self { chance, setting, all, due, ticks: None, recorded: began, tallies: BTreeMap::new() }
    }

    /// Puts what the gateway and the endpoints controller sent on its way to every proxy.
    fn receive(&mut self, around: &mut Surroundings, now: Instant) {
        for News { route, parent, parents, config } in std::mem::take(&mut around.config_news) {
            let extra =
                during::now(&self.setting.faults, around.elapsed()).map_or(Duration::ZERO, |f| f.what);
            for index in 0..self.all.len() {
                if parents == 0 || index % parents == parent {
                    let straggles = self.chance.f64() < self.setting.stragglers;
                    let most = if straggles { self.setting.longest } else { self.setting.lag.most };
                    let lag = Range { least: self.setting.lag.least.min(most), most }.draw(&mut self.chance);
                    let update = Update::Route(route.clone(), config.clone());
                    self.send(index, &route, now + lag + extra, update);
                }
            }
        }
        for service in std::mem::take(&mut around.endpoint_news) {
            let ready = around.endpoints.get(&service).cloned().unwrap_or_default();
            for index in 0..self.all.len() {
                let at = now + self.setting.endpoints.draw(&mut self.chance);
                self.send(index, &service, at, Update::Endpoints(service.clone(), ready.clone()));
            }
        }
    }

    fn send(&mut self, index: usize, object: &Key, at: Instant, update: Update) {
        let latest = self.all[index].latest.entry(object.clone()).or_insert(at);
        *latest = (*latest).max(at);
        self.due.add(*latest, (index, update));
    }

    fn update(&mut self, index: usize, update: Update, around: &mut Surroundings, now: Instant) {
        self.count(index, around, now);
        let proxy = &mut self.all[index];
        match update {
            Update::Endpoints(service, ready) => {
                proxy.endpoints.insert(service, ready);
            }
            Update::Restart => around.counters[index].clear(),
            Update::Warm => {}
            Update::Route(route, config) => {
                let known = proxy.routes.get(&route).map(|active| &active.config);
                if known == config.as_ref() {
                    return;
                }
                let applied = Applied {
                    at: now.duration_since(around.began),
                    proxy: index,
                    route: route.clone(),
                    generation: config.as_ref().map(|config| config.generation),
                    shares: config.as_ref().map(|config| config.shares.clone()).unwrap_or_default(),
                };
                around.records.lock().applied.push(applied);
                match config {
                    Some(config) => {
                        // Staggered, so that the proxies do not all get their odd request in the same tick.
                        let owed = u128::try_from(index).unwrap_or(0) * 1_000_000;
                        let active = proxy.routes.remove(&route).unwrap_or(Active {
                            config: config.clone(),
                            credits: vec![],
                            owed,
                        });
                        // Another set of backends owes and is owed nothing.
                        let names =
                            |c: &Config| c.shares.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                        let same = names(&active.config) == names(&config);
                        let credits = if same { active.credits } else { vec![] };
                        proxy.routes.insert(route, Active { config, credits, owed: active.owed });
                    }
                    None => drop(proxy.routes.remove(&route)),
                }
                let warm = now + self.setting.warms.draw(&mut self.chance);
                if proxy.recluster(warm, &mut around.counters[index]) {
                    self.due.add(warm, (index, Update::Warm));
                }
            }
        }
    }

    /// Counts the requests that a proxy got since it was last looked at.
    fn count(&mut self, index: usize, around: &mut Surroundings, now: Instant) {
        let proxy = &mut self.all[index];
        let from = proxy.counted.replace(now).unwrap_or(now);
        let micros = now.duration_since(from).as_micros();
        if micros == 0 || proxy.routes.is_empty() {
            return;
        }
        let whole = 1_000_000 * u128::try_from(self.setting.count).unwrap_or(1);
        for route in proxy.routes.keys().cloned().collect::<Vec<_>>() {
            let Some(active) = proxy.routes.get_mut(&route) else { continue };
            active.owed += micros * u128::from(self.setting.rate);
            let count = u64::try_from(active.owed / whole).unwrap_or(u64::MAX);
            active.owed %= whole;
            let config = active.config.clone();
            let given = split(count, &config.shares, &mut active.credits);
            for ((name, _), count) in config.shares.iter().zip(given).filter(|(_, count)| *count > 0) {
                let hop = Hop { route: &route, config: &config, from, now, slow: self.setting.slow };
                let backend = Key::new("Service", &route.namespace, name);
                let tally = proxy.serve(&hop, &backend, count, &mut self.chance, around, index);
                self.tallies.entry((route.clone(), name.clone())).or_default().add(tally);
            }
        }
    }

    /// Counts what was under way at containers that ended. What crashed is to blame itself.
    fn cut(&mut self, around: &mut Surroundings, now: Instant) {
        for (sent, body) in std::mem::take(&mut around.cut) {
            let answers = around.versions.of(&body.version).answers.clone();
            let backend = body.labels.get(REVISION_LABEL).cloned().unwrap_or_default();
            for sent in sent {
                let config = self.all.iter().find_map(|p| p.routes.get(&sent.route)).map(|a| &a.config);
                let timeout = config.and_then(|config| config.timeout);
                let lost = under_way(&sent, &answers, timeout, now);
                let tally = if body.broke {
                    Tally { errors: lost, ..Tally::default() }
                } else {
                    Tally { failed: lost, ..Tally::default() }
                };
                self.tallies.entry((sent.route, backend.clone())).or_default().add(tally);
            }
        }
    }

    fn tick(&mut self, around: &mut Surroundings, now: Instant) {
        for index in 0..self.all.len() {
            self.count(index, around, now);
        }
        let failed = self.tallies.values().any(|tally| tally.failed > 0);
        if failed || now.duration_since(self.recorded) >= self.setting.record {
            self.recorded = now;
            let at = now.duration_since(around.began);
            let mut records = around.records.lock();
            for ((route, backend), tally) in std::mem::take(&mut self.tallies) {
                let Tally { requests, errors, slow, failed } = tally;
                records.served.push(Served { at, route, backend, requests, errors, slow, failed });
            }
        }
    }
}

impl Actor for Proxies {
    fn hear(&mut self, _: &Change, _: &mut Surroundings, _: Instant) {}

    fn act(&mut self, around: &mut Surroundings, now: Instant) {
        around.counters.resize_with(self.all.len(), BTreeMap::new);
        self.receive(around, now);
        while let Some((at, (index, update))) = self.due.due(now) {
            self.update(index, update, around, at);
        }
        self.cut(around, now);
        let idle = self.all.iter().all(|proxy| proxy.routes.is_empty()) && self.tallies.is_empty();
        if self.ticks.is_none_or(|at| at <= now) {
            self.tick(around, now);
            self.ticks = None;
        }
        if self.ticks.is_none() && !idle {
            self.ticks = Some(now + self.setting.tick);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.next().into_iter().chain(self.ticks).min()
    }
}

/// One route's requests on their way through a proxy.
struct Hop<'a> {
    route: &'a Key,
    config: &'a Config,
    from: Instant,
    now: Instant,
    slow: Duration,
}

impl Proxy {
    /// Sends `count` requests to a backend's endpoints, one after the other.
    fn serve(
        &mut self,
        hop: &Hop<'_>,
        backend: &Key,
        count: u64,
        chance: &mut Rng,
        around: &mut Surroundings,
        index: usize,
    ) -> Tally {
        let warm = self.clusters.get(backend).is_some_and(|warm| *warm <= hop.from);
        let known = self.endpoints.get(backend).filter(|_| warm).cloned().unwrap_or_default();
        let mut lost = if known.is_empty() { count } else { 0 };
        let mut version = None;
        let each = count / u64::try_from(known.len().max(1)).unwrap_or(1);
        let odd = usize::try_from(count % u64::try_from(known.len().max(1)).unwrap_or(1)).unwrap_or(0);
        for place in 0..known.len() {
            let pod = &known[(place + self.turn) % known.len()];
            let share = each + u64::from(place < odd);
            match around.bodies.get_mut(pod).filter(|body| body.listens) {
                Some(body) => {
                    version.get_or_insert_with(|| body.version.clone());
                    let sent =
                        Sent { route: hop.route.clone(), from: hop.from, until: hop.now, count: share };
                    body.sent.push_back(sent);
                    if body.sent.len() > 100 {
                        body.sent.pop_front();
                    }
                }
                None => lost += share,
            }
        }
        self.turn = self.turn.wrapping_add(odd);
        let counters = around.counters[index].entry(backend.clone()).or_default();
        // What the proxy answers itself is counted as 503.
        counters.bad += lost;
        let at = hop.now.duration_since(around.began);
        let mut tally = match version {
            Some(version) => {
                let answers = &around.versions.of(&version).answers;
                answer(count - lost, (answers, at), hop.config.timeout, hop.slow, chance, counters)
            }
            None => Tally::default(),
        };
        tally.requests = count;
        if lost > 0 {
            let own = around.bodies.iter().any(|(pod, body)| {
                body.broke
                    && pod.namespace == backend.namespace
                    && body.labels.get(REVISION_LABEL) == Some(&backend.name)
            });
            if own { tally.errors += lost } else { tally.failed += lost }
        }
        tally
    }

    /// Makes clusters of the Services that the routes name now, and forgets the others with all that was counted of them.
    /// Whether there is a new one.
    fn recluster(&mut self, warm: Instant, counters: &mut BTreeMap<Key, Counters>) -> bool {
        let mut named = BTreeSet::new();
        for (route, active) in &self.routes {
            let service = |name: &String| Key::new("Service", &route.namespace, name);
            named.extend(active.config.shares.iter().map(|(name, _)| service(name)));
            named.extend(active.config.idle.iter().map(service));
        }
        self.clusters.retain(|service, _| named.contains(service));
        counters.retain(|service, _| named.contains(service));
        let known = self.clusters.len();
        for service in named {
            self.clusters.entry(service).or_insert(warm);
        }
        self.clusters.len() > known
    }
}
