//! One query → the bytes that Prometheus' HTTP API would send.

use std::fmt::Write as _;

use reqwest::Url;

use super::{series::Series, wrong::Wrong};
use crate::prometheus::answer::RawSeries;

/// An answer with more samples is given as bytes: it may be longer than the client reads.
const MOST_HANDED: usize = 10_000;

/// A query as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The moment of the evaluation, in milliseconds since the epoch.
    pub time: i64,
    /// A selector, or any expression that gives one number.
    pub query: String,
    /// Raw samples are asked for, of so many milliseconds.
    pub range: Option<i64>,
}

impl Asked {
    /// Reads a form; `None` for what Prometheus would answer with 400.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut form = Url::parse("form:").ok()?;
        form.set_query(Some(std::str::from_utf8(body).ok()?));
        let mut fields = form.query_pairs();
        let mut field = |name: &str| fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let (query, time) = (field("query")?, field("time")?);
        let (seconds, millis) = time.split_once('.')?;
        let time = seconds.parse::<i64>().ok()? * 1000 + millis.parse::<i64>().ok()?;
        match query.strip_suffix("ms]").and_then(|query| query.rsplit_once('[')) {
            Some((selector, range)) => {
                let (query, range) = (selector.to_owned(), Some(range.parse().ok()?));
                Some(Self { time, query, range })
            }
            None => Some(Self { time, query, range: None }),
        }
    }
}

/// The series of a good answer, as the client would read them from its body. `None`: only bytes will do.
#[must_use]
pub fn series(asked: &Asked, series: &mut Series) -> Option<Vec<RawSeries>> {
    let (start, mut left) = (asked.time - asked.range?, MOST_HANDED);
    let mut found = vec![];
    for one in series.select(&asked.query)? {
        let samples = one.within(start, asked.time);
        left = left.checked_sub(samples.len())?;
        if !samples.is_empty() {
            let labels = one.labels.iter().cloned().collect();
            found.push(RawSeries { labels, samples: samples.to_vec() });
        }
    }
    Some(found)
}

/// The body of a good answer, as far as `wrong` is about the data and not about the bytes. `None`: the query does not parse.
#[must_use]
pub fn answer(asked: &Asked, series: &mut Series, wrong: Option<&Wrong>) -> Option<String> {
    let until = asked.time - wrong.map_or(0, Wrong::late);
    let mut body = String::from("{\"status\":\"success\",\"data\":{\"resultType\":\"");
    if let Some(range) = asked.range {
        body.push_str("matrix\",\"result\":[");
        let mut first = true;
        for one in series.select(&asked.query)? {
            let samples = one.within(asked.time - range, until);
            if samples.is_empty() || wrong == Some(&Wrong::Empty) {
                continue;
            }
            for metric in Wrong::metrics(wrong, &one.metric) {
                body.push_str(if std::mem::take(&mut first) { "" } else { "," });
                // Writing to a String cannot fail.
                let _ = write!(body, "{{\"metric\":{metric},\"values\":[");
                for (index, sample) in samples.iter().enumerate() {
                    body.push_str(if index == 0 { "" } else { "," });
                    push(&mut body, *sample, wrong);
                }
                body.push_str("]}");
            }
        }
        body.push_str("]}");
    } else {
        body.push_str("vector\",\"result\":[");
        let value = series.value(&asked.query).filter(|_| wrong != Some(&Wrong::Empty));
        let metrics = Wrong::metrics(wrong, "{}");
        for (index, metric) in metrics.iter().enumerate().take(if value.is_some() { 2 } else { 0 }) {
            body.push_str(if index == 0 { "" } else { "," });
            let _ = write!(body, "{{\"metric\":{metric},\"value\":");
            push(&mut body, (until, value.unwrap_or_default()), wrong);
            body.push('}');
        }
        body.push_str("]}");
    }
    let warned = wrong == Some(&Wrong::Warnings);
    body.push_str(if warned { ",\"warnings\":[\"a store did not answer\"]}" } else { "}" });
    Some(body)
}

/// `[1700000000.123,"5"]`
fn push(body: &mut String, (at, value): (i64, f64), wrong: Option<&Wrong>) {
    let _ = match wrong.and_then(Wrong::number) {
        Some(number) => write!(body, "[{}.{:03},\"{number}\"]", at.div_euclid(1000), at.rem_euclid(1000)),
        None => write!(body, "[{}.{:03},\"{value}\"]", at.div_euclid(1000), at.rem_euclid(1000)),
    };
}
