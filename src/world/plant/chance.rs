//! Chance, from a seed.

use std::time::Duration;

use fastrand::Rng;

/// A range of lengths of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The shortest.
    pub least: Duration,
    /// The longest.
    pub most: Duration,
}

impl Range {
    /// Between so many milliseconds.
    #[must_use]
    pub const fn millis(least: u64, most: u64) -> Self {
        Self { least: Duration::from_millis(least), most: Duration::from_millis(most) }
    }

    /// Always the same.
    #[must_use]
    pub const fn exactly(length: Duration) -> Self {
        Self { least: length, most: length }
    }

    /// One length out of the range, to the millisecond.
    pub fn draw(&self, chance: &mut Rng) -> Duration {
        let most = u64::try_from(self.most.saturating_sub(self.least).as_millis()).unwrap_or(u64::MAX);
        self.least + Duration::from_millis(if most == 0 { 0 } else { chance.u64(0..=most) })
    }
}

/// A source for one actor: what the others draw does not change what it draws.
#[must_use]
pub fn source(seed: u64, actor: &str) -> Rng {
    // FNV-1a; any fixed function of the name would do.
    let name = actor.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Rng::with_seed(seed ^ name)
}

/// How many of `n` happen, each with probability `p`.
pub fn binomial(chance: &mut Rng, n: u64, p: f64) -> u64 {
    if n == 0 || p <= 0.0 {
        return 0;
    }
    if p >= 1.0 {
        return n;
    }
    if p > 0.5 {
        return n - binomial(chance, n, 1.0 - p);
    }
    let mean = float(n) * p;
    if mean > 50.0 {
        let deviation = (mean * (1.0 - p)).sqrt();
        return rounded(normal(chance).mul_add(deviation, mean)).min(n);
    }
    // Lengths of runs of what does not happen are geometric.
    let scale = (-p).ln_1p();
    let (mut seen, mut happened) = (0.0, 0);
    loop {
        seen += ((1.0 - chance.f64()).ln() / scale).floor() + 1.0;
        if seen > float(n) {
            return happened;
        }
        happened += 1;
    }
}

/// A standard normal value: the sum of twelve uniform ones, good to four deviations.
fn normal(chance: &mut Rng) -> f64 {
    (0..12).map(|_| chance.f64()).sum::<f64>() - 6.0
}

/// Counts here are far below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
#[must_use]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// The nearest count; 0 for what is negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
#[must_use]
pub fn rounded(value: f64) -> u64 {
    value.round().clamp(0.0, 9.0e15) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binomial_count_has_the_right_mean_and_spread_small_and_large() {
        let mut chance = source(7, "test");
        for (n, p) in [(20_u64, 0.01), (20, 0.3), (1000, 0.02), (1000, 0.9), (100_000, 0.4)] {
            let draws: Vec<f64> = (0..4000).map(|_| float(binomial(&mut chance, n, p))).collect();
            let mean = draws.iter().sum::<f64>() / 4000.0;
            let spread = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 4000.0;
            let (wanted, variance) = (float(n) * p, float(n) * p * (1.0 - p));
            assert!((mean - wanted).abs() < 5.0 * (variance / 4000.0).sqrt(), "{n} {p}: {mean}");
            assert!((spread / variance - 1.0).abs() < 0.15, "{n} {p}: {spread} instead of {variance}");
        }
    }

    #[test]
    fn the_same_seed_and_actor_draw_the_same_and_others_do_not() {
        let draw = |seed, actor| source(seed, actor).u64(..);
        assert_eq!(draw(1, "kubelet"), draw(1, "kubelet"));
        assert_ne!(draw(1, "kubelet"), draw(2, "kubelet"));
        assert_ne!(draw(1, "kubelet"), draw(1, "gateway"));
        let mut chance = source(3, "x");
        let range = Range::millis(10, 12);
        assert!((0..100).all(|_| (10..=12).contains(&range.draw(&mut chance).as_millis())));
    }
}
