//! Weights: what may be written into a route, and onto whom.

use serde_json::Value;

use super::{
    findings::Findings,
    tracks::{Route, backends, is_idle, is_of, number, rules, text},
    trial::{Share, least_full, models_of, need, route_writes},
    world::World,
};
use seatrial::{api::v1alpha1::Phase, world::history::Key};

/// What all weights of a route sum to.
const TOTAL: i64 = 10_000;

/// S1 (after every revision). In every route that we write, the weights of the rule for traffic are integers from 1 to
/// 10 000 and sum to 10 000. Sharpened: a route that carries nothing (only idle entries) is legal before the first revision
/// is ready; it may not follow on one that carried something to ready pods, which still have their Service, of a model that
/// still stands.
pub fn s1_weights_sum(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        let Some(route) = &write.change.after else { continue };
        let traffic: Vec<&Value> = rules(route).filter(|rule| !is_idle(rule)).collect();
        let name = &write.key.name;
        out.expect(traffic.len() <= 1, write.change, || {
            format!("route {name} has {} rules for traffic: ours has one", traffic.len())
        });
        let weights: Vec<Option<i64>> =
            traffic.iter().flat_map(|rule| backends(rule)).map(|b| number(b, "/weight")).collect();
        let whole = weights.iter().all(|w| w.is_some_and(|w| (1..=TOTAL).contains(&w)));
        let sum: i64 = weights.iter().flatten().sum();
        let (namespace, from) = (write.key.namespace.as_str(), world.read_from(write.change));
        let serves = |name: &String| {
            let own = models_of(world, &write).iter().any(|(key, ..)| is_of(name, &key.name));
            let service = world.services.get(&Key::new("Service", namespace, name));
            let reachable = service.is_some_and(|track| track.at(write.change.revision).is_some());
            own && reachable && world.least_ready(namespace, name, from, write.change.revision) > 0
        };
        let left = write.before.is_some_and(|b| b.shares.keys().any(serves));
        let fits = if weights.is_empty() { !left } else { whole && sum == TOTAL };
        out.expect(fits, write.change, || {
            format!("route {name} was written with weights {weights:?}, which sum to {sum}, not to {TOTAL}")
        });
    }
}

/// S2 (after every revision). A write raises a revision's share of its model's traffic only if enough pods are ready, as a
/// read at most two seconds old (under faults: the last live read) could show them: for a candidate what its step needs, for
/// the first revision full size, for a stable revision one. Sharpened: what a model gets beside others is its user's to say,
/// and when one of them goes, nothing else is left to send to; a route that is made anew gives the stable revision what its
/// candidate may not have, ready or not: without it, nobody would be served.
pub fn s2_no_traffic_without_endpoints(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        let (namespace, until) = (write.key.namespace.as_str(), write.change.revision);
        let from = world.read_from(write.change);
        for (key, track, model) in models_of(world, &write) {
            let status = &model.status;
            let full = least_full(track, from, until);
            for (name, weight) in write.after.shares.iter().filter(|(name, _)| is_of(name, &key.name)) {
                let part = |route: Option<&Route>| Share {
                    candidate: route.map_or(0, |r| r.weight(name)),
                    whole: route.map_or(0, |r| r.of_model(&key.name)),
                };
                let (was, is) = (part(write.before), part(Some(write.after)));
                if was.candidate > 0 && !is.exceeds(was.most()) {
                    continue;
                }
                let stable = status.stable_revision.as_ref() == Some(name);
                let first = status.stable_revision.is_none()
                    && status.phase == Phase::Pending
                    && status.latest_revision.as_ref() == Some(name);
                let needed = if status.candidate_revision.as_ref() == Some(name) {
                    let share = Share::of(Some(write.after), status);
                    let split = world
                        .splits
                        .iter()
                        .find(|(k, _)| k.name == write.key.name && k.namespace == namespace);
                    let canaries = split.into_iter().flat_map(|(_, t)| t.during(from, until)).flatten();
                    canaries
                        .filter_map(|s| Some(need(&s.spec.strategy.canary, share?, full)))
                        .min()
                        .unwrap_or(full)
                } else if first {
                    full
                } else if stable && (was.whole > 0 || is.candidate == is.whole) {
                    1
                } else {
                    continue;
                };
                let ready = world.most_ready(namespace, name, from, until);
                out.expect(ready >= needed, write.change, || {
                    format!(
                        "{} raised {name} of {} from {} to {weight} of {TOTAL} with {ready} ready pods where {needed} are needed",
                        write.change.by, key.name, was.candidate
                    )
                });
            }
        }
    }
    failed_before_ready(world, out);
}

