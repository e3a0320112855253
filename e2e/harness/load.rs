//! A constant open-loop load: requests leave at fixed times, whatever became of those before them, so that a slow
//! server cannot slow down its own test. Latency counts from the time at which a request was due.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{Broken, Outcome};

/// Two flowers, as the Open Inference Protocol (V2) asks about them.
const FLOWERS: &[u8] = br#"{"inputs":[{"name":"flowers","shape":[2,4],"datatype":"FP64","data":[[5.1,3.5,1.4,0.2],[6.7,3.0,5.2,2.3]]}]}"#;
/// A request without an answer by then counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port` to connect to.
    pub address: String,
    /// The Host header.
    pub host: String,
    /// The path; `/v2/models/iris/infer` asks for an inference.
    pub path: String,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it was due, from the start of the load.
    pub at: Duration,
    /// The version that answered, by header `x-model-version`.
    pub version: Option<Arc<str>>,
    /// The status, or why there is none.
    pub status: Result<u16, Arc<str>>,
    /// From the time at which it was due to the end of its answer.
    pub took: Duration,
}

impl Answer {
    /// Whether it was answered with 200.
    pub fn is_good(&self) -> bool {
        self.status == Ok(200)
    }

    /// Whether this version answered it.
    pub fn is_by(&self, version: &str) -> bool {
        self.version.as_deref() == Some(version)
    }
}

/// How many of them were not answered with 200.
pub fn failed(answers: &[Answer]) -> usize {
    answers.iter().filter(|a| !a.is_good()).count()
}

/// How the failed ones failed, with their number: what a sentence about failures should end with.
pub fn failures(answers: &[Answer]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers.iter().filter(|a| !a.is_good()) {
        let by = answer.version.as_deref().unwrap_or("none");
        let kind = match &answer.status {
            Ok(status) => format!("{status} by {by}"),
            Err(error) => format!("{error} by {by}"),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let failed: usize = kinds.values().sum();
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
    format!("{failed} of {} requests failed: {}", answers.len(), kinds.join(", "))
}

/// How many were answered by each version; those without a version under "none".
pub fn served_by(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut served = BTreeMap::new();
    for answer in answers {
        *served.entry(answer.version.as_deref().unwrap_or("none").to_owned()).or_default() += 1;
    }
    served
}

/// The share of them that `version` answered, from 0 to 1; 0 of none.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
pub fn share(answers: &[Answer], version: &str) -> f64 {
    let by = answers.iter().filter(|a| a.is_by(version)).count();
    if answers.is_empty() { 0.0 } else { by as f64 / answers.len() as f64 }
}

type Http = Client<HttpConnector, Full<Bytes>>;

/// A load that runs until it is stopped or dropped.
pub struct Load {
    started: Instant,
    answers: Arc<Mutex<Vec<Answer>>>,
    task: JoinHandle<()>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Load {
    /// Starts to send `rate` requests each second.
    pub fn start(target: Target, rate: u32) -> Self {
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let started = Instant::now();
        let task = tokio::spawn(send(target, rate, started, Arc::clone(&answers), stopped));
        Self { started, answers, task, stop }
    }

    /// The time since its start, as `Answer::at` counts it.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The answers so far to requests that were due at `since` or later, in the order in which they were due.
    pub fn since(&self, since: Duration) -> Vec<Answer> {
        let all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answers: Vec<Answer> = all.iter().filter(|a| a.at >= since).cloned().collect();
        answers.sort_by_key(|a| a.at);
        answers
    }

    /// Looks at every answer so far, in no order.
    pub fn each(&self, look: impl FnMut(&Answer)) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(look);
    }

    /// Waits for `count` more answers, and returns the answers to what was due from now on. This is how a scenario
    /// watches traffic for a while: by requests, not by time.
    pub async fn next(&self, count: usize) -> Outcome<Vec<Answer>> {
        let since = self.now();
        let sentence = format!("{count} more answers");
        super::eventually(Duration::from_mins(2), &sentence, async || {
            let answers = self.since(since);
            (answers.len() >= count).then_some(answers)
        })
        .await
    }

    /// Sends no more, waits for the answers that are still on their way, and returns all of them.
    pub async fn stop(mut self) -> Outcome<Vec<Answer>> {
        let _ = self.stop.send(true);
        timeout(PATIENCE * 2, &mut self.task)
            .await
            .map_err(|_| Broken::new("the last answers of the load did not come"))??;
        Ok(self.since(Duration::ZERO))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(
    target: Target,
    rate: u32,
    started: Instant,
    answers: Arc<Mutex<Vec<Answer>>>,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    // The gateway closes what is idle for a minute. A client that keeps connections longer may send on one in the very moment
    // in which it is closed: that request fails, and nobody is to blame but the client.
    let client: Http = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector);
    let target = Arc::new(target);
    let mut beat = interval(Duration::from_secs(1) / rate);
    // Open loop: what is late is sent at once, and its lateness counts.
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            due = beat.tick() => {
                let (client, target, answers) = (client.clone(), Arc::clone(&target), Arc::clone(&answers));
                open.spawn(async move {
                    let (version, status) = ask(&client, &target).await;
                    let answer = Answer { at: due - started, version, status, took: due.elapsed() };
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                });
                while open.try_join_next().is_some() {}
            }
        }
    }
    while open.join_next().await.is_some() {}
}

/// One inference: the version that answered, and the status.
async fn ask(client: &Http, target: &Target) -> (Option<Arc<str>>, Result<u16, Arc<str>>) {
    let request = Request::post(format!("http://{}{}", target.address, target.path))
        .header("host", &target.host)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(FLOWERS)));
    let request = match request {
        Ok(request) => request,
        Err(error) => return (None, Err(error.to_string().into())),
    };
    let whole = async {
        let response = match client.request(request).await {
            Ok(response) => response,
            Err(error) => return (None, Err(Broken::from(error).to_string().into())),
        };
        let (head, body) = response.into_parts();
        let version = head.headers.get("x-model-version").and_then(|v| v.to_str().ok()).map(Arc::from);
        match body.collect().await {
            Ok(_) => (version, Ok(head.status.as_u16())),
            Err(error) => (version, Err(format!("the answer broke off: {error}").into())),
        }
    };
    timeout(PATIENCE, whole).await.unwrap_or_else(|_| (None, Err("no answer within 15 s".into())))
}
