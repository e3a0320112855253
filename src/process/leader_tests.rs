use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::*;
use crate::controller::lanes::lease_client;

/// An API server with one Lease, of which some clients can be cut off.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    version: Arc<AtomicI64>,
    /// Every accepted write: when, by whom, and the spec.
    writes: Arc<Mutex<Vec<(Instant, String, Value)>>>,
    cut: Arc<Mutex<BTreeMap<String, bool>>>,
    /// How long answers are under way.
    slow: Duration,
    /// Draws delays and losses in the random test.
    weather: Option<Arc<Mutex<fastrand::Rng>>>,
}

impl Server {
    fn client(&self, who: &str) -> Client {
        let (server, who) = (self.clone(), who.to_owned());
        let service = move |request: Request<Body>| server.clone().handle(who.clone(), request);
        lease_client(Client::new(tower::service_fn(service), "seatrial"), &Jitter::seeded(7))
    }

    fn cut(&self, who: &str, cut: bool) {
        self.cut.lock().unwrap().insert(who.to_owned(), cut);
    }

    fn is_cut(&self, who: &str) -> bool {
        self.cut.lock().unwrap().get(who).copied().unwrap_or_default()
    }

    /// Seconds that a message is under way; `None`: it is lost.
    fn journey(&self) -> Option<Duration> {
        let Some(weather) = &self.weather else { return Some(Duration::ZERO) };
        let mut weather = weather.lock().unwrap();
        match weather.u8(0..10) {
            0 => None,
            1 => Some(Duration::from_millis(weather.u64(0..12_000))),
            _ => Some(Duration::from_millis(weather.u64(0..300))),
        }
    }

    async fn handle(self, who: String, request: Request<Body>) -> std::io::Result<Response<Body>> {
        if self.is_cut(&who) {
            std::future::pending::<()>().await;
        }
        let (there, back) = (self.journey(), self.journey().map(|back| back + self.slow));
        let server = self.clone();
        // A client that gives up does not call its request back.
        let answer = tokio::spawn(async move {
            sleep(there?).await;
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let answer = server.answer(&head.method, &who, &body);
            sleep(back?).await;
            (!server.is_cut(&who)).then_some(answer)
        });
        match answer.await.unwrap() {
            Some((code, value)) => {
                let body = Body::from(serde_json::to_vec(&value).unwrap());
                Ok(Response::builder().status(code).body(body).unwrap())
            }
            None => std::future::pending().await,
        }
    }

    fn answer(&self, method: &Method, who: &str, body: &[u8]) -> (u16, Value) {
        let mut lease = self.lease.lock().unwrap();
        let refuse = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}),
            )
        };
        if method == Method::GET {
            return lease.clone().map_or(refuse(404, "NotFound"), |lease| (200, lease));
        }
        let mut sent: Value = serde_json::from_slice(body).unwrap();
        match (&*lease, method == Method::POST) {
            (Some(_), true) => return refuse(409, "AlreadyExists"),
            (None, false) => return refuse(404, "NotFound"),
            (Some(have), false) => {
                let version = &sent["metadata"]["resourceVersion"];
                assert!(version.is_string(), "a PUT without a resourceVersion is not guarded: {sent}");
                if *version != have["metadata"]["resourceVersion"] {
                    return refuse(409, "Conflict");
                }
            }
            (None, true) => assert!(sent["metadata"]["resourceVersion"].is_null()),
        }
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        sent["metadata"]["resourceVersion"] = json!(version.to_string());
        self.writes.lock().unwrap().push((Instant::now(), who.to_owned(), sent["spec"].clone()));
        *lease = Some(sent.clone());
        (if method == Method::POST { 201 } else { 200 }, sent)
    }

    fn holder(&self) -> String {
        let lease = self.lease.lock().unwrap();
        lease.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    }
}

struct Replica {
    tenure: watch::Receiver<Option<Tenure>>,
    outranking: watch::Sender<i64>,
    resign: CancellationToken,
}

impl Replica {
    fn start(server: &Server, who: &str, tasks: &mut JoinSet<()>) -> Self {
        Self::start_above(server, who, tasks, Arc::new(|| Box::pin(async { Ok(0) })))
    }

