//! What the scenarios and the demo stand on: the cluster, an operator that can be taken away, a constant load, and
//! everything that can be read back: status, routes, events, the audit log, metrics.

mod audit;
mod broken;
mod clock;
mod cluster;
mod load;
mod objects;
mod operator;
mod report;
mod route;
mod run;
mod scene;
mod timeline;
mod wait;

pub use audit::{Audit, Request};
pub use broken::{Broken, Outcome};
pub use clock::now;
pub use cluster::Cluster;
pub use load::{Answer, Load, Target, failed, failures, served_by, share};
pub use objects::{apply, dynamic, parse, pods_of};
pub use operator::Operator;
pub use route::Route;
pub use run::{Scenario, run_all};
pub use scene::{MODEL, Scene};
pub use timeline::{Seen, Timeline, version_of};
pub use wait::{eventually, until, until_gone};
