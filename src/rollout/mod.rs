//! The heart, pure and total: what is read and what time it is → what to ask, and what to do.
//!
//! Begin with [`phase`], the one table; then [`decide`] (which move comes next), [`apply`] (the move written down),
//! [`shares`] and [`sizes`] (what follows from it for the route and the pods) and [`plan`] (all of it in safety order).

pub mod apply;
#[cfg(test)]
mod breadth_tests;
pub mod decide;
pub mod evidence;
mod held;
pub mod leftover;
pub mod news;
pub mod notice;
pub mod observed;
pub mod past;
pub mod phase;
pub mod plan;
pub mod question;
pub mod report;
pub mod requests;
pub mod retreat;
mod shared_breach;
pub mod shares;
pub mod sizes;
pub(crate) mod slo_evidence;
mod split_summary;
pub mod steps;
pub mod summary;
pub mod trial;
pub mod yielding;
