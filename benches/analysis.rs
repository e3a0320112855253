//! What a verdict costs: one fold, one judgement, a report, and a fleet of 10 000 `TrafficSplits` with 2 SLOs each.
//! Budgets: a fold ≤ 5 µs, the fleet ≤ 100 ms on one core.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use seatrial::analysis::counters::{Series, Tracker};
use seatrial::analysis::counts::{Block, Counts};
use seatrial::analysis::judge::{SloJudge, verdicts};
use seatrial::analysis::settings::Settings;

const TRAFFIC_SPLITS: usize = 10_000;

/// A block of a usual trial: 10 % of 100 requests a second, few errors.
fn block(index: i64) -> Block {
    let bad = if index % 7 == 0 { 1.0 } else { 0.0 };
    let (candidate, stable) = (Some(Counts::exact(bad, 150.0)), Some(Counts::exact(2.0 * bad, 1350.0)));
    Block { index, step: Some(0), alone: false, candidate, stable }
}

fn judge() -> SloJudge {
    let Some(mut judge) = SloJudge::new(0.01, &Settings::default()) else { unreachable!() };
    for index in 0..40 {
        judge.fold(&block(index));
    }
    judge
}

fn one_slo(criterion: &mut Criterion) {
    let judge = judge();
    let next = block(41);
    criterion.bench_function("fold one block", |bench| {
        bench.iter(|| {
            let mut judge = black_box(judge);
            judge.fold(black_box(&next));
            judge
        });
    });
    criterion.bench_function("verdict", |bench| bench.iter(|| black_box(&judge).verdict(0)));
    criterion.bench_function("report", |bench| bench.iter(|| black_box(&judge).report(0)));
}

fn fleet(criterion: &mut Criterion) {
    let mut fleet = vec![[judge(), judge()]; TRAFFIC_SPLITS];
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
