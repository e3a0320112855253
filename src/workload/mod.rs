//! A revision in the cluster: the objects that run it, and how it is doing.
//!
//! Pure: no I/O, no clock. Objects are rendered from the snapshot alone, so that no release of the operator restarts a
//! pod; [`covers`] tells whether what lives needs a write at all.

mod covers;
mod health;
mod objects;
mod trouble;

pub use covers::covers;
pub use health::{Health, health};
pub use objects::{Owner, Pods, controller_revision, deployment, service, stable_service};
pub use trouble::{Trouble, TroubleKind, trouble};

#[cfg(test)]
mod tests;
