//! Every test vector of the specification, read from its file: values of 40-digit arithmetic, to 1e-9 relative.

use serde_json::Value;

use super::compare::{RatioSequence, expected_share, observation};
use super::counters::{Series, Tracker};
use super::counts::Counts;
use super::eprocess::{EProcess, Observation, PassProcess};
use super::kernel::{self, FAIL_GRID, PASS_GRID};
use super::{ab, dispersion, estimate, histogram, planner};

type Check = fn(&Value);

const CHECKS: [(&str, Check); 21] = [
    ("kernel", kernel_vectors),
    ("fail_mixture", fail_mixture),
    ("pass_mixture", pass_mixture),
    ("eprocess_theta0.01_r0.5_rho1/240", eprocess),
    ("compare_tol1.25_B1", comparison),
    ("negbin_kernel", negative_binomial),
    ("betabinomial_cs_a.5_b.5", confidence_sequence),
    ("gaussian_mixture", gaussian_mixture),
    ("phi_opt", phi),
    ("planner_conversion", planner_conversion),
    ("planner_slo", planner_slo),
    ("planner_pass", planner_pass),
    ("srm_grid", share_mismatch),
    ("average_log_e", average),
    ("ratio_cs", ratio_sequence),
    ("dkw_cs_eps", distribution_band),
    ("bounded_betting", bounded_betting),
    ("kappa", kappa),
    ("increase_with_resets", increase),
    ("block_robust_var", block_robust_variance),
    ("quantile_to_exceedance", exceedance),
];

#[test]
fn every_vector_of_the_specification_holds() {
    let file: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let sections = file.as_object().unwrap();
    for (name, vectors) in sections {
        let known = CHECKS.iter().find(|(check, _)| check == name);
        let (_, check) = known.unwrap_or_else(|| panic!("nothing checks {name}"));
        check(vectors);
    }
    for (name, _) in CHECKS {
        assert!(sections.contains_key(name), "the file has no {name}");
    }
}

fn num(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("no number {field} in {value}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|item| item.as_f64().unwrap()).collect()
}

/// Calls `check` on each vector; an empty list would check nothing.
fn each(vectors: &Value, check: impl Fn(&Value)) {
    let list = vectors.as_array().unwrap();
    assert!(!list.is_empty());
    list.iter().for_each(check);
}

#[track_caller]
fn close(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-3), "{ours} is not {theirs}");
}

fn kernel_vectors(vectors: &Value) {
    each(vectors, |v| {
        close(kernel::log_e(num(v, "k"), num(v, "n"), num(v, "theta"), num(v, "omega")), num(v, "log_e"));
    });
}

fn fail_mixture(vectors: &Value) {
    each(vectors, |v| {
        close(kernel::mixture(&FAIL_GRID, num(v, "k"), num(v, "n"), num(v, "theta")), num(v, "log_e"));
    });
}

fn pass_mixture(vectors: &Value) {
    each(vectors, |v| {
        let (events, trials, theta) = (num(v, "k"), num(v, "n"), num(v, "theta"));
        close(kernel::mixture(&PASS_GRID, events, trials, theta), num(v, "log_e"));
        let mut process = PassProcess::default();
        process.fold(Observation { events, trials, theta, eta: 1.0 });
        close(process.log_e(), num(v, "log_e"));
    });
}

fn eprocess(runs: &Value) {
    let runs = runs.as_object().unwrap();
    assert_eq!(runs.len(), 4);
    for (name, blocks) in runs {
        let left_out = if name.starts_with("B2") { 2 } else { 1 };
        let kappa = if name.ends_with("kappa2_tempered") { 2.0 } else { 0.0 };
        let mut process = EProcess::new(left_out, 240);
        for block in blocks.as_array().unwrap() {
            let (events, trials, theta) = (num(block, "k"), num(block, "n"), 0.01);
            process.fold(Observation {
                events,
                trials,
                theta,
                eta: kernel::tempering(kappa, theta * trials),
            });
            close(process.raw(), num(block, "raw"));
            close(process.trimmed(), num(block, "trim"));
        }
    }
}

fn comparison(blocks: &Value) {
    let mut process = EProcess::new(1, 240);
    for block in blocks.as_array().unwrap() {
        let candidate = Counts::exact(num(block, "kc"), num(block, "nc"));
        let stable = Counts::exact(num(block, "ks"), num(block, "ns"));
        close(expected_share(candidate.total, stable.total, 1.25), num(block, "theta"));
        process.fold(observation(candidate, stable, 1.25, 0.0));
        close(process.raw(), num(block, "raw"));
        close(process.trimmed(), num(block, "trim"));
    }
}

fn negative_binomial(vectors: &Value) {
    each(vectors, |v| {
        let (k, n, theta) = (num(v, "k"), num(v, "n"), num(v, "theta"));
        let log_e = kernel::negative_binomial_log_e(k, n, theta, num(v, "omega"), num(v, "kappa"));
        close(log_e, num(v, "log_e"));
    });
}

fn confidence_sequence(vectors: &Value) {
    each(vectors, |v| {
        let interval = estimate::interval(num(v, "k"), num(v, "n"), num(v, "alpha"));
        close(interval.low, num(v, "lo"));
        close(interval.high, num(v, "hi"));
    });
}

fn gaussian_mixture(vectors: &Value) {
    each(vectors, |v| {
        let (variance, tau2) = (num(v, "V"), num(v, "tau2"));
        let log_e = ab::log_e(num(v, "d"), variance, tau2);
        close(log_e, num(v, "log_e"));
        close(ab::p_value(log_e), num(v, "p"));
        close(ab::half_width(variance, tau2, num(v, "alpha")), num(v, "half_width"));
    });
}

