//! Scenarios as trials: those that can run beside each other first, then one by one those that take away what all
//! share (the operator, Prometheus).

use std::{env, process::ExitCode, sync::Arc};

use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Runtime, time::Instant};

use super::{Broken, Cluster, Operator, Outcome, Scene};

/// A claim about the operator, and how it is put to the test.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// A short title, `snake_case`, at most 40 characters: also its namespace. `SCENARIO=<title> make e2e` runs it.
    pub title: &'static str,
    /// What it claims, as a name.
    pub claim: &'static str,
    /// The objects that it begins with.
    pub yaml: &'static str,
    /// Whether it takes away what others need.
    pub alone: bool,
    /// The test.
    pub run: for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, Outcome>,
}

/// Runs the scenarios that `SCENARIO` or the command line chooses. `E2E_JOBS` of them (3) run beside each other;
/// `KEEP=1` leaves their namespaces.
pub fn run_all(scenarios: &[Scenario]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Some(word) = env::var("SCENARIO").ok().filter(|w| !w.is_empty()) {
        // A whole title means that one; anything else, all that hold the word.
        let is_title = scenarios.iter().any(|s| s.title == word);
        arguments.filter = Some(if is_title { format!("{word}::") } else { word });
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return refuse(&error.into()),
    };
    let chosen = |s: &&Scenario| arguments.filter.as_ref().is_none_or(|f| trial_name(s).contains(f.as_str()));
    if !arguments.list && scenarios.iter().any(|s| chosen(&s)) {
        println!("installing the operator with Helm");
        if let Err(error) = runtime.block_on(prepare()) {
            return refuse(&error);
        }
    }
    let trials = |alone: bool| -> Vec<Trial> {
        scenarios.iter().filter(|s| s.alone == alone).map(|s| trial(*s, Arc::clone(&runtime))).collect()
    };
    let jobs = env::var("E2E_JOBS").ok().and_then(|j| j.parse().ok()).unwrap_or(3);
    arguments.test_threads = Some(jobs);
    let together = libtest_mimic::run(&arguments, trials(false));
    arguments.test_threads = Some(1);
    let alone = libtest_mimic::run(&arguments, trials(true));
    let ran = together.num_passed + together.num_failed + alone.num_passed + alone.num_failed;
    if ran == 0 && !arguments.list {
        return refuse(&Broken::new("no scenario has that in its name; `--list` shows them"));
    }
    if together.has_failed() || alone.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn refuse(error: &Broken) -> ExitCode {
    eprintln!("e2e: {error}");
    ExitCode::FAILURE
}

/// The operator and the runtime that all scenarios share.
async fn prepare() -> Outcome {
    let cluster = Cluster::connect().await?;
    Scene::sweep(&cluster).await?;
    restore(&cluster).await?;
    // The tag is the same for every build: without a restart an earlier build would go on.
    Operator::of(&cluster).restart().await?;
    cluster.apply_runtimes().await
}

/// The operator is installed, and what a scenario may have taken away comes back, however it ended.
async fn restore(cluster: &Cluster) -> Outcome {
    cluster.has_room(true).await?;
    cluster.script(&["service", "prometheus", "start"]).await?;
    Operator::of(cluster).install(&[]).await
}

fn trial_name(scenario: &Scenario) -> String {
    format!("{}::{}", scenario.title, scenario.claim)
}

fn trial(scenario: Scenario, runtime: Arc<Runtime>) -> Trial {
    Trial::test(trial_name(&scenario), move || {
        runtime.block_on(act(scenario)).map_err(|error| Failed::from(error.to_string()))
    })
}

async fn act(scenario: Scenario) -> Outcome {
    let started = Instant::now();
    let cluster = Cluster::connect().await?;
    let scene = Scene::open(&cluster, scenario.title, scenario.yaml).await?;
    let outcome = (scenario.run)(&scene).await;
    let outcome = match outcome {
        Ok(()) => Ok(()),
        Err(broken) => Err(Broken::new(format!("{broken}\n{}", scene.report().await))),
    };
    if scenario.alone
        && let Err(left) = restore(&cluster).await
    {
        let left = left.of("after the scenario");
        return Err(outcome.err().map_or(left.clone(), |broken| Broken::new(format!("{broken}\n{left}"))));
    }
    if env::var_os("KEEP").is_none() {
        scene.close().await?;
    }
    let notes = scene.notes().join(", ");
    println!(
        "     {} took {:.0} s{}{notes}",
        scenario.title,
        started.elapsed().as_secs_f64(),
        if notes.is_empty() { "" } else { ": " }
    );
    outcome
}
