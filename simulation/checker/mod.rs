//! Looks at the whole history of a world and says what must not have happened in it (reliability.md §3).
//!
//! A pure function: the same history gives the same report. It trusts neither the controllers' memory nor their words: what
//! is *effective* is what the proxies of the world applied ([`Input::applied`]), what is *ready* is what the objects said at
//! that moment. Statuses are read only as the write-ahead record that they are.
//!
//! Each invariant is one function with its source and how it is sharpened for Seatrial. What the design leaves nothing of:
//!
//! | invariant | why it is not here |
//! | --- | --- |
//! | S6, user-owned routes | Seatrial generates its routes; those of users are not touched (S29 holds it to that) |
//! | S22, children's observedGeneration | `Ready` speaks of pods, not of a rollout; lagging counts are read as 0 |
//! | S31, finalizers and `cascade` | there are none: children go by garbage collection (design §3) |
//! | S33, `ReferenceGrant` | no reference of ours crosses a namespace but a route's parent, which the Gateway allows |
//! | S36, condition `Contended` | not in the design; what is held is that a fight is no storm |
//! | L10, one object delays another | needs thousands of objects: `benches/` and e2e measure it (performance.md) |
//! | L14, `ReferenceGrant` | see S33; models and Gateways that appear are here |
//! | `VirtualService`, subsets | no such route is written yet |

mod capacity;
mod evidence;
mod findings;
mod input;
mod invariant;
mod liveness;
mod ownership;
mod reactions;
mod report;
mod rollback;
mod status;
mod steps;
mod tracks;
mod traffic;
mod trial;
mod world;
mod writes;

#[allow(unused_imports)] // for whoever fills the input
pub use input::{Facts, Input, Quality, Request, Span};
pub use invariant::Invariant;
#[allow(unused_imports)]
pub use report::{Report, Violation};

use findings::Findings;
use world::World;

/// What checks an invariant.
type Check = fn(&World<'_>, &mut Findings);

/// Every invariant that is checked, with what checks it.
const CHECKS: &[(Invariant, Check)] = &[
    (Invariant::S1, traffic::s1_weights_sum),
    (Invariant::S2, traffic::s2_no_traffic_without_endpoints),
    (Invariant::S3, traffic::s3_make_before_break),
    (Invariant::S4, capacity::s4_stable_capacity),
    (Invariant::S5, capacity::s5_no_repointing),
    (Invariant::S6, ownership::s6_non_interference),
    (Invariant::S7, steps::s7_monotone_phases),
    (Invariant::S8, steps::s8_bounded_blast_radius),
    (Invariant::S9, evidence::s9_evidence),
    (Invariant::S10, evidence::s10_binding),
    (Invariant::S11, steps::s11_hold_not_advance),
    (Invariant::S12, steps::s12_rollback_is_absorbing),
    (Invariant::S13, rollback::s13_no_extra_dependencies),
    (Invariant::S14, evidence::s14_good_target),
    (Invariant::S15, traffic::s15_never_worse),
    (Invariant::S16, capacity::s16_drain),
    (Invariant::S17, writes::s17_preconditions),
    (Invariant::S18, writes::s18_only_the_leader_writes),
    (Invariant::S19, writes::s19_fencing),
    (Invariant::S20, writes::s20_spec_is_the_users),
    (Invariant::S21, writes::s21_zero_steady_state),
    (Invariant::S22, status::s22_status_truth),
    (Invariant::S23, status::s23_status_bounded),
    (Invariant::S24, ownership::s24_deterministic_rendering),
    (Invariant::S25, steps::s25_determinable_progress),
    (Invariant::S26, status::s26_broken_objects),
    (Invariant::S27, steps::s27_refused_spec_changes_nothing),
    (Invariant::S28, status::s28_contained),
    (Invariant::S29, ownership::s29_ownership),
    (Invariant::S30, ownership::s30_route_claims),
    (Invariant::S31, ownership::s31_deletion),
    (Invariant::S32, ownership::s32_same_name_recreation),
    (Invariant::S33, traffic::s33_nothing_crosses_namespaces),
    (Invariant::S34, ownership::s34_fail_static),
    (Invariant::S35, evidence::s35_clocks),
    (Invariant::S36, writes::s36_gitops_contention),
    (Invariant::L1, liveness::l1_eventually_stable),
    (Invariant::L2a, rollback::l2a_healthy),
    (Invariant::L2b, rollback::l2b_api_server_down),
    (Invariant::L2c, rollback::l2c_leader_crash),
    (Invariant::L2d, rollback::l2d_unobservable),
    (Invariant::L2e, rollback::l2e_conflicts_and_errors),
    (Invariant::L3, liveness::l3_resumes),
    (Invariant::L4, liveness::l4_healthy_finishes),
    (Invariant::L5, reactions::l5_supersedes),
    (Invariant::L6, reactions::l6_fix_forward),
    (Invariant::L7, reactions::l7_deletion_completes),
    (Invariant::L8, liveness::l8_cache_recovers),
    (Invariant::L9, writes::l9_progress_beside_foreign_writers),
    (Invariant::L11, reactions::l11_drift_repaired),
    (Invariant::L12, reactions::l12_evaluation_resumes),
    (Invariant::L13, reactions::l13_readiness_lost),
    (Invariant::L14, reactions::l14_picked_up),
];

/// Checks one history.
pub fn check(input: &Input) -> Report {
    let world = World::new(input);
    let mut report = Report::default();
    for (invariant, check) in CHECKS {
        let mut findings = Findings::new(*invariant);
        check(&world, &mut findings);
        findings.violations.sort_by_key(|v| (v.at, v.revision));
        report.evaluated.insert(*invariant, findings.armed);
        report.violations.extend(findings.violations);
    }
    report
}

// Told and proven by the target `checker`; in `simulation`, which has no harness, nobody runs them.
#[cfg(test)]
#[allow(dead_code, unused_imports)]
mod proofs;
#[cfg(test)]
#[allow(dead_code)]
mod story;
