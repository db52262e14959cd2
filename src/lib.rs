//! cadfd: the daemon that tells OpenStack's operators who did what in Keystone, and acts on it.
//!
//! In reading order. A message comes in by [`intake`], becomes an [`event::Event`], meets the [`rule`] table, and goes
//! into the [`store`] in one transaction, after which it is acknowledged; [`pipeline`] is that way. From the store,
//! [`audit`] writes the trail and each [`worker`] carries out the deliveries of one destination by an [`action`].
//! [`correlate`] counts for the rules that look at more than one event. [`keystone`] is asked for what ids stand for;
//! [`transport`] is the HTTP under it and the actions. [`app`] puts the parts together; [`cli`] is what a person types.
//!
//! Pure, without input, output, clock or randomness: [`event`], [`rule`], [`template`], [`retry`], [`record`],
//! [`text`], [`delays`], [`chain`], [`checkpoint`], [`report`].
//!
//! From below to above: a module names only what stands in its group or before it. ARCHITECTURE.md says more of each.

pub mod chain;
pub mod delays;
pub mod finding;
pub mod name;
mod quiet;
pub mod retry;
pub mod secret;
pub mod text;

pub mod event;

pub mod checkpoint;
pub mod record;

pub mod oslo;

pub mod action;
pub mod keystone;
pub mod transport;

pub mod rule;
pub mod template;

pub mod store;
pub mod trail;

pub mod audit;
pub mod intake;
pub mod names;
pub mod report;
pub mod witness;
pub mod worker;

pub mod correlate;
pub mod pipeline;

pub mod admin;
pub mod config;
pub mod service;

pub mod app;
pub mod cli;
