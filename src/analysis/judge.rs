//! One SLO's judge: folds closed blocks, says Pass, Fail or not yet, and why.
//! Pure: no I/O, no clock.
//!
//! ```text
//! each block:  objective  is the candidate's share of bad requests above its limit?
//!              blame      is it above stable's?           (an objective's breach needs both)
//!              guard      is it above stable's by more than the tolerance? (now, or with `past_limit` in the past;
//!                         with `further` limits the average over them, see `slowness`)
//!              health     is it below its limit?          (afresh in every step)
//! Fail   when the average of min(objective, blame) and guard reaches 1/α
//! Pass   when health reaches 1/β on requests of this step
//! Shared when objective reaches 1/α, blame does not, and likeness does reach 1/β: not three times stable's share,
//!        on the blocks since the objective's evidence began to gather
//! ```

use super::compare;
use super::counts::{Block, Counts};
use super::eprocess::{EProcess, Observation, PassProcess};
use super::estimate;
use super::kernel::{log_add_exp, log_mean_exp, tempering};
use super::planner::least_requests;
use super::settings::{Kappa, PAST_PART, Settings};
use super::slowness::{Arms, FURTHER, Limit, Slower, Slowness};
use super::verdict::{Breach, Cause, Report, Verdict, Why};

/// The level of the interval that reports show.
const SHOWN_LEVEL: f64 = 0.05;

/// A candidate that has surely less than so many times stable's share of bad requests shares stable's breach.
const RULED_OUT: f64 = 3.0;

/// Judges one SLO of one trial of one revision. A lost judge is rebuilt by folding the same blocks again: same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct SloJudge {
    theta: f64,
    settings: Settings,
    objective: EProcess,
    blame: EProcess,
    guard: EProcess,
    further: Vec<Slowness>,
    health: PassProcess,
    likeness: PassProcess,
    step: Option<i32>,
    last: Option<i64>,
    alone: bool,
    trial: Tally,
    of_step: Tally,
    of_stable: Tally,
}

/// The candidate's requests over some blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    bad: f64,
    bad_at_most: f64,
    total: f64,
    blocks: f64,
}

/// Natural logarithms of the e-values that decisions rest on, as they stand after the last block: without the
/// [`Settings::leave_out`] most incriminating blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Against the objective.
    pub objective: f64,
    /// Against "at most as bad as stable, times the tolerance".
    pub guard: f64,
    /// Against "at most as bad as stable".
    pub blame: f64,
    /// For this step's health; on all its blocks.
    pub health: f64,
    /// For "less than three times as bad as stable", on the blocks since the objective's evidence began to gather.
    pub likeness: f64,
    /// What a rollback rests on: the average of `min(objective, blame)` and `guard`.
    pub combined: f64,
}

/// The same on all blocks, for people who want to see what the most incriminating ones weigh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Untrimmed {
    /// Against the objective.
    pub objective: f64,
    /// Against "at most as bad as stable, times the tolerance".
    pub guard: f64,
    /// Against "at most as bad as stable".
    pub blame: f64,
}

impl SloJudge {
    /// A judge before its first block. `theta`: the share of bad requests that the objective allows, in `(0, 1)`.
    /// `None` when it is not, or when the settings have a [`Settings::problem`].
    pub fn new(theta: f64, settings: &Settings) -> Option<Self> {
        if !(theta > 0.0 && theta < 1.0) || settings.problem().is_some() {
            return None;
        }
        let evidence = EProcess::new(settings.leave_out, settings.planned_blocks);
        Some(Self {
            theta,
            settings: *settings,
            objective: evidence,
            blame: evidence,
            guard: evidence,
            further: (settings.further.into_iter().flatten())
                .filter(|_| settings.past_limit.is_none())
                .map(|limit| Slowness::new(limit, settings))
                .collect(),
            health: PassProcess::default(),
            likeness: PassProcess::default(),
            step: None,
            last: None,
            alone: false,
            trial: Tally::default(),
            of_step: Tally::default(),
            of_stable: Tally::default(),
        })
    }

