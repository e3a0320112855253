//! The endpoints for the platform: `/livez`, `/readyz` and `/metrics`.
//!
//! They are open to whoever reaches the port, so they are bounded: at most [`CONNECTIONS`] at a time, each for one request and
//! at most [`LIFETIME`].

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::IntoResponse,
    routing::get,
    serve::Listener,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::controller::{lanes::Tenure, metrics::Metrics};

/// Connections at a time; further ones wait.
pub const CONNECTIONS: usize = 64;
/// The longest that a connection lasts.
pub const LIFETIME: Duration = Duration::from_secs(10);

/// What the endpoints tell about.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Whether every cache has been filled once. A standby is ready too: it can take over.
    pub ready: watch::Receiver<bool>,
    /// Closed when the leader election has ended; then this process is of no use and should be restarted.
    pub tenure: watch::Receiver<Option<Tenure>>,
    /// The metrics.
    pub metrics: Metrics,
}

impl Admin {
    /// Answers on `listener` until `stop`.
    ///
    /// # Errors
    /// Those of the listener.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self);
        let listener = Bounded { listener, room: Arc::new(Semaphore::new(CONNECTIONS)), lifetime: LIFETIME };
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

/// One request a connection: idle ones would hold room that a probe needs.
const CLOSE: (HeaderName, &str) = (header::CONNECTION, "close");

/// That there is an answer at all shows that the executor is not blocked.
async fn livez(State(admin): State<Admin>) -> impl IntoResponse {
    let alive = admin.tenure.has_changed().is_ok();
    let (code, text) = if alive {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "the leader election has ended\n")
    };
    (code, [CLOSE], text)
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let ready = *admin.ready.borrow();
    let (code, text) = if ready {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the caches are not filled yet\n")
    };
    (code, [CLOSE], text)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let leads = admin.tenure.borrow().is_some_and(|tenure| Instant::now() < tenure.until);
    admin.metrics.leads(leads);
    let kind = (header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([CLOSE, kind], admin.metrics.encode())
}

/// A listener with room for so many connections, each of which ends in time.
struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
    lifetime: Duration,
}

impl Listener for Bounded {
    type Io = Visit;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Visit, Self::Addr) {
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Visit { stream, end: Box::pin(sleep(self.lifetime)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once its time is over.
struct Visit {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Visit {
    /// The stream; an error when the time is over. The task is woken at that moment, whatever it waits for.
    fn stream(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream(context)?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Platform {
        address: std::net::SocketAddr,
        ready: watch::Sender<bool>,
        seat: Option<watch::Sender<Option<Tenure>>>,
        metrics: Metrics,
        stop: CancellationToken,
        server: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn platform() -> Platform {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ((ready, is_ready), (seat, tenure)) = (watch::channel(false), watch::channel(None));
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let admin = Admin { ready: is_ready, tenure, metrics: metrics.clone() };
        let server = tokio::spawn(admin.serve(listener, stop.clone()));
        Platform { address, ready, seat: Some(seat), metrics, stop, server }
    }

    impl Platform {
        /// The answer as text; the server closes the connection after it.
        async fn get(&self, path: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: seatrial\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn it_is_ready_once_the_caches_are_filled_and_alive_before_that() {
        let platform = platform().await;
        assert!(platform.get("/livez").await.starts_with("HTTP/1.1 200"));
        let answer = platform.get("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("not filled"), "{answer}");
        platform.ready.send_replace(true);
        assert!(platform.get("/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(platform.get("/debug").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn it_is_not_alive_without_its_leader_election() {
        let mut platform = platform().await;
        platform.seat.take();
        assert!(platform.get("/livez").await.starts_with("HTTP/1.1 500"));
    }

    #[tokio::test]
    async fn metrics_say_who_leads_at_this_moment() {
        let platform = platform().await;
        platform.metrics.asked("default", Ok(()));
        let answer = platform.get("/metrics").await;
        assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
        assert!(answer.contains("seatrial_leader 0\n") && answer.ends_with("# EOF\n"), "{answer}");
        let lead = |for_ms| {
            let until = Instant::now() + Duration::from_millis(for_ms);
            platform.seat.as_ref().unwrap().send_replace(Some(Tenure { epoch: 1, until }));
        };
        lead(60_000);
        assert!(platform.get("/metrics").await.contains("seatrial_leader 1\n"));
        lead(0);
        assert!(platform.get("/metrics").await.contains("seatrial_leader 0\n"));
    }

    #[tokio::test]
    async fn it_ends_when_it_is_stopped() {
        let platform = platform().await;
        platform.stop.cancel();
        tokio::time::timeout(LIFETIME, platform.server).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn connections_that_say_nothing_are_closed_and_make_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let room = Arc::new(Semaphore::new(1));
        let mut bounded = Bounded { listener, room: Arc::clone(&room), lifetime: Duration::from_millis(50) };
        let mut silent = TcpStream::connect(address).await.unwrap();
        let (mut visit, _) = bounded.accept().await;
        assert_eq!(room.available_permits(), 0);
        let error = visit.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(visit);
        assert_eq!(room.available_permits(), 1);
        assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0, "closed");
    }
}
