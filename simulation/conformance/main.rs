//! Does the API server of the simulation say what the real one says?
//!
//! Random sequences of requests go to both, answer by answer compared: status codes, reasons, messages, whole bodies; modulo
//! uids, times and version numbers. What differs for a known reason is listed in `known.rs`; anything else fails.
//!
//! ```text
//! make conformance                          5 000 sequences
//! SEED=7 SEQUENCES=1 make conformance       that one again, told in full
//! ```

mod answers;
mod known;
mod requests;

use std::{process::ExitCode, sync::Arc};

use answers::{Model, Real, Scribe, differences};
use known::Tally;
use kube::{Client, Config};
use requests::Sequence;
use tokio::{sync::Mutex, task::JoinSet};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, Error> {
    let (seed, count, workers) = (number("SEED", 1), number("SEQUENCES", 5000), number("WORKERS", 6).max(1));
    let told = count == 1;
    let mut config = Config::infer().await?;
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut tasks = JoinSet::new();
    for worker in 0..workers.min(count) {
        let (client, tally) = (client.clone(), tally.clone());
        tasks.spawn(async move {
            let namespace = format!("conformance-{worker}");
            answers::namespace(&client, &namespace).await?;
            for seed in (seed..seed + count).filter(|seed| seed % workers.min(count) == worker) {
                let found = compare(&client, &namespace, seed, told).await?;
                tally.lock().await.add(found);
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(tally.lock().await.report(seed, count))
}

/// Plays one sequence on both sides.
async fn compare(client: &Client, namespace: &str, seed: u64, told: bool) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let mut sequence = Sequence::new(seed, namespace);
    let (model, real) = (Model::new(), Real::new(client.clone()));
    let (mut ours, mut theirs) = (Scribe::default(), Scribe::default());
    for step in 0..sequence.length {
        let ask = sequence.next();
        let (asked_of_us, asked_of_them) = (ours.fill(&ask), theirs.fill(&ask));
        let said = theirs.note(&ask, real.send(&asked_of_them).await?);
        let modelled = ours.note(&ask, model.send(&asked_of_us).await?);
        if told {
            println!("{step}: {ask}\n   real  {said}\n   model {modelled}");
        }
        tally.requests += 1;
        let differences = differences(&said, &modelled);
        if differences.is_empty() {
            continue;
        }
        let parted = said.code != modelled.code;
        tally.differ(seed, step, &ask, &said, &modelled, &differences);
        if parted && !ask.is_read() {
            // From here on the two live in different worlds.
            break;
        }
    }
    real.clean(&sequence).await?;
    tally.sequences = 1;
    Ok(tally)
}
