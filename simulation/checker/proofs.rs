//! Every invariant can fail, and holds in an orderly world in which it has something to say.

use std::time::Duration;

use seatrial::world::history::{Key, Served};
use serde_json::json;

use super::{
    Invariant, Report, check,
    input::{Quality, Request, Span},
    story::{
        A, B, LEADER, Story, deployment, entered, key, model, promoted, rolled_back, route, served, split,
    },
};

fn told(report: &Report) -> String {
    report.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// It holds: nothing at all is wrong, and it was asked.
#[track_caller]
fn holds(invariant: Invariant, story: &Story) {
    let report = check(&story.input);
    assert!(report.violations.is_empty(), "{}", told(&report));
    assert!(report.evaluated[&invariant] > 0, "{invariant} had nothing to say");
}

/// It fails, and says so.
#[track_caller]
fn fails(invariant: Invariant, story: &Story) {
    let report = check(&story.input);
    let found = report.violations.iter().find(|v| v.invariant == invariant);
    assert!(
        found.is_some_and(|v| !v.message.is_empty()),
        "{invariant} saw nothing; others: {}",
        told(&report)
    );
}

macro_rules! proofs {
    ($($name:ident $invariant:ident: in $orderly:expr; not $broken:expr;)*) => {
        mod hold {
            use super::*;
            $(#[test] fn $name() { holds(Invariant::$invariant, &$orderly); })*
        }
        mod fail {
            use super::*;
            $(#[test] fn $name() {
                let broken: fn() -> Story = $broken;
                fails(Invariant::$invariant, &broken());
            })*
        }
        #[test]
        fn every_invariant_is_proven_or_named_as_out_of_scope() {
            let proven = [$(Invariant::$invariant,)*];
            let open: Vec<_> = Invariant::ALL.iter().filter(|i| !proven.contains(i)).collect();
            assert_eq!(open, [&Invariant::L10]);
            let checked: Vec<_> = super::CHECKS.iter().map(|(invariant, _)| *invariant).collect();
            assert!(proven.iter().all(|i| checked.contains(i)));
        }
    };
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A fault from now on for so long.
fn fault(story: &mut Story, length: u64) {
    let now = story.now();
    story.input.facts.faults.push(Span { from: now, until: now + seconds(length) });
    story.input.facts.faults_end = now + seconds(length);
}

/// A rollback while something is in the way.
fn hindered() -> Story {
    let mut story = entered();
    story.decide("Breach");
    fault(&mut story, 8);
    story.wait(12);
    story.route(&[(A, 10_000)], &[B]);
    story.propagate();
    story
}

/// A rollback that takes very long although the stable revision could serve.
fn lingering(fault_length: u64) -> Story {
    let mut story = entered();
    story.decide("Breach");
    if fault_length > 0 {
        fault(&mut story, fault_length);
    }
    story.wait(300);
    story
}

/// Nobody leads for a while, after a crash.
fn crash(story: &mut Story, length: u64) {
    let now = story.now();
    story.input.facts.crashes.push(now);
    story.input.facts.absent.push(Span { from: now, until: now + seconds(length) });
    story.wait(length);
}

fn crashed() -> Story {
    let mut story = entered();
    story.decide("Breach");
    crash(&mut story, 18);
    story.route(&[(A, 10_000)], &[B]);
    story.propagate();
    story.wait(30);
    story
}

/// Prometheus is away, and that is noted.
fn blind() -> Story {
    let mut story = entered();
    let now = story.now();
    story.input.facts.blind.push(Span { from: now, until: now + seconds(100) });
    story.wait(20);
    story.status(|s| s["step"]["unobservableSince"] = json!("2026-11-21T09:00:00.000000Z"));
    story
}

fn withdrawn() -> Story {
    let mut story = blind();
    story.wait(61);
    story.decide("Unobservable");
    story.route(&[(A, 10_000)], &[B]);
    story.propagate();
    story.wait(100);
    story
}

fn resumed() -> Story {
    let mut story = blind();
    story.input.facts.blind[0].until = story.now() + seconds(10);
    story.wait(20);
    story.status(|s| drop(s["step"].as_object_mut().unwrap().remove("unobservableSince")));
    story.wait(100);
    story
}

/// The leader gives its lease back, and nobody takes it for a while.
fn headless() -> Story {
    let mut story = served();
    story.leader = String::new();
    story.renew();
    story.wait(20);
    story.leader = LEADER.to_owned();
    story.renew();
    story
}

/// Two replicas, one after the other.
fn handed_over() -> Story {
    let mut story = served();
    story.wait(20);
    story.leader = "seatrial-b".to_owned();
    story.renew();
    story.enter();
    story
}

/// Somebody else keeps changing the route.
fn fought() -> Story {
    let mut story = served();
    story.wait(5);
    story.route_by("gitops", &[(A, 9_000), ("other", 1_000)], &[]);
    story.wait(1);
    story.route(&[(A, 10_000)], &[]);
    story.wait(30);
    story
}

/// A model that this release cannot read, beside the good one.
fn beside_broken() -> Story {
    let mut story = served();
    let broken = key("ModelDeployment", "old");
    story.write("user", &broken, |v| v["spec"] = json!({"replicas": "many"}));
    story.input.facts.broken.push(broken.clone());
    story.wait(2);
    story.write(LEADER, &broken, |v| {
        v["status"] = json!({"conditions": [{"type": "Accepted", "status": "False"}]});
    });
    story.wait(200);
    story
}

/// The `TrafficSplit` names a Gateway that is not there.
fn refused() -> Story {
    let mut story = served();
    story.split_status("False");
    story.wait(10);
    story.ask("2.0");
    story.wait(2);
    story.status(|s| s["latestRevision"] = json!(B));
    story
}

/// A breach is decided while Prometheus is away.
fn blind_rollback() -> Story {
    let mut story = entered();
    let now = story.now();
    story.input.facts.blind.push(Span { from: now, until: now + seconds(100) });
    story.decide("PodsLost");
    story.wait(1);
    story.route(&[(A, 10_000)], &[B]);
    story.propagate();
    story
}

/// The `TrafficSplit` goes in mid-trial.
fn cancelled() -> Story {
    let mut story = entered();
    story.remove("user", &split());
    story.wait(1);
    story.decide("TrafficSplitDeleted");
    story.wait(100);
    story
}

/// The model goes and comes again.
fn recreated() -> Story {
    let mut story = served();
    story.remove("user", &model());
    story.wait(30);
    story.ask("3.0");
    story.wait(1);
    story.status(|s| s["phase"] = json!("Pending"));
    story.wait(60);
    story
}

/// The stable revision is down when a fix comes.
fn fixed_forward() -> Story {
    let mut story = served();
    story.ready(A, 0);
    story.status(|s| {
        s["conditions"][1]["status"] = json!("False");
        s["conditions"][1]["lastTransitionTime"] = json!("2026-11-21T11:11:11Z");
    });
    story.wait(10);
    story.ask("2.0");
    story.wait(1);
    story.begin_attempt();
    story.wait(100);
    story
}

/// Two models in one route; one goes.
fn one_of_two() -> Story {
    let mut story = served();
    story.write("user", &key("ModelDeployment", "rose"), |v| v["spec"] = json!({"model": {"version": "1"}}));
    story.write(LEADER, &key("ModelDeployment", "rose"), |v| {
        v["status"] = json!({"observedGeneration": 1, "phase": "Pending", "latestRevision": "rose-cccccccc"});
    });
    story.write(LEADER, &key("ModelDeployment", "rose"), |v| {
        v["status"] = json!({"observedGeneration": 1, "phase": "Stable", "stableRevision": "rose-cccccccc",
            "latestRevision": "rose-cccccccc"});
    });
    story.write("user", &split(), |v| {
        v["spec"]["backends"] = json!([{"name": "a", "weight": 1, "modelDeploymentRef": {"name": "iris"}},
            {"name": "b", "weight": 1, "modelDeploymentRef": {"name": "rose"}}]);
    });
    story.write("kubelet", &deployment("rose-cccccccc"), |v| {
        v["metadata"]["labels"] = json!({"seatrial.dev/model": "rose"});
        v["spec"] = json!({"replicas": 1});
        v["status"] = json!({"readyReplicas": 1});
    });
    story.wait(3);
    story.route(&[(A, 5_000), ("rose-cccccccc", 5_000)], &[]);
    story.wait(10);
    story.remove("user", &key("ModelDeployment", "rose"));
    story
}

/// Pods of the candidate are lost under weight.
fn lost() -> Story {
    let mut story = entered();
    story.ready(B, 0);
    story.wait(2);
    story.decide("PodsLost");
    story.route(&[(A, 10_000)], &[B]);
    story.propagate();
    story.wait(20);
    story
}

/// The Gateway comes later.
fn picked_up() -> Story {
    let mut story = Story::new();
    story.make_split("iris");
    story.ask("1.0");
    story.status(|s| s["phase"] = json!("Pending"));
    story.split_status("False");
    story.wait(10);
    story.write("user", &Key::new("Gateway", "infra", "public"), |_| {});
    story
}

/// A rollback for a deadline, so many seconds after the step was taken.
fn deadline(after: u64) -> Story {
    let mut story = served();
    story.prepare();
    story.take(0, "5%", "Progressing");
    story.wait(after);
    story.decide("WeightNotEffective");
    story
}

/// A conflict, and what is sent after it.
fn conflict(times: usize, version: impl Fn(usize) -> String) -> Story {
    let mut story = served();
    for index in 0..times {
        story.input.requests.push(Request {
            who: LEADER.to_owned(),
            sent: story.now(),
            method: "PUT",
            key: Some(model()),
            subresource: Some("status".to_owned()),
            resource_version: Some(version(index)),
            code: Some(409),
            told: true,
            ..Request::default()
        });
    }
    story
}

/// Two `TrafficSplit`s name the model; the younger one has a route by whoever asks.
fn claimed(route: bool) -> Story {
    let mut story = served();
    story.make_split("second");
    let uid = story.get(&key("TrafficSplit", "second"))["metadata"]["uid"].clone();
    story.wait(30);
    if route {
        story.write(LEADER, &key("HTTPRoute", "second"), |v| {
            v["metadata"]["ownerReferences"] =
                json!([{"kind": "TrafficSplit", "uid": uid, "controller": true}]);
            v["spec"] = json!({"rules": [{"backendRefs": [{"name": A, "weight": 10_000}]}]});
        });
    }
    story
}

proofs! {
    s1 S1: in promoted(); not || {
        let mut story = entered();
        story.route(&[(A, 9_500), (B, 400)], &[]);
        story
    };
    s2 S2: in promoted(); not || {
        let mut story = entered();
        story.ready(B, 0);
        story.wait(10);
        story.take(1, "50%", "Progressing");
        story.route(&[(A, 5_000), (B, 5_000)], &[]);
        story
    };
    s3 S3: in promoted(); not || {
        let mut story = served();
        story.prepare();
        story.input.applied.retain(|a| a.proxy == 0 || a.generation != Some(3));
        story.take(0, "5%", "Progressing");
        story.route(&[(A, 9_500), (B, 500)], &[]);
        story
    };
    s4 S4: in promoted(); not || {
        let mut story = entered();
        story.size(A, 1);
        story
    };
    s5 S5: in promoted(); not || {
        let mut story = entered();
        story.service(A, B);
        story
    };
    s6 S6: in promoted(); not || {
        let mut story = entered();
        story.write("user", &deployment(A), |v| v["metadata"]["annotations"] = json!({"team": "x"}));
        story.write(LEADER, &deployment(A), |v| v["metadata"]["annotations"] = json!({}));
        story
    };
    s7 S7: in promoted(); not || {
        let mut story = entered();
        story.take(2, "100%", "Watching");
        story.status(|s| s["phase"] = json!("Pending"));
        story
    };
    s8 S8: in promoted(); not || {
        let mut story = entered();
        story.route(&[(A, 5_000), (B, 5_000)], &[]);
        story
    };
    s9 S9: in promoted(); not || {
        let mut story = served();
        story.prepare();
        story.take(0, "5%", "Progressing");
        story.route(&[(A, 9_500), (B, 500)], &[]);
        story.propagate();
        story.begin();
        story.wait(20);
        story.take(1, "50%", "Progressing");
        story
    };
    s10 S10: in promoted(); not || {
        let mut story = entered();
        story.status(|s| s["attempt"] = json!(2));
        story
    };
    s11 S11: in promoted(); not || {
        let mut story = blind();
        story.take(1, "50%", "Progressing");
        story
    };
    s12 S12: in rolled_back(); not || {
        let mut story = entered();
        story.route(&[(A, 10_000)], &[B]);
        story
    };
    s13 S13: in blind_rollback(); not || {
        let mut story = served();
        story.bad = 0.5;
        story.input.facts.versions.insert("2.0".to_owned(), Quality::Bad);
        story.enter();
        story.wait(3000);
        story.status(|s| s["message"] = json!("all is well"));
        story
    };
    s14 S14: in promoted(); not || {
        let mut story = entered();
        story.climb();
        story.wait(60);
        story.promoted();
        story
    };
    s15 S15: in rolled_back(); not || {
        let mut story = entered();
        story.ready(A, 0);
        story.wait(10);
        story.decide("Breach");
        story.route(&[(A, 10_000)], &[B]);
        story
    };
    s16 S16: in promoted(); not || {
        let mut story = entered();
        story.decide("Breach");
        story.route(&[(A, 10_000)], &[B]);
        story.wait(10);
        story.size(B, 0);
        story
    };
    s17 S17: in promoted(); not || {
        let mut story = served();
        story.guarded = false;
        story.enter();
        story
    };
    s18 S18: in handed_over(); not || {
        let mut story = entered();
        story.status_by("seatrial-b", |s| s["message"] = json!("me too"));
        story
    };
    s19 S19: in handed_over(); not || {
        let mut story = handed_over();
        story.status_by(LEADER, |s| s["message"] = json!("I am back"));
        story
    };
    s20 S20: in promoted(); not || {
        let mut story = served();
        story.write(LEADER, &model(), |v| v["spec"]["replicas"] = json!(3));
        story
    };
    s21 S21: in promoted(); not || {
        let mut story = promoted();
        story.status(|s| s["message"] = json!("still here"));
        story.wait(1);
        story
    };
    s22 S22: in promoted(); not || {
        let mut story = served();
        story.status(|s| s["conditions"][0]["lastTransitionTime"] = json!("2026-11-21T11:11:11Z"));
        story
    };
    s23 S23: in promoted(); not || {
        let mut story = served();
        story.status(|s| s["message"] = json!("x".repeat(1025)));
        story
    };
    s24 S24: in promoted(); not || {
        let mut story = served();
        story.write(LEADER, &key("Service", A), |v| v["spec"]["ports"][0]["port"] = json!(81));
        story
    };
    s25 S25: in promoted(); not || {
        let mut story = promoted();
        story.status(|s| s["history"] = json!([]));
        story
    };
    s26 S26: in beside_broken(); not || {
        let mut story = served();
        story.input.facts.panics.push("index out of bounds".to_owned());
        story
    };
    s27 S27: in refused(); not || {
        let mut story = refused();
        story.begin_attempt();
        story
    };
    s28 S28: in beside_broken(); not || {
        let mut story = beside_broken();
        story.ask("2.0");
        story.wait(100);
        story
    };
    s29 S29: in promoted(); not || {
        let mut story = served();
        story.write("user", &deployment("foreign"), |v| v["metadata"]["labels"] = json!({}));
        story.write(LEADER, &deployment("foreign"), |v| v["spec"] = json!({"replicas": 0}));
        story
    };
    s30 S30: in claimed(false); not || claimed(true);
    s31 S31: in cancelled(); not || {
        let mut story = entered();
        story.remove("user", &split());
        story.wait(100);
        story
    };
    s32 S32: in recreated(); not || {
        let mut story = served();
        story.remove("user", &model());
        story.ask("3.0");
        story.status(|s| s["stableRevision"] = json!(A));
        story
    };
    s33 S33: in promoted(); not || {
        let mut story = served();
        story.write(LEADER, &route(), |v| v["spec"]["rules"][0]["backendRefs"][0]["namespace"] = json!("other"));
        story
    };
    s34 S34: in headless(); not || {
        let mut story = served();
        story.leader = String::new();
        story.renew();
        story.wait(20);
        story.status_by(LEADER, |s| s["message"] = json!("from the grave"));
        story.wait(1);
        story
    };
    s35 S35: in deadline(121); not || deadline(20);
    s36 S36: in fought(); not || {
        let mut story = fought();
        story.route_by("gitops", &[(A, 9_000), ("other", 1_000)], &[]);
        for index in 0..7 {
            story.route(&[(A, 10_000)], if index % 2 == 0 { &[B] } else { &[] });
        }
        story
    };
    l1 L1: in promoted(); not || {
        let mut story = entered();
        story.rest();
        story
    };
    l2a L2a: in rolled_back(); not || lingering(0);
    l2b L2b: in hindered(); not || lingering(10);
    l2c L2c: in crashed(); not || {
        let mut story = entered();
        story.decide("Breach");
        crash(&mut story, 18);
        story.wait(200);
        story
    };
    l2d L2d: in withdrawn(); not || {
        let mut story = blind();
        story.wait(100);
        story
    };
    l2e L2e: in hindered(); not || lingering(10);
    l3 L3: in crashed(); not || {
        let mut story = entered();
        crash(&mut story, 18);
        let crash = story.input.facts.crashes[0];
        story.wait(60);
        story.input.requests.retain(|r| r.sent < crash);
        story
    };
    l4 L4: in promoted(); not || {
        let mut story = entered();
        story.roll_back();
        story
    };
    l5 L5: in promoted(); not || {
        let mut story = served();
        story.ask("2.0");
        story.wait(10);
        story
    };
    l6 L6: in fixed_forward(); not || {
        let mut story = served();
        story.ready(A, 0);
        story.wait(10);
        story.ask("2.0");
        story.wait(1);
        story.status(|s| s["latestRevision"] = json!(B));
        story.wait(100);
        story
    };
    l7 L7: in { let mut story = one_of_two(); story.wait(2); story.route(&[(A, 10_000)], &[]); story.wait(30); story }; not || {
        let mut story = one_of_two();
        story.wait(30);
        story
    };
    l8 L8: in { let mut story = served(); fault(&mut story, 10); story.wait(400); story }; not || {
        let mut story = served();
        fault(&mut story, 10);
        story.ask("2.0");
        story.wait(400);
        story
    };
    l9 L9: in conflict(3, |i| i.to_string()); not || conflict(21, |i| i.to_string());
    l11 L11: in fought(); not || {
        let mut story = served();
        story.route_by("gitops", &[(A, 9_000), (B, 1_000)], &[]);
        story.wait(60);
        story
    };
    l12 L12: in resumed(); not || {
        let mut story = blind();
        story.input.facts.blind[0].until = story.now() + seconds(1);
        story.wait(200);
        story
    };
    l13 L13: in lost(); not || {
        let mut story = entered();
        story.ready(B, 0);
        story.wait(60);
        story
    };
    l14 L14: in { let mut story = picked_up(); story.wait(1); story.split_status("True"); story.wait(20); story }; not || {
        let mut story = picked_up();
        story.wait(60);
        story
    };
}

#[test]
fn a_status_that_is_written_for_every_sentence_is_seen() {
    for (seconds, too_often) in [(1, true), (4, false)] {
        let mut story = served();
        for number in 0..6 {
            story.wait(seconds);
            story.status(|s| s["message"] = json!(number.to_string()));
        }
        let found = check(&story.input).violations.iter().any(|v| v.invariant == Invariant::S23);
        assert_eq!(found, too_often, "one in {seconds} s");
    }
}

#[test]
fn a_request_that_fails_at_a_revision_without_pods_is_seen() {
    for (ready, invariant) in [(false, Invariant::S2), (true, Invariant::S16)] {
        let mut story = served();
        story.prepare();
        if ready {
            story.size(B, 0);
        } else {
            story.input.changes.retain(|c| c.by != "kubelet" || c.key != deployment(B));
        }
        let (at, route) = (story.now(), route());
        story.input.served.push(Served {
            at,
            route,
            backend: B.to_owned(),
            requests: 9,
            errors: 0,
            slow: 0,
            failed: 9,
        });
        fails(invariant, &story);
    }
}

#[test]
fn pods_of_a_deleted_model_that_end_too_soon_are_seen() {
    // Callers of its Service are led there until garbage collection takes that.
    for (collected, seconds, too_soon) in [(0, 1, true), (0, 100, false), (100, 1, true)] {
        let mut story = served();
        story.remove("user", &model());
        story.wait(collected);
        story.remove("garbage-collector", &key("Service", "iris"));
        story.wait(seconds);
        story.remove(LEADER, &deployment(A));
        if too_soon {
            fails(Invariant::S16, &story);
        } else {
            holds(Invariant::S16, &story);
        }
    }
}

#[test]
fn the_same_body_is_not_sent_again_after_a_conflict() {
    fails(Invariant::S17, &conflict(2, |_| "7".to_owned()));
}

#[test]
fn what_is_skipped_or_raised_without_a_step_is_seen() {
    let mut story = entered();
    story.take(2, "100%", "Watching");
    fails(Invariant::S7, &story);
    let mut story = entered();
    story.status(|s| s["step"]["weight"] = json!("50%"));
    fails(Invariant::S7, &story);
    let mut story = entered();
    story.decide("Breach");
    story.route(&[(A, 9_000), (B, 1_000)], &[]);
    fails(Invariant::S7, &story);
}

#[test]
fn a_rejected_revision_that_is_tried_again_is_seen() {
    let mut story = rolled_back();
    story.begin_attempt();
    fails(Invariant::S12, &story);
    let mut story = rolled_back();
    story.status(|s| s["rejected"] = json!([]));
    fails(Invariant::S12, &story);
}

#[test]
fn a_violation_names_the_invariant_the_moment_and_the_change() {
    let mut story = served();
    story.write(LEADER, &model(), |v| v["spec"]["replicas"] = json!(3));
    let text = check(&story.input).violations[0].to_string();
    assert!(text.starts_with("S20 (the spec is the user's) at 109.000 s, change "), "{text}");
    assert!(text.ends_with(": seatrial-a wrote /spec of ModelDeployment iris"), "{text}");
}

/// A replica asks for a Service fifty times a second, so often.
fn asking(times: u32) -> Story {
    let mut story = promoted();
    let began = story.now();
    for time in 0..times {
        story.input.requests.push(Request {
            who: LEADER.to_owned(),
            sent: began + Duration::from_millis(20) * time,
            method: "GET",
            key: Some(key("Service", A)),
            code: Some(403),
            told: true,
            ..Request::default()
        });
    }
    story.wait(60);
    story
}

#[test]
fn reads_that_are_repeated_without_a_pause_are_seen() {
    holds(Invariant::S21, &asking(199));
    fails(Invariant::S21, &asking(200));
}

/// Version 2 is paused when it turns bad, and nothing is written from then on.
fn sours_in_a_pause() -> Story {
    let mut story = served();
    story.input.facts.versions.insert("2.0".to_owned(), Quality::Sours);
    story.enter();
    story.status(|s| s["phase"] = json!("Paused"));
    story.bad = 0.5;
    story.wait(320);
    story
}

#[test]
fn a_candidate_that_turns_bad_in_a_pause_is_seen_to_stay() {
    let mut story = sours_in_a_pause();
    story.wait(2600);
    fails(Invariant::S13, &story);
    let mut story = sours_in_a_pause();
    story.roll_back();
    story.rest();
    holds(Invariant::S13, &story);
}
