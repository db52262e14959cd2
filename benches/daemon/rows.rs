//! The measurements.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::contestant::{Contestant, Cost, count};
use crate::queue::{Queue, publish};
use crate::receiver::Receiver;
use crate::spread::{Spread, mebibytes, milliseconds, percentile};
use crate::{Arguments, rules};

/// Rules of the table that is to cost no more than the shipped one.
const MANY: usize = 1000;

/// Deliveries of one round.
const DELIVERIES: usize = 20_000;

/// Messages of the large backlog.
const BACKLOG: usize = 1_000_000;

/// How often the memory is looked at while the large backlog is drained.
const LOOKS: usize = 20;

/// For each rate: messages a second, and seconds.
const RATES: [(u32, u32); 2] = [(100, 30), (1000, 20)];

/// Messages a second, processor time and memory of every contestant.
pub(crate) async fn throughput(queue: &mut Queue, arguments: &Arguments) -> anyhow::Result<()> {
    let cadfd = |rules| Contestant::Cadfd { rules, settings: String::new() };
    let mut contestants = vec![
        ("bare consumer (the limit)", Contestant::Bare, arguments.messages),
        ("cadfd", cadfd(rules::shipped()), arguments.messages),
        ("cadfd, 1,000 rules", cadfd(rules::many(MANY)), arguments.messages),
    ];
    if let Some(python) = &arguments.oslo {
        let python = python.clone();
        contestants.push(("oslo.messaging's listener", Contestant::Oslo { python }, arguments.oslo_messages));
    }
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); contestants.len()];
    for round in 1..=arguments.rounds {
        for (at, (name, contestant, messages)) in contestants.iter().enumerate() {
            queue.fill(*messages).await?;
            let mut running = contestant.start(queue, *messages)?;
            running.wait_consuming()?;
            let cost = running.measure(*messages)?;
            println!(
                "  round {round}: {name}: {:.0} messages/s, {:.1} us each",
                cost.per_second(),
                cost.processor_each()
            );
            costs[at].push(cost);
            queue.wait_empty().await?;
            running.stop()?;
        }
    }
    let of = |costs: &[Cost], what: fn(&Cost) -> f64| Spread::of(costs.iter().map(what));
    let limit = (of(&costs[0], Cost::per_second).median, of(&costs[0], Cost::processor_each).median);
    println!(
        "\n{} rounds of {} messages ({:.0} bytes on average); median (least to most)\n",
        arguments.rounds,
        arguments.messages,
        queue.mean_bytes()
    );
    println!("| | messages/s | of the limit | MB/s | processor time each, us | of the limit | peak memory, MiB |");
    println!("|---|---|---|---|---|---|---|");
    for ((name, ..), costs) in contestants.iter().zip(&costs) {
        let (rate, each) = (of(costs, Cost::per_second), of(costs, Cost::processor_each));
        let memory = of(costs, |cost| mebibytes(cost.memory));
        println!(
            "| {name} | {} | {:.2} | {:.1} | {} | {:.2} | {:.0} |",
            rate.text(0),
            rate.median / limit.0,
            rate.median * queue.mean_bytes() / 1e6,
            each.text(1),
            each.median / limit.1,
            memory.most,
        );
    }
    Ok(())
}

/// From publishing to the destination's having the request, at some rates.
pub(crate) async fn latency(queue: &mut Queue) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let contestant = Contestant::Cadfd { rules: rules::to_http(), settings: receiver.settings() };
    let mut running = contestant.start(queue, 0)?;
    running.wait_consuming()?;
    println!("\nFrom publishing to the HTTP destination's having the request\n");
    println!("| messages/s | p50, ms | p99, ms | p99.9, ms | most, ms |");
    println!("|---|---|---|---|---|");
    for (rate, seconds) in RATES {
        let mut waits = at_rate(queue, &receiver, rate, seconds).await?;
        waits.sort();
        let at = |thousandths| milliseconds(percentile(&waits, thousandths));
        println!("| {rate} | {:.2} | {:.2} | {:.2} | {:.2} |", at(500), at(990), at(999), at(1000));
    }
    running.stop().map(drop)
}

async fn at_rate(queue: &mut Queue, receiver: &Receiver, rate: u32, seconds: u32) -> anyhow::Result<Vec<Duration>> {
    let channel = queue.publisher().await?;
    let mut sent = HashMap::new();
    let mut confirms = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    for _ in 0..rate * seconds {
        let (id, body) = queue.next();
        tick.tick().await;
        sent.insert(id, Instant::now());
        confirms.push(publish(&channel, body.as_bytes()).await?);
    }
    for confirm in confirms {
        ensure!(confirm.await?.is_ack(), "the broker did not take a message");
    }
    let arrived = receiver.take(sent.len()).await?;
    arrived.iter().map(|(id, at)| Ok(at.duration_since(*sent.get(id).context("an unknown message")?))).collect()
}

/// Deliveries a second to one destination that answers at once.
pub(crate) async fn deliveries(queue: &mut Queue, rounds: usize) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let contestant = Contestant::Cadfd { rules: rules::to_http(), settings: receiver.settings() };
    let mut rates = Vec::new();
    for _ in 0..rounds {
        queue.fill(DELIVERIES).await?;
        let mut running = contestant.start(queue, 0)?;
        let arrived = receiver.take(DELIVERIES).await?;
        let (first, last) = arrived.first().zip(arrived.last()).context("nothing arrived")?;
        rates.push(count(DELIVERIES) / last.1.duration_since(first.1).as_secs_f64());
        // The outcomes are in the trail as well.
        running.wait_done(2 * DELIVERIES)?;
        running.stop()?;
    }
    println!("\nDeliveries a second to one destination that answers at once: {}", Spread::of(rates).text(0));
    Ok(())
}

/// From its start until it consumes.
pub(crate) fn start(queue: &Queue, rounds: usize) -> anyhow::Result<()> {
    let contestant = Contestant::Cadfd { rules: rules::shipped(), settings: String::new() };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        let mut running = contestant.start(queue, 0)?;
        running.wait_consuming()?;
        times.push(milliseconds(begin.elapsed()));
        running.stop()?;
    }
    println!("\nFrom its start until it consumes, ms: {}", Spread::of(times).text(0));
    Ok(())
}

/// A backlog of a million, and the memory meanwhile.
pub(crate) async fn backlog(queue: &mut Queue) -> anyhow::Result<()> {
    queue.fill(BACKLOG).await?;
    let contestant = Contestant::Cadfd { rules: rules::shipped(), settings: String::new() };
    let mut running = contestant.start(queue, 0)?;
    running.wait_consuming()?;
    println!("\nA backlog of {BACKLOG} messages\n\n| drained | messages/s | processor time each, us | resident, MiB |");
    println!("|---|---|---|---|");
    let begin = Instant::now();
    for look in 1..=LOOKS {
        let messages = BACKLOG / LOOKS;
        let (from, before) = (Instant::now(), running.processor_time()?);
        running.wait_done(messages * look)?;
        let processor = running.processor_time()?.saturating_sub(before);
        let cost = Cost { messages, time: from.elapsed(), processor, memory: 0 };
        let resident = mebibytes(running.resident()?);
        println!(
            "| {} % | {:.0} | {:.1} | {resident:.0} |",
            100 * look / LOOKS,
            cost.per_second(),
            cost.processor_each()
        );
    }
    println!("\nDrained in {:.0} s, {:.0} MiB at most", begin.elapsed().as_secs_f64(), mebibytes(running.peak()?));
    running.stop().map(drop)
}
