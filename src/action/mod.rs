//! What a rule can have done.

pub mod log;
