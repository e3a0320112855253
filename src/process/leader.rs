//! Which replica writes: client-go's leader election on one Lease.
//!
//! The Lease is taken and renewed by PUTs that its resourceVersion guards. Whether another's Lease has expired is told by
//! *local* observation (how long ago, by this process's own monotonic time, the record was last seen to change), so that wall
//! clocks need not agree. A tenure counts from the moment at which its last renewal was *sent*, which is never later than
//! anybody else can see it, and ends [`RENEW_DEADLINE`] later; another replica takes over [`LEASE`] after that moment at the
//! earliest. In the five seconds between the two, writes already sent come to their end (`controller::lanes::ATTEMPT`).
//!
//! Two ways in which this is stricter than client-go: a Lease that is deleted while another replica holds it is not taken
//! before that replica's time is up (nor by a replica that starts just then and has never seen the Lease, unless no object
//! bears an epoch: nobody has ever led), and a tenure is handed out only after the caller has said above which epoch it must
//! be. A leader that is told of an object with a higher epoch asks again, once it has renewed the Lease: if it cannot, another
//! leads.
//! A replica that loses the Lease goes on as a standby; it does not exit.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::SignedDuration;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::{
        clock::{Clock, Jitter},
        lanes::{ATTEMPT, Tenure},
    },
    mutant::{Mutant, on},
    process::handover::{self, Seen},
};

/// How long a Lease is left to its holder after it was last seen to change.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long a tenure lasts after the last successful renewal was sent.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two rounds, ± 20 %.
pub const RETRY: Duration = Duration::from_secs(2);

/// Tells the highest epoch that stands in any object, by a live read. A new leader asks it after it has taken the Lease and
/// before it may write, so that a Lease which was deleted (and counts from 0 again) locks nobody out.
pub type Floor = Arc<dyn Fn() -> BoxFuture<'static, Result<i64, kube::Error>> + Send + Sync>;

/// A replica that leads or would like to.
pub struct Contender {
    leases: Api<Lease>,
    name: String,
    identity: String,
    clock: Clock,
    jitter: Jitter,
    floor: Floor,
    seen: Option<Seen>,
    held: Option<Held>,
    /// The highest epoch that this process has held.
    highest: i64,
    /// Since when there has been no Lease, as long as this process has seen none.
    missing: Option<Instant>,
    /// Whether nobody has ever led, once that was looked up because there is no Lease.
    first: Option<bool>,
    /// The last look at the Lease has failed.
    blind: bool,
    asking: Option<BoxFuture<'static, Result<i64, kube::Error>>>,
    /// The highest epoch that was found in an object whose leader's is lower.
    outranking: watch::Receiver<i64>,
}

/// The Lease is ours.
struct Held {
    tenure: Tenure,
    /// The floor has been heard: the tenure may be handed out.
    cleared: bool,
    /// An epoch that was found in an object before the last renewal was sent: whoever bore it leads no more.
    outranked_by: i64,
}

