//! All scenarios, in the order in which they are started: the long ones first, those that take away what others need
//! last.

mod approval_missing;
mod backend_deleted;
mod crash_loop;
mod errors;
mod first_deploy;
mod first_step_zero;
mod gateway_never_accepts;
mod good_canary;
mod helm;
mod invalid_specs;
mod leader_killed;
mod mesh;
mod name_taken;
mod never_ready;
mod operator_away;
mod operator_killed;
mod prometheus_away;
mod reapplied;
mod route_edited;
mod route_refused;
mod second_split;
mod spec_set_back;
mod split_deleted;
mod stored_before_a_rule;
mod superseded;
mod verbs;

use crate::harness::Scenario;

/// Every scenario. Neighbours in this list run at the same time: those with much load stand apart.
pub const ALL: &[Scenario] = &[
    good_canary::SCENARIO,
    never_ready::SCENARIO,
    invalid_specs::SCENARIO,
    errors::ERRORS,
    superseded::SCENARIO,
    verbs::ABORT,
    errors::SLOW,
    reapplied::SCENARIO,
    route_refused::SCENARIO,
    verbs::PAUSE,
    crash_loop::SCENARIO,
    gateway_never_accepts::SCENARIO,
    split_deleted::SCENARIO,
    mesh::GOOD,
    verbs::RETRY,
    name_taken::SERVICE,
    mesh::BAD,
    first_step_zero::SCENARIO,
    second_split::SCENARIO,
    backend_deleted::SCENARIO,
    route_edited::SCENARIO,
    name_taken::ROUTE,
    approval_missing::SCENARIO,
    spec_set_back::SCENARIO,
    verbs::PROMOTE,
    verbs::APPROVE,
    first_deploy::SCENARIO,
    prometheus_away::SCENARIO,
    operator_killed::SCENARIO,
    leader_killed::SCENARIO,
    operator_away::SCENARIO,
    stored_before_a_rule::SCENARIO,
    helm::UPGRADE,
    helm::UNINSTALL,
];
