//! Futures beside each other, of which only those are looked at that were woken.
//!
//! `tokio::join!` looks at all of them whenever one was woken: of eight watches, seven have nothing to say.
//! `FuturesUnordered` looks at those that were woken in the order of their wakes, not in their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{
    FutureExt,
    future::{BoxFuture, poll_fn},
    task::AtomicWaker,
};

/// Wakes one of the futures.
struct Bell {
    rung: AtomicBool,
    task: Arc<AtomicWaker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Drives all futures, in their order, until each has ended.
pub async fn all(futures: Vec<BoxFuture<'_, ()>>) {
    let task = Arc::new(AtomicWaker::new());
    let mut running: Vec<_> = futures
        .into_iter()
        .map(|future| (future, Arc::new(Bell { rung: AtomicBool::new(true), task: task.clone() })))
        .collect();
    poll_fn(|context| {
        // Before the bells are looked at: one that rings meanwhile is heard the next time.
        task.register(context.waker());
        running.retain_mut(|(future, bell)| {
            let rung = bell.rung.swap(false, Ordering::AcqRel);
            let waker = Waker::from(bell.clone());
            !rung || future.poll_unpin(&mut Context::from_waker(&waker)).is_pending()
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::channel::oneshot::{Receiver, channel};

    use super::*;

    #[test]
    fn only_those_that_were_woken_are_looked_at_in_their_order_and_all_end() {
        let looks = Mutex::new(vec![]);
        let (mut give, mut futures) = (vec![], vec![]);
        for name in ["a", "b", "c"] {
            let (sender, mut receiver): (_, Receiver<()>) = channel();
            let looks = &looks;
            give.push(Some(sender));
            let looked = poll_fn(move |context| {
                looks.lock().unwrap().push(name);
                receiver.poll_unpin(context).map(drop)
            });
            futures.push(looked.boxed());
        }
        let mut all = std::pin::pin!(all(futures));
        assert!(all.as_mut().now_or_never().is_none());
        assert_eq!(std::mem::take(&mut *looks.lock().unwrap()), ["a", "b", "c"], "all, to begin with");
        assert!(all.as_mut().now_or_never().is_none());
        assert!(looks.lock().unwrap().is_empty(), "nobody was woken");
        give[2].take().unwrap().send(()).unwrap();
        give[1].take().unwrap().send(()).unwrap();
        assert!(all.as_mut().now_or_never().is_none());
        assert_eq!(std::mem::take(&mut *looks.lock().unwrap()), ["b", "c"]);
        give[0].take().unwrap().send(()).unwrap();
        assert!(all.now_or_never().is_some(), "all have ended");
    }
}
