//! The wire between a replica and the API server: a tower layer that loses, delays, repeats and falsifies, and ends processes.
//!
//! It stands below everything of ours (`controller::lanes`: fence, timeout, retries) and above the API server. What is on the
//! wire belongs to the world: a client that has given up, or died, does not take back what it has sent.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body as Answer;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Bytes;
use kube::{Client, client::Body};
use seatrial::{controller::lanes::Tenure, world::api_server::ApiServer};
use serde_json::json;
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use super::{Fault, Moment, What, rewind, stream, weather::Weather};
use crate::requests;

/// A body of any kind.
pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// The connection ended.
#[derive(Debug, thiserror::Error)]
#[error("connection reset by peer")]
pub struct ConnectionReset;

/// A request on its way, which may be sent more than once.
struct Call {
    head: http::request::Parts,
    body: Bytes,
    path: String,
}

impl Call {
    async fn of(request: Request<Body>) -> Result<Self, BoxError> {
        let (head, body) = request.into_parts();
        let path = head.uri.to_string();
        Ok(Self { body: body.collect_bytes().await?, path, head })
    }

    fn is_write(&self) -> bool {
        !matches!(self.head.method, Method::GET | Method::HEAD)
    }
}

/// One process's wire. Clones are the same one.
#[derive(Clone)]
pub struct Wire {
    /// Which replica.
    pub replica: usize,
    /// What it is called.
    pub who: &'static str,
    /// What goes wrong.
    pub weather: Arc<Weather>,
    /// The API server.
    pub api: ApiServer,
    /// What the process knows of its leadership.
    pub tenure: watch::Receiver<Option<Tenure>>,
    /// Ends the process.
    pub crash: CancellationToken,
    /// How long the process stays away after that.
    pub away: Arc<Mutex<Duration>>,
}

impl Wire {
    /// A client on this wire, with a connection of its own.
    pub fn client(&self) -> Client {
        let wire = self.clone();
        Client::new(tower::service_fn(move |request| wire.clone().carry(request)), "default")
    }

    async fn carry(self, request: Request<Body>) -> Result<Response<AnyBody>, BoxError> {
        self.weather.count();
        let call = Call::of(request).await?;
        if call.path.contains("watch=true") {
            return match self.refuse(&call).await {
                Some(refused) => refused,
                None => self.watch(call).await,
            };
        }
        let index = self.log(&call);
        if let Some(refused) = self.refuse(&call).await {
            return refused;
        }
        if call.is_write() { self.write(call, index).await } else { self.read(call, index).await }
    }

    /// What does not even reach the API server.
    async fn refuse(&self, call: &Call) -> Option<Result<Response<AnyBody>, BoxError>> {
        let fault = self.weather.draw(self.replica, |what| match what {
            What::CutOff | What::Down => true,
            What::Forbidden(plural) | What::Missing(plural) => concerns(&call.path, plural),
            What::Denied(plural) | What::Unwell(plural) => call.is_write() && concerns(&call.path, plural),
            _ => false,
        })?;
        Some(match fault.what {
            What::Forbidden(plural) => Ok(status(403, "Forbidden", &format!("{plural} is forbidden"))),
            What::Denied(_) => {
                Ok(status(403, "Forbidden", "admission webhook \"policy\" denied the request: not now"))
            }
            What::Unwell(_) => {
                let said = "Internal error occurred: failed calling webhook \"policy\": connection refused";
                Ok(status(500, "InternalError", said))
            }
            What::Missing(_) => {
                Ok(status(404, "NotFound", "the server could not find the requested resource"))
            }
            What::Down => {
                sleep(self.weather.latency()).await;
                Err(ConnectionReset.into())
            }
            _ => {
                sleep_until(self.weather.at(fault.until)).await;
                Err(ConnectionReset.into())
            }
        })
    }

    async fn watch(self, call: Call) -> Result<Response<AnyBody>, BoxError> {
        if self.weather.draw(self.replica, |what| what == What::Gone).is_some() {
            return Ok(status(410, "Expired", "too old resource version"));
        }
        sleep(self.weather.latency()).await;
        let answer = self.api.handle(self.who, &call.head, &call.body);
        Ok(answer.map(|body| stream::faulty(body, self)))
    }

    async fn read(self, call: Call, index: usize) -> Result<Response<AnyBody>, BoxError> {
        if let Some(fault) = self.draw_failure(false) {
            return self.fail(&fault, call, index).await;
        }
        sleep(self.weather.latency()).await;
        let of_a_watch = rewind::is_of_a_watch(&call.path);
        let stale = self.weather.draw(self.replica, |what| matches!(what, What::Stale(_)) && of_a_watch);
        let stale = stale.map(|fault| fault.what);
        let answer = self.send(&call, index);
        match stale {
            Some(What::Stale(by)) => rewind::rewound(answer, &call.path, by, &self).await,
            _ => self.deliver(answer, index).await,
        }
    }

