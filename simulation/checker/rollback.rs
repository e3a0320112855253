//! From a decision to weight 0, and what may not stand in its way.

use std::{collections::BTreeMap, time::Duration};

use seatrial::{
    api::v1alpha1::{OnUnobservable, Phase},
    world::history::Key,
};

use super::{
    findings::Findings,
    input::Quality,
    tracks::{Split, is_of, millis},
    trial::{on_trial, turns},
    world::{World, overlap},
};

/// A rollback that was decided.
struct Retreat {
    model: String,
    candidate: String,
    decided: Duration,
    revision: u64,
    /// When its weight in the route was 0; `None`: never.
    zero: Option<Duration>,
    /// The stable revision could be served all the time in between.
    servable: bool,
    hindered: Duration,
    crashes: usize,
    blind: bool,
}

impl Retreat {
    fn late(&self, bound: Duration, end: Duration) -> Option<String> {
        let over = self.zero.map_or(end > self.decided + bound, |zero| zero > self.decided + bound);
        let took = self.zero.map_or("never".to_owned(), |z| {
            format!("after {:.3} s", (z.saturating_sub(self.decided)).as_secs_f64())
        });
        (over && self.servable).then(|| {
            format!(
                "{} was to be taken out of {} at {:.3} s; its weight was 0 {took}, at most {:.3} s were allowed",
                self.candidate,
                self.model,
                self.decided.as_secs_f64(),
                bound.as_secs_f64()
            )
        })
    }
}

fn retreats(world: &World<'_>) -> Vec<Retreat> {
    let end = world.input.facts.end;
    let begins = |turn: &super::trial::Turn<'_, '_>| {
        turn.before.status.phase != Phase::RollingBack && turn.after.status.phase == Phase::RollingBack
    };
    let mut found = vec![];
    for turn in turns(world).filter(begins) {
        let status = &turn.after.status;
        let (Some(candidate), Some(stable)) = (&status.candidate_revision, &status.stable_revision) else {
            continue;
        };
        let Some((route, _)) = world.split_of(turn.key, turn.change.revision) else { continue };
        let Some(routes) = world.routes.get(&Key::new("HTTPRoute", &route.namespace, &route.name)) else {
            continue;
        };
        let decided = turn.change.at;
        let is_zero = |s: &super::tracks::State<'_, super::tracks::Route>| {
            s.value.as_ref().is_none_or(|r| r.weight(candidate) == 0)
        };
        let already = routes.at(turn.change.revision).is_none_or(|r| r.weight(candidate) == 0);
        let later = routes.states.iter().find(|s| s.change.revision > turn.change.revision && is_zero(s));
        let zero = if already { Some(decided) } else { later.map(|s| s.change.at) };
        let until = zero.unwrap_or(end);
        let last = later.map_or(u64::MAX, |s| s.change.revision);
        let fewest = |name: &String| {
            world.least_ready(&turn.key.namespace, name, decided.saturating_sub(Duration::from_secs(2)), last)
        };
        found.push(Retreat {
            model: turn.key.name.clone(),
            candidate: candidate.clone(),
            decided,
            revision: turn.change.revision,
            zero,
            servable: fewest(stable) >= turn.after.full(),
            hindered: world.hindered(decided, until),
            crashes: world.input.facts.crashes.iter().filter(|at| **at >= decided && **at <= until).count(),
            blind: overlap(&world.input.facts.blind, decided, decided + Duration::from_secs(1))
                > Duration::ZERO,
        });
    }
    found
}

fn judged(world: &World<'_>, out: &mut Findings, applies: impl Fn(&Retreat) -> Option<Duration>) {
    for retreat in retreats(world) {
        let Some(bound) = applies(&retreat) else { continue };
        out.armed();
        if let Some(message) = retreat.late(bound, world.input.facts.end) {
            out.missed(retreat.decided, format!("{message} (decided by change {})", retreat.revision));
        }
    }
}

/// L2a. In a healthy system, with the stable revision at full size: two seconds from the decision to weight 0 in the route.
/// (From the breach in Prometheus to the decision it is one evaluation: S13 bounds it from the users' side.)
pub fn l2a_healthy(world: &World<'_>, out: &mut Findings) {
    let calm = |r: &Retreat| world.calm(r.decided, r.zero.unwrap_or(world.input.facts.end));
    judged(world, out, |r| calm(r).then_some(Duration::from_secs(2)));
}

/// L2b. With something in the way (the API server away, partitions): five seconds more than that lasts, and thirty for
/// backoff once it is over.
pub fn l2b_api_server_down(world: &World<'_>, out: &mut Findings) {
    let slack = Duration::from_secs(35);
    judged(world, out, |r| (r.hindered > Duration::ZERO && r.crashes == 0).then_some(r.hindered + slack));
}

