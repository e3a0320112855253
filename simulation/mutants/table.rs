//! The mutants, the incidents that they are of, and what is to catch them.

use std::time::Duration;

#[expect(clippy::enum_glob_use, reason = "the table below is read by people: a line a mutant")]
use seatrial::{
    mutant::Mutant::{self, *},
    world::plant::{autoscaler, chance::Range, during::During, prometheus::wrong::Wrong, user::Deed},
};
use serde_json::json;

#[expect(clippy::enum_glob_use, reason = "the table below is read by people: a line a mutant")]
use crate::{
    checker::Invariant::{self, *},
    faults::{Fault, What},
    objects::NAMESPACE,
    scenario::{Scenario, Version, model_key, split_key},
};

/// A mutant.
pub struct Known {
    /// Which; what it changes is said where it is named (`src/mutant.rs`).
    pub mutant: Mutant,
    /// Issues and pull requests of reliability.md §2, or the study that found it.
    pub incidents: &'static str,
    /// What should catch it; others may be faster.
    pub expected: &'static [Invariant],
    /// What makes a world in which it can matter.
    pub hint: Option<fn(&mut Scenario)>,
}

const fn known(mutant: Mutant, incidents: &'static str, expected: &'static [Invariant]) -> Known {
    Known { mutant, incidents, expected, hint: None }
}

const fn hinted(
    mutant: Mutant,
    incidents: &'static str,
    expected: &'static [Invariant],
    hint: fn(&mut Scenario),
) -> Known {
    Known { mutant, incidents, expected, hint: Some(hint) }
}

/// All of them.
pub const KNOWN: &[Known] = &[
    known(WeightBeforeReady, "587 3420 kserve-5984", &[S2]),
    known(GuardOnlyAtFull, "4646 3878", &[S2]),
    known(RollbackToEmptyStable, "flagger-1898 3878", &[S15]),
    known(FirstRouteBeforeReady, "2507 3602 flagger-1451", &[S2]),
    known(FirstRouteUnknown, "istio-28402 20367", &[S3]),
    known(EnterUnknown, "istio-28402 48016", &[S3]),
    known(BreakBeforeMake, "4310 2118 2540", &[S3, S16]),
    known(WeightsDoNotSum, "kruise-140 278 3474", &[S1]),
    known(ZeroWeightListed, "plugin-115 istio-31745", &[S1]),
    known(StableShrinks, "3077 4035 kserve-5984", &[S4, S16]),
    known(StableEndsAtFull, "3586 3681 2235", &[S4]),
    known(NoDrain, "4310 istio-48016 23029", &[S16]),
    known(DrainFromWrite, "4560 istio-7665 4787", &[S16]),
    known(NoPropagation, "istio-7665", &[S3, S9, S16, S14]),
    known(AcceptanceNotAwaited, "flagger-1791", &[S3, S9, S16]),
    known(StaleAcceptance, "flagger-1791 1851", &[S3, S9, S16]),
    hinted(WarmNotKept, "kserve-1968 2097", &[S4], newer_while_watching),
    known(ImplicitOne, "kserve-3768 1854", &[S20, S4, L1]),
    hinted(AutoscalerIgnored, "flagger-1526 kserve-2269", &[L1], scaled),
    known(RouteBeforeRecord, "flagger-1552 1429", &[S8, S12]),
    hinted(NoLiveRead, "4221 kserve-5088 sieve", &[S2, S15, S16, S30], lagging),
    known(UnguardedRoute, "flagger-1634 3559", &[S17]),
    known(UnguardedScale, "3216", &[S17]),
    known(UnguardedDelete, "flagger-853 243 sieve", &[S17]),
    known(MissingOwner, "kserve-5934", &[S29]),
    hinted(ForeignAdopted, "kruise-278 flagger-1677", &[S29], foreign),
    known(ResendOnConflict, "3559 3216", &[S17]),
    known(UndecidedPasses, "3850 3873", &[S9]),
    hinted(MaxDurationPasses, "3850", &[S9], few_requests),
    hinted(UnmeasuredIsGood, "180 459 flagger-1763", &[L2d, S11], unmeasured),
    hinted(UnobservableForever, "flagger-1801 1466", &[L2d], unmeasured),
    hinted(OutageAborts, "argo policy: 50 s", &[S35], unmeasured),
    hinted(PauseNotJudged, "flagger-1801", &[S13], bad_and_paused),
    hinted(WatchNotJudged, "flagger-1898 4604", &[S13, S9], bad_and_promoted),
    known(StepSkipped, "flagger-30 2689", &[S7]),
    known(RetriesByItself, "2929", &[S12]),
    known(RejectionForgotten, "kserve-1968 2040", &[S12]),
    known(RollbackKeepsWeight, "4787", &[L2a, L2b, L2e]),
    known(RollbackNeedsMetrics, "flagger-1801 1466", &[L2a, L2b, S13]),
    known(WindowIgnored, "flagger-635 1851", &[S14]),
    hinted(CandidateSwapped, "flagger-30 4564 4775", &[S10, S12], newer),
    hinted(SupersedeIgnored, "2689 3272 3354", &[L5], newer),
    hinted(BrokenStableBlocks, "flagger-639 1207 379 1588", &[L6, L1], broken_stable),
    hinted(DeadlineIgnored, "flagger-1603", &[L1], never_ready),
    hinted(PodsLostIgnored, "4221 4258", &[L13], evicted),
    known(RequestHandledTwice, "3064 3756", &[S25, S21]),
    known(Heartbeat, "plugin-230 231", &[S21]),
    known(UnconditionalRoute, "plugin-230 231 232", &[S21]),
    known(GenerationLags, "kserve-4667 5703", &[L5, L1, L8]),
    hinted(ReadyWhileDown, "kserve-4667", &[S22], broken_stable),
    hinted(AnnotationsRemoved, "flagger-1746", &[S20], asked),
    known(TemplateCopied, "flagger-1898", &[S14]),
    known(TemplateOfSize, "kserve-5085 491", &[S14]),
    known(ServiceMovesEarly, "2235 flagger-1451", &[S5]),
    known(SharedSelector, "4564 2118", &[S5]),
    known(StandbyWrites, "2117 kserve-491", &[S18]),
    hinted(TenureNeverEnds, "2117 3355", &[S18], partition),
    known(LeaseStolen, "4768", &[S18, S19]),
    known(PanicOnNoData, "1466 flagger-1637 kserve-1854", &[S26]),
    hinted(CancelIgnored, "flagger-853 1562", &[S31], split_deleted),
    known(ClaimIgnored, "plugin-164", &[S30]),
    hinted(DeletionUnseen, "sieve k8s-76624 1357", &[L1, L7, L8], child_deleted),
    known(BackoffMissing, "seldon-4922 kserve-4587", &[S21]),
    known(BakeIgnored, "4604", &[S9]),
    hinted(ApprovalIgnored, "flagger-1801", &[S9], unapproved),
    hinted(EditRaises, "flagger-30", &[S7, S8], edited),
    hinted(PauseRaises, "3850", &[S7], paused_early),
];

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// No faults, and good versions only: what a hint does stands out.
fn plain(scenario: &mut Scenario) {
    scenario.faults.clear();
    scenario.answers.clear();
    scenario.stalls.clear();
    scenario.gateway.clear();
    scenario.gitops = None;
    scenario.scalers.clear();
    scenario.versions.values_mut().for_each(|version| *version = Version::Good);
}

