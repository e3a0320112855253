//! Watches that stall, skip, repeat and end.

use std::{collections::VecDeque, future::pending, time::Duration};

use axum::body::Body;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::Value;
use tokio::time::{sleep, sleep_until};
use tower::BoxError;

use super::{
    What,
    wire::{AnyBody, ConnectionReset, Wire},
};

/// What comes next.
enum Next {
    /// A line.
    Line(Bytes),
    /// Nothing more, as if the server had closed it in order.
    End,
    /// The connection broke.
    Broken,
}

struct Watch {
    events: BoxStream<'static, Result<Bytes, BoxError>>,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    lines: VecDeque<Bytes>,
    ready: VecDeque<Bytes>,
    wire: Wire,
    over: bool,
}

/// The same watch, with what goes wrong.
pub fn faulty(body: Body, wire: Wire) -> AnyBody {
    let events = body.into_data_stream().map(|part| part.map_err(BoxError::from)).boxed();
    let watch =
        Watch { events, rest: vec![], lines: VecDeque::new(), ready: VecDeque::new(), wire, over: false };
    let frames = futures::stream::unfold(watch, |mut watch| async move {
        if watch.over {
            return None;
        }
        match watch.next().await {
            Next::Line(line) => Some((Ok(Frame::data(line)), watch)),
            Next::End => None,
            Next::Broken => {
                watch.over = true;
                Some((Err(BoxError::from(ConnectionReset)), watch))
            }
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

impl Watch {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Next::Line(line);
            }
            if let Some(next) = self.outage().await {
                return next;
            }
            let begin = self.wire.weather.next_begin(self.wire.replica);
            let weather = self.wire.weather.clone();
            let changes = async move {
                match begin {
                    Some(begin) => sleep_until(weather.at(begin)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changes => {}
                line = self.line() => match line {
                    None => return Next::End,
                    Some(Err(_)) => return Next::Broken,
                    Some(Ok(line)) => if let Some(next) = self.event(line).await {
                        return next;
                    },
                },
            }
        }
    }

    /// What concerns the connection as a whole.
    async fn outage(&mut self) -> Option<Next> {
        let weather = self.wire.weather.clone();
        let fault = weather.draw(self.wire.replica, |what| {
            matches!(what, What::Down | What::CutOff | What::Deaf | What::Stall)
        })?;
        if fault.what == What::Down {
            return Some(Next::Broken);
        }
        sleep_until(weather.at(fault.until)).await;
        (fault.what == What::Stall || weather.toss(fault)).then_some(Next::Broken)
    }

    /// What concerns one event.
    async fn event(&mut self, line: Bytes) -> Option<Next> {
        let weather = self.wire.weather.clone();
        weather.saw(self.wire.replica);
        let fault = weather.draw(self.wire.replica, |what| {
            matches!(
                what,
                What::Skip(_) | What::Again | What::Slow(_) | What::Close | What::Gone | What::Truncated
            )
        });
        match fault.map(|fault| fault.what) {
            Some(What::Skip(by)) => self.skip(line, by).await,
            Some(What::Again) => self.ready.extend([line.clone(), line]),
            Some(What::Slow(by)) => {
                sleep(by).await;
                self.ready.push_back(line);
            }
            Some(What::Close) => return Some(Next::End),
            Some(What::Gone) => return Some(Next::Line(Bytes::from_static(GONE))),
            Some(What::Truncated) => {
                return Some(Next::Broken);
            }
            _ => self.ready.push_back(line),
        }
        None
    }

    /// Nothing for so long, then of each object only the last event, in order.
    async fn skip(&mut self, line: Bytes, by: Duration) {
        sleep(by).await;
        let mut lines = vec![line];
        while let Some(Some(Ok(more))) = self.line().now_or_never() {
            lines.push(more);
        }
        let names: Vec<_> = lines.iter().map(object_of).collect();
        for (index, line) in lines.into_iter().enumerate() {
            let again = names[index].is_some() && names[index + 1..].contains(&names[index]);
            if !again {
                self.ready.push_back(line);
            }
        }
    }

    /// The next line as it came, with its newline. Nothing is lost when the caller stops waiting.
    async fn line(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            match self.events.next().await? {
                Err(error) => return Some(Err(error)),
                Ok(part) if self.rest.is_empty() && whole(&part) => return Some(Ok(part)),
                Ok(part) => {
                    self.rest.extend_from_slice(&part);
                    while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = self.rest.drain(..=end).collect();
                        self.lines.push_back(Bytes::from(line));
                    }
                }
            }
        }
    }
}

const GONE: &[u8] = br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}
"#;

/// Exactly one line.
fn whole(part: &Bytes) -> bool {
    part.split_last().is_some_and(|(last, before)| *last == b'\n' && !before.contains(&b'\n'))
}

/// Namespace and name of an event's object; `None` for bookmarks and errors.
fn object_of(line: &Bytes) -> Option<(String, String)> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let meta = &event["object"]["metadata"];
    let name = meta["name"].as_str().filter(|_| event["type"] != "BOOKMARK")?;
    Some((meta["namespace"].as_str().unwrap_or_default().to_owned(), name.to_owned()))
}
