//! What a verdict costs: one fold, one judgement, a report, and a fleet of 10 000 `TrafficSplits` with an SLO of
//! errors and one of latency each.
//! Budgets: a fold ≤ 5 µs, the fleet ≤ 100 ms on one core.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use seatrial::analysis::counters::{Series, Tracker};
use seatrial::analysis::counts::{Block, Counts};
use seatrial::analysis::judge::{SloJudge, verdicts};
use seatrial::analysis::settings::Settings;
use seatrial::analysis::slowness::Limit;

const TRAFFIC_SPLITS: usize = 10_000;

/// A block of a usual trial: 10 % of 100 requests a second, few errors.
fn block(index: i64) -> Block {
    let bad = if index % 7 == 0 { 1.0 } else { 0.0 };
    let (candidate, stable) = (Counts::exact(bad, 150.0), Counts::exact(2.0 * bad, 1350.0));
    let further = [0.5, 0.1, 0.01]
        .map(|share| Some((Counts::exact(150.0 * share, 150.0), Counts::exact(1350.0 * share, 1350.0))));
    let (candidate, stable) = (Some(candidate), Some(stable));
    Block { index, step: Some(0), candidate, stable, further, ..Block::default() }
}

fn judge(settings: &Settings) -> SloJudge {
    let Some(mut judge) = SloJudge::new(0.01, settings) else { unreachable!() };
    for index in 0..40 {
        judge.fold(&block(index));
    }
    judge
}

/// An SLO of errors.
fn errors() -> SloJudge {
    judge(&Settings::default())
}

/// An SLO of latency, compared with stable at as many further limits as there can be.
fn latency() -> SloJudge {
    let further = [0.1, 0.2, 0.3].map(|seconds| Some(Limit { seconds, kappa: 1.0 }));
    judge(&Settings { further, ..Settings::default() })
}

fn one_slo(criterion: &mut Criterion) {
    for (name, mut judge) in [("errors", errors()), ("latency", latency())] {
        let mut index = 41;
        criterion.bench_function(&format!("{name}: fold one block"), |bench| {
            bench.iter(|| {
                index += 1;
                judge.fold(black_box(&block(index)));
            });
        });
        criterion
            .bench_function(&format!("{name}: verdict"), |bench| bench.iter(|| black_box(&judge).verdict(0)));
        criterion
            .bench_function(&format!("{name}: report"), |bench| bench.iter(|| black_box(&judge).report(0)));
    }
}

fn fleet(criterion: &mut Criterion) {
    let mut fleet = vec![[errors(), latency()]; TRAFFIC_SPLITS];
    let mut index = 100;
    criterion.bench_function("10 000 TrafficSplits x 2 SLOs: fold a block and judge", |bench| {
        bench.iter(|| {
            index += 1;
            let block = block(index);
            let mut judged = 0;
            for slos in &mut fleet {
                for slo in slos.iter_mut() {
                    slo.fold(&block);
                }
                judged += verdicts(&[&slos[0], &slos[1]], 0).len();
            }
            judged
        });
    });
}

fn samples(criterion: &mut Criterion) {
    let samples: Vec<(i64, f64)> =
        (0_i32..60).map(|at| (i64::from(at) * 1000, f64::from(at) * 3.0)).collect();
    let keys: Vec<String> = (0..20).map(|series| format!("requests_total{{code=\"{series}\"}}")).collect();
    let answer: Vec<Series<'_, ()>> =
        keys.iter().map(|key| Series { part: (), key, target: "envoy", samples: &samples }).collect();
    criterion.bench_function("fold 20 series of 60 samples", |bench| {
        bench.iter(|| {
            let mut tracker = Tracker::new(15_000);
            tracker.fold(black_box(&answer));
            tracker.close_before(4)
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = one_slo, fleet, samples
}
criterion_main!(benches);
