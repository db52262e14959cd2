//! cadfd: the daemon that tells OpenStack's operators who did what in Keystone, and acts on it.

pub mod retry;
pub mod secret;
