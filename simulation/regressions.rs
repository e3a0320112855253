//! stub
pub fn run(_: &std::sync::Mutex<crate::report::Report>) {}
