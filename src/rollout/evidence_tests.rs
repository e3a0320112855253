use rstest::rstest;
use serde_json::json;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::*;
use crate::{
    analysis::settings::Kappa,
    api::v1alpha1::StepStart,
    rollout::question::{Counters, Series},
};

const ENTERED: i64 = 1_800_000_000_000;
const SCRAPE: i64 = 5_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn rules(analysis: serde_json::Value) -> Rules {
    Rules {
        analysis: serde_json::from_value(analysis).unwrap(),
        scrape: Duration::from_millis(SCRAPE),
        planned_blocks: 240,
        pods_ratio: 2.0,
    }
}

fn evidence(analysis: serde_json::Value, slos: &serde_json::Value) -> Evidence {
    let subject = Subject {
        namespace: "ml".to_owned(),
        candidate: "iris-bbbbbbbb".to_owned(),
        stable: Some("iris-aaaaaaaa".to_owned()),
        attempt: 1,
        entered: Some(at(ENTERED)),
    };
    let slos: Vec<Slo> = serde_json::from_value(slos.clone()).unwrap();
    Evidence::new(subject, rules(analysis), &slos)
}

fn availability() -> serde_json::Value {
    json!([{"name": "availability", "objective": "99%", "errors": {}}])
}

fn latency() -> serde_json::Value {
    json!([{"name": "latency", "objective": "99%", "latency": {"below": "300ms"}}])
}

fn step() -> StepStatus {
    serde_json::from_value(json!({
        "index": 0, "progress": "1/1", "weight": "20%", "since": at(ENTERED), "entered": at(ENTERED),
        "starts": [{"index": 0, "since": at(ENTERED)}],
    }))
    .unwrap()
}

/// Counters that are scraped every five seconds: 50 requests a second, of stable `bad_every`-th is bad in the first
/// minutes of every quarter of an hour.
fn counters(question: &Question, revision: &str, rate: i64, bad_in_a_scrape: i64) -> Counters {
    let born = if revision == "iris-bbbbbbbb" { ENTERED } else { ENTERED - 20_000_000 };
    let first = (question.from.as_millisecond() - 2 * SCRAPE).max(born).div_euclid(SCRAPE) + 1;
    let last = question.until.as_millisecond().div_euclid(SCRAPE);
    let series = |key: &str, count: &dyn Fn(i64) -> i64| {
        #[allow(clippy::cast_precision_loss)]
        let samples = (first..=last).map(|scrape| (scrape * SCRAPE, count(scrape) as f64)).collect();
        vec![Series { key: format!("{revision} {key}"), target: "envoy".to_owned(), samples }]
    };
    let wave = |scrape: i64| scrape.div_euclid(180) * 36 + scrape.rem_euclid(180).min(36);
    let begin = born / SCRAPE;
    let since = |scrape: i64| (scrape - begin) * rate;
    let total = series("total", &since);
    if matches!(question.indicator, Indicator::Latency { .. }) {
        // Of stable, 40 % take longer than 100 ms and 4 % longer than 200 ms.
        let within = [(0.1, 60), (0.2, 96), (0.3, 100)];
        let within =
            within.map(|(edge, share)| (edge, series(&format!("{edge}"), &|at| since(at) * share / 100)));
        return Counters { total, bad: vec![], within: within.into() };
    }
    let bad = series("bad", &|scrape| (wave(scrape) - wave(begin)) * bad_in_a_scrape);
    Counters { total, bad, within: vec![] }
}

fn answer(question: &Question) -> Answer {
    let of = |revision: &str| match revision {
        "iris-bbbbbbbb" => counters(question, revision, 50, 1),
        _ => counters(question, revision, 200, 4),
    };
    let stable = question.stable.as_deref().map(of).unwrap_or_default();
    Answer::Counters { candidate: of(&question.candidate), stable }
}

/// Plays `minutes` of a trial; the past is answered once `past_from` minutes are over.
fn play(evidence: &mut Evidence, minutes: i64, past_from: i64) {
    for tick in 0..=minutes * 12 {
        let now = at(ENTERED + tick * SCRAPE);
        for (about, question) in evidence.questions(now) {
            match about {
                About::Trial(slo) => evidence.fold(slo, &question, Ok(answer(&question)), Some(&step())),
                About::Past(slo) if tick >= past_from * 12 => {
                    evidence.remember(slo, &question, &Ok(answer(&question)), now);
                }
                About::Past(_) => {}
            }
        }
    }
}

/// A candidate without errors: everything about it is good.
fn faultless(question: &Question) -> Answer {
    let of = |revision: &str| counters(question, revision, 50, 0);
    let stable = question.stable.as_deref().map(of).unwrap_or_default();
    Answer::Counters { candidate: of(&question.candidate), stable }
}