/// L2c. With a crash in between: twenty seconds more than nobody led.
pub fn l2c_leader_crash(world: &World<'_>, out: &mut Findings) {
    let slack = Duration::from_secs(40);
    judged(world, out, |r| (r.crashes > 0).then_some(r.hindered + slack));
}

/// L2e. Under conflicts, errors and slow answers (faults that begin within a minute of the decision, but not all the time):
/// thirty seconds, and what the faults last.
pub fn l2e_conflicts_and_errors(world: &World<'_>, out: &mut Findings) {
    let near = |r: &Retreat| {
        let from = r.decided.saturating_sub(Duration::from_mins(1));
        overlap(&world.input.facts.faults, from, r.decided + Duration::from_mins(1))
    };
    judged(world, out, |r| {
        let faults = near(r);
        (faults > Duration::ZERO && r.crashes == 0).then(|| Duration::from_secs(30) + r.hindered.max(faults))
    });
}

/// L2d. What cannot be measured for `holdBudget` is withdrawn within ten seconds after that, if the user wants that.
pub fn l2d_unobservable(world: &World<'_>, out: &mut Findings) {
    let end = world.input.facts.end;
    blind_for_long(world, out);
    for turn in turns(world) {
        let (before, after) = (&turn.before.status, &turn.after.status);
        let missing = |s: &seatrial::api::v1alpha1::ModelDeploymentStatus| {
            matches!(s.phase, Phase::Progressing | Phase::Paused | Phase::Watching)
                && s.step.as_ref().is_some_and(|s| s.unobservable_since.is_some())
        };
        if missing(before) || !missing(after) {
            continue;
        }
        let Some((_, split)) = world.split_of(turn.key, turn.change.revision) else { continue };
        let analysis = &split.spec.analysis;
        if analysis.on_unobservable != OnUnobservable::Withdraw {
            continue;
        }
        let at = turn.change.at;
        let limit = world.unhindered(at, millis(analysis.hold_budget.millis()) + Duration::from_secs(10));
        let later = turn.track.states.iter().filter(|s| s.change.revision > turn.change.revision);
        let over = later.clone().find(|s| s.value.as_ref().is_none_or(|m| !missing(&m.status)));
        let specs = world.splits.values().flat_map(|t| &t.states);
        let edited = specs.clone().any(|s| s.change.at > at && s.change.at <= limit && !s.ours);
        let jumped = world.input.facts.jumps.iter().any(|(when, _)| *when >= at && *when <= limit);
        if limit > end || edited || jumped {
            continue;
        }
        out.armed();
        if over.is_none_or(|s| s.change.at > limit) {
            out.missed(
                limit,
                format!(
                    "{} could not be measured since {:.3} s and was not withdrawn",
                    turn.key.name,
                    at.as_secs_f64()
                ),
            );
        }
    }
}

/// The same without the record: Prometheus has been away for so long that it must have been noticed and withdrawn.
fn blind_for_long(world: &World<'_>, out: &mut Findings) {
    let facts = &world.input.facts;
    for span in &facts.blind {
        for (key, track) in &world.models {
            let Some((_, split)) = world.split_of(key, u64::MAX) else { continue };
            let analysis = &split.spec.analysis;
            let notice = millis(analysis.interval.millis()) * 3 + facts.scrape * 4 + Duration::from_secs(30);
            let trial = |status: &seatrial::api::v1alpha1::ModelDeploymentStatus| {
                matches!(status.phase, Phase::Progressing | Phase::Paused | Phase::Watching)
            };
            for state in track.states.iter().filter(|s| s.ours) {
                let Some(model) = state.value.as_ref().filter(|m| trial(&m.status)) else { continue };
                let from = state.change.at.max(span.from);
                let usual = from + millis(analysis.hold_budget.millis()) + notice;
                let limit = usual + world.hindered(from.saturating_sub(notice), usual);
                let quiet = world.hindered(usual, limit + notice) == Duration::ZERO;
                let edited =
                    world.splits.values().flat_map(|t| &t.states).any(|s| !s.ours && s.change.at >= from);
                if limit > span.until || state.change.at > span.until || !quiet || edited || limit > facts.end
                {
                    continue;
                }
                if analysis.on_unobservable != OnUnobservable::Withdraw {
                    continue;
                }
                out.armed();
                let same = |m: &super::tracks::Model| {
                    trial(&m.status) && m.status.attempt == model.status.attempt && m.uid == model.uid
                };
                if track.when(limit).is_some_and(same) {
                    out.missed(
                        limit,
                        format!(
                            "{} is still on trial, nothing could be measured since {:.3} s",
                            key.name,
                            from.as_secs_f64()
                        ),
                    );
                    break;
                }
            }
        }
    }
}