    fn start_above(server: &Server, who: &str, tasks: &mut JoinSet<()>, floor: Floor) -> Self {
        let clock = Clock::at("2026-11-21T12:00:00Z".parse().unwrap());
        let seed = who.bytes().map(u64::from).sum();
        let contender =
            Contender::new(server.client(who), ("seatrial", "seatrial"), who, clock, Jitter::seeded(seed));
        let ((seat, tenure), outranking) = (watch::channel(None), watch::Sender::new(0));
        let (resign, contender) =
            (CancellationToken::new(), contender.with_outranking(outranking.subscribe()));
        tasks.spawn(contender.with_floor(floor).contend(seat, resign.clone()));
        Self { tenure, outranking, resign }
    }

    fn leads(&self) -> bool {
        self.tenure.borrow().is_some_and(|tenure| Instant::now() < tenure.until)
    }

    /// The tenure once there is one; fails after two minutes of virtual time.
    async fn tenure(&mut self) -> Tenure {
        let wait = self.tenure.wait_for(Option::is_some);
        timeout(Duration::from_mins(2), wait).await.expect("nobody leads").unwrap().unwrap()
    }

    async fn lost(&mut self) {
        let wait = self.tenure.wait_for(Option::is_none);
        timeout(Duration::from_mins(2), wait).await.expect("it still leads").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_replica_leads_at_once_and_renews() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    let begun = Instant::now();
    let first = a.tenure().await;
    assert_eq!((first.epoch, begun.elapsed()), (1, Duration::ZERO));
    assert_eq!(first.until, begun + RENEW_DEADLINE);
    let renewed = a.tenure.wait_for(|tenure| tenure.unwrap().until > begun + Duration::from_mins(10)).await;
    assert_eq!(renewed.unwrap().unwrap().epoch, 1);
    let writes = server.writes.lock().unwrap();
    assert!((280..=310).contains(&writes.len()), "one PUT each two seconds, ± the jitter: {}", writes.len());
    let spec = &writes.last().unwrap().2;
    assert_eq!(spec["holderIdentity"], "a");
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert_eq!(spec["leaseTransitions"], 1);
    assert_eq!(spec["acquireTime"], "2026-11-21T12:00:00.000000Z");
    assert_ne!(spec["renewTime"], spec["acquireTime"]);
}

#[tokio::test(start_paused = true)]
async fn a_tenure_counts_from_the_moment_at_which_its_renewal_was_sent() {
    let (server, mut tasks) = (Server { slow: Duration::from_secs(3), ..Server::default() }, JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    for _ in 0..10 {
        let tenure = a.tenure().await;
        let applied = server.writes.lock().unwrap().last().unwrap().0;
        assert_eq!(tenure.until, applied + RENEW_DEADLINE);
        a.tenure.changed().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_the_standby_takes_over() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    a.tenure().await;
    let mut b = Replica::start(&server, "b", &mut tasks);
    sleep(Duration::from_secs(30)).await;
    assert!(a.leads() && !b.leads());
    server.cut("a", true);
    let renewed = server.writes.lock().unwrap().last().unwrap().0;
    a.lost().await;
    assert_eq!(renewed.elapsed(), RENEW_DEADLINE, "to the moment, though a request hangs");
    let tenure = b.tenure().await;
    assert_eq!(tenure.epoch, 2);
    let took = renewed.elapsed();
    assert!(took >= LEASE && took <= LEASE + RETRY.mul_f64(1.2), "{took:?}");

    server.cut("a", false);
    sleep(Duration::from_mins(1)).await;
    assert!(b.leads() && !a.leads(), "who comes back is a standby");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_within_one_retry() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    a.tenure().await;
    let mut b = Replica::start(&server, "b", &mut tasks);
    sleep(Duration::from_secs(20)).await;
    a.resign.cancel();
    a.lost().await;
    let resigned = Instant::now();
    let tenure = b.tenure().await;
    assert_eq!(tenure.epoch, 2);
    assert!(resigned.elapsed() <= RETRY.mul_f64(1.2), "{:?}", resigned.elapsed());
    let writes = server.writes.lock().unwrap();
    let released = writes.iter().rev().find(|(_, who, _)| who == "a").unwrap();
    assert_eq!((&released.2["holderIdentity"], &released.2["leaseDurationSeconds"]), (&json!(""), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_resigns_leaves_the_lease_alone() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    a.tenure().await;
    let b = Replica::start(&server, "b", &mut tasks);
    sleep(Duration::from_secs(5)).await;
    b.resign.cancel();
    sleep(Duration::from_mins(1)).await;
    assert!(a.leads());
    assert!(server.writes.lock().unwrap().iter().all(|(_, who, _)| who == "a"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_goes_back_to_the_replica_that_leads() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    a.tenure().await;
    let mut b = Replica::start(&server, "b", &mut tasks);
    sleep(Duration::from_secs(20)).await;
    for _ in 0..10 {
        server.lease.lock().unwrap().take();
        sleep(Duration::from_millis(7_300)).await;
        assert!(a.leads() && !b.leads());
    }
    assert_eq!(a.tenure().await.epoch, 1);

    // And to the standby, once the leader is gone and its time is up: even if the standby was away for long.
    server.cut("b", true);
    sleep(Duration::from_mins(5)).await;
    assert!(a.leads());
    server.cut("b", false);
    server.cut("a", true);
    server.lease.lock().unwrap().take();
    b.tenure().await;
    assert!(!a.leads(), "b did not wait");
    assert_eq!(server.holder(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_finds_no_lease_waits_for_whoever_may_have_held_it() {
    let (server, mut tasks, begun) = (Server::default(), JoinSet::new(), Instant::now());
    let floor: Floor = Arc::new(|| Box::pin(std::future::ready(Ok(3))));
    let mut a = Replica::start_above(&server, "a", &mut tasks, floor);
    assert_eq!(a.tenure().await.epoch, 4);
    assert!((LEASE..LEASE + RETRY * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

/// While it could not look, another one may have led, and lost the Lease again.
#[tokio::test(start_paused = true)]
async fn a_lease_that_vanished_before_a_replica_was_cut_off_has_vanished_anew() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut b = Replica::start(&server, "b", &mut tasks);
    b.tenure().await;
    let mut a = Replica::start(&server, "a", &mut tasks);
    sleep(Duration::from_secs(30)).await;
    server.cut("b", true);
    server.lease.lock().unwrap().take();
    sleep(Duration::from_secs(8)).await;
    server.cut("a", true);
    server.cut("b", false);
    b.lost().await;
    b.tenure().await;
    sleep(Duration::from_secs(5)).await;
    assert!(b.leads() && !a.leads());
    server.cut("b", true);
    server.lease.lock().unwrap().take();
    server.cut("a", false);
    while b.leads() {
        sleep(Duration::from_millis(100)).await;
        assert!(!(a.leads() && b.leads()), "both lead");
    }
    a.tenure().await;
}

#[tokio::test(start_paused = true)]
async fn who_loses_a_conflict_does_not_lead() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    // Both find nothing at the same moment, and both create.
    let replicas = ["a", "b", "c"].map(|who| Replica::start(&server, who, &mut tasks));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(replicas.iter().filter(|replica| replica.leads()).count(), 1);
    // Somebody forces the lease away from the leader: its next renewal conflicts, it looks, and stops.
    let leader = replicas.into_iter().find(Replica::leads);
    let mut leader = leader.unwrap();
    if let Some(lease) = &mut *server.lease.lock().unwrap() {
        lease["spec"]["holderIdentity"] = json!("by hand");
        lease["metadata"]["resourceVersion"] = json!("99999");
    }
    let forced = Instant::now();
    leader.lost().await;
    assert!(forced.elapsed() <= RETRY.mul_f64(1.2), "{:?}", forced.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_from_outside_that_keeps_the_holder_does_not_end_a_tenure() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    a.tenure().await;
    for version in 1..20 {
        if let Some(lease) = &mut *server.lease.lock().unwrap() {
            lease["metadata"]["resourceVersion"] = json!(format!("9000{version}"));
            lease["metadata"]["labels"] = json!({"looked-at": version.to_string()});
        }
        sleep(Duration::from_secs(3)).await;
        assert!(a.leads());
    }
    let lease = server.lease.lock().unwrap();
    assert_eq!(lease.as_ref().unwrap()["metadata"]["labels"]["looked-at"], "19", "the label stays");
}

#[tokio::test(start_paused = true)]
async fn the_same_pod_leads_again_after_a_crash_without_waiting_and_in_a_new_epoch() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    a.tenure().await;
    tasks.abort_all();
    let crashed = Instant::now();
    let mut again = Replica::start(&server, "a", &mut tasks);
    assert_eq!(again.tenure().await.epoch, 2);
    assert_eq!(crashed.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_tenure_begins_above_every_epoch_in_use_and_not_before_they_are_read() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let readable = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&readable);
    let floor: Floor = Arc::new(move || {
        let readable = flag.load(Ordering::Relaxed);
        Box::pin(async move {
            sleep(Duration::from_millis(5_500)).await;
            if readable { Ok(41) } else { Err(kube::Error::Service("away".into())) }
        })
    });
    let mut a = Replica::start_above(&server, "a", &mut tasks, floor);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(server.holder(), "a");
    assert!(!a.leads(), "it holds the lease and has not read the epochs");
    readable.store(true, Ordering::Relaxed);
    assert_eq!(a.tenure().await.epoch, 42);
    sleep(Duration::from_secs(5)).await;
    let lease = server.lease.lock().unwrap();
    assert_eq!(lease.as_ref().unwrap()["spec"]["leaseTransitions"], 42, "the next one counts from here");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_outranked_leads_on_above_that_epoch_if_the_lease_is_still_its_own() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let mut a = Replica::start(&server, "a", &mut tasks);
    assert_eq!(a.tenure().await.epoch, 1);
    let told = Instant::now();
    a.outranking.send_replace(7);
    let risen = a.tenure.wait_for(|tenure| tenure.is_some_and(|tenure| tenure.epoch == 8));
    timeout(Duration::from_mins(2), risen).await.expect("it does not lead on above that").unwrap();
    assert_eq!(told.elapsed(), Duration::ZERO, "it does not wait for the next round");
    let renewals = server.writes.lock().unwrap().len();
    assert_eq!(renewals, 2, "and has renewed the lease first");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(a.tenure().await.epoch, 8);

    // One that has lost the lease without knowing it does not lead on.
    server.lease.lock().unwrap().as_mut().unwrap()["spec"]["holderIdentity"] = json!("b");
    server.lease.lock().unwrap().as_mut().unwrap()["metadata"]["resourceVersion"] = json!("b's");
    a.outranking.send_replace(9);
    a.lost().await;
    sleep(Duration::from_secs(10)).await;
    assert!(!a.leads());
}

#[tokio::test(start_paused = true)]
async fn a_foreign_record_with_absurd_numbers_is_survived() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    *server.lease.lock().unwrap() = Some(json!({
        "metadata": {"name": "seatrial", "resourceVersion": "5"},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": -3, "leaseTransitions": i32::MAX},
    }));
    let mut a = Replica::start(&server, "a", &mut tasks);
    assert_eq!(a.tenure().await.epoch, i64::from(i32::MAX) + 1);
}

/// Requests are late, lost, applied after their client gave up; clients are cut off; leases are deleted.
#[tokio::test(start_paused = true)]
async fn there_are_never_two_leaders_whatever_the_weather() {
    let (mut tenures, mut moments) = (0, 0);
    for seed in 1..=40 {
        let weather = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let server = Server { weather: Some(Arc::clone(&weather)), ..Server::default() };
        let mut tasks = JoinSet::new();
        // What stands in the objects: each leader writes its epoch.
        let written = Arc::new(AtomicI64::new(0));
        let replicas = ["a", "b", "c"].map(|who| {
            let written = Arc::clone(&written);
            let floor: Floor =
                Arc::new(move || Box::pin(std::future::ready(Ok(written.load(Ordering::Relaxed)))));
            Replica::start_above(&server, who, &mut tasks, floor)
        });
        let mut last: Option<(usize, i64)> = None;
        for step in 0..3_000 {
            sleep(Duration::from_millis(100)).await;
            // Not from the start: who has never seen the Lease cannot know that there was one.
            if step >= 300 && step % 50 == 0 {
                let mut weather = weather.lock().unwrap();
                let who = ["a", "b", "c"][weather.usize(0..3)];
                server.cut(who, weather.bool());
                // Once: who sees it vanish twice cannot tell whether somebody held it in between.
                if step == 1_500 {
                    server.lease.lock().unwrap().take();
                }
            }
            let leaders: Vec<usize> = (0..3).filter(|index| replicas[*index].leads()).collect();
            assert!(leaders.len() < 2, "seed {seed}, step {step}: {leaders:?}");
            let Some(&leader) = leaders.first() else { continue };
            moments += 1;
            let now = (leader, replicas[leader].tenure.borrow().unwrap().epoch);
            if last != Some(now) {
                assert!(last.is_none_or(|(_, epoch)| epoch < now.1), "seed {seed}: {last:?} then {now:?}");
                written.store(now.1, Ordering::Relaxed);
                tenures += 1;
                last = Some(now);
            }
        }
    }
    assert!(tenures > 200 && moments > 40_000, "the weather is too bad or too good: {tenures}, {moments}");
}
