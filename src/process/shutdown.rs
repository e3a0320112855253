//! The parts of the process side by side, and their end in order: no new work, then what is under way, then the Lease, then
//! the endpoints.

use std::{error::Error, future::Future, io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinError,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How long work that is under way may take once the stop was asked for; then it is cut off.
pub const GRACE: Duration = Duration::from_secs(4);
/// How long each of the other parts may take. Giving the Lease back is bounded by itself.
const LAST: Duration = Duration::from_secs(5);

/// Whatever a part fails with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A part of the process, and the token that asks it to end.
pub struct Part<F> {
    /// What it is, for the log. Example: `the leader election`.
    pub name: &'static str,
    /// Its work; it should go on until `stop`, and end soon after.
    pub task: F,
    /// Cancelled when it is this part's turn to end.
    pub stop: CancellationToken,
}

/// A part ended although nobody had asked it to; the process should be started anew.
#[derive(Debug, thiserror::Error)]
#[error("{part} ended by itself")]
pub struct Ended {
    /// The part's name.
    pub part: &'static str,
    /// Why, if it said.
    #[source]
    pub source: Option<BoxError>,
}

/// A part that has been started.
struct Running {
    name: &'static str,
    task: AbortOnDropHandle<Result<(), BoxError>>,
    stop: CancellationToken,
}

impl<F> Part<F>
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn start(self) -> Running {
        let Self { name, task, stop } = self;
        Running { name, task: AbortOnDropHandle::new(tokio::spawn(task)), stop }
    }
}

impl Running {
    fn ended(&self, result: Result<Result<(), BoxError>, JoinError>) -> Ended {
        let source = match result {
            Ok(result) => result.err(),
            Err(panic) => Some(panic.into()),
        };
        Ended { part: self.name, source }
    }

    /// Asks it to end and waits for that; cuts it off when `within` is over.
    async fn end(self, within: Duration) {
        self.stop.cancel();
        if self.task.is_finished() {
            return;
        }
        match timeout(within, self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(part = self.name, error, "a part failed while it ended"),
            Ok(Err(error)) => tracing::warn!(part = self.name, %error, "a part failed while it ended"),
            Err(_) => tracing::warn!(part = self.name, "a part did not end in time and was cut off"),
        }
    }
}

/// Runs the parts until `asked` returns or one of them ends. Then `work` is ended first, the `leader` election only after
/// it (nothing is written once another replica may lead), `admin` last.
///
/// # Errors
/// When a part ended by itself, after the others have been ended in order.
pub async fn run<W, L, A>(
    asked: impl Future<Output = ()>,
    work: Part<W>,
    leader: Part<L>,
    admin: Part<A>,
) -> Result<(), Ended>
where
    W: Future<Output = Result<(), BoxError>> + Send + 'static,
    L: Future<Output = Result<(), BoxError>> + Send + 'static,
    A: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let (mut leader, mut admin, mut work) = (leader.start(), admin.start(), work.start());
    let result = tokio::select! {
        biased;
        () = asked => Ok(()),
        result = &mut leader.task => Err(leader.ended(result)),
        result = &mut work.task => Err(work.ended(result)),
        result = &mut admin.task => Err(admin.ended(result)),
    };
    work.end(GRACE).await;
    leader.end(LAST).await;
    admin.end(LAST).await;
    result
}

/// Returns once SIGTERM or SIGINT asks the process to end.
///
/// # Errors
/// At once, when signals cannot be received.
pub fn asked() -> io::Result<impl Future<Output = ()>> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let name = tokio::select! {
            biased;
            _ = term.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "the process was asked to end");
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::{Instant, sleep};

    use super::*;

    type Log = Arc<Mutex<Vec<String>>>;

    /// A part that ends `after` milliseconds after it is asked to.
    fn part(
        name: &'static str,
        after: u64,
        log: &Log,
    ) -> Part<impl Future<Output = Result<(), BoxError>> + use<>> {
        let (stop, log) = (CancellationToken::new(), Arc::clone(log));
        let stopped = stop.clone();
        let task = async move {
            stopped.cancelled().await;
            log.lock().unwrap().push(format!("{name} is asked"));
            sleep(Duration::from_millis(after)).await;
            log.lock().unwrap().push(format!("{name} ends"));
            Ok(())
        };
        Part { name, task, stop }
    }

    const IN_ORDER: [&str; 6] =
        ["work is asked", "work ends", "leader is asked", "leader ends", "admin is asked", "admin ends"];

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_given_back_after_the_last_write_and_before_the_endpoints_close() {
        let log = Log::default();
        let (work, leader, admin) =
            (part("work", 3_000, &log), part("leader", 100, &log), part("admin", 0, &log));
        run(sleep(Duration::from_secs(9)), work, leader, admin).await.unwrap();
        assert_eq!(*log.lock().unwrap(), IN_ORDER);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_cut_off_after_four_seconds_and_the_lease_still_given_back() {
        let log = Log::default();
        let (work, leader, admin) =
            (part("work", 60_000, &log), part("leader", 0, &log), part("admin", 0, &log));
        let begun = Instant::now();
        run(std::future::ready(()), work, leader, admin).await.unwrap();
        assert_eq!(begun.elapsed(), GRACE);
        let without_its_end: Vec<&str> = IN_ORDER.into_iter().filter(|line| *line != "work ends").collect();
        assert_eq!(*log.lock().unwrap(), without_its_end);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_ends_by_itself_ends_the_process_in_order_and_with_an_error() {
        let log = Log::default();
        let (leader, admin) = (part("leader", 0, &log), part("admin", 0, &log));
        let task = async { Err("watch refused".into()) };
        let work = Part { name: "work", task, stop: CancellationToken::new() };
        let ended = run(std::future::pending(), work, leader, admin).await.unwrap_err();
        assert_eq!(ended.to_string(), "work ended by itself");
        assert_eq!(ended.source.unwrap().to_string(), "watch refused");
        assert_eq!(*log.lock().unwrap(), IN_ORDER[2..]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_election_that_panics_ends_the_process() {
        let log = Log::default();
        let (work, admin) = (part("work", 0, &log), part("admin", 0, &log));
        let task = async { panic!("a bug") };
        let leader = Part { name: "leader", task, stop: CancellationToken::new() };
        let ended = run(std::future::pending(), work, leader, admin).await.unwrap_err();
        assert_eq!(ended.part, "leader");
        assert_eq!(log.lock().unwrap()[..2], IN_ORDER[..2]);
    }
}