/// Whether nobody is there to be asked, and a candidate is held then, as its user wants.
fn is_held_unasked(split: &Split) -> bool {
    split.spec.analysis.on_unobservable == OnUnobservable::Hold
        && split.status.conditions.iter().any(|condition| condition.reason == "UnknownProvider")
}

/// So many requests, so many of them bad, are a breach that any judge must see.
const PLENTY: u64 = 1500;

/// S13 (by counting). A rollback needs nothing else, and nothing else stops it: once it is decided, Prometheus being away
/// does not hold it up; and in every phase in which a candidate has traffic (pauses too) one whose users have seen thousands
/// of requests of which a tenth failed by its own fault, and not of those of the stable revision beside it, is taken out
/// within ten blocks, if Prometheus answers: whoever wants a hold where nobody is there to be asked gets it.
pub fn s13_no_extra_dependencies(world: &World<'_>, out: &mut Findings) {
    judged(world, out, |r| {
        (r.blind && r.hindered == Duration::ZERO && world.calm(r.decided, r.decided))
            .then_some(Duration::from_secs(2))
    });
    for (key, track) in &world.models {
        let facts = &world.input.facts;
        for (candidate, from, until, version) in trials(track, facts.end) {
            if !matches!(facts.versions.get(&version), Some(Quality::Bad | Quality::Sours)) {
                continue;
            }
            let (mut all, mut bad) = (0, 0);
            let mine =
                world.input.served.iter().filter(|s| s.backend == candidate && s.at >= from && s.at <= until);
            let breach = mine.into_iter().find_map(|s| {
                all += s.requests;
                bad += s.errors + s.slow;
                (all >= PLENTY && bad * 10 >= all).then_some(s.at)
            });
            let Some(breach) = breach else { continue };
            if is_shared(world, &key.name, &candidate, from, breach) {
                continue;
            }
            let split = world.split_of(key, u64::MAX);
            if split.is_some_and(|(_, split)| is_held_unasked(split)) {
                continue;
            }
            let interval = split.map_or(15_000, |(_, s)| s.spec.analysis.interval.millis());
            let gap = millis(interval) * 10 + facts.scrape * 4;
            let usual = breach + gap;
            let extra =
                world.hindered(breach, usual) + overlap(&facts.blind, breach.saturating_sub(gap), until) * 2;
            out.armed();
            if until > usual + extra {
                out.missed(usual + extra, format!(
                    "{candidate} of {} failed {bad} of {all} requests until {:.3} s and was still on trial at {:.3} s",
                    key.name, breach.as_secs_f64(), until.as_secs_f64()
                ));
            }
        }
    }
}

/// Whether a tenth of what the model's other revisions answered meanwhile was bad, too: a breach that is shared is held, and
/// then it is a person's turn (`onSharedBreach`).
fn is_shared(world: &World<'_>, model: &str, candidate: &str, from: Duration, until: Duration) -> bool {
    let served = world.input.served.iter().filter(|s| s.at >= from && s.at <= until);
    let others = served.filter(|s| s.backend != candidate && is_of(&s.backend, model));
    let (all, bad) =
        others.fold((0, 0), |(all, bad), s| (all + s.requests, bad + s.errors.saturating_add(s.slow)));
    all > 0 && bad * 10 >= all
}

/// Candidates with weight: name, from when, until when (the next record that says otherwise, or the end), version.
fn trials(
    track: &super::tracks::Track<'_, super::tracks::Model>,
    end: Duration,
) -> Vec<(String, Duration, Duration, String)> {
    let mut found: BTreeMap<(String, i64), (Duration, Duration, String)> = BTreeMap::new();
    for (place, state) in track.states.iter().enumerate() {
        let Some(status) = state.value.as_ref().map(|m| &m.status) else { continue };
        let entered = status.step.as_ref().is_some_and(|s| s.entered.is_some());
        let (Some(candidate), true) = (&status.candidate_revision, entered && on_trial(status.phase)) else {
            continue;
        };
        let version = status.candidate_version.clone().unwrap_or_default();
        let at = state.change.at;
        let entry = found.entry((candidate.clone(), status.attempt)).or_insert((at, at, version));
        entry.1 = track.states.get(place + 1).map_or(end, |next| next.change.at);
    }
    found.into_iter().map(|((name, _), (from, until, version))| (name, from, until, version)).collect()
}
