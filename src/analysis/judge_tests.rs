use rstest::rstest;

use super::*;
use crate::analysis::settings::Sensitivity;

fn settings() -> Settings {
    let none = Kappa::Known(0.0);
    Settings { kappa: none, kappa_compare: none, ..Settings::preset(Sensitivity::Balanced) }
}

struct Scene {
    judge: SloJudge,
    next: i64,
    step: i32,
    alone: bool,
}

impl Scene {
    fn new(settings: Settings) -> Self {
        Self { judge: SloJudge::new(0.01, &settings).unwrap(), next: 0, step: 0, alone: false }
    }

    /// `blocks` blocks of 100 requests of the candidate and 400 of stable.
    fn runs(&mut self, blocks: i64, bad: f64, bad_stable: f64) -> &mut Self {
        for _ in 0..blocks {
            let stable = (!self.alone).then_some(Counts::exact(bad_stable, 400.0));
            self.fold(Some(self.step), Some(Counts::exact(bad, 100.0)), stable);
        }
        self
    }

    fn fold(&mut self, step: Option<i32>, candidate: Option<Counts>, stable: Option<Counts>) -> &mut Self {
        self.judge.fold(&Block {
            index: self.next,
            step,
            alone: self.alone,
            candidate,
            stable,
            ..Block::default()
        });
        self.next += 1;
        self
    }

    fn verdict(&self) -> Verdict {
        self.judge.verdict(self.step)
    }
}

fn failed(verdict: &Verdict) -> Option<Cause> {
    match verdict {
        Verdict::Fail(breach) => Some(breach.cause),
        _ => None,
    }
}

#[test]
fn a_healthy_candidate_passes_once_enough_requests_are_seen() {
    let mut scene = Scene::new(settings());
    assert_eq!(scene.verdict(), Verdict::Inconclusive(Why::NoData));
    assert_eq!(scene.runs(2, 0.0, 0.0).verdict(), Verdict::Inconclusive(Why::Undecided));
    assert_eq!(scene.runs(4, 0.0, 0.0).verdict(), Verdict::Pass);
}

#[test]
fn every_step_needs_evidence_of_its_own() {
    let mut scene = Scene::new(settings());
    scene.runs(20, 0.0, 0.0);
    assert_eq!(scene.judge.verdict(1), Verdict::Inconclusive(Why::NoData));
    scene.step = 1;
    assert_eq!(scene.runs(1, 0.0, 0.0).verdict(), Verdict::Inconclusive(Why::Undecided));
    assert_eq!(scene.runs(5, 0.0, 0.0).verdict(), Verdict::Pass);
}

#[test]
fn while_weights_move_nothing_passes_but_a_breach_is_still_seen() {
    let mut scene = Scene::new(settings());
    for _ in 0..50 {
        scene.fold(None, Some(Counts::exact(0.0, 100.0)), None);
    }
    assert_eq!(scene.verdict(), Verdict::Inconclusive(Why::NoData));
    for _ in 0..4 {
        scene.fold(None, Some(Counts::exact(30.0, 100.0)), None);
    }
    assert_eq!(failed(&scene.verdict()), Some(Cause::Objective));
}

#[test]
fn a_broken_objective_is_a_breach_within_few_blocks() {
    let mut scene = Scene::new(settings());
    scene.runs(10, 0.0, 0.0);
    assert!(failed(&scene.runs(3, 20.0, 0.0).verdict()).is_some());
}

#[test]
fn being_worse_than_stable_is_a_breach_even_within_the_objective() {
    let mut scene = Scene::new(settings());
    assert_eq!(failed(&scene.runs(60, 0.6, 0.2).verdict()), Some(Cause::WorseThanStable));
    let mut scene = Scene::new(Settings { compare: false, ..settings() });
    assert_eq!(failed(&scene.runs(60, 0.6, 0.2).verdict()), None);
}

#[test]
fn a_breach_that_stable_shares_is_held() {
    let mut scene = Scene::new(settings());
    scene.runs(10, 0.0, 0.0);
    assert_eq!(scene.runs(10, 10.0, 40.0).verdict(), Verdict::Inconclusive(Why::SharedWithStable));
    assert_eq!(scene.runs(200, 0.0, 0.0).verdict(), Verdict::Pass, "and forgotten when it is long over");
}