impl Contender {
    /// A replica called `identity` (unique among the replicas, the pod's name) that contends for the Lease
    /// `namespace`/`name`. `client` must be the unfenced one: `controller::lanes::lease_client`.
    #[must_use]
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        identity: &str,
        clock: Clock,
        jitter: Jitter,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            clock,
            jitter,
            floor: Arc::new(|| Box::pin(std::future::ready(Ok(0)))),
            seen: None,
            held: None,
            highest: 0,
            missing: None,
            first: None,
            blind: false,
            asking: None,
            outranking: watch::channel(0).1,
        }
    }

    /// Sets where the floor of the epochs comes from; without it, the floor is 0.
    #[must_use]
    pub fn with_floor(self, floor: Floor) -> Self {
        Self { floor, ..self }
    }

    /// Sets where it is told that an object bears an epoch higher than this replica's, which therefore cannot write to it:
    /// another leads; or the floor came from an API server that lagged behind; or somebody restored the object with its status.
    #[must_use]
    pub fn with_outranking(self, outranking: watch::Receiver<i64>) -> Self {
        Self { outranking, ..self }
    }

    /// Contends until `resign`, and shows in `seat` whether and until when this replica leads. Then gives the Lease back, so
    /// that another replica leads within one retry; whoever cancels `resign` must have ended all writes before.
    pub fn contend(
        self,
        seat: watch::Sender<Option<Tenure>>,
        resign: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(self.contends(seat, resign))
    }

    async fn contends(mut self, seat: watch::Sender<Option<Tenure>>, resign: CancellationToken) {
        let resigned = async {
            loop {
                let end = self.end();
                tokio::select! {
                    biased;
                    () = sleep_until(end) => {}
                    result = self.round() => self.report(result),
                }
                self.show(&seat);
                self.ask_for_floor();
                self.pause(&seat).await;
            }
        };
        let _: Option<()> = resign.run_until_cancelled(resigned).await;
        seat.send_replace(None);
        if !matches!(timeout(ATTEMPT, self.release()).await, Ok(Ok(()))) {
            tracing::warn!("the lease could not be given back in time: it expires by itself");
        }
    }

    /// Waits for the next round. Meanwhile a tenure that is over ends, and one whose floor is heard begins.
    async fn pause(&mut self, seat: &watch::Sender<Option<Tenure>>) {
        let next = self.next_round();
        loop {
            let (end, asking) = (self.end(), self.asking.as_mut());
            let outranked = self.outranking.changed();
            tokio::select! {
                biased;
                () = sleep_until(end) => self.asking = None,
                Some(floor) = async { Some(asking?.await) } => {
                    self.asking = None;
                    self.heard(floor);
                    if self.held.is_none() && self.first == Some(true) {
                        return;
                    }
                }
                Ok(()) = outranked => return,
                () = sleep_until(next) => return,
            }
            self.show(seat);
        }
    }

    /// In two seconds or so; for a standby, at the latest at the moment when the holder's time is up.
    fn next_round(&self) -> Instant {
        let now = Instant::now();
        let usual = now + self.jitter.spread(RETRY);
        let up = self.seen.as_ref().filter(|_| self.held.is_none()).map(Seen::expires);
        up.filter(|up| *up > now).map_or(usual, |up| up.min(usual))
    }

    /// One attempt to renew or to take the Lease.
    async fn round(&mut self) -> Result<(), kube::Error> {
        if let (Some(_), Some(seen)) = (&self.held, &self.seen) {
            match self.claim(Some(seen.lease.clone())).await {
                // Somebody wrote or deleted it; perhaps ourselves, by a renewal whose answer was lost. Look.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                result => return result,
            }
        }
        let lease = self.leases.get_opt(&self.name).await.inspect_err(|_| self.lost_sight())?;
        self.observe(lease.clone());
        if self.may_claim() {
            return match self.claim(lease).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    tracing::debug!(lease = self.name, "another replica was faster");
                    self.lost_sight();
                    Ok(())
                }
                result => result,
            };
        }
        if self.held.take().is_some() {
            tracing::warn!(lease = self.name, "another replica has taken the lease");
        }
        Ok(())
    }

    /// Remembers the record, and the moment if it says something new. A Lease that vanishes counts as such: whoever holds it
    /// does not know yet.
    fn observe(&mut self, lease: Option<Lease>) {
        let now = Instant::now();
        match (lease, &mut self.seen) {
            (Some(lease), Some(seen)) if lease.spec == seen.lease.spec && !seen.vanished => {
                seen.lease = lease;
            }
            (Some(lease), _) => self.seen = Some(Seen { lease, since: now, vanished: false }),
            (None, Some(seen)) if !seen.vanished || self.blind => (seen.since, seen.vanished) = (now, true),
            (None, Some(_)) => {}
            (None, None) => {
                self.missing.get_or_insert(now);
            }
        }
        self.blind = false;
    }

    /// That there is no Lease, and that nobody has ever led, counts only as long as it is looked at: one may have come, and gone.
    fn lost_sight(&mut self) {
        (self.missing, self.first, self.blind) = (None, None, true);
    }

    /// Whether the Lease as last seen is ours (also that of the same pod before a crash), nobody's, or has expired. Once it has
    /// vanished, what it said counts no more: others may have led since, and only time tells that they do not. One that was
    /// never seen may have vanished a moment ago.
    fn may_claim(&self) -> bool {
        let Some(seen) = &self.seen else {
            let waited = self.missing.is_some_and(|since| since + LEASE <= Instant::now());
            return waited || self.first == Some(true);
        };
        let own = match seen.holder() {
            _ if on(Mutant::LeaseStolen) => true,
            _ if seen.vanished => self.held.is_some(),
            holder => holder.is_empty() || holder == self.identity,
        };
        own || seen.expires() <= Instant::now()
    }

    /// Writes ourselves into `lease`, or into a new one.
    async fn claim(&mut self, lease: Option<Lease>) -> Result<(), kube::Error> {
        let before = self.seen.as_ref().and_then(|seen| seen.lease.spec.clone()).unwrap_or_default();
        let transitions = before.lease_transitions.map_or(0, i64::from);
        let epoch = match &self.held {
            Some(held) => held.tenure.epoch,
            None => transitions.max(self.highest).saturating_add(1),
        };
        let now = MicroTime(self.clock.now());
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(LEASE.as_secs()).unwrap_or(i32::MAX)),
            lease_transitions: Some(i32::try_from(epoch).unwrap_or(i32::MAX)),
            acquire_time: if self.held.is_some() { before.acquire_time } else { Some(now) },
            renew_time: self.renewal(),
            ..LeaseSpec::default()
        };
        let (sent, outranked_by) = (Instant::now(), *self.outranking.borrow());
        let lease = self.write(lease, spec).await?;
        let goes_on = handover::goes_on_from(self.seen.as_ref(), &lease, self.clock.now());
        self.clock.agree(goes_on, self.seen.as_ref().map_or(SignedDuration::ZERO, Seen::ahead));
        self.seen = Some(Seen { lease, since: Instant::now(), vanished: false });
        self.highest = self.highest.max(epoch);
        let outranked = outranked_by > epoch;
        if outranked {
            tracing::warn!(epoch, outranked_by, "an object bears a higher epoch: reading all of them again");
        }
        let cleared = self.held.as_ref().is_some_and(|held| held.cleared && !outranked);
        let lasts = if on(Mutant::TenureNeverEnds) { Duration::from_hours(9) } else { RENEW_DEADLINE };
        self.held = Some(Held { tenure: Tenure { epoch, until: sent + lasts }, cleared, outranked_by });
        Ok(())
    }

    /// The steady time, for the record. Before it is agreed on: what the record said, gone on since then, or nothing. Whoever
    /// leads next goes on from it, and would take over a wrong clock. (Such a claim is news by its number of transitions.)
    fn renewal(&self) -> Option<MicroTime> {
        if self.clock.has_agreed() {
            return Some(MicroTime(self.clock.now()));
        }
        self.seen.as_ref().and_then(Seen::steady).map(MicroTime)
    }

    async fn write(&mut self, lease: Option<Lease>, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        let is_there = lease.is_some();
        let mut next = Lease { spec: Some(spec), ..lease.unwrap_or_default() };
        // The API server's own affair: left out, they stay.
        next.metadata.managed_fields = None;
        if self.clock.has_agreed() {
            handover::note_ahead(&mut next.metadata, self.clock.ahead());
        }
        if is_there {
            return self.leases.replace(&self.name, &params, &next).await;
        }
        next.metadata.name = Some(self.name.clone());
        self.leases.create(&params, &next).await
    }

    /// Gives the Lease back if it is ours: nobody holds it, and it has expired in a second.
    async fn release(&mut self) -> Result<(), kube::Error> {
        for _ in 0..2 {
            let Some(lease) = self.leases.get_opt(&self.name).await? else { break };
            let Some(spec) = lease.spec.clone() else { break };
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                break;
            }
            let spec = LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                renew_time: self.renewal(),
                ..spec
            };
            match self.write(Some(lease), spec).await {
                // A renewal that was still under way when this replica resigned.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                result => return result.map(|_| tracing::info!(lease = self.name, "gave the lease back")),
            }
        }
        Ok(())
    }

    /// Asks for the floor once the Lease is ours, or when there is none, and again with each round until it is told.
    fn ask_for_floor(&mut self) {
        let asks = match &self.held {
            Some(held) => !held.cleared,
            None => self.seen.is_none() && self.missing.is_some() && self.first.is_none(),
        };
        if !asks {
            self.asking = None;
        } else if self.asking.is_none() {
            self.asking = Some((self.floor)());
        }
    }

    fn heard(&mut self, floor: Result<i64, kube::Error>) {
        match (floor, &mut self.held) {
            (Ok(floor), Some(held)) => {
                let floor = floor.max(held.outranked_by);
                held.tenure.epoch = held.tenure.epoch.max(floor.saturating_add(1));
                held.cleared = true;
                self.highest = held.tenure.epoch;
            }
            (Ok(floor), None) => self.first = Some(floor == 0),
            (Err(error), _) => {
                tracing::warn!(%error, "cannot read the epochs in use: this replica holds the lease and does not write yet");
            }
        }
    }

    /// When the tenure is over if nothing renews it.
    fn end(&self) -> Instant {
        let never = Instant::now() + Duration::from_hours(24);
        self.held.as_ref().map_or(never, |held| held.tenure.until)
    }

    /// Ends a tenure that is over, and shows what is left.
    fn show(&mut self, seat: &watch::Sender<Option<Tenure>>) {
        if self.held.as_ref().is_some_and(|held| held.tenure.until <= Instant::now()) {
            tracing::warn!(lease = self.name, "the lease could not be renewed in time");
            self.held = None;
        }
        let now = self.held.as_ref().filter(|held| held.cleared).map(|held| held.tenure);
        let before = seat.send_replace(now);
        match (before.map(|tenure| tenure.epoch), now.map(|tenure| tenure.epoch)) {
            (before, now) if before == now => {}
            (_, Some(epoch)) => tracing::info!(identity = self.identity, epoch, "this replica leads"),
            (_, None) => tracing::info!(identity = self.identity, "this replica does not lead any more"),
        }
    }

    fn report(&self, result: Result<(), kube::Error>) {
        if let Err(error) = result {
            let leads = self.held.is_some();
            tracing::warn!(lease = self.name, leads, %error, "a round of the leader election failed");
        }
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
