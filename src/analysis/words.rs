//! A verdict as one sentence that a person understands at 3 a.m. Pure: no I/O, no clock.

use super::slowness::Slower;
use super::verdict::{Breach, Cause, Report, Verdict, Why};

/// Beyond this a person should not just wait: the sentence names the ways out.
const LONG_WAIT_SECONDS: f64 = 3600.0;

/// What is known about one SLO, in one sentence. `interval`: length of a block in seconds.
pub fn sentence(verdict: &Verdict, report: &Report, interval: f64) -> String {
    let Some(good) = report.good else {
        return match verdict {
            Verdict::Inconclusive(Why::Unusable) => "the last answer could not be judged".to_owned(),
            _ => "no request of the candidate was seen yet".to_owned(),
        };
    };
    let seen = format!(
        "{} of {} requests were good (between {} and {}), the objective is {}",
        percent(good),
        grouped(report.requests),
        percent(report.interval.low),
        percent(report.interval.high),
        percent(report.objective),
    );
    match verdict {
        Verdict::Pass => format!("{seen}: health is proven, {}", by_chance(report.health_one_in)),
        Verdict::Fail(Breach { cause: Cause::WorseThanStable, one_in }) => {
            format!("{seen}: it is {}, {}", worse_than_stable(report), by_chance(*one_in))
        }
        Verdict::Fail(Breach { cause: Cause::WorseThanBefore, one_in }) => {
            format!("{seen}: it is worse than the stable revision was before, {}", by_chance(*one_in))
        }
        Verdict::Fail(breach) => format!("{seen}: it is broken, {}", by_chance(breach.one_in)),
        Verdict::Inconclusive(Why::SharedWithStable) => {
            format!(
                "{seen}: it is broken, but the stable revision is no better, so the candidate is not blamed"
            )
        }
        Verdict::Inconclusive(Why::NoData) => format!("{seen}; no request was seen in this step yet"),
        Verdict::Inconclusive(Why::Unusable) => format!("{seen}; the last answer could not be judged"),
        Verdict::Inconclusive(Why::Undecided) => format!("{seen}: {}", still_needed(report, interval)),
    }
}

/// In what a candidate is worse than stable: `slower than the stable revision: 31% took longer than 100 ms, of its requests
/// 12%` or `worse than the stable revision (99.9%)`.
pub fn worse_than_stable(report: &Report) -> String {
    if let Some(Slower { than, candidate, stable }) = report.slower {
        let (candidate, stable) = (percent(candidate), percent(stable));
        let than = if than < 1.0 { format!("{} ms", grouped(than * 1000.0)) } else { format!("{than} s") };
        return format!(
            "slower than the stable revision: {candidate} took longer than {than}, of its requests {stable}"
        );
    }
    let good = report.good_of_stable.map(|good| format!(" ({})", percent(good)));
    format!("worse than the stable revision{}", good.unwrap_or_default())
}

fn still_needed(report: &Report, interval: f64) -> String {
    format!("{}{}", missing(report, interval), between_edges(report))
}

/// Why a latency objective takes so long where its limit is not one of the histogram's edges.
pub fn between_edges(report: &Report) -> String {
    if report.between_edges <= 0.0 {
        return String::new();
    }
    format!(
        "; {} requests lie between the two bucket edges around the limit and count neither for a breach nor for health: \
         take an edge as the limit",
        grouped(report.between_edges)
    )
}

fn missing(report: &Report, interval: f64) -> String {
    let ways_out = "raise the weight, loosen the objective or send it more requests";
    match (report.requests_needed, report.blocks_needed) {
        (None, _) => format!("at this rate health cannot be proven; {ways_out}"),
        (Some(requests), None) => format!("about {} more requests are needed", grouped(requests)),
        (Some(requests), Some(blocks)) => {
            let seconds = blocks * interval;
            let needed = format!(
                "about {} more requests are needed, {} at this traffic",
                grouped(requests),
                span(seconds)
            );
            if seconds > LONG_WAIT_SECONDS { format!("{needed}; {ways_out}") } else { needed }
        }
    }
}

fn by_chance(one_in: f64) -> String {
    format!("by chance once in {}", grouped(one_in.floor().max(1.0)))
}

