//! Sends questions to a Prometheus. The only I/O of this folder; the simulation puts its own service in its place.
//!
//! Where a Prometheus is, only the operator's configuration says ([`Endpoint`]). Redirects are not followed, answers are
//! bounded in size and time, and nothing that a server sends gets into a message but its status code.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use http::{HeaderValue, Request, Response, StatusCode, header};
use reqwest::{Certificate, Client, Url, redirect};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tower::{BoxError, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{
    Refused,
    answer::{MAX_BODY, MAX_SERIES, RawSeries, parse, too_large},
    assemble::{assemble, joined},
    provider::Provider,
    query::{Query, Role, queries},
    unanswered,
};
use crate::rollout::question::{Answer, Question, Unanswered};

/// How requests get to one Prometheus. The URI of a request is a path (`/api/v1/query`): the transport knows where to.
/// The body of a response holds at most [`MAX_BODY`] bytes.
pub type Transport = BoxCloneSyncService<Request<Vec<u8>>, Response<Vec<u8>>, Fault>;

/// The series of an answer, in the extensions of its response: what [`parse`] would read from its body. A Prometheus within
/// this process, the simulation's, hands them over as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Handed(pub Vec<RawSeries>);

/// A question has no answer after this time.
pub const TOTAL: Duration = Duration::from_secs(10);

/// Prometheus is asked to give up a little earlier, so that it does not work for nobody.
const SERVER_TIMEOUT: &str = "9s";

/// A question about a long time is cut into at most this many pieces.
const MAX_PIECES: usize = 128;

/// A token is read again when it is older; the kubelet renews projected tokens long before they expire.
const TOKEN_AGE: Duration = Duration::from_mins(1);

/// Why there was no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection: wrong address, nobody there, or a network policy.
    #[error("cannot be reached: check its url in the operator's configuration, and network policies")]
    Unreachable,
    /// The names or certificates of TLS do not fit.
    #[error("cannot be trusted: check caFile in the operator's configuration")]
    Tls,
    /// No whole response in time.
    #[error("did not answer in time")]
    Timeout,
    /// The connection ended within a response.
    #[error("ended the connection before its answer was complete")]
    Interrupted,
    /// More than [`MAX_BODY`] bytes.
    #[error("sent too large an answer")]
    TooLarge,
    /// The bearer token cannot be read.
    #[error("cannot be asked: its bearerTokenFile cannot be read or holds no token")]
    Token,
}

impl Fault {
    /// One word, for metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Tls => "Tls",
            Self::Timeout => "Timeout",
            Self::Interrupted => "Interrupted",
            Self::TooLarge => "TooLarge",
            Self::Token => "Token",
        }
    }
}

/// Asks everything that the question needs, at the same time, within [`TOTAL`]. Spans with too many samples for one
/// answer are asked in pieces.
///
/// # Errors
/// There is no sound answer. Reasons: `BadQuestion`, those of [`Fault::reason`], `HttpStatus`, and those of
/// [`parse`] and [`assemble`].
pub async fn ask(
    transport: &Transport,
    provider: &Provider,
    question: &Question,
) -> Result<Answer, Unanswered> {
    let queries = queries(question, provider)?;
    let answers = queries.into_iter().map(|query| async move {
        let role = query.role;
        series(transport, provider.name(), query).await.map(|series| (role, series))
    });
    let answers: Vec<(Role, Vec<RawSeries>)> = timeout(TOTAL, try_join_all(answers))
        .await
        .unwrap_or_else(|_| Err(failed(provider.name(), Fault::Timeout)))?;
    assemble(question, provider, answers)
}

/// The series of one query. One after the other where it takes several requests, so that only one answer at a time is
/// in memory as text.
async fn series(transport: &Transport, provider: &str, query: Query) -> Result<Vec<RawSeries>, Unanswered> {
    let (mut series, mut pieces, mut asked) = (Vec::new(), vec![query], 0);
    while let Some(piece) = pieces.pop() {
        asked += 1;
        match one(transport, provider, &piece).await {
            Ok(more) if series.is_empty() => series = more,
            Ok(more) => series = joined(series, more),
            Err(why) if why.reason == "TooLarge" && asked < MAX_PIECES => {
                let [early, late] = piece.halves().ok_or(why)?;
                pieces.extend([late, early]);
            }
            Err(why) => return Err(why),
        }
    }
    Ok(series)
}

async fn one(transport: &Transport, provider: &str, query: &Query) -> Result<Vec<RawSeries>, Unanswered> {
    let request = request(query).map_err(|_| unanswered("BadQuestion", "the query cannot be sent"))?;
    let response = transport.clone().oneshot(request).await.map_err(|fault| failed(provider, fault))?;
    if response.status() != StatusCode::OK {
        return Err(refused(provider, response.status()));
    }
    let (mut head, body) = response.into_parts();
    match head.extensions.remove() {
        Some(Handed(series)) => Ok(series),
        None => parse(query, &body),
    }
}

/// `POST`, so that a long selector fits; `limit` makes newer releases say in a warning that series were left out.
fn request(query: &Query) -> Result<Request<Vec<u8>>, BoxError> {
    let mut form = Url::parse("form:")?;
    form.query_pairs_mut()
        .append_pair("query", &query.text())
        .append_pair("time", &format!("{}.{:03}", query.until.div_euclid(1000), query.until.rem_euclid(1000)))
        .append_pair("timeout", SERVER_TIMEOUT)
        .append_pair("limit", &MAX_SERIES.to_string());
    let body = form.query().unwrap_or_default().as_bytes().to_vec();
    Ok(Request::post("/api/v1/query")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(body)?)
}

