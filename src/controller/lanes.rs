//! The three ways to the API server, and the fence in front of each.
//!
//! `Client::new` brings no retries of its own (the fifteen tries of `kube::Config::default_retry` are switched off), so what
//! stands here is all there is: one attempt passes the fence, ends within [`ATTEMPT`], and a lane repeats it a few times.
//! Watches pass through untouched: they last, and their watchers know how to begin again.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::BoxError;

use crate::{
    controller::clock::Jitter,
    mutant::{Mutant, on},
};

/// The longest that one attempt may take, from connecting to the last byte of the answer.
///
/// Less than the five seconds between the end of a lost tenure and the earliest start of the next one (`process::leader`), so
/// that no write of the old leader can be on its way when the new one begins.
pub const ATTEMPT: Duration = Duration::from_secs(4);

/// So old may be what was read when something is written because of it. A rollback rests on a record, not on what was read.
pub const FRESH: Duration = Duration::from_secs(2);

/// Who all requests say they are; audit logs are searched for it.
pub const USER_AGENT: &str = concat!("seatrial/", env!("CARGO_PKG_VERSION"));

/// The right to write, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Rises with every tenure of any replica; carried in statuses, where the API server refuses a lower one.
    pub epoch: i64,
    /// No write begins at or after this instant. Moves on with every renewal of the lease.
    pub until: Instant,
}

/// A write was refused or cut off because this process does not lead (any more). If cut off, it may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not lead: nothing is written")]
pub struct NotLeading;

impl NotLeading {
    /// Whether this is why a request failed.
    #[must_use]
    pub fn is(error: &kube::Error) -> bool {
        matches!(error, kube::Error::Service(source) if source.is::<Self>())
    }
}

/// The API server did not answer within [`ATTEMPT`]. A write may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server did not answer within {} s", ATTEMPT.as_secs())]
pub struct TimedOut;

/// The clients of the controllers. Each has its own connections, so a flood in one cannot hold up another.
#[derive(Clone)]
pub struct Lanes {
    /// Lists, watches and live reads.
    pub reads: Client,
    /// Writes that may wait: two tries, as long as what they rest on is [`FRESH`].
    pub writes: Client,
    /// What takes traffic away from a candidate: three tries within a fraction of a second.
    pub rollback: Client,
}

/// Builds the lanes on `pool`, which is asked once for each of them and answers with a client that has connections of its own
/// and neither retries nor timeouts: [`pool`] in production, `Client::new(world, …)` in a simulation.
///
/// Mutating requests of every lane are refused with [`NotLeading`] while `tenure` is absent or over.
///
/// # Errors
/// Those of `pool`.
pub fn lanes<E>(
    mut pool: impl FnMut() -> Result<Client, E>,
    tenure: &watch::Receiver<Option<Tenure>>,
    jitter: &Jitter,
) -> Result<Lanes, E> {
    let mut lane = |retry| {
        let pool = pool()?;
        Ok(Lane { pool, tenure: Some(tenure.clone()), retry, jitter: jitter.clone() }.client())
    };
    let patient = Duration::from_secs(5);
    Ok(Lanes {
        reads: lane(Retry { tries: 3, gap: Duration::from_millis(100), longest: patient, within: None })?,
        writes: lane(Retry {
            tries: 2,
            gap: Duration::from_millis(100),
            longest: patient,
            within: Some(FRESH),
        })?,
        rollback: lane(Retry {
            tries: 3,
            gap: Duration::from_millis(20),
            longest: Duration::from_millis(100),
            within: None,
        })?,
    })
}

/// The client of leader election: no fence, because it is what leadership comes from, and no retry, because a round of the
/// election is one.
#[must_use]
pub fn lease_client(pool: Client, jitter: &Jitter) -> Client {
    let retry = Retry { tries: 1, gap: Duration::ZERO, longest: Duration::ZERO, within: None };
    Lane { pool, tenure: None, retry, jitter: jitter.clone() }.client()
}

/// A client with connections of its own to the API server of `config`, without retries.
///
/// # Errors
/// When `config`'s certificates or credentials cannot be used.
pub fn pool(mut config: kube::Config) -> Result<Client, Box<kube::Error>> {
    config.default_retry = false;
    config.connect_timeout = Some(ATTEMPT);
    Ok(ClientBuilder::try_from(config)?.build())
}

