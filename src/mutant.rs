//! Faults on purpose, one at a time: what other rollout controllers got wrong once (reliability.md §2), so that the
//! simulation can show that it would notice (`make mutants`).
//!
//! Only the feature `mutants` can switch one on, for the present thread. Without it [`on`] is a constant, and nothing of
//! this is in the binary.

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(feature = "mutants", derive(Debug))]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mutants! {
    /// Weight goes to a candidate however few of its pods are ready.
    WeightBeforeReady,
    /// The pods of a candidate are counted only before it gets everything.
    GuardOnlyAtFull,
    /// Traffic goes back to a stable revision without pods.
    RollbackToEmptyStable,
    /// The first revision gets the route before its pods are ready.
    FirstRouteBeforeReady,
    /// The first revision gets traffic before every proxy knows it.
    FirstRouteUnknown,
    /// A candidate gets traffic before every proxy knows it.
    EnterUnknown,
    /// A revision that lost its weight leaves the route at once.
    BreakBeforeMake,
    /// A candidate's weight is not taken from the stable revision's.
    WeightsDoNotSum,
    /// A revision at weight 0 is listed among those with traffic.
    ZeroWeightListed,
    /// The stable revision shrinks as the candidate's weight grows.
    StableShrinks,
    /// The stable revision ends when the candidate has everything.
    StableEndsAtFull,
    /// What lost its weight ends at once.
    NoDrain,
    /// The drain counts from the write, not from when it is effective.
    DrainFromWrite,
    /// What the parents have accepted counts as applied by every proxy.
    NoPropagation,
    /// The parents' word is not waited for.
    AcceptanceNotAwaited,
    /// The parents' word about an older generation counts.
    StaleAcceptance,
    /// A revision that was to be kept warm ends.
    WarmNotKept,
    /// A Deployment is made without a size.
    ImplicitOne,
    /// The stable revision does not follow `spec.replicas`.
    AutoscalerIgnored,
    /// The route is written before the record.
    RouteBeforeRecord,
    /// Nothing is read live before it is taken away or raised.
    NoLiveRead,
    /// A route is written onto whatever is there.
    UnguardedRoute,
    /// A Deployment is made smaller whatever it has become.
    UnguardedScale,
    /// A Service is pointed somewhere whatever it has become.
    UnguardedService,
    /// Whatever has the name is deleted.
    UnguardedDelete,
    /// Children are made without an owner.
    MissingOwner,
    /// A foreign object of the same name is taken over.
    ForeignAdopted,
    /// After a conflict the same body is sent again.
    ResendOnConflict,
    /// A route that the API server refuses is written again as it was, and again.
    RefusedRouteRepeated,
    /// A candidate under traffic gets as few pods as the steps ask for by now.
    CandidateShrinks,
    /// An undecided step passes after its bake.
    UndecidedPasses,
    /// A step that is undecided at its `maxDuration` passes.
    MaxDurationPasses,
    /// Whatever cannot be measured counts as measured.
    UnmeasuredIsGood,
    /// Whatever cannot be measured is never withdrawn.
    UnobservableForever,
    /// A moment without measurements ends the trial.
    OutageAborts,
    /// In a pause nobody judges.
    PauseNotJudged,
    /// After the last step nobody judges.
    WatchNotJudged,
    /// Every other step is left out.
    StepSkipped,
    /// A rejection is not written down.
    RetriesByItself,
    /// A new revision lets everything be forgotten that was rejected.
    RejectionForgotten,
    /// A rollback leaves the candidate its weight.
    RollbackKeepsWeight,
    /// A rollback waits for measurements.
    RollbackNeedsMetrics,
    /// The rollback window is not waited for.
    WindowIgnored,
    /// A newer revision takes the candidate's place and goes on at its step.
    CandidateSwapped,
    /// A newer revision waits until the present trial is over.
    SupersedeIgnored,
    /// Nothing new is tried while the stable revision is down.
    BrokenStableBlocks,
    /// A candidate may start for ever.
    DeadlineIgnored,
    /// A candidate that lost its pods keeps its weight.
    PodsLostIgnored,
    /// A request is handled whenever it is seen.
    RequestHandledTwice,
    /// The status says when it was written.
    Heartbeat,
    /// The route is written with every reconcile.
    UnconditionalRoute,
    /// The observed generation stays behind.
    GenerationLags,
    /// Whatever has served once is ready.
    ReadyWhileDown,
    /// A user's annotations are tidied up.
    AnnotationsRemoved,
    /// The stable revision gets the new template.
    TemplateCopied,
    /// The template depends on something that is not the revision.
    TemplateOfSize,
    /// Service `<name>` moves before the promotion.
    ServiceMovesEarly,
    /// A revision's Service selects all pods of the model.
    SharedSelector,
    /// A standby reconciles too.
    StandbyWrites,
    /// A tenure does not end by itself.
    TenureNeverEnds,
    /// A Lease is taken from whoever holds it.
    LeaseStolen,
    /// A missing measurement ends the process.
    PanicOnNoData,
    /// A trial goes on when its `TrafficSplit` has gone.
    CancelIgnored,
    /// Two `TrafficSplits` share a model.
    ClaimIgnored,
    /// The news that something has gone is not heard.
    DeletionUnseen,
    /// A failed reconcile is repeated at once.
    BackoffMissing,
    /// A step ends without its bake.
    BakeIgnored,
    /// A step ends without its approval.
    ApprovalIgnored,
    /// Edited steps raise the weight.
    EditRaises,
    /// A pause goes on rising to its step.
    PauseRaises,
    /// Where pods cannot be listed, a reconcile does not go on.
    PodListNeeded,
    /// Every sentence and number is written at once.
    WordsUnpaced,
    /// A unit with a candidate waits as long as any other after it failed.
    BackoffBlind,
    /// What a live read brings wakes nobody.
    LiveReadUnheard,
}

/// Whether this fault is switched on: never, in what is shipped.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "a constant is to vanish at any optimisation")]
pub const fn on(_: Mutant) -> bool {
    false
}

/// What is shipped has none of this: the compiler knows the answer, and leaves out what would follow from another.
#[cfg(not(feature = "mutants"))]
const _: () = assert!(!on(Mutant::NoDrain));

#[cfg(feature = "mutants")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this fault is switched on for the present thread.
#[cfg(feature = "mutants")]
#[must_use]
pub fn on(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// The fault that is switched on for the present thread: to be handed on to another.
#[cfg(feature = "mutants")]
#[must_use]
pub fn chosen() -> Option<Mutant> {
    CHOSEN.get()
}

/// Switches a fault on for the present thread, instead of the one before.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}
