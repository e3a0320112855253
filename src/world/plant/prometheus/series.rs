//! What was scraped: series with their samples.

use std::{collections::BTreeMap, fmt::Write as _};

use promql_parser::{
    label::METRIC_NAME,
    parser::{self, Expr, VectorSelector},
};

use crate::{
    prometheus::promql::quoted,
    world::{
        history::Key,
        plant::{
            behaviour::EDGES,
            chance::{float, rounded},
            traffic::Counters,
        },
    },
};

/// All series.
#[derive(Debug, Default)]
pub struct Series {
    all: Vec<One>,
    /// By target and cluster: the series of a proxy's counters of one Service.
    clusters: BTreeMap<(usize, Key), Cluster>,
    /// By name and labels as JSON: all others.
    others: BTreeMap<String, usize>,
    /// Which series a selector finds.
    found: BTreeMap<String, Found>,
    values: BTreeMap<String, f64>,
}

/// One series.
#[derive(Debug)]
pub struct One {
    /// The labels, with the name.
    pub labels: Vec<(String, String)>,
    /// The labels as a JSON object.
    pub metric: String,
    /// Milliseconds since the epoch and value, in order.
    pub samples: Vec<(i64, f64)>,
}

impl One {
    /// The samples after `start` and not after `until`.
    #[must_use]
    pub fn within(&self, start: i64, until: i64) -> &[(i64, f64)] {
        let from = self.samples.partition_point(|(at, _)| *at <= start);
        let to = self.samples.partition_point(|(at, _)| *at <= until);
        &self.samples[from..to.max(from)]
    }

    fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// What a selector found among the first `seen` series. Parsing it takes longer than everything else.
#[derive(Debug)]
struct Found {
    selector: VectorSelector,
    seen: usize,
    series: Vec<usize>,
}

/// Where the series of a cluster are; absent until they were first counted, as Envoy does it.
#[derive(Debug, Default)]
struct Cluster {
    good: Option<usize>,
    bad: Option<usize>,
    /// The count, then the buckets.
    times: Vec<usize>,
}

impl Series {
    /// One scrape of a proxy.
    pub fn scrape(&mut self, target: usize, at: i64, counters: &BTreeMap<Key, Counters>) {
        for (service, counted) in counters {
            let key = (target, service.clone());
            let mut cluster = self.clusters.remove(&key).unwrap_or_default();
            let labels = |name: &str, extra: Option<(&str, String)>| {
                let base = [
                    (METRIC_NAME, name.to_owned()),
                    ("envoy_cluster_name", format!("{}_{}_80", service.namespace, service.name)),
                    ("instance", format!("proxy-{target}:8002")),
                    ("job", "envoy".to_owned()),
                ];
                base.into_iter().chain(extra).map(|(label, value)| (label.to_owned(), value)).collect()
            };
            let xx = |class: &str| {
                labels("envoy_cluster_upstream_rq_xx", Some(("envoy_response_code_class", class.to_owned())))
            };
            for (slot, class, value) in
                [(&mut cluster.good, "2", counted.good), (&mut cluster.bad, "5", counted.bad)]
            {
                if slot.is_none() && value > 0 {
                    *slot = Some(self.add(xx(class)));
                }
                if let Some(index) = *slot {
                    self.all[index].samples.push((at, float(value)));
                }
            }
            let total: u64 = counted.buckets.iter().sum();
            if cluster.times.is_empty() && total > 0 {
                let name = "envoy_cluster_upstream_rq_time_bucket";
                cluster.times.push(self.add(labels("envoy_cluster_upstream_rq_time_count", None)));
                for edge in EDGES.iter().map(ToString::to_string).chain(["+Inf".to_owned()]) {
                    let index = self.add(labels(name, Some(("le", edge))));
                    cluster.times.push(index);
                }
            }
            if let Some((count, buckets)) = cluster.times.split_first() {
                self.all[*count].samples.push((at, float(total)));
                let mut sum = 0;
                for (index, counted) in buckets.iter().zip(counted.buckets) {
                    sum += counted;
                    self.all[*index].samples.push((at, float(sum)));
                }
            }
            self.clusters.insert(key, cluster);
        }
    }

    /// A sample of any other series.
    pub fn sample(&mut self, labels: Vec<(String, String)>, at: i64, value: f64) {
        let key = json(&labels);
        let known = self.others.get(&key).copied();
        let index = known.unwrap_or_else(|| self.add(labels));
        self.others.insert(key, index);
        self.all[index].samples.push((at, value));
    }

    /// The last value of such a series; 0 if there is none.
    #[must_use]
    pub fn last(&self, labels: &[(String, String)]) -> u64 {
        let index = self.others.get(&json(labels));
        index.and_then(|index| self.all[*index].samples.last()).map_or(0, |(_, value)| rounded(*value))
    }

    fn add(&mut self, labels: Vec<(String, String)>) -> usize {
        let metric = json(&labels);
        self.all.push(One { labels, metric, samples: vec![] });
        self.all.len() - 1
    }

    /// The series that a selector matches; `None` if it is none.
    pub fn select(&mut self, selector: &str) -> Option<impl Iterator<Item = &One>> {
        if !self.found.contains_key(selector) {
            let Expr::VectorSelector(parsed) = parser::parse(selector).ok()? else { return None };
            self.found.insert(selector.to_owned(), Found { selector: parsed, seen: 0, series: vec![] });
        }
        let Found { selector, seen, series } = self.found.get_mut(selector)?;
        for (index, one) in self.all.iter().enumerate().skip(*seen) {
            let named = selector.name.as_deref().is_none_or(|name| one.label(METRIC_NAME) == name);
            if named && selector.matchers.matchers.iter().all(|m| m.is_match(one.label(&m.name))) {
                series.push(index);
            }
        }
        *seen = self.all.len();
        Some(series.iter().map(|index| &self.all[*index]))
    }

    /// What a custom query about this revision gives.
    pub fn value_of(&mut self, revision: &str, value: f64) {
        self.values.insert(quoted(revision), value);
    }

    /// What a custom query gives: the value of the revision that it names, if that was ever scraped.
    #[must_use]
    pub fn value(&self, query: &str) -> Option<f64> {
        self.values.iter().find(|(revision, _)| query.contains(revision.as_str())).map(|(_, value)| *value)
    }
}

/// Labels as a JSON object; what is quoted for PromQL is quoted for JSON, as long as nobody uses control characters.
fn json(labels: &[(String, String)]) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{}:{}", quoted(name), quoted(value));
    }
    text.push('}');
    text
}