    /// The latencies at which the arms are compared besides the objective's limit.
    pub fn further(&self) -> [Option<Limit>; FURTHER] {
        self.settings.further
    }

    /// Folds one closed block. Does nothing for a block that is not later than the last one: a block folded twice or
    /// out of order changes nothing. Counts that are not counts are a block without data.
    pub fn fold(&mut self, block: &Block) {
        if self.last.is_some_and(|last| block.index <= last) {
            return;
        }
        self.last = Some(block.index);
        if block.alone && !self.alone {
            self.give_up_what_was_shared();
        }
        self.alone = block.alone;
        if block.step.is_some() && block.step != self.step {
            (self.step, self.health, self.of_step) = (block.step, PassProcess::default(), Tally::default());
        }
        let candidate = block.candidate.and_then(Counts::checked);
        let stable = block.stable.and_then(Counts::checked);
        self.objective
            .fold(candidate.map_or(Observation::NOTHING, |counts| self.speaking(counts.bad, counts)));
        self.fold_comparison(block, candidate.zip(stable));
        if let Some(counts) = candidate {
            self.trial.add(counts);
            if block.step.is_some() {
                self.of_step.add(counts);
                self.health.fold(self.speaking(counts.bad_at_most, counts));
            }
        }
    }

    fn speaking(&self, events: f64, counts: Counts) -> Observation {
        at_limit(self.theta, self.settings.objective_kappa(), events, counts)
    }

    fn fold_comparison(&mut self, block: &Block, arms: Option<Arms>) {
        let comparable = arms.filter(|_| block.step.is_some() && !block.alone);
        if let Some((_, stable)) = comparable {
            self.of_stable.add(stable);
        }
        let (kappa, cautious) = (self.settings.comparison_kappa(), self.settings.guard_kappa());
        let at = |tolerance: f64, kappa: f64| {
            comparable.map_or(Observation::NOTHING, |(candidate, stable)| {
                compare::observation(candidate, stable, tolerance, kappa)
            })
        };
        self.blame.fold(at(1.0, kappa));
        if self.objective.trimmed() <= 0.0 {
            self.likeness = PassProcess::default();
        } else if comparable.is_some() {
            self.likeness.fold(at(RULED_OUT, kappa));
        }
        for (slowness, arms) in self.further.iter_mut().zip(block.further) {
            let usable = |(candidate, stable): Arms| candidate.checked().zip(stable.checked());
            slowness.fold(arms.filter(|_| comparable.is_some()).and_then(usable), self.settings.tolerance);
        }
        self.guard.fold(match (self.settings.past_limit, block.candidate.and_then(Counts::checked)) {
            (None, _) => at(self.settings.tolerance, cautious),
            (Some(limit), Some(counts)) => at_limit(limit, cautious, counts.bad, counts),
            (Some(_), None) => Observation::NOTHING,
        });
    }

    /// At 100 % a breach rolls back without asking who shares it. Evidence from before, which a shared incident may
    /// have left, is first cut down to the part that was the candidate's own.
    fn give_up_what_was_shared(&mut self) {
        if self.stable_answers() {
            self.objective.give_up(self.blame.trimmed() - self.objective.trimmed());
        }
    }

    /// What is known after the last folded block.
    ///
    /// Blame needs somebody to share with: it is asked for only if stable has answered requests in this trial, and
    /// not at 100 %.
    pub fn evidence(&self) -> Evidence {
        let (objective, blame) = (self.objective.trimmed(), self.blame.trimmed());
        // The past's own uncertainty has used up a part of alpha.
        let part = if self.settings.past_limit.is_some() { (1.0 - PAST_PART).ln() } else { 0.0 };
        let guard = self.everywhere(self.guard.trimmed(), Slowness::trimmed) + part;
        let (health, likeness) = (self.health.log_e(), self.likeness.log_e());
        let mut evidence = Evidence { objective, guard, blame, health, likeness, combined: 0.0 };
        let own = self.own_breach(&evidence);
        let both = log_add_exp(own, guard) - std::f64::consts::LN_2;
        evidence.combined = if self.settings.compare { both } else { own };
        evidence
    }

