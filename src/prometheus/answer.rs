//! Bytes from Prometheus' HTTP API → series, or why they are no answer.
//!
//! Strict: whatever a sound Prometheus would not say is no answer. `warnings` (and `isPartial` of `VictoriaMetrics`) mean
//! that data may be missing, so they end it; `infos` are notes on style ("not a counter by its name") and are ignored,
//! as is every field that we do not know. No text of the server gets into a message.

use std::collections::{BTreeMap, BTreeSet};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::{
    query::{Query, Role},
    unanswered,
};
use crate::rollout::question::Unanswered;

/// The largest answer that is read, in bytes. A larger one is asked for in shorter spans.
pub const MAX_BODY: usize = 1 << 20;

/// The most series that one answer may hold.
pub const MAX_SERIES: usize = 5000;

/// Beyond 2⁵³ a counter no longer counts one by one.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

/// How far the time of a single value may lie from the moment that was asked for, in milliseconds.
const CLOCK_SLACK: i64 = 1000;

/// One series with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct RawSeries {
    /// All labels, with `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds since the epoch, in rising order, and values. For a counter finite and not negative.
    pub samples: Vec<(i64, f64)>,
}

/// What an answer's body says: the series of a counter query (none is an answer too), or for a value exactly one
/// series with one finite sample.
///
/// # Errors
/// `TooLarge`, `BadAnswer`, `QueryFailed`, `Warnings`; for a value also `NoData`, `SeveralSeries`, `NotANumber`.
pub fn parse(query: &Query, body: &[u8]) -> Result<Vec<RawSeries>, Unanswered> {
    if body.len() > MAX_BODY {
        return Err(too_large());
    }
    // serde_json does not look into strings that it skips.
    let text = std::str::from_utf8(body).map_err(|_| bad("is not UTF-8"))?;
    match (query.role, query.start) {
        (Role::Value, _) | (_, None) => value(text, query.until).map(|series| vec![series]),
        (Role::Total | Role::Bad | Role::Within, Some(start)) => counters(text, start, query.until),
    }
}

/// More was sent than is read.
pub(super) fn too_large() -> Unanswered {
    unanswered(
        "TooLarge",
        format!("Prometheus' answer is larger than {MAX_BODY} bytes or {MAX_SERIES} series"),
    )
}

fn bad(why: &str) -> Unanswered {
    unanswered("BadAnswer", format!("Prometheus' answer cannot be used: it {why}"))
}

fn counters(text: &str, start: i64, until: i64) -> Result<Vec<RawSeries>, Unanswered> {
    let data: Data<Vec<Item>> = data(text)?;
    if data.result_type != "matrix" {
        return Err(bad("holds no range of samples"));
    }
    if data.result.len() > MAX_SERIES {
        return Err(too_large());
    }
    let mut series = Vec::with_capacity(data.result.len());
    for item in data.result {
        if item.histograms.is_some() || item.histogram.is_some() {
            return Err(bad("holds native histograms, which are not supported: scrape classic ones"));
        }
        let values = item.values.ok_or_else(|| bad("has a series without samples"))?;
        let samples = counter_samples(values, start, until)?;
        series.push(RawSeries { labels: item.metric.0, samples });
    }
    let mut seen = BTreeSet::new();
    if !series.iter().all(|series: &RawSeries| seen.insert(&series.labels)) {
        return Err(bad("has the same series twice"));
    }
    Ok(series)
}

fn counter_samples(values: Vec<Sample>, start: i64, until: i64) -> Result<Vec<(i64, f64)>, Unanswered> {
    let mut samples = Vec::with_capacity(values.len());
    let mut last = None;
    for Sample(Seconds(at), Number(value)) in values {
        if !(start..=until).contains(&at) {
            return Err(bad("has samples outside of the time that was asked for"));
        }
        if last >= Some(at) {
            return Err(bad("has samples out of order"));
        }
        last = Some(at);
        if value < 0.0 && value.is_finite() {
            return Err(bad("has a counter below zero: is it a gauge?"));
        }
        if value.is_finite() && value > MAX_COUNT {
            return Err(bad("has a counter beyond 2^53, which no longer counts one by one"));
        }
        // A scrape that gave no number tells nothing; the next one carries the increment.
        if value.is_finite() {
            samples.push((at, value));
        }
    }
    Ok(samples)
}

