//! Series → the counts of candidate and stable revision.

use std::collections::BTreeMap;

use super::{
    answer::RawSeries,
    pack::Unit,
    promql::quote_into,
    provider::Provider,
    query::{Role, revision_labels},
    unanswered,
};
use crate::rollout::question::{Answer, Counters, Indicator, Question, Series, Unanswered};

/// Joins two answers to one query that reach over neighbouring spans of time: what both have is taken once.
#[must_use]
pub fn joined(earlier: Vec<RawSeries>, later: Vec<RawSeries>) -> Vec<RawSeries> {
    let mut by_labels: BTreeMap<_, Vec<(i64, f64)>> =
        earlier.into_iter().map(|series| (series.labels, series.samples)).collect();
    for series in later {
        let samples = by_labels.entry(series.labels).or_default();
        let end = samples.last().map(|(at, _)| *at);
        samples.extend(series.samples.into_iter().filter(|(at, _)| Some(*at) > end));
    }
    by_labels.into_iter().map(|(labels, samples)| RawSeries { labels, samples }).collect()
}

/// Sorts the series of all queries of a question into an answer.
///
/// A missing series of bad events beside a total means that there were none. A revision without a total has no data:
/// its part is empty, and the caller decides what that means.
///
/// # Errors
/// `NoData`: no total of either revision has a sample. `BadAnswer`: a series was not asked for, or a bucket has no
/// usable edge.
pub fn assemble(
    question: &Question,
    provider: &Provider,
    answers: Vec<(Role, Vec<RawSeries>)>,
) -> Result<Answer, Unanswered> {
    if let Indicator::Query { .. } = question.indicator {
        let mut samples = answers.iter().flat_map(|(_, series)| series).flat_map(|series| &series.samples);
        let value = samples.next().map(|(_, value)| Answer::Value(*value));
        return value.ok_or_else(|| no_data(question));
    }
    let unit = provider.pack().latency.as_ref().map_or(Unit::Seconds, |latency| latency.unit);
    let candidate = revision_labels(question, provider, &question.candidate);
    let stable = question.stable.as_deref().map(|stable| revision_labels(question, provider, stable));
    let (mut candidates, mut stables) = (Arm::default(), Arm::default());
    for (role, series) in
        answers.into_iter().flat_map(|(role, all)| all.into_iter().map(move |one| (role, one)))
    {
        let carries = |wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(name, value)| series.labels.get(name) == Some(value))
        };
        if carries(&candidate) {
            candidates.add(role, series, unit)?;
        } else if stable.as_ref().is_some_and(carries) {
            stables.add(role, series, unit)?;
        } else {
            return Err(bad("has a series that was not asked for"));
        }
    }
    if candidates.total.is_empty() && stables.total.is_empty() {
        return Err(no_data(question));
    }
    Ok(Answer::Counters { candidate: candidates.counters(), stable: stables.counters() })
}

/// One revision's series while they are sorted.
#[derive(Default)]
struct Arm {
    total: Vec<Series>,
    bad: Vec<Series>,
    within: BTreeMap<Edge, Vec<Series>>,
}

impl Arm {
    fn add(&mut self, role: Role, raw: RawSeries, unit: Unit) -> Result<(), Unanswered> {
        let into = match role {
            Role::Total => &mut self.total,
            Role::Bad => &mut self.bad,
            Role::Within => match edge(&raw.labels, unit)? {
                Some(edge) => self.within.entry(edge).or_default(),
                None => return Ok(()),
            },
            Role::Value => return Err(bad("has a value where counters were asked for")),
        };
        // Only NaN, or only stale markers: as good as no series.
        if !raw.samples.is_empty() {
            into.push(Series { key: key(&raw.labels), target: target(&raw.labels), samples: raw.samples });
        }
        Ok(())
    }

    fn counters(mut self) -> Counters {
        let by_key = |series: &mut Vec<Series>| series.sort_by(|a, b| a.key.cmp(&b.key));
        by_key(&mut self.total);
        by_key(&mut self.bad);
        self.within.values_mut().for_each(by_key);
        self.within.retain(|_, series| !series.is_empty());
        let within = self.within.into_iter().map(|(Edge(edge), series)| (edge, series)).collect();
        Counters { total: self.total, bad: self.bad, within }
    }
}

/// A bucket's edge in seconds; finite, so that its order is total.
#[derive(Clone, Copy, Debug)]
struct Edge(f64);

impl PartialEq for Edge {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Edge {}

impl PartialOrd for Edge {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Edge {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The edge of a bucket; `None` for `+Inf`, which is the total.
fn edge(labels: &BTreeMap<String, String>, unit: Unit) -> Result<Option<Edge>, Unanswered> {
    let text = labels.get("le").map_or("", String::as_str);
    if ["+Inf", "Inf"].contains(&text) {
        return Ok(None);
    }
    let edge: f64 = text.parse().map_err(|_| bad("has a bucket without an edge"))?;
    if !edge.is_finite() || edge < 0.0 {
        return Err(bad("has a bucket whose edge is no length of time"));
    }
    // Adding zero turns -0 into 0, so that both are one edge.
    Ok(Some(Edge(unit.seconds(edge) + 0.0)))
}

/// Labels in one form: sorted, quoted.
fn key(labels: &BTreeMap<String, String>) -> String {
    let mut text = String::with_capacity(32 * labels.len() + 2);
    for (name, value) in labels {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(name);
        text.push('=');
        quote_into(&mut text, value);
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    text
}

/// What a series was scraped from.
fn target(labels: &BTreeMap<String, String>) -> String {
    let of = |name: &str| labels.get(name).map_or("", String::as_str);
    let mut text = "job=".to_owned();
    quote_into(&mut text, of("job"));
    text.push_str(",instance=");
    quote_into(&mut text, of("instance"));
    text
}

fn bad(why: &str) -> Unanswered {
    unanswered("BadAnswer", format!("Prometheus' answer cannot be used: it {why}"))
}

fn no_data(question: &Question) -> Unanswered {
    let stable = question.stable.as_deref().map_or_else(String::new, |stable| format!(" or {stable}"));
    unanswered("NoData", format!("Prometheus has no data of {}{stable}", question.candidate))
}

#[cfg(test)]
mod tests;
