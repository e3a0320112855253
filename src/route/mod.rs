//! Who gets which share of a route: weights that sum to [`TOTAL`], the `HTTPRoute` that says so, and whether the data
//! plane already does what it says.
//!
//! Pure: no I/O, no clock.

mod effective;
mod http_route;
mod observe;
mod render;
mod shares;

pub use effective::{Effective, effective, remember};
pub use http_route::{
    BackendRef, Filter, HTTPRoute, HTTPRouteSpec, HTTPRouteStatus, Header, HeaderModifier, Match, NamedMatch,
    ParentReference, ParentStatus, PathValue, Rule, RuleTimeouts,
};
pub use observe::{Acceptance, RouteView, models, observe, traffic};
pub use render::{in_sync, keep_parents, owner_reference, render};
pub use shares::{Portion, Share, TOTAL, apportion, shares};

#[cfg(test)]
mod tests;
