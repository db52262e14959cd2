//! The daemon against the limit and against the usual consumer, on this machine, in one run.
//!
//! Its promise: all contestants empty the same queue of the same captured messages, in turn, round after round, so
//! that what else the machine does meets all of them; what is printed is what was measured.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it plays Keystone and the operator")]

mod bare;
mod contestant;
mod process;
mod queue;
mod receiver;
mod rows;
mod rules;
mod spread;

// The tests' own broker.
macro_rules! shared {
    ($($name:ident: $path:literal;)*) => {$(
        #[path = $path]
        #[allow(
            dead_code,
            clippy::unwrap_used,
            clippy::expect_used,
            clippy::panic,
            clippy::disallowed_methods,
            reason = "they are part of the tests, which use the rest"
        )]
        mod $name;
    )*};
}
shared! {
    broker: "../../tests/it/broker.rs";
    captured: "../../tests/it/captured.rs";
    certificates: "../../tests/it/certificates.rs";
    node: "../../tests/it/node.rs";
    vhost: "../../tests/it/vhost.rs";
}

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures cadfd side by side with a bare consumer and with oslo.messaging's.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Rounds of each contestant.
    #[arg(long, default_value_t = 5, global = true)]
    rounds: usize,
    /// Messages in the queue for each round.
    #[arg(long, default_value_t = 200_000, global = true)]
    messages: usize,
    /// Messages in the queue for each round of the usual consumer, which needs its time.
    #[arg(long, default_value_t = 10_000, global = true)]
    oslo_messages: usize,
    /// The interpreter of a virtual environment with oslo.messaging; without it, that row is left out.
    #[arg(long, global = true)]
    oslo: Option<PathBuf>,
    /// cargo says so.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// One part of it; all of them by default.
#[derive(Subcommand)]
enum What {
    /// Messages a second, processor time, memory.
    Throughput,
    /// From publishing to the destination.
    Latency,
    /// Deliveries a second to one destination that answers at once.
    Deliveries,
    /// From its start until it consumes.
    Start,
    /// A backlog of a million, and the memory meanwhile.
    Backlog,
    /// The bare consumer itself.
    #[command(hide = true)]
    Bare { url: String, queue: String, count: usize },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(What::Bare { url, queue, count }) = &arguments.what {
        return bare::consume(url, queue, *count).await;
    }
    let mut queue = queue::Queue::new().await?;
    println!("{}", spread::machine()?);
    let all = arguments.what.is_none();
    let is = |what: fn(&What) -> bool| all || arguments.what.as_ref().is_some_and(what);
    if is(|what| matches!(what, What::Throughput)) {
        rows::throughput(&mut queue, &arguments).await?;
    }
    if is(|what| matches!(what, What::Latency)) {
        rows::latency(&mut queue).await?;
    }
    if is(|what| matches!(what, What::Deliveries)) {
        rows::deliveries(&mut queue, arguments.rounds).await?;
    }
    if is(|what| matches!(what, What::Start)) {
        rows::start(&queue, arguments.rounds)?;
    }
    if is(|what| matches!(what, What::Backlog)) {
        rows::backlog(&mut queue).await?;
    }
    Ok(())
}
