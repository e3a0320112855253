//! Waiting for what is to come, with a deadline and a sentence; never for a length of time.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, interval, timeout_at};

use super::{Broken, Outcome};

/// Watches object `name` until `holds` is true of it (`None`: it does not exist), and returns it as it was then.
/// Past the deadline the error says `sentence` and what was seen last, by `show`.
pub async fn until<K>(
    api: &Api<K>,
    name: &str,
    within: Duration,
    sentence: &str,
    holds: impl Fn(Option<&K>) -> bool,
    show: impl Fn(&K) -> String,
) -> Outcome<Option<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let deadline = Instant::now() + within;
    let objects = watch_object(api.clone(), name).default_backoff();
    pin_mut!(objects);
    let mut last = String::from("nothing");
    loop {
        match timeout_at(deadline, objects.next()).await {
            Ok(Some(Ok(object))) => {
                if holds(object.as_ref()) {
                    return Ok(object);
                }
                last = object.as_ref().map_or_else(|| "no such object".to_owned(), &show);
            }
            // The watch starts again by itself, with a backoff.
            Ok(Some(Err(error))) => last = format!("the watch failed: {error}"),
            Ok(None) => return Err(Broken::new(format!("{sentence}: the watch of {name} ended"))),
            Err(_) => {
                return Err(Broken::new(format!(
                    "{sentence}: not so within {} s; last seen of {name}: {last}",
                    within.as_secs()
                )));
            }
        }
    }
}

/// Waits until object `name` does not exist.
pub async fn until_gone<K>(api: &Api<K>, name: &str, within: Duration) -> Outcome
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let sentence = format!("{name} is gone");
    until(api, name, within, &sentence, |o: Option<&K>| o.is_none(), |_| "still there".to_owned())
        .await
        .map(drop)
}

/// Looks ten times a second until `look` finds something. For what cannot be watched: logs, metrics, answers.
pub async fn eventually<T>(
    within: Duration,
    sentence: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Outcome<T> {
    let deadline = Instant::now() + within;
    let mut beat = interval(Duration::from_millis(100));
    loop {
        beat.tick().await;
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Broken::new(format!("{sentence}: not so within {} s", within.as_secs())));
        }
    }
}