#[test]
fn what_was_measured_at_a_step_of_another_schedule_proves_nothing_about_this_one() {
    let asked_until = |evidence: &mut Evidence, step: &StepStatus, minutes: i64| {
        let now = at(ENTERED + minutes * 60_000);
        for _ in 0..20 {
            for (about, question) in evidence.questions(now) {
                match about {
                    About::Trial(slo) => {
                        evidence.fold(slo, &question, Ok(faultless(&question)), Some(step));
                    }
                    About::Past(slo) => evidence.remember(slo, &question, &Ok(faultless(&question)), now),
                }
            }
        }
        let judgement = evidence.judgement(step, now);
        (judgement.pass, judgement.baked.millis() > 0)
    };
    let mut kept = evidence(json!({}), &availability());
    assert_eq!(asked_until(&mut kept, &step(), 20), (true, true));

    // Its schedule was edited and set back: the same index, and the same weight, since just now.
    let mut again = step();
    let edited = MicroTime(at(ENTERED + 20 * 60_000));
    (again.since, again.starts[0].until) = (edited.clone(), Some(edited.clone()));
    again.starts[0].index = steps::EARLIER;
    again.starts.push(StepStart { index: 0, weight: again.weight, since: edited, until: None });
    let mut restarted = evidence(json!({}), &availability());
    for evidence in [&mut kept, &mut restarted] {
        assert_eq!(asked_until(evidence, &again, 20), (false, false));
        assert_eq!(asked_until(evidence, &again, 40), (true, true));
    }
}

/// The second beginning is of the watch after the last of two steps; its `TrafficSplit` has another number of them by now.
#[rstest]
#[case::with_everything("100%", true)]
#[case::beside_the_stable_revision("90%", false)]
fn nobody_else_is_asked_about_where_a_candidate_has_everything(#[case] weight: &str, #[case] proven: bool) {
    let moved = ENTERED + 6 * SCRAPE;
    let step: StepStatus = serde_json::from_value(json!({
        "index": 2, "progress": "1/1", "weight": weight, "since": at(moved), "entered": at(ENTERED),
        "starts": [{"index": -1, "weight": "20%", "since": at(ENTERED), "until": at(moved)},
                   {"index": 2, "weight": weight, "since": at(moved)}],
    }))
    .unwrap();
    // From then on the stable revision gets nothing.
    let ends = |mut counters: Counters| {
        for series in counters.total.iter_mut().chain(&mut counters.bad) {
            let last =
                series.samples.iter().rfind(|(time, _)| *time <= moved).map_or(0.0, |(_, count)| *count);
            series.samples.iter_mut().filter(|(time, _)| *time > moved).for_each(|(_, count)| *count = last);
        }
        counters
    };
    let mut evidence = evidence(json!({}), &availability());
    for tick in 0..=3 * 12 {
        let now = at(ENTERED + tick * SCRAPE);
        for (about, question) in evidence.questions(now) {
            if let About::Trial(slo) = about {
                let candidate = counters(&question, "iris-bbbbbbbb", 50, 25);
                let stable = ends(counters(&question, "iris-aaaaaaaa", 50, 25));
                evidence.fold(slo, &question, Ok(Answer::Counters { candidate, stable }), Some(&step));
            }
        }
    }
    let judgement = evidence.judgement(&step, at(ENTERED + 3 * 60_000));
    assert_eq!((judgement.breach.is_some(), judgement.shared), (proven, None), "{:?}", judgement.slos);
}

fn share(evidence: &Evidence) -> &Share {
    match &evidence.slos[0].judged {
        Judged::Share(share) => share,
        Judged::Value(_) => panic!("a share is judged"),
    }
}

#[rstest]
#[case::errors(availability())]
#[case::latency(latency())]
fn whenever_the_past_is_answered_the_judgement_comes_to_the_same_bits(#[case] slos: serde_json::Value) {
    let played = |past_from| {
        let mut evidence = evidence(json!({}), &slos);
        play(&mut evidence, 20, past_from);
        evidence
    };
    let (early, late, restarted) = (played(0), played(15), {
        // A process that begins anew in the middle asks for everything again.
        let mut evidence = evidence(json!({}), &slos);
        let now = at(ENTERED + 20 * 60_000);
        for _ in 0..20 {
            for (about, question) in evidence.questions(now) {
                match about {
                    About::Trial(slo) => {
                        evidence.fold(slo, &question, Ok(answer(&question)), Some(&step()));
                    }
                    About::Past(slo) => evidence.remember(slo, &question, &Ok(answer(&question)), now),
                }
            }
        }
        evidence
    });
    assert!(share(&early).past.is_none() && share(&early).kept.is_empty());
    let settings = share(&early).settings;
    let limits = settings.further.map(|limit| limit.map(|limit| limit.seconds));
    if slos == latency() {
        assert_eq!(limits, [Some(0.1), Some(0.2), None]);
    } else {
        assert!(settings.objective_kappa() > 0.0 && limits == [None; 3], "{settings:?}");
    }
    for other in [&late, &restarted] {
        assert_eq!(share(other).settings, share(&early).settings);
        assert_eq!(share(other).ledger.judge(), share(&early).ledger.judge());
    }
}

