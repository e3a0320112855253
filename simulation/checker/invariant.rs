//! The invariants by name (reliability.md §3), and those that Seatrial's design leaves nothing of.

use std::fmt;

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident = $title:literal,)*) => {
        /// An invariant; the words after the number are its title in reliability.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $($(#[$doc])* #[doc = $title] $name,)*
        }

        impl Invariant {
            /// All of them, in order.
            pub const ALL: &[Invariant] = &[$(Self::$name,)*];

            /// What it says, in a few words.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }
        }
    };
}

invariants! {
    S1 = "weights sum to the total",
    S2 = "no traffic without endpoints",
    S3 = "make before break",
    S4 = "the stable revision keeps its size",
    S5 = "no re-pointing under load",
    S6 = "what is not ours stays as it is",
    S7 = "phases and weights rise only by a step",
    S8 = "never more than the step's weight",
    S9 = "no step without evidence",
    S10 = "a verdict belongs to one attempt",
    S11 = "what cannot be measured does not rise",
    S12 = "a rollback is written down first and for good",
    S13 = "a rollback needs nothing else",
    S14 = "promotion moves a pointer to what was watched",
    S15 = "never from ready endpoints to fewer than needed",
    S16 = "no pod ends before its traffic",
    S17 = "writes are guarded by what was read",
    S18 = "only the leader writes",
    S19 = "an old leader's write never lands after a new one's",
    S20 = "the spec is the user's",
    S21 = "nothing is written when nothing changes",
    S22 = "the status is true",
    S23 = "the status is bounded",
    S24 = "the same revision renders the same objects",
    S25 = "a crash loses time, nothing else",
    S26 = "a broken object is a condition, never a panic",
    S27 = "a refused spec changes nothing that flows",
    S28 = "one object's trouble is its own",
    S29 = "every child has one owner, and nothing else is touched",
    S30 = "a model belongs to one TrafficSplit",
    S31 = "deletion leaves the stable revision serving",
    S32 = "the same name is not the same object",
    S33 = "nothing crosses namespaces",
    S34 = "without the operator nothing changes",
    S35 = "a clock that jumps decides nothing",
    S36 = "a foreign writer is not fought with a storm",
    L1 = "what is asked for comes true and stays",
    L2a = "from the decision to weight 0 in a healthy system",
    L2b = "from the decision to weight 0 with the API server away",
    L2c = "from the decision to weight 0 with a crashed leader",
    L2d = "what cannot be measured is withdrawn in time",
    L2e = "from the decision to weight 0 under conflicts and errors",
    L3 = "after a crash the same step goes on",
    L4 = "a healthy candidate finishes",
    L5 = "a new spec is taken up",
    L6 = "a broken stable revision blocks no fix",
    L7 = "a deletion completes",
    L8 = "after a gap the cache is right again",
    L9 = "progress beside foreign writers",
    L10 = "one object does not delay another",
    L11 = "a changed weight is repaired",
    L12 = "measuring goes on when Prometheus is back",
    L13 = "lost pods under weight are acted on",
    L14 = "what was missing is picked up when it appears",
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.title())
    }
}