#[test]
fn at_full_traffic_there_is_nobody_to_share_with() {
    let mut scene = Scene::new(settings());
    scene.runs(10, 0.0, 0.0);
    (scene.alone, scene.step) = (true, 1);
    assert_eq!(failed(&scene.runs(4, 10.0, 0.0).verdict()), Some(Cause::Objective));
}

#[test]
fn a_shared_incident_from_before_is_not_blamed_at_full_traffic() {
    let mut scene = Scene::new(settings());
    scene.runs(10, 0.0, 0.0).runs(10, 10.0, 40.0);
    (scene.alone, scene.step) = (true, 1);
    assert_eq!(failed(&scene.runs(1, 0.0, 0.0).verdict()), None);
    assert_eq!(scene.runs(200, 0.0, 0.0).verdict(), Verdict::Pass);
}

#[test]
fn a_stable_that_never_answers_is_nobody_to_share_with() {
    let mut scene = Scene::new(settings());
    for _ in 0..4 {
        scene.fold(Some(0), Some(Counts::exact(20.0, 100.0)), None);
    }
    assert_eq!(failed(&scene.verdict()), Some(Cause::Objective));
}

#[test]
fn no_requests_are_no_data_however_long() {
    let mut scene = Scene::new(settings());
    for _ in 0..500 {
        scene.fold(Some(0), Some(Counts::exact(0.0, 0.0)), Some(Counts::exact(0.0, 400.0)));
    }
    assert_eq!(scene.verdict(), Verdict::Inconclusive(Why::NoData));
}

#[test]
fn a_limit_between_two_edges_fails_on_the_certain_and_passes_on_the_possible_ones() {
    let uncertain = Some(Counts { bad: 0.0, bad_at_most: 30.0, total: 100.0 });
    let mut scene = Scene::new(settings());
    for _ in 0..100 {
        scene.fold(Some(0), uncertain, Some(Counts::exact(0.0, 400.0)));
    }
    assert_eq!(scene.verdict(), Verdict::Inconclusive(Why::Undecided));
    let report = scene.judge.report(0);
    assert!(report.interval.low < 0.72 && report.interval.high > 0.999, "{report:?}");
}

#[rstest]
#[case::objective(0.0)]
#[case::objective(1.0)]
#[case::objective(f64::NAN)]
fn nothing_can_prove_an_objective_of_all_or_nothing(#[case] theta: f64) {
    assert!(SloJudge::new(theta, &settings()).is_none());
}

#[test]
fn wrong_settings_make_no_judge() {
    assert!(SloJudge::new(0.01, &Settings { alpha: 2.0, ..settings() }).is_none());
}

#[test]
fn the_requests_still_needed_are_what_it_then_takes() {
    for bad_every in [0, 4] {
        let mut scene = Scene::new(settings());
        let mut block = 0;
        let mut run = |scene: &mut Scene| {
            block += 1;
            let bad = if bad_every > 0 && block % (2 * bad_every) == 0 { 1.0 } else { 0.0 };
            scene.fold(Some(0), Some(Counts::exact(bad, 50.0)), Some(Counts::exact(0.0, 400.0)));
        };
        (0..8).for_each(|_| run(&mut scene));
        let report = scene.judge.report(0);
        let (needed, blocks) = (report.requests_needed.unwrap(), report.blocks_needed.unwrap());
        assert!((blocks - (needed / 50.0).ceil()).abs() < 1e-9);
        let mut taken = 0.0;
        while scene.verdict() != Verdict::Pass {
            run(&mut scene);
            taken += 50.0;
        }
        assert!((taken - needed).abs() <= 0.25 * needed + 100.0, "{needed} promised, {taken} taken");
        assert!(scene.judge.report(0).requests_needed.unwrap() < f64::EPSILON);
    }
}

#[test]
fn a_candidate_at_its_limit_cannot_be_told_how_many_requests_are_missing() {
    let mut scene = Scene::new(settings());
    let report = scene.runs(5, 1.0, 4.0).judge.report(0);
    assert_eq!((report.requests_needed, report.blocks_needed), (None, None));
}

