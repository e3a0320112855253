//! The mutants, the incidents that they are of, and what is to catch them.

#[expect(clippy::enum_glob_use, reason = "the table below is read by people: a line a mutant")]
use seatrial::mutant::Mutant::{self, *};

use super::worlds::{
    aborted_over_nothing, asked, bad_and_paused, bad_and_promoted, broken_stable, child_deleted, edited,
    evicted, few_requests, flapping, foreign, lagging, moved, never_ready, newer, newer_while_watching,
    no_pods_listed, partition, paused_early, refused, route_refused, scaled, seldom_read, slow_gateway,
    soon_over, split_deleted, unapproved, unmeasured, yielded_unseen,
};
#[expect(clippy::enum_glob_use, reason = "the table below is read by people: a line a mutant")]
use crate::checker::Invariant::{self, *};
use crate::scenario::Scenario;

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
    hinted(RollbackToEmptyStable, "flagger-1898 3878", &[S15], aborted_over_nothing),
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
    hinted(AcceptanceNotAwaited, "flagger-1791", &[S3, S9, S16], slow_gateway),
    hinted(StaleAcceptance, "flagger-1791 1851", &[S3, S9, S16], slow_gateway),
    hinted(WarmNotKept, "kserve-1968 2097", &[S4], newer_while_watching),
    known(ImplicitOne, "kserve-3768 1854", &[S20, S4, L1]),
    hinted(AutoscalerIgnored, "flagger-1526 kserve-2269", &[L1], scaled),
    known(RouteBeforeRecord, "flagger-1552 1429", &[S8, S12]),
    hinted(NoLiveRead, "4221 kserve-5088 sieve", &[S2, S5, S15, S16, S30], lagging),
    known(UnguardedRoute, "flagger-1634 3559", &[S17]),
    known(UnguardedScale, "3216", &[S17]),
    known(UnguardedService, "3216 (our seed 6907)", &[S17, S5]),
    known(UnguardedDelete, "flagger-853 243 sieve", &[S17]),
    known(MissingOwner, "kserve-5934", &[S29]),
    hinted(ForeignAdopted, "kruise-278 flagger-1677", &[S29], foreign),
    known(ResendOnConflict, "3559 3216", &[S17]),
    hinted(RefusedRouteRepeated, "flagger-1801 (as a route)", &[L2a, L2b, L2e, S13, L1], route_refused),
    hinted(CandidateShrinks, "3077 (our seed 19206)", &[L4, S2, S16], moved),
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
    known(RollbackNeedsMetrics, "flagger-1801 1466", &[L2a, L2b, L2c, L2e, S13]),
    known(WindowIgnored, "flagger-635 1851", &[S14]),
    hinted(CandidateSwapped, "flagger-30 4564 4775", &[S10, S12], newer),
    hinted(SupersedeIgnored, "2689 3272 3354", &[L5], newer),
    hinted(BrokenStableBlocks, "flagger-639 1207 379 1588", &[L6, L1], broken_stable),
    hinted(DeadlineIgnored, "flagger-1603", &[L1], never_ready),
    hinted(PodsLostIgnored, "4221 4258", &[L13], evicted),
    hinted(RequestHandledTwice, "3064 3756", &[S25, S21], soon_over),
    hinted(Heartbeat, "plugin-230 231", &[S21], soon_over),
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
    hinted(BackoffMissing, "seldon-4922 kserve-4587", &[S21], refused),
    known(BakeIgnored, "4604", &[S9]),
    hinted(ApprovalIgnored, "flagger-1801", &[S9], unapproved),
    hinted(EditRaises, "flagger-30", &[S7, S8, S9], edited),
    hinted(PauseRaises, "3850", &[S7], paused_early),
    hinted(PodListNeeded, "flagger-1801 (as a permission)", &[L13, L5, L1], no_pods_listed),
    hinted(WordsUnpaced, "plugin-230 231", &[S23], flapping),
    hinted(BackoffBlind, "flagger-1801 (our seed 10277)", &[S13], seldom_read),
    hinted(LiveReadUnheard, "sieve (our seed 10103)", &[L1, L5, L8], yielded_unseen),
];
