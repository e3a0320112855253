//! What is left of a backend whose `ModelDeployment` was deleted: its share leaves the route at once, and the name that
//! proxies may still send to goes last.
//!
//! Its pods end by their grace period, which garbage collection begins. Its Service is kept by the `TrafficSplit`'s
//! ownership (`workload::service`): named in the idle rule until the route without its share is effective and its
//! requests are done, then deleted. A `ModelDeployment` of the same name that asks for the same revision takes it over.

use jiff::Timestamp;

use super::{observed::Split, plan::Write, sizes};
use crate::route::{Effective, RouteView, Share};

/// A revision's Service without its `ModelDeployment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The revision, which is also the Service's name.
    pub revision: String,
    /// What people call it.
    pub version: String,
}

/// Leftovers that the route goes on to name, without traffic: those that it names and that may still be sent to.
pub fn idle<'a>(
    split: &'a Split,
    effective: &'a Effective,
    now: Timestamp,
) -> impl Iterator<Item = Share> + 'a {
    let named = |view: &RouteView, name: &str| view.shares.contains_key(name) || view.idle.contains(name);
    split
        .leftovers
        .iter()
        .filter(move |left| split.route.live().is_some_and(|view| named(view, &left.revision)))
        .filter(move |left| !is_drained(split, &left.revision, effective, now))
        .map(|left| Share { revision: left.revision.clone(), version: left.version.clone(), weight: 0 })
}

/// Leftovers that no proxy can name any more.
pub fn gone<'a>(
    split: &'a Split,
    effective: &'a Effective,
    now: Timestamp,
) -> impl Iterator<Item = Write> + 'a {
    split
        .leftovers
        .iter()
        .filter(move |left| match split.route.live() {
            Some(view) => {
                !view.idle.contains(&left.revision) && is_drained(split, &left.revision, effective, now)
            }
            None => true,
        })
        .map(|left| Write::DeleteService { revision: left.revision.clone() })
}

fn is_drained(split: &Split, revision: &str, effective: &Effective, now: Timestamp) -> bool {
    let has_share = split.route.live().is_some_and(|view| view.shares.contains_key(revision));
    let Effective::Settled { since } = effective else { return false };
    !has_share && now.duration_since(*since) >= sizes::drain(split).signed()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use jiff::SignedDuration;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        api::v1alpha1::{Duration, TrafficSplitStatus},
        rollout::observed::Route,
        route::Acceptance,
    };

    fn split(shares: &[&str], idle: &[&str]) -> Split {
        let spec = json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}], "timeouts": {"request": "5s"}}},
            "backends": [{"modelDeploymentRef": {"name": "a"}}, {"modelDeploymentRef": {"name": "b"}}],
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
            "strategy": {"canary": {"steps": [{"weight": "10%", "bake": "5s"}]}}
        });
        let weight = 10_000 / i32::try_from(shares.len().max(1)).unwrap();
        let view = RouteView {
            generation: 3,
            shares: shares.iter().map(|name| ((*name).to_owned(), weight)).collect::<BTreeMap<_, _>>(),
            idle: idle.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
            acceptance: Acceptance::Accepted,
        };
        Split {
            name: "iris".to_owned(),
            generation: 1,
            spec: serde_json::from_value(spec).unwrap(),
            status: TrafficSplitStatus::default(),
            refused: None,
            unresolved: None,
            frozen: false,
            route: Route::Live(view),
            leftovers: vec![Leftover { revision: "b-1".to_owned(), version: "1".to_owned() }],
            propagation: Duration::from_secs(2),
        }
    }

    #[rstest]
    #[case::its_share_is_taken_away_but_not_its_name(&["a-1", "b-1"], &[], 60, true, false)]
    #[case::requests_may_still_run(&["a-1"], &["b-1"], 4, true, false)]
    #[case::all_of_them_are_done(&["a-1"], &["b-1"], 5, false, false)]
    #[case::the_route_without_it_is_not_yet_applied_everywhere(&["a-1"], &[], -1, false, false)]
    #[case::nobody_can_name_it(&["a-1"], &[], 5, false, true)]
    fn a_deleted_models_service_goes_last(
        #[case] shares: &[&str],
        #[case] idle_names: &[&str],
        #[case] settled_for: i64,
        #[case] keeps_name: bool,
        #[case] deletes: bool,
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let since = now - SignedDuration::from_secs(settled_for);
        let effective = match settled_for {
            0.. => Effective::Settled { since },
            _ => Effective::Waiting { until: since },
        };
        let split = split(shares, idle_names);
        assert_eq!(idle(&split, &effective, now).count() == 1, keeps_name);
        assert_eq!(gone(&split, &effective, now).count() == 1, deletes);
    }
}