#[test]
fn several_slos_share_one_error_rate() {
    let mut sick = Scene::new(settings());
    let mut well = Scene::new(settings());
    sick.runs(2, 0.0, 0.0);
    well.runs(10, 0.0, 0.0);
    let together = |sick: &Scene, well: &Scene| verdicts(&[&well.judge, &sick.judge], 0);
    while failed(&sick.verdict()).is_none() {
        assert_eq!(failed(&together(&sick, &well)[1]), None, "two SLOs cannot fail sooner than one alone");
        sick.runs(1, 4.0, 0.0);
    }
    sick.runs(2, 4.0, 0.0);
    let verdicts = together(&sick, &well);
    assert_eq!(verdicts[0], Verdict::Pass);
    assert!(failed(&verdicts[1]).is_some());
}

#[test]
fn two_halves_of_a_proof_on_two_slos_prove_a_breach_together() {
    let mut scene = Scene::new(Settings { slos: 2, ..settings() });
    while failed(&verdicts(&[&scene.judge, &scene.judge], 0)[1]).is_none() {
        scene.runs(1, 2.0, 0.0);
    }
    assert_eq!(failed(&scene.verdict()), None, "neither proves it by itself");
}

#[test]
fn unknown_waves_take_longer() {
    let mut unknown = Scene::new(Settings::default());
    unknown.runs(6, 0.0, 0.0);
    assert_eq!(unknown.verdict(), Verdict::Inconclusive(Why::Undecided));
    assert!(unknown.judge.report(0).dispersion_assumed);
}

#[test]
fn a_real_breach_is_never_called_shared_on_its_way() {
    for (bad, of_stable) in [(2.0, 0.0), (3.0, 1.0), (10.0, 4.0), (20.0, 8.0), (40.0, 2.0)] {
        let mut scene = Scene::new(settings());
        scene.runs(40, 0.0, 1.0);
        for _ in 0..200 {
            let verdict = scene.runs(1, bad, of_stable).verdict();
            assert_ne!(
                verdict,
                Verdict::Inconclusive(Why::SharedWithStable),
                "{bad} of 100, {of_stable} of 400"
            );
            if failed(&verdict).is_some() {
                break;
            }
        }
        assert!(failed(&scene.verdict()).is_some(), "{bad} of 100, {of_stable} of 400");
    }
}

#[test]
fn a_broken_objective_is_undecided_until_the_comparison_says_that_stable_is_as_bad() {
    let mut scene = Scene::new(settings());
    scene.runs(20, 0.0, 0.0);
    let mut words = vec![];
    for _ in 0..10 {
        // The candidate breaks its objective by far; of stable only a few requests are seen.
        let stable = Some(Counts::exact(0.8, 8.0));
        words.push(scene.fold(Some(0), Some(Counts::exact(10.0, 100.0)), stable).verdict());
    }
    assert!(words.iter().all(|word| *word == Verdict::Inconclusive(Why::Undecided)), "{words:?}");
    scene.runs(10, 10.0, 40.0);
    assert_eq!(scene.verdict(), Verdict::Inconclusive(Why::SharedWithStable));
}

#[test]
fn with_the_past_as_baseline_a_small_service_finds_faults_sooner() {
    let blocks_until_found = |settings: Settings| {
        let mut scene = Scene::new(settings);
        (1..2000).find(|_| {
            // Two requests of the candidate in a block, twenty of stable: one in ten thousand of them bad.
            scene.fold(Some(0), Some(Counts::exact(0.02, 2.0)), Some(Counts::exact(0.002, 20.0)));
            failed(&scene.verdict()).is_some()
        })
    };
    let concurrent = blocks_until_found(settings()).unwrap();
    let past = settings().against_past(10.0, 100_000.0);
    let limit = past.past_limit.unwrap();
    assert!(limit > 1.25e-4 && limit < 5e-4, "{limit}");
    let found = blocks_until_found(past).unwrap();
    assert!(found < concurrent, "{found} blocks against the past, {concurrent} against the present");
    let mut scene = Scene::new(past);
    scene.runs(60, 0.6, 0.6);
    assert_eq!(
        failed(&scene.verdict()),
        Some(Cause::WorseThanBefore),
        "shared incidents are blamed: the price"
    );
}

#[test]
fn a_past_that_rules_nothing_out_is_no_baseline() {
    assert_eq!(settings().against_past(0.0, 1.0).past_limit, None);
}