fn phi(vectors: &Value) {
    let vectors = vectors.as_object().unwrap();
    assert_eq!(vectors.len(), 3);
    for (alpha, value) in vectors {
        close(ab::phi(alpha.parse().unwrap()), value.as_f64().unwrap());
    }
}

fn planner_conversion(vectors: &Value) {
    each(vectors, |v| {
        let (base, lift) = (num(v, "p"), num(v, "rel_lift"));
        let plan = ab::samples_needed(base, lift, num(v, "alpha"), num(v, "power")).unwrap();
        close(plan.fixed, num(v, "n_fixed_per_arm"));
        close(plan.sequential, num(v, "n_sequential_per_arm"));
    });
}

fn planner_slo(vectors: &Value) {
    each(vectors, |v| {
        let (rate, theta) = (num(v, "p_true"), num(v, "theta"));
        close(num(v, "J"), 6.0);
        close(kernel::divergence(rate, theta), num(v, "kl"));
        close(planner::requests_to_detect(rate, theta, num(v, "alpha")), num(v, "n_detect"));
    });
}

fn planner_pass(vectors: &Value) {
    each(vectors, |v| {
        let (rate, theta) = (num(v, "p_true"), num(v, "theta"));
        close(num(v, "J"), 5.0);
        close(kernel::divergence(rate, theta), num(v, "kl"));
        close(planner::requests_to_pass(rate, theta, num(v, "beta")), num(v, "n_pass"));
    });
}

fn share_mismatch(vectors: &Value) {
    each(vectors, |v| {
        close(kernel::share_mismatch(num(v, "n_c"), num(v, "n"), num(v, "theta")), num(v, "log_e"));
    });
}

fn average(vectors: &Value) {
    each(vectors, |v| {
        close(kernel::weighted_average(&numbers(&v["log_e"]), &numbers(&v["w"])), num(v, "out"));
    });
}

fn ratio_sequence(vector: &Value) {
    assert_eq!(vector["grid_ln"], "-3..3 step 0.02");
    let mut sequence = RatioSequence::default();
    each(&vector["blocks_kc_nc_ks_ns"], |block| assert_eq!(numbers(block).len(), 4));
    for block in vector["blocks_kc_nc_ks_ns"].as_array().unwrap() {
        let block = numbers(block);
        sequence.fold(Counts::exact(block[0], block[1]), Counts::exact(block[2], block[3]));
    }
    let interval = sequence.interval(num(vector, "alpha"));
    close(interval.log_mean, num(vector, "lme"));
    close(interval.low, num(vector, "ln_lo"));
    close(interval.high, num(vector, "ln_hi"));
    close(interval.likely, num(vector, "ln_mle"));
}

fn distribution_band(vectors: &Value) {
    each(vectors, |v| close(estimate::distribution_band(num(v, "t"), num(v, "alpha")), num(v, "eps")));
}

fn bounded_betting(vector: &Value) {
    let stakes = numbers(&vector["lambda"]);
    let log_e = kernel::bounded_mean_log_e(&numbers(&vector["x"]), num(vector, "m"), &stakes);
    close(log_e, num(vector, "log_e"));
}

fn kappa(vector: &Value) {
    let rows =
        |field: &str| -> Vec<Vec<f64>> { vector[field].as_array().unwrap().iter().map(numbers).collect() };
    let groups: Vec<Vec<Counts>> = rows("k")
        .iter()
        .zip(rows("n"))
        .map(|(bad, total)| bad.iter().zip(total).map(|(&bad, total)| Counts::exact(bad, total)).collect())
        .collect();
    let scales: Vec<usize> = vector["scales"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scale| scale.as_u64().unwrap().try_into().unwrap())
        .collect();
    close(dispersion::objective_kappa(&groups, &scales), num(vector, "mode_slo"));
    close(dispersion::comparison_kappa(&groups, &scales), num(vector, "mode_compare"));
}

fn increase(vectors: &Value) {
    each(vectors, |v| {
        let mut tracker = Tracker::new(1_000_000);
        let values = v["prev"].as_f64().into_iter().chain(numbers(&v["samples"]));
        let samples: Vec<(i64, f64)> = (1..).zip(values).collect();
        tracker.fold(&[Series { part: (), key: "a", target: "t", samples: &samples }]);
        close(tracker.close_before(1)[&(0, ())].amount, num(v, "out"));
    });
}

fn block_robust_variance(vector: &Value) {
    let arms = |n: &str, k: &str| -> Vec<ab::Sums> {
        let totals = numbers(&vector[n]);
        totals
            .iter()
            .zip(numbers(&vector[k]))
            .map(|(&units, events)| ab::Sums::conversions(events, units))
            .collect()
    };
    let blocks: Vec<ab::Pair> = arms("n_a", "k_a")
        .into_iter()
        .zip(arms("n_b", "k_b"))
        .map(|(control, treatment)| ab::Pair { control, treatment })
        .collect();
    let difference = ab::difference(&blocks).unwrap();
    close(difference.mean, num(vector, "diff"));
    close(difference.robust_variance, num(vector, "v_robust"));
    close(difference.independent_variance, num(vector, "v_iid"));
}

fn exceedance(vector: &Value) {
    let buckets: Vec<(f64, f64)> = vector["le"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(le, count)| (le.parse().unwrap(), count.as_f64().unwrap()))
        .collect();
    let counts = histogram::slow_in_buckets(&buckets, num(vector, "threshold")).unwrap();
    close(counts.bad, num(vector, "k_fail(le=0.5)"));
    close(counts.bad_at_most, num(vector, "k_pass(le=0.25)"));
    close(1.0 - 0.99, num(vector, "theta"));
}