    /// The evidence on all blocks.
    pub fn untrimmed(&self) -> Untrimmed {
        let guard = self.everywhere(self.guard.raw(), Slowness::raw);
        Untrimmed { objective: self.objective.raw(), guard, blame: self.blame.raw() }
    }

    /// The average of the comparison at the objective's limit and at the further ones.
    fn everywhere(&self, at_objective: f64, of: fn(&Slowness) -> f64) -> f64 {
        // Each once: the mean looks at its terms three times.
        let all: Vec<f64> = std::iter::once(at_objective).chain(self.further.iter().map(of)).collect();
        log_mean_exp(all.into_iter())
    }

    /// Where the candidate is slower than stable, if that speaks louder than what is beyond the objective's limit.
    fn slower(&self) -> Option<Slower> {
        let loudest = self.further.iter().max_by(|a, b| a.trimmed().total_cmp(&b.trimmed()))?;
        loudest.slower().filter(|_| loudest.trimmed() > self.guard.trimmed())
    }

    /// Evidence that the objective is broken and that it is the candidate's doing.
    fn own_breach(&self, evidence: &Evidence) -> f64 {
        if self.is_attributable() { evidence.objective.min(evidence.blame) } else { evidence.objective }
    }

    fn stable_answers(&self) -> bool {
        self.of_stable.total > 0.0
    }

    fn is_attributable(&self) -> bool {
        self.stable_answers() && !self.alone
    }

    /// The verdict for `step`, with this SLO's part of α. Several SLOs together: [`verdicts`].
    pub fn verdict(&self, step: i32) -> Verdict {
        let evidence = self.evidence();
        let share = (1.0 / f64::from(self.settings.slos)).ln();
        self.verdict_on(&evidence, evidence.combined + share, step)
    }

    fn verdict_on(&self, evidence: &Evidence, log_e: f64, step: i32) -> Verdict {
        let breach = (1.0 / self.settings.alpha).ln();
        if log_e >= breach {
            return Verdict::Fail(self.breach(evidence, log_e));
        }
        if evidence.objective >= breach {
            // Broken for certain, so it cannot pass. Whether stable shares it must be proven too: with the first bad
            // requests the rest of the proof may just be on its way.
            let shared =
                self.own_breach(evidence) < breach && evidence.likeness >= (1.0 / self.settings.beta).ln();
            return Verdict::Inconclusive(if shared { Why::SharedWithStable } else { Why::Undecided });
        }
        if self.step != Some(step) || self.of_step.total <= 0.0 {
            return Verdict::Inconclusive(Why::NoData);
        }
        let proven = evidence.health >= (1.0 / self.settings.beta).ln();
        if proven && self.of_step.total >= least_requests(self.theta, self.settings.alpha) {
            return Verdict::Pass;
        }
        Verdict::Inconclusive(Why::Undecided)
    }

    fn breach(&self, evidence: &Evidence, log_e: f64) -> Breach {
        // What is proven by itself is named first: the objective is what the user wrote.
        let own = self.own_breach(evidence);
        let by_objective = own >= (1.0 / self.settings.alpha).ln() || own >= evidence.guard;
        let cause = match self.settings.past_limit {
            _ if by_objective || !self.settings.compare => Cause::Objective,
            Some(_) => Cause::WorseThanBefore,
            None => Cause::WorseThanStable,
        };
        Breach { cause, one_in: log_e.exp() }
    }

