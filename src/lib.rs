//! cadfd: the daemon that tells OpenStack's operators who did what in Keystone, and acts on it.

pub mod event;
pub mod text;

pub mod rule;
pub mod template;

pub mod record;
pub mod retry;
pub mod secret;

mod quiet;

pub mod action;
pub mod intake;
pub mod store;

pub mod audit;
pub mod worker;

pub mod config;
