//! Events handed over to the daemon one after the other, and what becomes of their deliveries.
//!
//! Its promise: no more is begun than the rate allows, nothing is handed over to nobody, and no wait is without an end or a
//! way out.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::cli::doctor::files::is_running;
use crate::event::Event;
use crate::pipeline::new_deliveries;
use crate::record::{self, Record};
use crate::rule::{Follower, Plan, PlannedDelivery, RuleTable, again};
use crate::store::{Fate, HandOver, Handed, MessageKey, Purpose};
use crate::text::one_line;

use super::Replay;

/// Between looks at what has become of deliveries.
const LOOK: Duration = Duration::from_millis(200);

/// Events whose deliveries are waited for at one time; then no more is handed over.
const MOST: usize = 10_000;

/// How long a daemon may be away: as long as it takes to be started again.
const AWAY: Duration = Duration::from_secs(30);

/// Deliveries that were given up are shown up to here.
const SHOWN: usize = 20;

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error("interrupted")]
    Signal,
    #[error("the daemon has stopped")]
    Daemon,
}

pub(super) struct Carrier<'a> {
    dir: &'a Path,
    run: String,
    store: HandOver,
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
    pub(super) bar: ProgressBar,
    /// Between two actions.
    period: Duration,
    /// When the next one may begin.
    next: Instant,
    looked: Instant,
    /// What was met in the input.
    met: HashSet<MessageKey>,
    /// What was handed over and has not ended: its key, its deliveries.
    open: VecDeque<(MessageKey, Vec<Awaited>)>,
    handed: u64,
    done: u64,
    given_up: u64,
    /// Of what followed others.
    then_given_up: u64,
    reasons: Vec<String>,
}

/// A delivery whose end is waited for.
struct Awaited {
    id: String,
    /// Whether it follows another: whether there is such a delivery is known once the one before it has ended.
    follows: bool,
    /// What may follow it.
    then: Vec<Awaited>,
}

impl Awaited {
    /// What follows, without the lines.
    fn followers(followers: &[Follower]) -> Vec<Self> {
        let awaited = |follower: &Follower| {
            let id = follower.id.clone()?;
            Some(Self { id, follows: true, then: Self::followers(&follower.then) })
        };
        followers.iter().filter_map(awaited).collect()
    }

    /// It and all that may follow it.
    fn count(&self) -> usize {
        1 + self.then.iter().map(Self::count).sum::<usize>()
    }
}

impl<'a> Carrier<'a> {
    pub(super) fn new(dir: &'a Path, run: String, period: Duration, actions: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (interrupt, terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let now = Instant::now();
        Ok(Self {
            dir,
            run,
            store: HandOver::open(dir)?,
            runtime,
            interrupt,
            terminate,
            bar: crate::cli::progress::count(actions, "carried out"),
            period,
            next: now,
            looked: now,
            met: HashSet::new(),
            open: VecDeque::new(),
            handed: 0,
            done: 0,
            given_up: 0,
            then_given_up: 0,
            reasons: Vec::new(),
        })
    }

    /// Every event, and the end of all that was handed over.
    pub(super) fn all(&mut self, replay: &Replay, rules: &RuleTable) -> anyhow::Result<()> {
        // Without a bar of its own, which would stand over the other one.
        replay.inputs.each(
            |_| (),
            |input| {
                let from = input.from.clone();
                match input.named(&replay.book) {
                    Ok(event) if replay.is_meant(&event) => self.event(&from, &event, rules),
                    _ => Ok(()),
                }
            },
        )?;
        self.wait_for_all()
    }

    /// Hands over what is to be done about an event, when its time has come.
    fn event(&mut self, from: &str, event: &Arc<Event>, rules: &RuleTable) -> anyhow::Result<()> {
        let plan = rules.plan_again(event, &self.run, crate::cli::colour());
        if plan.planned.is_empty() {
            return Ok(());
        }
        let key = MessageKey::of(&again(&self.run, &event.message_id));
        // A message may stand in the input twice.
        if !self.met.insert(key) {
            return Ok(());
        }
        let awaited = |delivery: &PlannedDelivery| Awaited {
            id: delivery.id.clone(),
            follows: false,
            then: Awaited::followers(&rules.followers(delivery)),
        };
        let deliveries: Vec<_> = plan.deliveries.iter().map(awaited).collect();
        // Handed over before it was interrupted.
        if self.store.is_waiting(key)? || self.store.is_replayed(key)? {
            return self.follow(key, deliveries);
        }
        while Instant::now() < self.next || self.open.len() >= MOST {
            self.pause(self.next.max(Instant::now() + Duration::from_millis(1)).min(Instant::now() + LOOK))?;
        }
        self.wait_for_daemon()?;
        let count = u32::try_from(deliveries.iter().map(Awaited::count).sum::<usize>()).unwrap_or(u32::MAX);
        self.next = self.next.max(Instant::now()) + self.period.saturating_mul(count);
        let log = plan.log.clone();
        let handed = [self.handed(key, from, event, plan)];
        while !self.store.put(&handed)? {
            self.pause(Instant::now() + LOOK)?;
        }
        if let Some(log) = log {
            self.bar.suspend(|| io::stdout().write_all(log.as_bytes()))?;
        }
        self.follow(key, deliveries)
    }