fn failed(provider: &str, fault: Fault) -> Unanswered {
    if fault == Fault::TooLarge {
        return too_large();
    }
    unanswered(fault.reason(), format!("Prometheus ({provider}) {fault}"))
}

fn refused(provider: &str, status: StatusCode) -> Unanswered {
    let hint = match status.as_u16() {
        300..=399 => "redirects are not followed: write the final url in the operator's configuration",
        400 => "it does not accept the query",
        401 | 403 => "check bearerTokenFile in the operator's configuration",
        404 | 405 => "check the url in the operator's configuration",
        422 => "it could not execute the query",
        429 => "it has too many queries",
        503 => "it is overloaded or starting",
        500..=599 => "it has a fault",
        _ => "only 200 is an answer",
    };
    unanswered(
        "HttpStatus",
        format!("Prometheus ({provider}) answered with status {}: {hint}", status.as_u16()),
    )
}

/// Where a Prometheus is and how to be let in; from the operator's configuration only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Base address with `http` or `https`; a path is kept (`https://thanos.example.com/query`).
    pub url: String,
    /// File with a bearer token. Read anew at most every minute.
    pub bearer_token_file: Option<PathBuf>,
    /// File with the only certificate authorities that are trusted (PEM); absent: the system's.
    pub ca_file: Option<PathBuf>,
}

/// Time limits of a connection; the defaults are what production uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To establish a connection. Default 2 s.
    pub connect: Duration,
    /// From the request to the last byte of its response. Default 10 s.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), total: TOTAL }
    }
}

/// The real transport to a Prometheus. Sends nothing yet. A TLS provider must have been installed for the process.
///
/// # Errors
/// The address is none, or the file with certificate authorities cannot be read.
pub fn connect(endpoint: &Endpoint, limits: Limits) -> Result<Transport, Refused> {
    let base = base(&endpoint.url)?;
    let builder = Client::builder()
        .user_agent(concat!("seatrial/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(limits.connect)
        .timeout(limits.total)
        .pool_max_idle_per_host(4);
    let builder = match &endpoint.ca_file {
        Some(file) => builder.tls_certs_only(authorities(file)?),
        None if base.starts_with("https:") => builder,
        // Without this the system's authorities are loaded, and an image that has none could not even use http.
        None => builder.tls_certs_only([]),
    };
    let unusable =
        "has to name a PEM file with certificate authorities: the system's cannot be used, or these";
    let client = builder.build().map_err(|_| Refused::new("caFile", unusable))?;
    let token =
        endpoint.bearer_token_file.clone().map(|file| Arc::new(Token { file, read: Mutex::new(None) }));
    let service = service_fn(move |request: Request<Vec<u8>>| {
        let (client, base, token) = (client.clone(), base.clone(), token.clone());
        async move { send(client, &base, token.as_deref(), request).await }
    });
    Ok(BoxCloneSyncService::new(service))
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, Refused> {
    let unreadable = "cannot be read: write the path of a PEM file in the operator's container";
    let pem = std::fs::read(file).map_err(|_| Refused::new("caFile", unreadable))?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(Refused::new("caFile", "holds no certificate: write certificate authorities as PEM"));
    }
    Ok(certificates)
}

fn base(url: &str) -> Result<String, Refused> {
    let refused = |why: &str| {
        Refused::new("url", format!("{why}: write for instance http://prometheus.monitoring.svc:9090"))
    };
    let parsed = Url::parse(url).map_err(|_| refused("is no address"))?;
    if !["http", "https"].contains(&parsed.scheme()) || !parsed.has_host() {
        return Err(refused("does not begin with http:// or https:// and a host"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refused("holds credentials, which belong into bearerTokenFile"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(refused("has a part after ? or #"));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

async fn send(
    client: Client,
    base: &str,
    token: Option<&Token>,
    request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Fault> {
    let (mut parts, body) = request.into_parts();
    if let Some(token) = token {
        parts.headers.insert(header::AUTHORIZATION, token.current().await?);
    }
    let url = format!("{base}{}", parts.uri);
    let sent = client.request(parts.method, url).headers(parts.headers).body(body).send();
    let mut response = sent.await.map_err(|error| fault(&error))?;
    let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(Fault::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    let mut answer = Response::new(body);
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}

fn fault(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        return Fault::Timeout;
    }
    if is_tls(error) {
        return Fault::Tls;
    }
    if error.is_connect() { Fault::Unreachable } else { Fault::Interrupted }
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error does not name the error that it wraps as its source.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|wrapped| is_tls(wrapped))
        || error.source().is_some_and(is_tls)
}

/// A bearer token in a file.
struct Token {
    file: PathBuf,
    read: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Token {
    async fn current(&self) -> Result<HeaderValue, Fault> {
        let mut read = self.read.lock().await;
        if let Some((at, header)) = &*read
            && at.elapsed() < TOKEN_AGE
        {
            return Ok(header.clone());
        }
        let text = tokio::fs::read_to_string(&self.file).await.map_err(|_| Fault::Token)?;
        let token = Some(text.trim()).filter(|token| !token.is_empty()).ok_or(Fault::Token)?;
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Fault::Token)?;
        header.set_sensitive(true);
        *read = Some((Instant::now(), header.clone()));
        Ok(header)
    }
}

#[cfg(test)]
mod prometheus_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tls_tests;