    async fn write(self, call: Call, index: usize) -> Result<Response<AnyBody>, BoxError> {
        let crash = self.crash_at(&call.path);
        if let Some((Moment::BeforeSend, away)) = crash {
            return self.die(away).await;
        }
        if let Some(fault) = self.draw_failure(true) {
            return self.fail(&fault, call, index).await;
        }
        sleep(self.weather.latency()).await;
        let answer = self.send(&call, index);
        match crash {
            Some((Moment::AfterAnswer, away)) => {
                let (wire, soon) = (self.clone(), self.weather.latency() * 5);
                tokio::spawn(async move {
                    sleep(soon).await;
                    wire.end(away);
                });
            }
            Some((_, away)) => return self.die(away).await,
            None => {}
        }
        self.deliver(answer, index).await
    }

    /// The API server's answer, written down.
    fn send(&self, call: &Call, index: usize) -> Response<Answer> {
        let before = self.api.revision();
        let answer = self.api.handle(self.who, &call.head, &call.body);
        self.weather.amend(index, |request| {
            request.code = Some(answer.status().as_u16());
            if call.is_write() && answer.status().is_success() && self.api.revision() > before {
                request.revision = requests::became(request, &self.api.since(before));
            }
        });
        answer
    }

    async fn deliver(&self, answer: Response<Answer>, index: usize) -> Result<Response<AnyBody>, BoxError> {
        if let Some(fault) = self.weather.draw(self.replica, |what| what == What::Deaf) {
            sleep_until(self.weather.at(fault.until)).await;
            return Err(ConnectionReset.into());
        }
        sleep(self.weather.latency()).await;
        self.weather.amend(index, |request| request.told = true);
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    fn draw_failure(&self, writes: bool) -> Option<Fault> {
        let drawn = self.weather.draw(self.replica, |what| match what {
            What::Lost | What::Late(_) | What::AnswerLate(_) | What::Truncated | What::Reset => true,
            What::Status(code) => writes || code != 409,
            What::AnswerLost | What::Twice(_) => writes,
            _ => false,
        });
        drawn.cloned()
    }

    async fn fail(self, fault: &Fault, call: Call, index: usize) -> Result<Response<AnyBody>, BoxError> {
        sleep(self.weather.latency()).await;
        match fault.what {
            What::Lost => pending().await,
            What::AnswerLost => {
                self.send(&call, index);
                pending().await
            }
            What::Late(by) => {
                let (give, answer) = oneshot::channel();
                let wire = self.clone();
                tokio::spawn(async move {
                    sleep(by).await;
                    // Whoever gave up does not listen any more.
                    let _ = give.send(wire.send(&call, index));
                });
                self.deliver(answer.await.map_err(|_| ConnectionReset)?, index).await
            }
            What::AnswerLate(by) => {
                let answer = self.send(&call, index);
                sleep(by).await;
                self.deliver(answer, index).await
            }
            What::Twice(by) => {
                let answer = self.send(&call, index);
                let (wire, again) = (self.clone(), self.log(&call));
                self.weather.amend(again, |request| request.again = true);
                tokio::spawn(async move {
                    sleep(by).await;
                    drop(wire.send(&call, again));
                });
                self.deliver(answer, index).await
            }
            What::Truncated => {
                let (mut head, body) = self.send(&call, index).into_parts();
                let whole = body.collect().await?.to_bytes();
                head.headers.remove(http::header::CONTENT_LENGTH);
                Ok(Response::from_parts(head, full(whole.slice(..whole.len() / 2))))
            }
            What::Status(code) => {
                if code == 504 && self.weather.toss(fault) {
                    drop(self.send(&call, index));
                }
                Ok(status(code, reason(code), "injected"))
            }
            _ => {
                if self.weather.toss(fault) {
                    drop(self.send(&call, index));
                }
                Err(ConnectionReset.into())
            }
        }
    }

    /// Writes it down; returns where.
    fn log(&self, call: &Call) -> usize {
        let mut request = requests::read(self.who, &call.head.method, &call.path, &call.body);
        request.sent = self.weather.now();
        request.epoch = self.tenure.borrow().map(|tenure| tenure.epoch);
        self.weather.log(request)
    }

    /// Whether this write is the one at which the process ends.
    fn crash_at(&self, path: &str) -> Option<(Moment, Duration)> {
        if path.contains("/leases") || path.contains("/events") || path.contains("dryRun") {
            return None;
        }
        let count = self.weather.next_write(self.replica);
        let fault = self
            .weather
            .draw(self.replica, |what| matches!(what, What::Crash { after, .. } if after == count))?;
        match fault.what {
            What::Crash { moment, away, .. } => Some((moment, away)),
            _ => None,
        }
    }

    /// Ends the process: it never gets an answer.
    async fn die(&self, away: Duration) -> Result<Response<AnyBody>, BoxError> {
        self.end(away);
        pending().await
    }

    /// Ends the process.
    pub fn end(&self, away: Duration) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
        self.crash.cancel();
    }
}

/// Whether a path is about a kind.
fn concerns(path: &str, plural: &str) -> bool {
    path.split(['/', '?']).any(|part| part == plural)
}

fn reason(code: u16) -> &'static str {
    match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        _ => "Timeout",
    }
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A `Status` of Kubernetes.
fn status(code: u16, reason: &str, message: &str) -> Response<AnyBody> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                      "reason": reason, "code": code});
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    if code == 429 {
        response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    response
}