fn first(scenario: &Scenario) -> &'static str {
    scenario.models[0].name
}

/// The model's version 1 from a moment on.
fn roll(scenario: &mut Scenario, at: u64, version: Version) {
    scenario.script.retain(|(_, deed)| matches!(deed, Deed::Create(_)));
    scenario.script.iter_mut().for_each(|(at, _)| *at = (*at).min(seconds(2)));
    scenario.versions.insert("0.1.0".to_owned(), version);
    scenario.script.push((seconds(at), Deed::Version(model_key(first(scenario)), "0.1.0".to_owned())));
    scenario.quiet = scenario.quiet.max(seconds(150));
}

fn then(scenario: &mut Scenario, at: u64, version: &str) {
    scenario.versions.insert(version.to_owned(), Version::Good);
    scenario.script.push((seconds(at), Deed::Version(model_key(first(scenario)), version.to_owned())));
}

fn verb(scenario: &mut Scenario, at: u64, verb: &'static str) {
    let model = model_key(first(scenario));
    let about = seatrial::world::plant::user::About::Candidate;
    scenario.script.push((seconds(at), Deed::Verb { model, verb, about, step: None }));
}

fn newer_while_watching(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    for at in [45, 50, 55] {
        verb(scenario, at, "promote");
    }
    for split in &mut scenario.splits {
        split.window = 25;
    }
    redraw(scenario);
    then(scenario, 62 + scenario.seed % 12, "0.2.0");
}

fn newer(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    then(scenario, 45 + scenario.seed % 40, "0.2.0");
}

fn scaled(scenario: &mut Scenario) {
    plain(scenario);
    let every = Range { least: seconds(3), most: seconds(20) };
    let (model, until) = (model_key(first(scenario)), scenario.quiet);
    scenario.scalers.push(autoscaler::Setting { model, every, least: 1, most: 5, until });
}

fn fault(what: What, replica: Option<usize>, from: u64, until: u64) -> Fault {
    Fault { id: 990 + from, what, replica, from: seconds(from), until: seconds(until), share: 1000 }
}