    /// Everything a person wants to know about `step`. Costs some microseconds: for display, not for every look.
    pub fn report(&self, step: i32) -> Report {
        let evidence = self.evidence();
        let share = |bad: f64| estimate::interval(bad, self.trial.total, SHOWN_LEVEL);
        let (worst, best) = (share(self.trial.bad_at_most).high, share(self.trial.bad).low);
        let here = self.step == Some(step);
        let of_step = if here { self.of_step } else { Tally::default() };
        let needed = self.requests_needed(if here { self.health } else { PassProcess::default() }, of_step);
        let recent = if here { of_step } else { self.trial };
        let per_block = recent.total / recent.blocks;
        Report {
            objective: 1.0 - self.theta,
            good: self.trial.good(),
            good_of_stable: self.of_stable.good(),
            interval: estimate::Interval { low: 1.0 - worst, high: 1.0 - best },
            requests: self.trial.total,
            bad: self.trial.bad_at_most,
            between_edges: self.trial.bad_at_most - self.trial.bad,
            step_requests: of_step.total,
            requests_needed: needed,
            blocks_needed: needed
                .map(|requests| (requests / per_block).ceil())
                .filter(|blocks| blocks.is_finite()),
            breach_one_in: (evidence.combined - f64::from(self.settings.slos).ln()).max(0.0).exp(),
            health_one_in: if here { evidence.health.max(0.0).exp() } else { 1.0 },
            dispersion_assumed: self.settings.kappa == Kappa::Unknown,
            slower: self.slower(),
        }
    }

    /// Requests of the step still missing for a Pass if the share of bad ones stays as it is.
    fn requests_needed(&self, health: PassProcess, of_step: Tally) -> Option<f64> {
        let seen = if of_step.total > 0.0 { of_step } else { self.trial };
        let rate = if seen.total > 0.0 { seen.bad_at_most / seen.total } else { 0.0 };
        let per_block = if seen.blocks > 0.0 { seen.total / seen.blocks } else { 0.0 };
        let eta = tempering(self.settings.objective_kappa(), self.theta * per_block);
        let goal = (1.0 / self.settings.beta).ln();
        let missing =
            if health.log_e() >= goal { 0.0 } else { health.trials_until(goal, rate, self.theta, eta)? };
        let gross = (least_requests(self.theta, self.settings.alpha) - of_step.total).max(0.0).ceil();
        Some(missing.max(gross))
    }
}

fn at_limit(theta: f64, kappa: f64, events: f64, counts: Counts) -> Observation {
    Observation { events, trials: counts.total, theta, eta: tempering(kappa, theta * counts.total) }
}

impl Tally {
    fn good(&self) -> Option<f64> {
        (self.total > 0.0).then(|| 1.0 - self.bad_at_most / self.total)
    }

    fn add(&mut self, counts: Counts) {
        self.bad += counts.bad;
        self.bad_at_most += counts.bad_at_most;
        self.total += counts.total;
        self.blocks += 1.0;
    }
}

/// The verdicts on all SLOs of one rollout for `step`, in the order given. Their evidence is averaged, which keeps α
/// for the rollout as a whole: when the average proves a breach that no SLO proves by itself, the SLO that speaks
/// loudest carries it.
pub fn verdicts(judges: &[&SloJudge], step: i32) -> Vec<Verdict> {
    let evidence: Vec<Evidence> = judges.iter().map(|judge| judge.evidence()).collect();
    let average = log_mean_exp(evidence.iter().map(|evidence| evidence.combined));
    let loudest = (0..evidence.len()).max_by(|&a, &b| evidence[a].combined.total_cmp(&evidence[b].combined));
    let count: f64 = evidence.iter().map(|_| 1.0).sum();
    judges
        .iter()
        .zip(&evidence)
        .enumerate()
        .map(|(at, (judge, evidence))| {
            let own = evidence.combined - count.ln();
            judge.verdict_on(evidence, if loudest == Some(at) { average } else { own }, step)
        })
        .collect()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
