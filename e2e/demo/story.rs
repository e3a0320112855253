//! The acts of the demo and what is measured in each.

use std::{sync::Arc, time::Duration};

use seatrial::api::v1alpha1::{Outcome as End, Phase};

use crate::{
    harness::{
        Answer, Audit, Broken, Cluster, Load, MODEL, Operator, Outcome, Request, Scene, Target, eventually,
        failed, failures, pods_of,
    },
    report::{AtRest, Promoted, Reapplied, Report, Rollback},
    screen::Screen,
};

/// Requests a second, all of them real inferences.
const RATE: u32 = 120;
/// The latency objective of examples/traffic-split.yaml.
const IN_TIME: Duration = Duration::from_millis(300);

const MODEL_DEPLOYMENT: &str = include_str!("../../examples/model-deployment.yaml");
const TRAFFIC_SPLIT: &str = include_str!("../../examples/traffic-split.yaml");
const BETTER: &str = include_str!("../../examples/versions/2.0.0.yaml");
const ERRORS: &str = include_str!("../../examples/versions/3.0.0-errors.yaml");
const SLOW: &str = include_str!("../../examples/versions/3.1.0-slow.yaml");

struct Demo {
    scene: Arc<Scene>,
    operator: Operator,
    load: Arc<Load>,
    screen: Screen,
}

/// Plays all acts.
pub async fn tell() -> Outcome<Report> {
    let mut screen = Screen::new();
    let cluster = Cluster::connect().await?;
    let operator = Operator::of(&cluster);
    screen.act("removing what an earlier run left");
    Scene::sweep(&cluster).await?;
    screen.act("installing the operator with Helm: charts/seatrial");
    operator.install(&[]).await?;
    // The tag is the same for every build: without a restart an earlier build would go on.
    operator.restart().await?;
    cluster.apply_runtimes().await?;

    screen.act("serving iris 1.0.0: examples/model-deployment.yaml, examples/traffic-split.yaml");
    let scene = Arc::new(Scene::in_namespace(&cluster, "demo", MODEL_DEPLOYMENT).await?);
    scene.apply(MODEL_DEPLOYMENT).await?;
    scene.apply(TRAFFIC_SPLIT).await?;
    let stable = scene.until_phase(Phase::Stable, 120).await;
    told(&scene, stable).await?;
    let target = Target {
        address: Cluster::gateway(),
        host: "iris.example.com".into(),
        path: "/v2/models/iris/infer".into(),
    };
    let load = Arc::new(Load::start(target, RATE));
    screen.show(&scene, &load);
    screen.say(&format!("{RATE} requests a second from now on"));
    let warm = load.next(RATE as usize * 3).await?;
    if failed(&warm) > 0 {
        return Err(Broken::new(format!("before anything was rolled out {}", failures(&warm))));
    }

    let mut demo = Demo { scene, operator, load, screen };
    let acts = demo.acts().await;
    demo.screen.end();
    told(&demo.scene, acts).await
}

/// An error with all that is known about it.
async fn told<T>(scene: &Scene, outcome: Outcome<T>) -> Outcome<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(broken) => Err(Broken::new(format!("{broken}\n{}", scene.report().await))),
    }
}

impl Demo {
    async fn acts(&mut self) -> Outcome<Report> {
        self.screen.act("a better model, 2.0.0: examples/versions/2.0.0.yaml");
        let promoted = self.promotion().await?;
        self.screen.act("a model that answers 20 % with errors: examples/versions/3.0.0-errors.yaml");
        let errors = self.rollback(ERRORS, "3.0.0-errors", |a| !a.is_good()).await?;
        self.screen.act("a model that is slow: examples/versions/3.1.0-slow.yaml");
        let slow = self.rollback(SLOW, "3.1.0-slow", |a| a.took > IN_TIME).await?;
        self.screen.act("the model with errors again: the same YAML, as a Git tool would apply it");
        let (reapplied, operator) = self.reapplied().await?;
        Ok(Report { promoted, errors, slow, reapplied, operator })
    }

    async fn promotion(&self) -> Outcome<Promoted> {
        let begun = self.load.now();
        self.scene.apply(BETTER).await?;
        let status = self.scene.until_phase(Phase::Stable, 240).await?;
        let seconds = rounded(self.load.now().saturating_sub(begun).as_secs_f64());
        let record = status.history.first();
        if !record.is_some_and(|r| r.version == "2.0.0" && r.outcome == End::Promoted) {
            return Err(Broken::new(format!("2.0.0 was not promoted: {record:?}")));
        }
        self.screen.say(&format!("2.0.0 serves, promoted after {seconds} s"));
        // The answers that are still on their way belong to it too.
        let _ = self.load.next(RATE as usize).await?;
        let answers = self.load.since(begun);
        if failed(&answers) > 0 {
            self.screen.say(&failures(&answers));
        }
        Ok(Promoted { requests: answers.len(), failed: failed(&answers), seconds })
    }

