//! The real transport against servers that behave and servers that do not.

use std::sync::Mutex as Lock;

use jiff::Timestamp;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    api::v1alpha1::Duration as Length, prometheus::provider::Settings, rollout::question::Indicator,
};

/// What the server does with each connection once it has read a request.
#[derive(Clone)]
enum Act {
    /// Sends this and closes.
    Send(Vec<u8>),
    /// Sends this and then nothing, and stays.
    Stall(&'static str),
    /// Sends this, then a byte now and then, for ever.
    Drip(&'static str),
    /// Sends this, then as much as is taken.
    Flood(&'static str),
    /// Sends this and cuts the connection with a reset.
    Reset(&'static str),
}

/// What reached the server.
#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    sent: usize,
}

async fn serve(act: Act) -> (String, Arc<Lock<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Lock::new(Seen::default()));
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, act.clone(), log.clone()));
        }
    });
    (url, seen)
}

async fn converse(mut stream: TcpStream, act: Act, log: Arc<Lock<Seen>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // Every request of ours ends with its form's last field.
    while !request.ends_with(b"limit=5000") {
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    }
    log.lock().unwrap().requests.push(String::from_utf8(request).unwrap());
    match act {
        Act::Send(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Act::Stall(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.read(&mut buffer).await;
        }
        Act::Drip(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while stream.write_all(b" ").await.is_ok() {
                tick.tick().await;
            }
        }
        Act::Flood(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {
                log.lock().unwrap().sent += chunk.len();
            }
        }
        Act::Reset(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.set_zero_linger();
        }
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn status(line: &str) -> Act {
    Act::Send(format!("HTTP/1.1 {line}\r\nContent-Length: 6\r\n\r\nsecret").into_bytes())
}

fn provider() -> Provider {
    let settings = Settings {
        metrics: "contour".to_owned(),
        revision_label: None,
        scrape_interval: Length::from_secs(1),
        propagation: Length::default(),
    };
    Provider::new("default", &settings).unwrap()
}

fn question(indicator: Indicator) -> Question {
    Question {
        provider: "default".to_owned(),
        namespace: "ml".to_owned(),
        candidate: "new".to_owned(),
        stable: None,
        indicator,
        from: Timestamp::from_second(1_700_000_000).unwrap(),
        until: Timestamp::from_millisecond(1_700_000_060_005).unwrap(),
    }
}

fn one_plus_one() -> Question {
    question(Indicator::Query { query: "1 + 1".to_owned() })
}

const TWO: &str = r#"{"status":"success","data":{"resultType":"scalar","result":[1700000060.005,"2"]}}"#;

fn endpoint(url: &str) -> Endpoint {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Endpoint { url: url.to_owned(), bearer_token_file: None, ca_file: None }
}

/// Short limits: what is judged is that they hold.
async fn asked(url: &str) -> Result<Answer, Unanswered> {
    let limits = Limits { connect: Duration::from_millis(500), total: Duration::from_millis(500) };
    let transport = connect(&endpoint(url), limits).unwrap();
    let begin = Instant::now();
    let answer = ask(&transport, &provider(), &one_plus_one()).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "took {:?}", begin.elapsed());
    answer
}

#[tokio::test]
async fn a_sound_answer_is_read_and_the_request_is_what_prometheus_expects() {
    let (url, seen) = serve(Act::Send(ok(TWO))).await;
    assert_eq!(asked(&format!("{url}/base/")).await.unwrap(), Answer::Value(2.0));
    let request = seen.lock().unwrap().requests[0].to_lowercase();
    assert!(request.starts_with("post /base/api/v1/query http/1.1\r\n"), "{request}");
    assert!(
        request.contains(concat!("\r\nuser-agent: seatrial/", env!("CARGO_PKG_VERSION"), "\r\n")),
        "{request}"
    );
    assert!(request.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{request}");
    assert!(!request.contains("accept-encoding"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
    assert!(request.ends_with("query=1+%2b+1&time=1700000060.005&timeout=9s&limit=5000"), "{request}");
}

#[rstest]
#[case::slow_header(Act::Stall(""), "Timeout")]
#[case::half_a_header(Act::Stall("HTTP/1.1 200 OK\r\nContent-Le"), "Timeout")]
#[case::slow_body(Act::Stall("HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n{\"status\""), "Timeout")]
#[case::a_byte_now_and_then(Act::Drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"), "Timeout")]
#[case::endless_header(Act::Drip("HTTP/1.1 200 OK\r\nX:"), "Timeout")]
#[case::flood(Act::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "TooLarge")]
#[case::announced_gigabyte(Act::Stall("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"), "TooLarge")]
#[case::closed_at_once(Act::Send(vec![]), "Interrupted")]
#[case::no_http(Act::Send(b"SSH-2.0-secret\r\n".to_vec()), "Interrupted")]
#[case::reset_at_once(Act::Reset(""), "Interrupted")]
#[case::reset_in_the_body(
    Act::Reset("HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n{\"status\""),
    "Interrupted"
)]
#[case::body_too_short(Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{}".to_vec()), "Interrupted")]
#[case::chunks_end_early(Act::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n".to_vec()), "Interrupted")]
#[case::length_too_small(Act::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{TWO}").into_bytes()), "BadAnswer")]
#[case::gzip(Act::Send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()), "BadAnswer")]
#[case::html(Act::Send(ok("<html>secret</html>")), "BadAnswer")]
#[case::empty(Act::Send(ok("")), "BadAnswer")]
#[case::no_content(status("204 No Content"), "HttpStatus")]
#[case::partial_content(status("206 Partial Content"), "HttpStatus")]
#[case::bad_request(status("400 Bad Request"), "HttpStatus")]
#[case::unauthorized(status("401 Unauthorized"), "HttpStatus")]
#[case::forbidden(status("403 Forbidden"), "HttpStatus")]
#[case::not_found(status("404 Not Found"), "HttpStatus")]
#[case::unprocessable(status("422 Unprocessable Entity"), "HttpStatus")]
#[case::too_many(status("429 Too Many Requests"), "HttpStatus")]
#[case::fault(status("500 Internal Server Error"), "HttpStatus")]
#[case::bad_gateway(status("502 Bad Gateway"), "HttpStatus")]
#[case::unavailable(status("503 Service Unavailable"), "HttpStatus")]
#[case::gateway_timeout(status("504 Gateway Timeout"), "HttpStatus")]
#[tokio::test]
async fn a_server_that_does_not_answer_soundly_gives_no_answer(#[case] act: Act, #[case] reason: &str) {
    let (url, _) = serve(act).await;
    let unanswered = asked(&url).await.unwrap_err();
    assert_eq!(unanswered.reason, reason, "{unanswered}");
    assert!(!unanswered.message.contains("secret") && !unanswered.message.contains(&url), "{unanswered}");
}

#[tokio::test]
async fn no_more_than_the_limit_is_taken_from_a_flood() {
    let (url, seen) = serve(Act::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    asked(&url).await.unwrap_err();
    let sent = seen.lock().unwrap().sent;
    assert!(sent < 16 * MAX_BODY, "the sockets' buffers aside, the rest is never read: {sent}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (inside, seen) = serve(Act::Send(ok(TWO))).await;
    for code in [301, 302, 303, 307, 308] {
        let head = format!("HTTP/1.1 {code} Moved\r\nLocation: {inside}/\r\nContent-Length: 0\r\n\r\n");
        let (url, _) = serve(Act::Send(head.into_bytes())).await;
        let unanswered = asked(&url).await.unwrap_err();
        assert_eq!(unanswered.reason, "HttpStatus");
        assert!(unanswered.message.contains("write the final url"), "{unanswered}");
    }
    assert!(seen.lock().unwrap().requests.is_empty(), "nothing may reach where the redirect points");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(asked(&url).await.unwrap_err().reason, "Unreachable");
    assert_eq!(asked("http://prometheus.invalid:9090").await.unwrap_err().reason, "Unreachable");
}

#[tokio::test]
async fn a_server_without_tls_behind_https_is_not_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    assert_eq!(asked(&url).await.unwrap_err().reason, "Tls");
}

#[tokio::test]
async fn the_token_of_the_file_is_sent_and_read_again_after_a_minute() {
    let (url, seen) = serve(Act::Send(ok(TWO))).await;
    let file = std::env::temp_dir().join(format!("seatrial-token-{}", std::process::id()));
    let endpoint = Endpoint { bearer_token_file: Some(file.clone()), ..endpoint(&url) };
    let transport = connect(&endpoint, Limits::default()).unwrap();
    let ask = async || ask(&transport, &provider(), &one_plus_one()).await;

    assert_eq!(ask().await.unwrap_err().reason, "Token", "there is no file yet");
    std::fs::write(&file, "one\n").unwrap();
    ask().await.unwrap();
    std::fs::write(&file, "two").unwrap();
    ask().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(TOKEN_AGE).await;
    tokio::time::resume();
    ask().await.unwrap();
    std::fs::write(&file, "a\u{7f}b").unwrap();
    tokio::time::pause();
    tokio::time::advance(TOKEN_AGE).await;
    tokio::time::resume();
    assert_eq!(ask().await.unwrap_err().reason, "Token", "no text of the file may end in a header");
    std::fs::remove_file(&file).unwrap();

    let requests = seen.lock().unwrap().requests.join("\n");
    let sent: Vec<_> = requests.lines().filter_map(|line| line.strip_prefix("authorization: ")).collect();
    assert_eq!(sent, ["Bearer one", "Bearer one", "Bearer two"]);
}

#[rstest]
#[case("prometheus:9090")]
#[case("ftp://prometheus")]
#[case("file:///etc/passwd")]
#[case("http://")]
#[case("")]
#[case("http://user:secret@prometheus")]
#[case("http://prometheus?x=1")]
#[case("http://prometheus#x")]
fn an_address_that_is_none_is_refused_with_an_example(#[case] url: &str) {
    let refused = connect(&endpoint(url), Limits::default()).err().unwrap();
    assert_eq!(refused.field, "url");
    assert!(refused.message.contains("write for instance http://"), "{refused}");
    assert!(!refused.message.contains("secret"), "{refused}");
}

#[test]
fn a_file_without_certificates_is_refused() {
    for file in ["/nowhere/ca.crt", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let endpoint = Endpoint { ca_file: Some(file.into()), ..endpoint("https://prometheus") };
        assert_eq!(connect(&endpoint, Limits::default()).err().unwrap().field, "caFile");
    }
}

/// A transport in memory, as the simulation has one.
fn fake(
    answer: impl Fn(&str) -> Result<Response<Vec<u8>>, Fault> + Clone + Send + Sync + 'static,
) -> Transport {
    BoxCloneSyncService::new(service_fn(move |request: Request<Vec<u8>>| {
        let answer = answer(std::str::from_utf8(request.body()).unwrap());
        async move { answer }
    }))
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_never_answers_is_given_up_in_ten_seconds() {
    let never = BoxCloneSyncService::new(service_fn(|_| std::future::pending()));
    let begin = Instant::now();
    assert_eq!(ask(&never, &provider(), &question(Indicator::Errors)).await.unwrap_err().reason, "Timeout");
    assert_eq!(begin.elapsed(), TOTAL);
}

#[tokio::test]
async fn a_span_with_too_many_samples_is_asked_in_pieces() {
    let asked = Arc::new(Lock::new(0));
    let count = asked.clone();
    let transport = fake(move |form| {
        *count.lock().unwrap() += 1;
        let fields: std::collections::BTreeMap<_, _> = Url::parse(&format!("form:?{form}"))
            .unwrap()
            .query_pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let until = (fields["time"].parse::<f64>().unwrap() * 1000.0).round();
        let range: f64 = fields["query"].rsplit(['[', 'm']).nth(1).unwrap().parse().unwrap();
        if range > 10_000.0 {
            return Err(Fault::TooLarge);
        }
        if fields["query"].contains("class") {
            return Ok(Response::new(
                br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_vec(),
            ));
        }
        // A sample each second.
        let first = ((until - range) / 1000.0).ceil();
        let values: Vec<_> = (0..=10)
            .map(|i| first + f64::from(i))
            .filter(|at| at * 1000.0 <= until)
            .map(|at| format!("[{at},\"1\"]"))
            .collect();
        Ok(Response::new(format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"envoy_cluster_name":"ml_new_80"}},"values":[{}]}}]}}}}"#,
            values.join(",")
        ).into_bytes()))
    });
    let Ok(Answer::Counters { candidate, .. }) =
        ask(&transport, &provider(), &question(Indicator::Errors)).await
    else {
        panic!("no answer");
    };
    let times: Vec<_> = candidate.total[0].samples.iter().map(|(at, _)| at / 1000 - 1_700_000_000).collect();
    assert_eq!(times, (-2..=60).collect::<Vec<_>>());
    assert!(*asked.lock().unwrap() < 40);
}

#[tokio::test]
async fn an_answer_that_stays_too_large_is_given_up_after_a_bounded_number_of_requests() {
    let asked = Arc::new(Lock::new(0));
    let count = asked.clone();
    let transport = fake(move |_| {
        *count.lock().unwrap() += 1;
        Err(Fault::TooLarge)
    });
    assert_eq!(
        ask(&transport, &provider(), &question(Indicator::Errors)).await.unwrap_err().reason,
        "TooLarge"
    );
    assert!(*asked.lock().unwrap() <= 2 * MAX_PIECES);
    assert_eq!(ask(&transport, &provider(), &one_plus_one()).await.unwrap_err().reason, "TooLarge");
}

#[tokio::test]
async fn a_question_that_cannot_be_asked_sends_nothing() {
    let transport = fake(|form| panic!("{form}"));
    let bad = question(Indicator::Query { query: "sum(".to_owned() });
    assert_eq!(ask(&transport, &provider(), &bad).await.unwrap_err().reason, "BadQuestion");
}