/// The same, as the users saw it: a request that failed for want of a pod, at a revision that has never had one ready.
fn failed_before_ready(world: &World<'_>, out: &mut Findings) {
    for served in world.input.served.iter().filter(|s| s.failed > 0) {
        let Some(track) = world.deployment(&served.route.namespace, &served.backend) else { continue };
        let ever = track
            .states
            .iter()
            .any(|s| s.change.at <= served.at && s.value.as_ref().is_some_and(|d| d.ready > 0));
        out.armed();
        if !ever {
            let (failed, backend) = (served.failed, &served.backend);
            out.missed(
                served.at,
                format!("{failed} requests failed at {backend}, which has never been ready"),
            );
        }
    }
}

/// S3 (at the end). Make before break: a candidate's or a first revision's weight leaves 0 only when every proxy of the route
/// already applies a generation that names it (Service and ready Deployment exist then); no name leaves the route while any
/// proxy still sends to it by this route, unless its model has gone or is named no more.
pub fn s3_make_before_break(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        let (namespace, until) = (write.key.namespace.as_str(), write.change.revision);
        for (_, _, model) in models_of(world, &write) {
            let status = &model.status;
            let first = status.latest_revision.as_ref().filter(|_| status.phase == Phase::Pending);
            for name in status.candidate_revision.iter().chain(first) {
                if write.after.weight(name) == 0 || write.was(name) > 0 {
                    continue;
                }
                let unknowing = proxies_without(world, &write, name);
                out.expect(unknowing.is_empty(), write.change, || {
                    format!("{name} was given weight although proxies {unknowing:?} do not know it yet")
                });
                let service = world.services.get(&Key::new("Service", namespace, name));
                let from = world.read_from(write.change);
                let exists = service.is_some_and(|t| t.during(from, until).flatten().next().is_some());
                out.expect(exists, write.change, || format!("{name} was given weight without a Service"));
            }
            for revision in &status.revisions {
                let named = write.before.is_some_and(|b| b.names(&revision.name));
                if !named || write.after.names(&revision.name) {
                    continue;
                }
                let routed = world.routed.get(&(write.key, revision.name.as_str()));
                let effective = routed.map_or(0, |carried| carried.most(write.change.at));
                let was = write.was(&revision.name);
                out.expect(effective == 0 && was == 0, write.change, || {
                    format!(
                        "{} left the route at once: weight {was} was written, proxies still apply {effective}",
                        revision.name
                    )
                });
            }
        }
    }
}

/// Proxies that apply the route, in a generation that does not name the revision.
fn proxies_without(world: &World<'_>, write: &super::trial::RouteWrite<'_, '_>, name: &str) -> Vec<usize> {
    let Some(track) = world.routes.get(write.key) else { return vec![] };
    let mut now = std::collections::BTreeMap::new();
    for applied in world.input.applied.iter().filter(|a| a.route == *write.key && a.at <= write.change.at) {
        now.insert(applied.proxy, applied.generation);
    }
    let names = |generation: i64| {
        let states = track.states.iter().filter(|s| s.change.revision <= write.change.revision);
        let of = states.filter_map(|s| s.value.as_ref()).rfind(|r| r.generation == generation);
        of.is_some_and(|route| route.names(name))
    };
    let lacks = |(proxy, generation): (usize, Option<i64>)| (!generation.is_some_and(names)).then_some(proxy);
    now.into_iter().filter_map(lacks).collect()
}

/// S15 (after every revision). No write moves a model's traffic from a revision with ready pods to one without any, as far
/// as a fresh read could tell (both during the whole time since).
pub fn s15_never_worse(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        let (namespace, until) = (write.key.namespace.as_str(), write.change.revision);
        let from = world.read_from(write.change);
        for (key, _, model) in models_of(world, &write) {
            let status = &model.status;
            let Some(stable) = &status.stable_revision else { continue };
            let mut names: Vec<&String> = vec![stable];
            names.extend(&status.candidate_revision);
            let loses = |name: &&&String| write.after.weight(name) < write.was(name);
            let gains = |name: &&&String| write.after.weight(name) > write.was(name);
            for (loser, winner) in
                names.iter().filter(loses).flat_map(|l| names.iter().filter(gains).map(move |w| (*l, *w)))
            {
                let (worst, best) = (
                    world.least_ready(namespace, loser, from, until),
                    world.most_ready(namespace, winner, from, until),
                );
                out.expect(worst == 0 || best > 0, write.change, || {
                    format!(
                        "traffic of {} moved from {loser} with {worst} ready pods to {winner} without any",
                        key.name
                    )
                });
            }
        }
    }
}

/// S33 (at the end). Nothing crosses namespaces. Sharpened: Seatrial has no reference to another namespace but a route's
/// parent, which the Gateway itself allows or not; so no backend of ours may name a namespace.
pub fn s33_nothing_crosses_namespaces(world: &World<'_>, out: &mut Findings) {
    for write in route_writes(world) {
        let Some(route) = &write.change.after else { continue };
        for backend in rules(route).flat_map(backends) {
            let namespace = text(backend, "/namespace");
            let same = namespace.is_empty() || namespace == write.key.namespace;
            out.expect(same, write.change, || {
                format!("a backend of route {} names namespace {namespace}", write.key.name)
            });
        }
    }
}