    fn handed(&self, key: MessageKey, from: &str, event: &Event, plan: Plan<'_>) -> Handed {
        let record = record::rest_of_line(&Record::Replay {
            at: Timestamp::now(),
            run: &self.run,
            message_id: &event.message_id,
            event_type: &event.event_type,
            from,
            planned: &plan.planned,
        });
        let mut deliveries = new_deliveries(event, plan.deliveries);
        for delivery in &mut deliveries {
            // The event is old on purpose: that is no delay.
            delivery.sent = None;
        }
        Handed { purpose: Purpose::Replay, key, record, deliveries }
    }

    fn follow(&mut self, key: MessageKey, deliveries: Vec<Awaited>) -> anyhow::Result<()> {
        self.handed += 1;
        self.open.push_back((key, deliveries));
        self.look()
    }

    /// What has become of what was handed over; once in a while.
    fn look(&mut self) -> anyhow::Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        for _ in 0..self.open.len() {
            let Some((key, deliveries)) = self.open.pop_front() else { break };
            let mut left = Vec::new();
            if self.store.is_waiting(key)? {
                left = deliveries;
            } else {
                for awaited in deliveries {
                    match self.store.fate(&awaited.id)? {
                        Fate::Waiting => left.push(awaited),
                        Fate::Done => left.extend(self.end(awaited, None)),
                        Fate::GivenUp(reason) => left.extend(self.end(awaited, Some(&reason))),
                    }
                }
                if left.is_empty() {
                    continue;
                }
            }
            self.open.push_back((key, left));
        }
        Ok(())
    }

    /// Says what is to be waited for now. What followed was put into the store together with the end of what it follows; what
    /// of it is not there has been done, or was not to be.
    fn end(&mut self, ended: Awaited, given_up: Option<&str>) -> Vec<Awaited> {
        let Awaited { id, follows, then } = ended;
        self.bar.inc(1);
        match given_up {
            None => self.done += u64::from(!follows),
            Some(reason) => {
                *(if follows { &mut self.then_given_up } else { &mut self.given_up }) += 1;
                if self.reasons.len() < SHOWN {
                    self.reasons.push(format!("{id}: {}", one_line(reason)));
                }
            }
        }
        then
    }

    fn pause(&mut self, until: Instant) -> anyhow::Result<()> {
        let (interrupt, terminate) = (&mut self.interrupt, &mut self.terminate);
        let is_stopped = self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                () = tokio::time::sleep_until(until) => false,
            }
        });
        if is_stopped {
            return Err(Stopped::Signal.into());
        }
        self.look()
    }

    /// Nothing is handed over to nobody: it would be done all at once later.
    fn wait_for_daemon(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !is_running(self.dir) {
            if begun.elapsed() >= AWAY {
                return Err(Stopped::Daemon.into());
            }
            self.pause(Instant::now() + LOOK)?;
        }
        Ok(())
    }

    fn wait_for_all(&mut self) -> anyhow::Result<()> {
        while !self.open.is_empty() {
            self.wait_for_daemon()?;
            self.pause(Instant::now() + LOOK)?;
        }
        Ok(())
    }

    pub(super) fn stopped(&self, why: &Stopped, events: u64) -> anyhow::Result<ExitCode> {
        let Self { run, handed, done, given_up, open, .. } = self;
        let left: usize = open.iter().map(|(_, deliveries)| deliveries.len()).sum();
        let goes_on = match why {
            Stopped::Signal => "the daemon goes on with those",
            Stopped::Daemon => "they wait in the store for its next start",
        };
        writeln!(
            io::stderr(),
            "{why}: {handed} of {events} events were handed over; {done} actions are done, {given_up} were given up, {left} are left: \
             {goes_on}. What was not handed over is done by the same command with --resume {run}",
        )?;
        Ok(ExitCode::FAILURE)
    }

    pub(super) fn done(&self) -> anyhow::Result<ExitCode> {
        let Self { handed, done, given_up, then_given_up, reasons, run, .. } = self;
        let mut out = io::stderr();
        for reason in reasons {
            writeln!(out, "given up: {reason}")?;
        }
        let then = match then_given_up {
            0 => String::new(),
            count => format!("; {count} of what followed them given up"),
        };
        writeln!(out, "replay {run}: {handed} events, {done} actions done, {given_up} given up{then}")?;
        if *given_up + *then_given_up > 0 {
            writeln!(out, "see: cadfd outbox list --state given-up")?;
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}
