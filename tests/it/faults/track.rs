//! What is broken beside the daemon: each thing on a track of its own, so that faults of different things meet.
//!
//! Its promise: the seed decides which fault comes after which on each track, and how long each lasts; every fault is
//! healed by whoever injected it.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::kind::{AUDIT, BROKER, CLOCK, DISK, Kind, NETWORK, RECEIVER};
use super::lives::Reload;
use super::network::{Cut, Weather};
use super::publisher::Delete;
use super::stage::Stage;
use crate::standins::Fault;
use crate::tmpfs::Tmpfs;

/// Kinds drawn at random, each as often as it is in there; by a generator of its own, so that what is drawn does not
/// depend on what else was decided by chance.
pub(crate) struct Bag {
    kinds: &'static [Kind],
    left: Vec<Kind>,
    random: StdRng,
}

impl Bag {
    pub(crate) fn new(kinds: &'static [Kind], random: &mut StdRng) -> Self {
        Self { kinds, left: Vec::new(), random: StdRng::seed_from_u64(random.random()) }
    }

    /// The next; when the time is over, one that was not injected often enough.
    pub(crate) fn next(&mut self, stage: &Stage) -> Kind {
        if self.left.is_empty() {
            self.left = if stage.goes_on(&[]) { self.kinds.to_vec() } else { stage.lacking(self.kinds) };
            self.left.shuffle(&mut self.random);
        }
        self.left.pop().unwrap_or(self.kinds[0])
    }
}

/// One thing that is broken again and again.
pub(crate) struct Track {
    pub(crate) stage: Arc<Stage>,
    pub(crate) random: StdRng,
}

impl Track {
    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }

    async fn pause(&mut self, range: std::ops::Range<u64>) {
        let pause = self.millis(range);
        sleep(pause).await;
    }

    pub(crate) async fn broker(mut self, deletions: mpsc::Sender<Delete>) {
        let mut bag = Bag::new(BROKER, &mut self.random);
        sleep(self.stage.place.settling()).await;
        while self.stage.goes_on(BROKER) {
            self.pause(500..4000).await;
            let kind = bag.next(&self.stage);
            match kind {
                Kind::BrokerKill => {
                    self.stage.inject(kind, "");
                    self.stage.place.kill();
                    self.pause(0..1500).await;
                    self.stage.place.restart();
                    self.stage.note("the broker is back");
                }
                Kind::BrokerFreeze => {
                    self.stage.inject(kind, "");
                    self.stage.place.broker.freeze();
                    self.pause(300..5000).await;
                    self.stage.place.broker.thaw();
                }
                _ => {
                    let patient = self.random.random_bool(0.7);
                    let (done, deleted) = oneshot::channel();
                    deletions.send(Delete { patient, done }).await.unwrap();
                    deleted.await.unwrap();
                    self.stage.inject(kind, "");
                    sleep(self.stage.place.settling()).await;
                }
            }
        }
    }

    pub(crate) async fn network(mut self) {
        let mut bag = Bag::new(NETWORK, &mut self.random);
        while self.stage.goes_on(NETWORK) {
            self.pause(200..2000).await;
            let kind = bag.next(&self.stage);
            self.stage.inject(kind, "");
            let stage = Arc::clone(&self.stage);
            let network = &stage.network;
            match kind {
                Kind::NetworkSlow => network.set(Weather::Slow(self.millis(20..300))),
                Kind::NetworkReset => network.cut(Cut::Reset),
                Kind::NetworkClosed => network.cut(Cut::Close),
                Kind::NetworkHole => network.set(Weather::Hole),
                Kind::NetworkStuck => network.set_stuck(),
                _ => {
                    network.set(Weather::Refusing);
                    network.cut(Cut::Reset);
                }
            }
            if !matches!(kind, Kind::NetworkReset | Kind::NetworkClosed) {
                self.pause(300..4000).await;
                network.set(Weather::Clear);
            }
        }
    }

    pub(crate) async fn receiver(mut self, number: usize) {
        let mut bag = Bag::new(RECEIVER, &mut self.random);
        while self.stage.goes_on(RECEIVER) {
            self.pause(200..2000).await;
            let kind = bag.next(&self.stage);
            let fault = match kind {
                Kind::ReceiverDown => Fault::Down,
                Kind::ReceiverHangsUp => Fault::HangUp,
                Kind::ReceiverHangs => Fault::Hang,
                // With those that are too slow: acted on, and not waited for.
                Kind::ReceiverSlow => Fault::Slow(self.millis(50..1200)),
                Kind::ReceiverError => Fault::Status([500, 502, 503, 504][self.random.random_range(0..4)]),
                Kind::ReceiverBusy => Fault::RetryAfter(429, "1"),
                Kind::ReceiverCut => Fault::Cut(self.random.random_range(1..40)),
                _ => Fault::Truncate,
            };
            let (name, receiver) = &self.stage.receivers[number];
            self.stage.inject(kind, &format!(": {name}, {fault:?}"));
            receiver.fault(fault).await;
            self.pause(200..2000).await;
            self.stage.receivers[number].1.heal().await;
        }
    }

    pub(crate) async fn disk(mut self) {
        let mut bag = Bag::new(DISK, &mut self.random);
        while self.stage.goes_on(DISK) {
            self.pause(500..4000).await;
            let kind = bag.next(&self.stage);
            self.stage.inject(kind, "");
            for _again in 0..2 {
                let disk = |stage: &Stage, act: fn(&Tmpfs)| {
                    let disk = if kind == Kind::StateFull { &stage.state_disk } else { &stage.audit_disk };
                    tokio::task::block_in_place(|| act(disk));
                };
                disk(&self.stage, Tmpfs::fill);
                self.pause(200..2000).await;
                disk(&self.stage, Tmpfs::empty);
                self.pause(50..500).await;
            }
        }
    }

    pub(crate) async fn audit(mut self, reloads: mpsc::Sender<Reload>) {
        let mut bag = Bag::new(AUDIT, &mut self.random);
        while self.stage.goes_on(AUDIT) {
            self.pause(500..4000).await;
            let written = self.stage.written_file();
            let is_moved = {
                let mut files = self.stage.files.lock().unwrap();
                files.clear(written);
                files.rotate()
            };
            // There is none, where the daemon was killed before it could begin the next one.
            if !is_moved {
                continue;
            }
            let kind = bag.next(&self.stage);
            self.stage.inject(kind, "");
            if kind == Kind::AuditMovedReload {
                self.pause(0..20).await;
                // To a daemon that has not started yet there is nothing to send.
                let _nobody_listens = reloads.try_send(());
            }
        }
    }

    pub(crate) async fn clock(mut self) {
        let mut bag = Bag::new(CLOCK, &mut self.random);
        while self.stage.goes_on(CLOCK) {
            self.pause(500..4000).await;
            let kind = bag.next(&self.stage);
            self.stage.inject(kind, "");
            self.stage.control.set_clock(if kind == Kind::ClockForward { 3600 } else { -3600 });
            self.pause(300..4000).await;
            self.stage.control.set_clock(0);
        }
    }
}