    async fn rollback(
        &self,
        yaml: &str,
        version: &str,
        is_bad: impl Fn(&Answer) -> bool,
    ) -> Outcome<Rollback> {
        let (sum, count) = self.operator.answer_to_route().await?;
        let begun = self.load.now();
        self.scene.apply(yaml).await?;
        let sentence = format!("{version} has traffic");
        let route = |weight: bool| {
            move |r: Option<&crate::harness::Route>| r.is_some_and(|r| (r.weight(version) > 0) == weight)
        };
        self.scene.until_route(&sentence, 90, route(true)).await?;
        self.scene.until_route(&format!("{version} has no traffic"), 120, route(false)).await?;
        let ended = self.load.now();
        let status = self.scene.until_phase(Phase::RolledBack, 60).await?;
        let record = status.history.first().filter(|r| r.version == version);
        let slo = record.and_then(|r| r.slo.clone()).unwrap_or_default();
        let _ = self.load.next(RATE as usize).await?;

        let answers = self.load.since(begun);
        let of_it: Vec<&Answer> = answers.iter().filter(|a| a.is_by(version)).collect();
        let first = of_it.first().ok_or_else(|| Broken::new(format!("{version} never answered")))?.at;
        let (sum_after, count_after) = self.operator.answer_to_route().await?;
        if count_after <= count {
            return Err(Broken::new("seatrial_answer_to_route_seconds did not count the rollback"));
        }
        let others: Vec<Answer> =
            answers.iter().filter(|a| !a.is_good() && !a.is_by(version)).cloned().collect();
        if !others.is_empty() {
            self.screen.say(&format!("outside {version}'s share: {}", failures(&others)));
        }
        let part = Rollback {
            rolled_back: record.is_some_and(|r| r.outcome == End::RolledBack),
            slo,
            bad_served: of_it.iter().filter(|a| is_bad(a)).count(),
            failed_outside_candidate: others.len(),
            seconds_to_rollback: rounded(ended.saturating_sub(first).as_secs_f64()),
            answer_to_route_ms: rounded((sum_after - sum) / (count_after - count) * 1000.0),
        };
        self.screen
            .say(&format!("{version} is out after {} s: {}", part.seconds_to_rollback, status.message));
        Ok(part)
    }

    /// The rejected YAML again, and then a minute in which nothing changes: in it the operator rests, and the rejected
    /// version gets neither a pod nor a request.
    async fn reapplied(&self) -> Outcome<(Reapplied, AtRest)> {
        let begun = self.load.now();
        let mark = self.scene.timeline.mark();
        self.scene.apply(ERRORS).await?;
        let status = self.scene.until_phase(Phase::RolledBack, 30).await?;
        self.screen.say(&status.message);
        let revision = self.scene.revision_of("3.0.0-errors").await?;
        self.quiet().await?;

        self.screen.act("a minute in which nothing changes: what does the operator do?");
        let audit = Audit::here()?;
        let _ = self.load.next(RATE as usize * 60).await?;
        let requests = audit.requests()?;
        for request in &requests {
            self.screen.say(&format!("the operator asked: {}", request.line()));
        }
        let size = self.scene.sizes().await?.get(&revision).copied().unwrap_or(0);
        let served = self.load.since(begun).iter().any(|a| a.is_by("3.0.0-errors"));
        let weights = self.scene.timeline.weights(mark, MODEL, "3.0.0-errors");
        let tried = size > 0 || served || weights.iter().any(|w| *w > 0);
        let idle = AtRest {
            rss_mib: rounded(self.operator.rss_mib().await?),
            idle_writes: requests.iter().filter(|r| r.is_write()).count(),
            idle_reads: requests.iter().filter(|r| !Request::is_write(r)).count(),
        };
        Ok((Reapplied { tried }, idle))
    }

    /// Waits until the pods of the versions that were taken out are gone: their end is a change too.
    async fn quiet(&self) -> Outcome {
        let status = self.scene.status().await?;
        for revision in status.revisions.iter().filter(|r| Some(&r.name) != status.stable_revision.as_ref()) {
            let sentence = format!("the pods of {} are gone", revision.version);
            eventually(Duration::from_secs(90), &sentence, async || {
                let pods =
                    pods_of(&self.scene.cluster.client, &self.scene.namespace, &revision.name).await.ok()?;
                pods.is_empty().then_some(())
            })
            .await?;
        }
        // A few seconds of requests, for what their end still sets in motion.
        self.load.next(RATE as usize * 5).await.map(drop)
    }
}

/// To one digit, for people.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