/// A share as a percentage with two digits of its distance from 0% or 100%: `99.31%`, `99.995%`, `79.6%`.
pub fn percent(share: f64) -> String {
    let distance = share.min(1.0 - share) * 100.0;
    let digits = match distance {
        d if d >= 1.0 || d <= 0.0 => 1,
        d if d >= 0.1 => 2,
        d if d >= 0.01 => 3,
        _ => 4,
    };
    let text = format!("{:.digits$}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A whole number with its thousands set apart: `1,234,567`; from a million million on `more than 10^12`.
pub fn grouped(number: f64) -> String {
    if number > 1e12 {
        return "more than 10^12".to_owned();
    }
    let digits = format!("{number:.0}");
    let first = digits.len() % 3;
    let mut text = String::with_capacity(digits.len() + 4);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A length of time in its natural unit: `40 s`, `6 min`, `2.5 h`, `3 days`.
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s if s < 864_000_000.0 => format!("{} days", grouped(s / 86_400.0)),
        _ => "many years".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::analysis::estimate::Interval;

    fn report() -> Report {
        Report {
            objective: 0.99,
            good: Some(0.952),
            good_of_stable: Some(0.9995),
            interval: Interval { low: 0.926, high: 0.971 },
            requests: 3120.0,
            bad: 150.0,
            between_edges: 0.0,
            step_requests: 312.0,
            requests_needed: Some(1900.0),
            blocks_needed: Some(24.0),
            breach_one_in: 4300.0,
            health_one_in: 34.2,
            dispersion_assumed: false,
            slower: None,
        }
    }

    #[test]
    fn a_breach_says_how_bad_against_what_and_how_sure() {
        let verdict = Verdict::Fail(Breach { cause: Cause::Objective, one_in: 4300.7 });
        assert_eq!(
            sentence(&verdict, &report(), 15.0),
            "95.2% of 3,120 requests were good (between 92.6% and 97.1%), the objective is 99%: \
             it is broken, by chance once in 4,300"
        );
    }

    #[test]
    fn a_candidate_that_is_worse_than_stable_is_said_to_be_so_in_what_shows_it_best() {
        let verdict = Verdict::Fail(Breach { cause: Cause::WorseThanStable, one_in: 430.0 });
        let told = sentence(&verdict, &report(), 15.0);
        assert!(
            told.ends_with("it is worse than the stable revision (99.95%), by chance once in 430"),
            "{told}"
        );
        let slower = Some(Slower { than: 0.1, candidate: 0.31, stable: 0.12 });
        let told = sentence(&verdict, &Report { slower, ..report() }, 15.0);
        let slow =
            "slower than the stable revision: 31% took longer than 100 ms, of its requests 12%, by chance";
        assert!(told.contains(slow), "{told}");
    }

    #[test]
    fn an_open_verdict_says_how_long_and_a_long_one_what_to_do() {
        let open = Verdict::Inconclusive(Why::Undecided);
        assert!(
            sentence(&open, &report(), 15.0)
                .ends_with("about 1,900 more requests are needed, 6 min at this traffic")
        );
        let long = Report { blocks_needed: Some(2400.0), ..report() };
        assert!(sentence(&open, &long, 15.0).contains("10.0 h at this traffic; raise the weight"));
        let never = Report { requests_needed: None, blocks_needed: None, ..report() };
        assert!(sentence(&open, &never, 15.0).contains("at this rate health cannot be proven"));
    }

    #[test]
    fn a_limit_between_two_edges_is_named_as_what_keeps_a_verdict_waiting() {
        let unsure = Report { between_edges: 1200.0, ..report() };
        let told = sentence(&Verdict::Inconclusive(Why::Undecided), &unsure, 15.0);
        assert!(told.contains("1,200 requests lie between the two bucket edges"), "{told}");
    }

    #[test]
    fn without_requests_nothing_else_is_claimed() {
        let nothing = Report { good: None, ..report() };
        assert_eq!(sentence(&Verdict::Pass, &nothing, 15.0), "no request of the candidate was seen yet");
    }

    #[rstest]
    #[case(1.0, "100%")]
    #[case(0.0, "0%")]
    #[case(0.5, "50%")]
    #[case(0.796, "79.6%")]
    #[case(0.99312, "99.31%")]
    #[case(0.99995, "99.995%")]
    #[case(0.000_08, "0.008%")]
    fn shares_are_told_apart_from_all_and_nothing(#[case] share: f64, #[case] text: &str) {
        assert_eq!(percent(share), text);
    }

    #[rstest]
    #[case(0.0, "0")]
    #[case(999.0, "999")]
    #[case(1000.0, "1,000")]
    #[case(1_234_567.0, "1,234,567")]
    #[case(f64::INFINITY, "more than 10^12")]
    fn thousands_are_set_apart(#[case] number: f64, #[case] text: &str) {
        assert_eq!(grouped(number), text);
    }
}
