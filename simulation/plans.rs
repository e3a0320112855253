//! stub
pub fn run(_: u64) -> crate::report::Report { crate::report::Report::default() }
