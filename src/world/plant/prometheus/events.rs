//! The model's own counters, for SLOs with `ratio`: made up from the requests that the proxies counted.

use std::collections::BTreeMap;

use fastrand::Rng;
use promql_parser::{
    label::{METRIC_NAME, MatchOp},
    parser::{self, Expr},
};

use super::series::Series;
use crate::world::{
    history::Key,
    plant::{
        behaviour::Answers,
        chance::{binomial, float},
        traffic::Counters,
    },
};

/// The counters of one `ratio`: one event for each answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Labels of the series of bad events, the metric's name among them.
    bad: Vec<(String, String)>,
    /// Labels of the series of the others.
    good: Vec<(String, String)>,
    /// The label that holds the revision.
    revision_label: String,
}

impl Events {
    /// Counters that these two selectors find. `None` where they match by anything else than `=`: what they mean cannot be
    /// made up.
    #[must_use]
    pub fn of(bad: &str, total: &str, revision_label: &str) -> Option<Self> {
        let (bad, total) = (labels(bad)?, labels(total)?);
        let mut good = total.clone();
        // What both selectors find is bad; the rest must differ from it, by a label that only the bad ones are found by.
        if let Some((name, _)) = bad.iter().find(|(name, _)| !total.iter().any(|(other, _)| other == name)) {
            good.push((name.clone(), "other".to_owned()));
        } else if bad == total {
            return None;
        }
        Some(Self { bad, good, revision_label: revision_label.to_owned() })
    }

    fn named(&self, labels: &[(String, String)], service: &Key) -> Vec<(String, String)> {
        let own = [
            ("namespace", service.namespace.clone()),
            (self.revision_label.as_str(), service.name.clone()),
            ("job", "models".to_owned()),
            ("instance", format!("{}:8082", service.name)),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        labels.iter().cloned().chain(own).collect()
    }
}

fn labels(selector: &str) -> Option<Vec<(String, String)>> {
    let Expr::VectorSelector(selector) = parser::parse(selector).ok()? else { return None };
    let name = (METRIC_NAME.to_owned(), selector.name?);
    let matchers = selector.matchers.matchers.iter().map(|matcher| {
        matches!(matcher.op, MatchOp::Equal).then(|| (matcher.name.clone(), matcher.value.clone()))
    });
    std::iter::once(Some(name)).chain(matchers).collect()
}

/// One scrape of all models.
pub fn scrape<'a>(
    events: &[Events],
    series: &mut Series,
    at: i64,
    counters: &[BTreeMap<Key, Counters>],
    answers: impl Fn(&str) -> Option<&'a Answers>,
    chance: &mut Rng,
) {
    if events.is_empty() {
        return;
    }
    let mut totals: BTreeMap<&Key, u64> = BTreeMap::new();
    for (service, counted) in counters.iter().flatten() {
        *totals.entry(service).or_default() += counted.good + counted.bad;
    }
    for (service, total) in totals {
        let share = answers(&service.name).map_or(0.0, |answers| answers.bad_events);
        for one in events {
            let (bad, good) = (one.named(&one.bad, service), one.named(&one.good, service));
            let (bad_before, good_before) = (series.last(&bad), series.last(&good));
            let more = total.saturating_sub(bad_before + good_before);
            let more_bad = binomial(chance, more, share);
            series.sample(bad, at, float(bad_before + more_bad));
            series.sample(good, at, float(good_before + more - more_bad));
        }
    }
}
