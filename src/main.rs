//! The program; so far it does nothing.

fn main() {}
