//! The heart, pure and total: what is read and what time it is → what to ask, and what to do.

pub mod question;
