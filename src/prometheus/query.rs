//! Which instant queries answer a question.

use std::collections::BTreeMap;

use super::{
    Refused,
    promql::{Pin, Selector, Values, fill},
    provider::Provider,
};
use crate::rollout::question::{Indicator, Question};

/// How many scrapes before `from` are read: the sample from which the first increment counts may come late by almost
/// one scrape.
const LOOKBACK_SCRAPES: i64 = 2;

/// What the series of a query are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Counters of all events.
    Total,
    /// Counters of bad events.
    Bad,
    /// Buckets of a histogram.
    Within,
    /// One number.
    Value,
}

/// One instant query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What its series are.
    pub role: Role,
    /// A selector for counters, any expression for a value. Without the range.
    pub promql: String,
    /// Counters: samples from here on are wanted; milliseconds since the epoch. `None` for a value.
    pub start: Option<i64>,
    /// The moment of the evaluation, and of the last sample wanted; milliseconds since the epoch.
    pub until: i64,
}

impl Query {
    /// The text to send. Prometheus 3 leaves out a sample that lies exactly at the beginning of a range, Prometheus 2
    /// does not: nothing relies on it.
    #[must_use]
    pub fn text(&self) -> String {
        match self.start {
            Some(start) => format!("{}[{}ms]", self.promql, self.until - start),
            None => self.promql.clone(),
        }
    }

    /// The same query in two halves of time, the earlier first, for an answer that is too large. `None` when it is as
    /// short as it can be: a value, or a range of two milliseconds.
    #[must_use]
    pub fn halves(&self) -> Option<[Self; 2]> {
        let start = self.start?;
        let middle = start + (self.until - start) / 2;
        if middle <= start + 1 {
            return None;
        }
        // The sample at `middle` belongs to the first half, and may be in the second once more.
        Some([Self { until: middle, ..self.clone() }, Self { start: Some(middle), ..self.clone() }])
    }
}

/// The queries that answer a question, one for both revisions each: `Total` and `Bad`, or `Total` and `Within` for a
/// latency, or `Value` alone.
///
/// # Errors
/// A name is not what Kubernetes would accept, the time span is empty, the pack has no histogram, or the user's PromQL
/// cannot be used.
pub fn queries(question: &Question, provider: &Provider) -> Result<Vec<Query>, Refused> {
    let label = |field: &str, name: &str| {
        if is_dns_label(name) { Ok(()) } else { Err(Refused::new(field, "is not a DNS label")) }
    };
    label("namespace", &question.namespace)?;
    label("candidate", &question.candidate)?;
    question.stable.as_deref().map_or(Ok(()), |stable| label("stable", stable))?;
    if question.stable.as_ref() == Some(&question.candidate) {
        return Err(Refused::new("stable", "is the candidate itself"));
    }
    let until = question.until.as_millisecond();
    let (total, role, part) = match &question.indicator {
        Indicator::Query { query } => {
            let promql = fill(query, values(question))?;
            return Ok(vec![Query { role: Role::Value, promql, start: None, until }]);
        }
        Indicator::Errors => {
            let errors = &provider.pack().errors;
            (errors.total.clone(), Role::Bad, errors.bad.clone())
        }
        Indicator::Latency { .. } => {
            let latency = provider.pack().latency.as_ref().ok_or_else(no_histogram)?;
            (latency.total.clone(), Role::Within, latency.buckets.clone())
        }
        Indicator::Ratio { bad, total } => {
            let own = |field, text| Selector::of_ratio(field, text, provider.revision_label());
            (own("ratio.total", total)?, Role::Bad, own("ratio.bad", bad)?)
        }
    };
    let from = question.from.as_millisecond();
    if from >= until {
        return Err(Refused::new("from", "does not lie before `until`"));
    }
    let start = Some(from - LOOKBACK_SCRAPES * provider.scrape_interval().millis());
    let pins = pins(question, provider);
    let query = |role, selector: &Selector| Query { role, promql: selector.pinned(&pins), start, until };
    Ok(vec![query(Role::Total, &total), query(role, &part)])
}

fn no_histogram() -> Refused {
    Refused::new(
        "latency",
        "cannot be measured: this provider's metrics have no histogram; write a `ratio` of the model's own counters",
    )
}

/// The labels that bind a series to a revision, for this question's indicator.
pub(super) fn revision_labels(
    question: &Question,
    provider: &Provider,
    revision: &str,
) -> BTreeMap<String, String> {
    match question.indicator {
        Indicator::Errors | Indicator::Latency { .. } => provider.pack_labels(&question.namespace, revision),
        Indicator::Ratio { .. } | Indicator::Query { .. } => {
            provider.pod_labels(&question.namespace, revision)
        }
    }
}

fn pins(question: &Question, provider: &Provider) -> Vec<Pin> {
    let mut pins: Vec<_> = revision_labels(question, provider, &question.candidate)
        .into_iter()
        .map(|(label, value)| Pin { label, values: vec![value] })
        .collect();
    if let Some(stable) = &question.stable {
        let other = revision_labels(question, provider, stable);
        for pin in &mut pins {
            pin.values.extend(other.get(&pin.label).filter(|value| **value != pin.values[0]).cloned());
        }
    }
    pins
}

fn values(question: &Question) -> Values<'_> {
    Values { revision: &question.candidate, namespace: &question.namespace, service: &question.candidate }
}

/// Names that Kubernetes gave are DNS labels; anything else did not come from it.
fn is_dns_label(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| word(b) || b == b'-')
        && [name.bytes().next(), name.bytes().last()].into_iter().flatten().all(word)
}

#[cfg(test)]
mod exported;
#[cfg(test)]
mod tests;