/// When an attempt is repeated.
#[derive(Clone, Copy, Debug)]
struct Retry {
    /// Attempts in all.
    tries: u32,
    /// Before the second attempt; doubles with each further one.
    gap: Duration,
    /// Upper bound of any pause, also of one that the server asks for.
    longest: Duration,
    /// So long after the first attempt no other one begins: what it rests on would be old.
    within: Option<Duration>,
}

impl Retry {
    /// Whether an attempt may begin so long after the first one did.
    fn allows(&self, after: Duration) -> bool {
        self.within.is_none_or(|within| after <= within)
    }

    /// How long to wait before the next attempt; `None`: the result stands.
    fn pause(
        &self,
        tried: u32,
        result: &Result<Response<Body>, BoxError>,
        jitter: &Jitter,
    ) -> Option<Duration> {
        if tried >= self.tries {
            return None;
        }
        let asked = match result {
            Ok(response) if passes(response.status()) => after(response),
            Ok(_) => return None,
            Err(error) if error.is::<NotLeading>() => return None,
            Err(_) => Duration::ZERO,
        };
        let gap = jitter.spread(self.gap.saturating_mul(1 << (tried - 1).min(16)));
        Some(gap.max(asked).min(self.longest))
    }
}

/// Whether an answer is the server's trouble of the moment. All writes here are safe to repeat: they are applied by a field
/// manager, or guarded by a resourceVersion, a uid or a name.
fn passes(status: StatusCode) -> bool {
    (status == StatusCode::CONFLICT && on(Mutant::ResendOnConflict))
        || status == StatusCode::TOO_MANY_REQUESTS
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// `Retry-After` in seconds, the only form that the API server uses.
fn after(response: &Response<Body>) -> Duration {
    let header = response.headers().get(header::RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

#[derive(Clone)]
struct Lane {
    pool: Client,
    /// Absent: this lane has no fence.
    tenure: Option<watch::Receiver<Option<Tenure>>>,
    retry: Retry,
    jitter: Jitter,
}

impl Lane {
    fn client(self) -> Client {
        let namespace = self.pool.default_namespace().to_owned();
        Client::new(tower::service_fn(move |request| self.clone().send(request)), namespace)
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Body>, BoxError> {
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if is_watch(&request) {
            return Ok(self.pool.send(request).await?);
        }
        let (began, mut tried) = (Instant::now(), 0);
        loop {
            let again = copy(&request);
            let result = self.attempt(request).await;
            tried += 1;
            match (again, self.retry.pause(tried, &result, &self.jitter)) {
                (Some(again), Some(pause)) if self.retry.allows(began.elapsed() + pause) => {
                    sleep(pause).await;
                    request = again;
                }
                _ => return result,
            }
        }
    }

    async fn attempt(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let fence = match &self.tenure {
            Some(tenure) if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) => {
                tenure
            }
            _ => return self.answer(request).await,
        };
        if on(Mutant::StandbyWrites) {
            return self.answer(request).await;
        }
        let Some(now) = fence.borrow().filter(|tenure| Instant::now() < tenure.until) else {
            return Err(NotLeading.into());
        };
        tokio::select! {
            biased;
            () = end(fence.clone(), now.epoch) => Err(NotLeading.into()),
            answer = self.answer(request) => answer,
        }
    }

    /// The whole answer, its body included: a body that stalls must not hold a reconcile for ever.
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let whole = async {
            let (head, body) = self.pool.send(request).await?.into_parts();
            let body = match body.collect_bytes().await {
                // What was refused is refused, though the rest of the sentence was cut off.
                Err(_) if head.status.is_client_error() => Bytes::new(),
                body => body?,
            };
            Ok(Response::from_parts(head, Body::from(body)))
        };
        timeout(ATTEMPT, whole).await.unwrap_or_else(|_| Err(TimedOut.into()))
    }
}

/// Returns when the tenure of `epoch` is withdrawn or over, whichever this task sees first: a process that was suspended must
/// not send what it had begun before.
async fn end(mut tenure: watch::Receiver<Option<Tenure>>, epoch: i64) {
    loop {
        let now = *tenure.borrow_and_update();
        let Some(until) = now.filter(|now| now.epoch == epoch).map(|now| now.until) else { return };
        let changed = async {
            if tenure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = sleep_until(until) => return,
            () = changed => {}
        }
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|part| matches!(part, "watch=true" | "watch=1"))
}

/// A second one of the same request; `None` for a body that is streamed.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
