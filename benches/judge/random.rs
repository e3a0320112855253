//! Random numbers of the simulation: everything follows from one seed.

use fastrand::Rng;
use libm::lgamma;

/// A draw from the Poisson distribution: by multiplication below 12, by Hörmann's transformed rejection above.
pub fn poisson(rng: &mut Rng, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    if mean < 12.0 {
        let limit = (-mean).exp();
        let (mut count, mut product) = (0.0, rng.f64());
        while product > limit {
            count += 1.0;
            product *= rng.f64();
        }
        return count;
    }
    let spread = 0.931 + 2.53 * mean.sqrt();
    let slope = -0.059 + 0.02483 * spread;
    let inverse_alpha = 1.1239 + 1.1328 / (spread - 3.4);
    let log_mean = mean.ln();
    loop {
        let (place, height) = (rng.f64() - 0.5, 1.0 - rng.f64());
        let margin = 0.5 - place.abs();
        let count = ((2.0 * slope / margin + spread) * place + mean + 0.43).floor();
        if margin >= 0.07 && height <= 0.9277 - 3.6224 / (spread - 2.0) {
            return count;
        }
        if count < 0.0 || (margin < 0.013 && height > margin) {
            continue;
        }
        let left = (height * inverse_alpha / (slope / (margin * margin) + spread)).ln();
        if left <= count * log_mean - mean - lgamma(count + 1.0) {
            return count;
        }
    }
}

/// A draw from the standard normal distribution.
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// A log-normal rate that wanders around 1 with a memory.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    deviation: f64,
    memory: f64,
    state: f64,
}

impl Noise {
    /// `deviation` of the logarithm, and after how many seconds its correlation has fallen to 1/e.
    pub fn new(rng: &mut Rng, deviation: f64, seconds: f64) -> Self {
        let memory = if seconds > 0.0 { (-super::world::BLOCK_SECONDS / seconds).exp() } else { 0.0 };
        Self { deviation, memory, state: normal(rng) }
    }

    /// The rate's factor in the next block; its mean is 1.
    pub fn next(&mut self, rng: &mut Rng) -> f64 {
        if self.deviation == 0.0 {
            return 1.0;
        }
        self.state = self.memory * self.state + (1.0 - self.memory * self.memory).sqrt() * normal(rng);
        (self.deviation * self.state - self.deviation * self.deviation / 2.0).exp()
    }
}