fn value(text: &str, until: i64) -> Result<RawSeries, Unanswered> {
    let data: Data<Instant> = data(text)?;
    let (labels, Sample(Seconds(at), Number(value))) = match (&*data.result_type, data.result) {
        ("scalar", Instant::Scalar(sample)) => (BTreeMap::new(), sample),
        ("vector", Instant::Vector(items)) => {
            let mut items = items.into_iter();
            let Some(item) = items.next() else {
                return Err(unanswered("NoData", "the query has no result"));
            };
            if items.next().is_some() {
                return Err(unanswered(
                    "SeveralSeries",
                    "the query gives several series, not one number: aggregate them, for instance with avg()",
                ));
            }
            if item.histogram.is_some() || item.histograms.is_some() {
                return Err(bad("is a native histogram, not a number"));
            }
            (item.metric.0, item.value.ok_or_else(|| bad("has a series without a value"))?)
        }
        _ => return Err(bad("is not a vector or a scalar")),
    };
    if (at - until).abs() > CLOCK_SLACK {
        return Err(bad("is not from the time that was asked for"));
    }
    if !value.is_finite() {
        return Err(unanswered("NotANumber", "the query gives NaN or infinity, not a number"));
    }
    Ok(RawSeries { labels, samples: vec![(at, value)] })
}

fn data<T: DeserializeOwned>(text: &str) -> Result<Data<T>, Unanswered> {
    let envelope: Envelope<T> =
        serde_json::from_str(text).map_err(|_| bad("is not what Prometheus' HTTP API says"))?;
    match &*envelope.status {
        "success" => {}
        "error" => return Err(unanswered("QueryFailed", "Prometheus could not evaluate the query")),
        _ => return Err(bad("has an unknown status")),
    }
    if envelope.warnings.is_some_and(|warnings| !warnings.is_empty()) || envelope.is_partial == Some(true) {
        return Err(unanswered("Warnings", "Prometheus warns that its answer may be incomplete"));
    }
    envelope.data.ok_or_else(|| bad("holds no data"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<T> {
    status: String,
    data: Option<Data<T>>,
    warnings: Option<Vec<IgnoredAny>>,
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<T> {
    result_type: String,
    result: T,
}

#[derive(Deserialize)]
struct Item {
    metric: Labels,
    value: Option<Sample>,
    values: Option<Vec<Sample>>,
    histogram: Option<IgnoredAny>,
    histograms: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Instant {
    Scalar(Sample),
    Vector(Vec<Item>),
}

#[derive(Deserialize)]
struct Sample(Seconds, Number);

/// Milliseconds since the epoch; on the wire a number of seconds.
struct Seconds(i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = (f64::deserialize(deserializer)? * 1000.0).round();
        if millis.abs() > MAX_COUNT {
            return Err(D::Error::custom("no time"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and far from the ends of i64")]
        Ok(Self(millis as i64))
    }
}

/// A value; on the wire a string, because JSON has no NaN.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number as a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
        let decimal = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
        match text {
            "NaN" => Ok(Number(f64::NAN)),
            "+Inf" | "Inf" => Ok(Number(f64::INFINITY)),
            "-Inf" => Ok(Number(f64::NEG_INFINITY)),
            // Rust would also take `infinity` and `nan`, which Prometheus never writes.
            _ if text.bytes().all(decimal) => text.parse().map(Number).map_err(E::custom),
            _ => Err(E::custom("not a number")),
        }
    }
}

/// Labels of a series; a name may not appear twice.
struct Labels(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            if labels.insert(name, value).is_some() {
                return Err(A::Error::custom("a label appears twice"));
            }
        }
        Ok(Labels(labels))
    }
}

#[cfg(test)]
mod cases;
