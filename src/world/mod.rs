//! A cluster in one process, in virtual time: the real controllers run in it, unmodified, over their usual clients.
//!
//! ```text
//! controllers ── kube::Client ──► api_server ──► history (every change, in order)
//!      │                              ▲
//!      └── Transport ──► plant        │ reads and writes at once, without a network
//!                        ├ workloads  Deployments → pods, ready or not
//!                        ├ gateway    accepts routes, late or never
//!                        ├ proxies    apply routes late; count requests and failures
//!                        ├ prometheus scrapes the proxies, answers questions
//!                        └ …          autoscaler, GitOps, users
//! ```
//!
//! Time is tokio's paused time; chance comes from one seeded source. The simulation (`simulation/`) adds faults and a checker,
//! `seatrial simulate` a user's `TrafficSplit`.

pub mod api_server;
pub mod cluster;
pub mod history;
pub mod plant;
pub mod setting;
