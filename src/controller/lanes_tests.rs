use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use rstest::rstest;

use super::*;

type Asked = (Request<()>, Instant);
type Answer = Result<Response<Body>, BoxError>;

/// An API server that answers by a script and writes down what it was asked, and when.
#[derive(Clone)]
struct Script {
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<dyn Fn(usize) -> BoxFuture<'static, Answer> + Send + Sync>,
}

impl Script {
    fn new<F>(answer: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self { asked: Arc::default(), answer: Arc::new(move |count| Box::pin(answer(count))) }
    }

    fn client(&self) -> Client {
        let script = self.clone();
        let service = move |request: Request<Body>| {
            let count = {
                let mut asked = script.asked.lock().unwrap();
                asked.push((request.map(|_| ()), Instant::now()));
                asked.len()
            };
            (script.answer)(count)
        };
        Client::new(tower::service_fn(service), "default")
    }

    fn lanes(&self, tenure: &watch::Receiver<Option<Tenure>>) -> Lanes {
        lanes(|| Ok::<_, BoxError>(self.client()), tenure, &Jitter::seeded(1)).unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Milliseconds between the first and the last request.
    fn span(&self) -> u128 {
        let asked = self.asked.lock().unwrap();
        (asked.last().unwrap().1 - asked[0].1).as_millis()
    }
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::from(Vec::from(*b"{}")));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn request(method: Method, uri: &str) -> Request<Body> {
    Request::builder().method(method).uri(uri).body(Body::from(Vec::from(*b"{}"))).unwrap()
}

fn leading(seconds: u64) -> Tenure {
    Tenure { epoch: 1, until: Instant::now() + Duration::from_secs(seconds) }
}

#[rstest]
#[case(Method::POST)]
#[case(Method::PUT)]
#[case(Method::PATCH)]
#[case(Method::DELETE)]
#[tokio::test(start_paused = true)]
async fn who_does_not_lead_reads_but_writes_nothing(#[case] method: Method) {
    let script = Script::new(|_| async { Ok(status(200)) });
    let (_seat, tenure) = watch::channel(None);
    let lanes = script.lanes(&tenure);
    for lane in [&lanes.reads, &lanes.writes, &lanes.rollback] {
        let refused = lane.send(request(method.clone(), "/api/v1/pods")).await.unwrap_err();
        assert!(NotLeading::is(&refused), "{refused}");
    }
    assert_eq!(script.asked(), 0);
    lanes.writes.send(request(Method::GET, "/api/v1/pods")).await.unwrap();
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_write_begins_before_the_tenure_ends() {
    let script = Script::new(|_| async { Ok(status(200)) });
    let (_seat, tenure) = watch::channel(Some(leading(10)));
    let lanes = script.lanes(&tenure);
    tokio::time::advance(Duration::from_millis(9_999)).await;
    lanes.rollback.send(request(Method::PATCH, "/x")).await.unwrap();
    tokio::time::advance(Duration::from_millis(1)).await;
    let refused = lanes.rollback.send(request(Method::PATCH, "/x")).await.unwrap_err();
    assert!(NotLeading::is(&refused));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_is_cut_off_when_the_lease_is_lost() {
    let script = Script::new(|_| std::future::pending());
    let (seat, tenure) = watch::channel(Some(leading(10)));
    let lanes = script.lanes(&tenure);
    let begun = Instant::now();
    let write = lanes.writes.send(request(Method::PUT, "/x"));
    let loss = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        seat.send_replace(None);
    };
    let (result, ()) = tokio::join!(write, loss);
    assert!(NotLeading::is(&result.unwrap_err()));
    assert_eq!(begun.elapsed().as_millis(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_does_not_disturb_a_write_and_a_retry_asks_the_fence_again() {
    let script = Script::new(|count| async move {
        sleep(Duration::from_millis(1500)).await;
        Ok(status(if count == 1 { 503 } else { 200 }))
    });
    let (seat, tenure) = watch::channel(Some(leading(1)));
    let lanes = script.lanes(&tenure);
    let renewal = async {
        sleep(Duration::from_millis(900)).await;
        seat.send_replace(Some(leading(10)));
    };
    let write = lanes.writes.send(request(Method::PUT, "/x"));
    assert_eq!(tokio::join!(write, renewal).0.unwrap().status(), 200);

    seat.send_replace(Some(leading(1)));
    let script = Script::new(|_| async { Ok(status(503)) });
    let lanes = script.lanes(&tenure);
    tokio::time::advance(Duration::from_millis(950)).await;
    let refused = lanes.writes.send(request(Method::PUT, "/x")).await.unwrap_err();
    assert!(NotLeading::is(&refused));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_hangs_ends_after_four_seconds_and_a_watch_does_not() {
    let script = Script::new(|_| std::future::pending());
    let (_seat, tenure) = watch::channel(Some(leading(60)));
    let lanes = script.lanes(&tenure);
    let begun = Instant::now();
    let error = lanes.writes.send(request(Method::PUT, "/x")).await.unwrap_err();
    let kube::Error::Service(source) = error else { panic!("{error}") };
    assert!(source.is::<TimedOut>());
    assert_eq!((script.asked(), begun.elapsed().as_secs()), (1, 4), "what it rests on is old by then");
    lanes.rollback.send(request(Method::PUT, "/x")).await.unwrap_err();
    assert_eq!((script.asked(), begun.elapsed().as_secs()), (4, 16), "a rollback rests on a record");

    let watch = lanes.reads.send(request(Method::GET, "/api/v1/pods?resourceVersion=7&watch=true"));
    assert!(timeout(Duration::from_mins(10), watch).await.is_err());
    assert_eq!(script.asked(), 5);
}

#[rstest]
#[case::reads(|lanes: Lanes| lanes.reads, Method::GET, 3, 180..=380)]
#[case::writes(|lanes: Lanes| lanes.writes, Method::PUT, 2, 80..=120)]
#[case::rollback(|lanes: Lanes| lanes.rollback, Method::PATCH, 3, 48..=200)]
#[tokio::test(start_paused = true)]
async fn each_lane_tries_as_often_as_it_says(
    #[case] lane: fn(Lanes) -> Client,
    #[case] method: Method,
    #[case] tries: usize,
    #[case] span: std::ops::RangeInclusive<u128>,
    #[values(429, 500, 503, 504, 0)] code: u16,
) {
    let script = Script::new(move |_| async move {
        if code == 0 { Err(std::io::Error::other("connection refused").into()) } else { Ok(status(code)) }
    });
    let (_seat, tenure) = watch::channel(Some(leading(60)));
    let result = lane(script.lanes(&tenure)).send(request(method, "/x")).await;
    assert_eq!(result.map_or(0, |response| response.status().as_u16()), code);
    assert_eq!(script.asked(), tries);
    assert!(span.contains(&script.span()), "{}", script.span());
}

#[rstest]
#[case(400)]
#[case(403)]
#[case(404)]
#[case(409)]
#[case(422)]
#[case(501)]
#[tokio::test(start_paused = true)]
async fn an_answer_that_will_not_change_is_not_asked_for_again(#[case] code: u16) {
    let script = Script::new(move |_| async move { Ok(status(code)) });
    let (_seat, tenure) = watch::channel(Some(leading(60)));
    let response = script.lanes(&tenure).reads.send(request(Method::GET, "/x")).await.unwrap();
    assert_eq!((response.status().as_u16(), script.asked()), (code, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_time_gets_it_except_from_a_rollback() {
    let script = Script::new(|count| async move {
        let mut response = status(if count % 2 == 1 { 429 } else { 200 });
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        Ok(response)
    });
    let (_seat, tenure) = watch::channel(Some(leading(60)));
    let lanes = script.lanes(&tenure);
    lanes.writes.send(request(Method::PUT, "/x")).await.unwrap();
    assert_eq!(script.span(), 2000);
    script.asked.lock().unwrap().clear();
    lanes.rollback.send(request(Method::PUT, "/x")).await.unwrap();
    assert_eq!(script.span(), 100);
}

#[tokio::test(start_paused = true)]
async fn every_request_says_who_asks() {
    let script = Script::new(|_| async { Ok(status(200)) });
    let (_seat, tenure) = watch::channel(Some(leading(60)));
    let lanes = script.lanes(&tenure);
    lanes.reads.send(request(Method::GET, "/x?watch=1")).await.unwrap();
    lanes.writes.send(request(Method::PUT, "/x")).await.unwrap();
    lease_client(script.client(), &Jitter::seeded(1)).send(request(Method::PUT, "/x")).await.unwrap();
    let asked = script.asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    for (request, _) in asked.iter() {
        assert_eq!(request.headers()[header::USER_AGENT], USER_AGENT);
    }
}
