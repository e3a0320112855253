//! The one place here that reads the wall clock: the audit log and conditions are written in its time.

use jiff::Timestamp;

/// Now, in wall time.
#[expect(
    clippy::disallowed_methods,
    reason = "the cluster under test is on the same clock; nothing here is replayed"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
