//! What can go wrong between a replica and the API server, and inside a replica: as data, so that a failing seed can leave
//! out one after the other.

pub mod draw;
pub mod rewind;
pub mod stream;
pub mod weather;
pub mod wire;

use std::{fmt, time::Duration};

/// One thing that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its own number, and the seed of its own chance: leaving out another fault changes nothing about this one.
    pub id: u64,
    /// What goes wrong.
    pub what: What,
    /// For which replica; `None`: for both.
    pub replica: Option<usize>,
    /// From this virtual time …
    pub from: Duration,
    /// … until this.
    pub until: Duration,
    /// For how many of the requests (or events), in parts per thousand.
    pub share: u32,
}

impl Fault {
    /// Whether it concerns a replica at this time.
    pub fn is_on(&self, replica: usize, at: Duration) -> bool {
        self.replica.is_none_or(|r| r == replica) && self.from <= at && at < self.until
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.replica.map_or("both replicas", |r| ["seatrial-a", "seatrial-b"][r.min(1)]);
        write!(
            f,
            "{:?} for {who} from {:.1} s to {:.1} s, {} of 1000",
            self.what,
            self.from.as_secs_f64(),
            self.until.as_secs_f64(),
            self.share
        )
    }
}

/// When, relative to a request, its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It was about to be sent.
    BeforeSend,
    /// It has been applied; nobody was told.
    AfterApply,
    /// Its answer has come; what follows from it has just begun.
    AfterAnswer,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A request is lost; the client waits in vain.
    Lost,
    /// A request is applied; its answer is lost.
    AnswerLost,
    /// A request takes so long; the client may have given up when it is applied.
    Late(Duration),
    /// A request is applied; its answer takes so long, and watches tell meanwhile what came of it, and after it.
    AnswerLate(Duration),
    /// A request is applied twice, the second time so much later.
    Twice(Duration),
    /// The answer is this status, and nothing was applied (504: chance decides).
    Status(u16),
    /// The connection is reset; whether the request was applied, chance decides.
    Reset,
    /// The answer ends in the middle of its body.
    Truncated,
    /// No request arrives.
    CutOff,
    /// Requests arrive and are applied; no answer does, and no event.
    Deaf,
    /// Connections are refused.
    Down,
    /// Lists from which watches begin are so old: an API server that lags behind answers. Live reads are not concerned:
    /// without `resourceVersion` they are quorum reads.
    Stale(Duration),
    /// A watch brings nothing for so long, then only the last event of each object.
    Skip(Duration),
    /// An event comes twice.
    Again,
    /// A watch brings nothing more and does not end.
    Stall,
    /// An event comes so much later, and all behind it.
    Slow(Duration),
    /// A watch is closed.
    Close,
    /// A watch answers 410 Gone.
    Gone,
    /// Requests for this kind (by plural) are forbidden.
    Forbidden(&'static str),
    /// A webhook denies every write of this kind (by plural).
    Denied(&'static str),
    /// A webhook that every write of this kind (by plural) has to pass is down: 500.
    Unwell(&'static str),
    /// This kind (by plural) does not exist yet: 404 for everything about it.
    Missing(&'static str),
    /// The process ends at its `after`-th write since it began, and begins again so much later.
    Crash {
        /// Which write of the process.
        after: u32,
        /// When.
        moment: Moment,
        /// How long it is away.
        away: Duration,
    },
    /// The process is killed at `from` and begins again at `until`.
    Kill,
    /// The process does nothing from `from` to `until`, then goes on as if nothing had happened.
    Suspended,
    /// SIGTERM at `from`; it begins again at `until`, under another name.
    Restart,
    /// Its wall clock is wrong by so many seconds from `from` to `until`.
    Clock(i64),
}

impl What {
    /// One word, for counts and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "request lost",
            Self::AnswerLost => "answer lost",
            Self::Late(_) => "request late",
            Self::AnswerLate(_) => "answer late",
            Self::Twice(_) => "request twice",
            Self::Status(409) => "409",
            Self::Status(429) => "429",
            Self::Status(500) => "500",
            Self::Status(503) => "503",
            Self::Status(_) => "504",
            Self::Reset => "connection reset",
            Self::Truncated => "answer truncated",
            Self::CutOff => "partition",
            Self::Deaf => "partition, one way",
            Self::Down => "API server down",
            Self::Stale(_) => "stale list",
            Self::Skip(_) => "events unobserved",
            Self::Again => "event twice",
            Self::Stall => "watch stalled",
            Self::Slow(_) => "events late",
            Self::Close => "watch closed",
            Self::Gone => "410 Gone",
            Self::Forbidden(_) => "403",
            Self::Denied(_) => "denied by a webhook",
            Self::Unwell(_) => "webhook down",
            Self::Missing(_) => "CRD missing",
            Self::Crash { moment: Moment::BeforeSend, .. } => "crash before send",
            Self::Crash { moment: Moment::AfterApply, .. } => "crash after apply",
            Self::Crash { moment: Moment::AfterAnswer, .. } => "crash after answer",
            Self::Kill => "killed",
            Self::Suspended => "suspended",
            Self::Restart => "restart",
            Self::Clock(_) => "clock wrong",
        }
    }
}
