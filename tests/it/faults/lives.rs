//! The daemon's lives, one after the other: how each begins and what ends it.
//!
//! Its promise: a daemon that ended was ended by what was done to it, did not panic, and did not flood its log; there
//! is always another one soon.

use std::collections::HashMap;
use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::kind::{Kind, LIFE};
use super::stage::Stage;
use super::track::Bag;
use crate::daemon::Daemon;
use crate::fault::Fault;

/// Whoever moved the audit file asks for a SIGHUP.
pub(crate) type Reload = ();

const FILES: &str = "@(*/cadfd.db|*/cadfd.db-wal|*/audit.log)";

/// In order, it ends within its own bounds: 2 s for actions, 10 s for what is to be written out, and what a disk takes.
const END: Duration = Duration::from_mins(1);

/// Of a processor, beside the work. What there is to do needs a fraction of it; a loop without a pause all.
const BUSY: f64 = 0.9;

/// What an event and its deliveries may cost, without optimization and with other tests beside it. A life can begin with
/// hundreds of them.
const WORK: Duration = Duration::from_millis(4);

/// Whether a life is long enough to say so.
const LONG_LIFE: Duration = Duration::from_secs(2);

/// A start takes no longer, whatever its first message waited for.
const LONGEST_START: Duration = Duration::from_millis(800);

/// What one life may say; a daemon that cannot reach anything says so once.
const LOUD: usize = 128 << 10;

pub(crate) struct Lives {
    stage: Arc<Stage>,
    random: StdRng,
    bag: Bag,
    reloads: mpsc::Receiver<Reload>,
    /// About as many calls of a kind as a life makes.
    reach: HashMap<&'static str, usize>,
    /// How long it was until a life had its first message, the last time somebody looked.
    start: Duration,
}

/// A life under way.
struct Life {
    daemon: Daemon,
    fault: Option<Fault>,
    began: Instant,
}

impl Lives {
    pub(crate) fn new(stage: Arc<Stage>, mut random: StdRng, reloads: mpsc::Receiver<Reload>) -> Self {
        let (bag, start) = (Bag::new(LIFE, &mut random), Duration::from_millis(400));
        Self { stage, random, bag, reloads, reach: HashMap::new(), start }
    }

    /// Until the time is over and `others`, who break other things, are done.
    pub(crate) async fn run(mut self, others: watch::Receiver<bool>) -> Self {
        while self.stage.goes_on(LIFE) || !*others.borrow() {
            let kind = self.bag.next(&self.stage);
            self.live(kind).await;
        }
        self
    }

    async fn live(&mut self, kind: Kind) {
        let fault = self.fault(kind);
        let spec = fault.as_ref().map(Fault::to_string).unwrap_or_default();
        let mut life = self.begin(fault);
        let ended = match kind {
            Kind::KillAtStart => {
                let moment = self.start.mul_f64(1.2 * self.random.random::<f64>());
                self.during(&mut life, sleep(moment)).await
            }
            Kind::KillAsItConsumes => {
                let mut delivered = self.stage.deliveries.watch();
                let pause = self.millis(0..40);
                let arrive = async move {
                    let _in_time = timeout(Duration::from_secs(5), delivered.changed()).await;
                    sleep(pause).await;
                };
                let ended = self.during(&mut life, arrive).await;
                self.start = life.began.elapsed().min(LONGEST_START);
                ended
            }
            Kind::KillAtCall => self.for_millis(&mut life, 3000..4000).await,
            Kind::CallFails | Kind::CallDiskFull | Kind::CallTorn => self.for_millis(&mut life, 1500..4000).await,
            Kind::Reload => self.reload(&mut life).await,
            _ if self.random.random_bool(0.15) => self.for_millis(&mut life, 3000..8000).await,
            _ => self.for_millis(&mut life, 100..2500).await,
        };
        self.end(kind, &spec, life, ended).await;
    }

    fn begin(&mut self, fault: Option<Fault>) -> Life {
        let stage = Arc::clone(&self.stage);
        // Disks take a fraction of a millisecond to some ten.
        let sync = Duration::from_micros(self.random.random_range(1..170_u64).pow(2));
        stage.control.set_sync_delay(sync);
        let daemon = stage.site.start_as(|command| {
            stage.control.arm(command);
            if let Some(fault) = &fault {
                fault.arm(command);
            }
        });
        Life { daemon, fault, began: Instant::now() }
    }

    /// At which call of this life what is to happen.
    fn fault(&mut self, kind: Kind) -> Option<Fault> {
        let kill = ["kill-before", "kill-half", "kill-after"][self.random.random_range(0..3)];
        let (action, count) = match kind {
            Kind::KillAtCall => (kill, 1),
            Kind::CallFails => ("eio", self.random.random_range(1..4)),
            Kind::CallDiskFull => ("enospc", self.random.random_range(1..4)),
            Kind::CallTorn => ("torn", self.random.random_range(1..5)),
            _ => return None,
        };
        let receivers: Vec<_> =
            self.stage.receivers.iter().map(|(_, receiver)| format!("tcp:{}", receiver.address().port())).collect();
        let (operations, name, pattern) = match self.random.random_range(0..10) {
            0..2 if kind == Kind::KillAtCall => ("write", "broker", format!("tcp:{}", self.stage.network.port)),
            2..4 if kind == Kind::KillAtCall => ("write", "receivers", format!("@({})", receivers.join("|"))),
            // Few of all writes go there, and only one that is torn leaves half a line.
            4..7 if kind == Kind::KillAtCall => ("write", "audit file", "*/audit.log".to_owned()),
            _ => ("write,sync,truncate,unlink", "files", FILES.to_owned()),
        };
        let action = if name == "audit file" { "kill-half" } else { action };
        let reach = *self.reach.get(name).unwrap_or(&60);
        let nth = self.random.random_range(1..=reach);
        Some(Fault::times(operations, &pattern, nth, count, action).about(name))
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }

    async fn for_millis(&mut self, life: &mut Life, range: std::ops::Range<u64>) -> Option<ExitStatus> {
        let time = self.millis(range);
        self.during(life, sleep(time)).await
    }

    /// Waits; its end, if it ended meanwhile. Sends SIGHUP where somebody asks for it.
    async fn during(&mut self, life: &mut Life, what: impl Future<Output = ()>) -> Option<ExitStatus> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                status = life.daemon.ended() => return Some(status),
                () = &mut what => return None,
                // A signal before it has started ends it, and nobody would send one.
                Some(()) = self.reloads.recv() => if has_started(&life.daemon) {
                    life.daemon.signal(Signal::HUP);
                },
            }
        }
    }

    async fn reload(&mut self, life: &mut Life) -> Option<ExitStatus> {
        let ended = self.for_millis(life, 600..2000).await;
        if ended.is_some() || !has_started(&life.daemon) {
            return ended;
        }
        self.stage.inject(Kind::Reload, "");
        life.daemon.signal(Signal::HUP);
        self.for_millis(life, 200..1500).await
    }

    async fn end(&mut self, kind: Kind, spec: &str, mut life: Life, ended: Option<ExitStatus>) {
        let struck = life.fault.as_ref().is_some_and(|fault| !fault.struck().is_empty());
        if struck {
            self.stage.inject(kind, &format!(": {spec}"));
        }
        if ended.is_none() {
            self.look_busy(&life);
        }
        let by_signal = kind == Kind::Terminate || (kind != Kind::Kill && self.random.random_bool(0.2));
        let status = match ended {
            Some(status) => status,
            None if by_signal => {
                self.stage.inject(Kind::Terminate, "");
                self.terminate(&mut life.daemon).await
            }
            None => {
                let kills = matches!(kind, Kind::KillAtStart | Kind::KillAsItConsumes);
                self.stage.inject(if kills { kind } else { Kind::Kill }, "");
                life.daemon.signal(Signal::KILL);
                life.daemon.ended().await
            }
        };
        self.learn(&life, struck);
        self.bury(life.daemon, status, ended.is_some(), struck).await;
    }

    /// Whether it does something again and again without a pause, whatever is wrong with its world.
    fn look_busy(&self, life: &Life) {
        let lived = life.began.elapsed();
        if lived > LONG_LIFE {
            let events = u32::try_from(life.daemon.out().lines().count()).unwrap();
            let idle = life.daemon.cpu_time().saturating_sub(WORK * events);
            let share = idle.as_secs_f64() / lived.as_secs_f64();
            self.stage.note_busy(share);
            assert!(share < BUSY, "it used {share:.2} of a processor for {lived:?}:\n{}", life.daemon.log());
        }
    }

    async fn terminate(&self, daemon: &mut Daemon) -> ExitStatus {
        daemon.terminate();
        let Ok(status) = timeout(END, daemon.ended()).await else {
            panic!("it does not end within {END:?} of SIGTERM:\n{}", daemon.log());
        };
        status
    }

    fn learn(&mut self, life: &Life, struck: bool) {
        let calls = self.stage.control.take_calls();
        if let Some(fault) = &life.fault {
            let reach = self.reach.entry(fault.what()).or_insert(60);
            *reach = if struck { *reach + *reach / 10 + 1 } else { calls.clamp(10, *reach) };
        }
    }

    /// Looks at what is left of it.
    async fn bury(&self, mut daemon: Daemon, status: ExitStatus, by_itself: bool, struck: bool) {
        let (out, log) = (daemon.out_to_end().await, daemon.log_to_end().await);
        self.stage.take_output(&out, &log);
        let killed = [Signal::KILL, Signal::TERM].iter().any(|signal| status.signal() == Some(signal.as_raw()));
        // It says why it cannot start, and its supervisor tries again.
        let cannot_start = by_itself && status.code() == Some(1) && log.contains("cannot start");
        let as_expected = if by_itself { (killed && struck) || cannot_start } else { killed || status.success() };
        assert!(as_expected, "it ended by itself, or not in order: {status}\n{log}");
        assert!(!log.contains("panicked"), "it panicked:\n{log}");
        assert!(log.len() < LOUD, "it says too much, {} bytes; the end:\n{}", log.len(), &log[log.len() - 4000..]);
    }

    /// A last life without faults, until `done`; it ends in order.
    pub(crate) async fn last(mut self, done: impl Future<Output = ()>) {
        let mut life = self.begin(None);
        // Before it listens to signals, one to end it would not do so in order.
        life.daemon.wait_log("consuming").await;
        let ended = self.during(&mut life, done).await;
        let status = match ended {
            Some(status) => status,
            None => self.terminate(&mut life.daemon).await,
        };
        let log = life.daemon.log();
        self.bury(life.daemon, status, ended.is_some(), false).await;
        assert!(status.success(), "{status}\n{log}");
    }
}

fn has_started(daemon: &Daemon) -> bool {
    daemon.log().contains(" started")
}