#[test]
fn without_an_answer_about_the_past_a_trial_is_judged_with_the_cautious_value() {
    let mut waiting = evidence(json!({}), &availability());
    play(&mut waiting, 10, i64::MAX / 12);
    assert_eq!(share(&waiting).settings.kappa, Kappa::Unknown);
    let status = &waiting.judgement(&step(), at(ENTERED + 600_000)).slos[0];
    assert!(status.requests > 5000, "{status:?}");
}

#[test]
fn what_the_user_set_is_neither_asked_for_nor_changed() {
    let mut set = evidence(json!({"dispersion": "0"}), &availability());
    let asked = set.questions(at(ENTERED + 60_000));
    assert!(asked.iter().all(|(about, _)| matches!(about, About::Trial(_))), "{asked:?}");
    play(&mut set, 5, 0);
    assert!(share(&set).kept.is_empty());
    assert_eq!(share(&set).settings.kappa, Kappa::Known(0.0));
}

#[test]
fn the_past_is_asked_about_stable_alone_and_before_the_first_block_has_closed() {
    let fresh = evidence(json!({}), &availability());
    let asked = fresh.questions(at(ENTERED));
    let [(About::Past(0), question)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((question.candidate.as_str(), &question.stable), ("iris-aaaaaaaa", &None));
    assert_eq!(question.from, at(ENTERED - 960 * 15_000));
}

#[test]
fn a_question_about_the_past_that_failed_keeps_nobody_waiting() {
    let mut evidence = evidence(json!({}), &availability());
    let (_, question) = evidence.questions(at(ENTERED)).remove(0);
    let down = Err(Unanswered { reason: "Timeout", message: "no answer".to_owned() });
    evidence.remember(0, &question, &down, at(ENTERED));
    assert_eq!(evidence.questions(at(ENTERED + 1000)), [], "and is not repeated at once");
    play(&mut evidence, 4, i64::MAX / 12);
    assert!(evidence.judgement(&step(), at(ENTERED + 240_000)).slos[0].requests > 0);
    assert_eq!(evidence.judgement(&step(), at(ENTERED + 240_000)).observability, Observability::Yes);
}

#[test]
fn longer_rollouts_are_planned_for_and_a_changed_plan_starts_afresh() {
    let mut kept = evidence(json!({"dispersion": "0"}), &availability());
    play(&mut kept, 5, 0);
    let slos: Vec<Slo> = serde_json::from_value(availability()).unwrap();
    let (subject, same) = (kept.subject.clone(), rules(json!({"dispersion": "0"})));
    assert!(
        kept.is_about(&subject, &Rules { pods_ratio: 9.0, ..same.clone() }, &slos),
        "scaled in mid-trial"
    );
    let longer = Rules { planned_blocks: 960, ..same };
    assert!(!kept.is_about(&subject, &longer, &slos));
    let afresh = kept.keep(&subject, &longer, &slos);
    assert_eq!(share(&afresh).settings.planned_blocks, 960);
    assert!(share(&afresh).ledger.judge().report(0).requests < 1.0);
}

#[test]
fn a_report_is_of_the_step_that_is_asked_for_and_of_all_that_was_answered() {
    let mut evidence = evidence(json!({"dispersion": "0"}), &availability());
    for minutes in [2, 4] {
        play(&mut evidence, minutes, 0);
        for step in [0, 1, 0] {
            let Judged::Share(share) = &mut evidence.slos[0].judged else { panic!("a share is judged") };
            let fresh = share.ledger.judge().report(step);
            assert_eq!(*share.report(step), fresh);
        }
    }
}

#[test]
fn what_was_answered_about_the_beginning_of_a_long_trial_says_nothing_about_the_present() {
    let mut evidence = evidence(json!({"interval": "5s"}), &availability());
    let reach = evidence.reach();
    let mut seen = vec![];
    for _ in 0..3 {
        let now = at(ENTERED + 5 * reach / 2);
        let due = evidence.questions(now);
        let (About::Trial(slo), question) = &due[0] else { panic!("{due:?}") };
        evidence.fold(*slo, question, Ok(answer(question)), Some(&step()));
        seen.push(evidence.judgement(&step(), now).observability);
    }
    assert_eq!(seen, [Observability::Unknown, Observability::Unknown, Observability::Yes]);
}

#[test]
fn where_none_of_its_slos_can_be_asked_about_nothing_is_measured() {
    let mut evidence = evidence(json!({}), &json!([]));
    let judgement = evidence.judgement(&step(), at(ENTERED));
    assert!(matches!(judgement.observability, Observability::No(why) if why.contains("refused")));
}