fn lagging(scenario: &mut Scenario) {
    for (index, from) in (30..scenario.quiet.as_secs().saturating_sub(10)).step_by(12).enumerate() {
        let what = if index % 2 == 0 { What::Slow(seconds(8)) } else { What::Skip(seconds(9)) };
        scenario.faults.push(fault(what, None, from, from + 10));
    }
    for (index, version) in scenario.versions.values_mut().enumerate() {
        *version = if index % 2 == 0 { Version::Flapping } else { Version::Evicted(seconds(20)) };
    }
}

fn foreign(scenario: &mut Scenario) {
    let name = first(scenario);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"selector": {"app": "foreign"}, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
    scenario.script.push((Duration::ZERO, Deed::Create(service)));
}

fn few_requests(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    scenario.rate = 2;
}

fn unmeasured(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    scenario.quiet = seconds(220);
    for split in &mut scenario.splits {
        split.holds = false;
        split.budget = 25;
        split.window = 25;
    }
    redraw(scenario);
    let what = Wrong::all()[usize::try_from(scenario.seed).unwrap_or(0) % Wrong::all().len()].clone();
    let from = seconds(48 + scenario.seed % 20);
    scenario.answers.push(During { from, until: seconds(215), what });
}

fn bad_and_paused(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::ErrorsFrom(seconds(75), 0.4));
    scenario.quiet = seconds(260);
    scenario.rate = 200;
    for split in &mut scenario.splits {
        for step in &mut split.steps {
            (step.bake, step.longest) = (60, 200);
        }
    }
    redraw(scenario);
    verb(scenario, 70, "pause");
}

fn bad_and_promoted(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::ErrorsFrom(seconds(70), 0.4));
    scenario.quiet = seconds(260);
    scenario.rate = 200;
    for split in &mut scenario.splits {
        split.window = 150;
        for step in &mut split.steps {
            (step.bake, step.longest) = (60, 200);
        }
    }
    redraw(scenario);
    for at in [55, 60, 65] {
        verb(scenario, at, "promote");
    }
}

fn broken_stable(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 50, Version::Good);
    scenario.versions.insert("0.0.0".to_owned(), Version::Crashing(seconds(14)));
}

fn never_ready(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::NeverReady);
}

fn evicted(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Crashing(seconds(20 + scenario.seed % 20)));
    scenario.models.iter_mut().for_each(|m| m.replicas = 1);
    for split in &mut scenario.splits {
        for step in &mut split.steps {
            (step.bake, step.longest, step.replicas) = (60, 200, Some(1));
        }
    }
    redraw(scenario);
}

fn asked(scenario: &mut Scenario) {
    roll(scenario, 30, Version::Good);
    verb(scenario, 50, "pause");
    verb(scenario, 60, "resume");
}

fn partition(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    for replica in [0, 1] {
        scenario.faults.push(fault(
            What::Forbidden("leases"),
            Some(replica),
            40 + 60 * replica as u64,
            75 + 60 * replica as u64,
        ));
    }
}

fn split_deleted(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    if let Some(split) = scenario.splits.first() {
        scenario.script.push((seconds(45 + scenario.seed % 30), Deed::Delete(split_key(split.name))));
    }
}

fn child_deleted(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    let key = seatrial::world::history::Key::new(
        "HTTPRoute",
        NAMESPACE,
        scenario.splits.first().map_or("", |s| s.name),
    );
    scenario.script.push((seconds(100 + scenario.seed % 20), Deed::Delete(key)));
}

fn unapproved(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    for split in &mut scenario.splits {
        for step in &mut split.steps {
            step.approval = true;
        }
    }
    redraw(scenario);
}

fn edited(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    let Some(split) = scenario.splits.first_mut() else { return };
    for step in &mut split.steps {
        (step.bake, step.longest) = (60, 200);
    }
    let mut edited = split.clone();
    for step in &mut edited.steps {
        step.weight += 7;
    }
    let patch = json!({"spec": {"strategy": {"canary": {"steps": edited.steps()}}}});
    let key = split_key(split.name);
    redraw(scenario);
    scenario.script.push((seconds(70), Deed::Merge(key, patch)));
}

fn paused_early(scenario: &mut Scenario) {
    plain(scenario);
    roll(scenario, 30, Version::Good);
    for at in (40..80).step_by(3) {
        verb(scenario, at + scenario.seed % 3, "pause");
        verb(scenario, at + 1 + scenario.seed % 3, "resume");
    }
    verb(scenario, 82, "pause");
}

/// Puts what was changed into the deeds that make the objects.
fn redraw(scenario: &mut Scenario) {
    let (splits, models) = (scenario.splits.clone(), scenario.models.clone());
    for (_, deed) in &mut scenario.script {
        let Deed::Create(object) = deed else { continue };
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match object["kind"].as_str() {
            Some("TrafficSplit") => {
                if let Some(split) = splits.iter().find(|s| s.name == name) {
                    *object = split.object();
                }
            }
            Some("ModelDeployment") => {
                if let Some(model) = models.iter().find(|m| m.name == name) {
                    object["spec"]["replicas"] = json!(model.replicas);
                }
            }
            _ => {}
        }
    }
}
