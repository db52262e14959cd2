//! Everything that a run has: the broker, the network, the receivers, the disks, the daemon's place, and the ledgers.
//!
//! Its promise: the ledgers are kept outside of whatever is broken; what is collected in memory is bounded by the
//! messages published, not by what the daemon says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::compare::{Calls, Evidence, Verdict, compare};
use super::follow::Files;
use super::kind::Kind;
use super::ledger::{Ledger, MAX_BODY};
use super::network::Network;
use super::place::Place;
use super::rules::{RECEIVERS, RULES, destinations, settings};
use super::wire::Deliveries;
use crate::daemon::Site;
use crate::fault::Control;
use crate::standins::Receiver;
use crate::tmpfs::Tmpfs;

/// Room for the state, or the trail between two of its moves; few enough to be filled in a moment.
const DISK: usize = 192 << 20;

/// Of the daemon's log and of the run's: the end is what is shown of a failure.
const LINES: usize = 3000;

/// What is printed of them.
const SHOWN: usize = 150;

/// A fault that was injected, and the messages that were sent and not in the trail then.
pub(crate) struct Injected {
    pub(crate) kind: Kind,
    pub(crate) in_flight: Vec<usize>,
}

pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) site: Site,
    pub(crate) network: Network,
    pub(crate) deliveries: Arc<Deliveries>,
    /// With their destinations' names.
    pub(crate) receivers: Vec<(String, Receiver)>,
    pub(crate) control: Control,
    pub(crate) state_disk: Tmpfs,
    pub(crate) audit_disk: Tmpfs,
    pub(crate) files: Mutex<Files>,
    began: Instant,
    until: Instant,
    ledger: Mutex<Ledger>,
    injected: Mutex<Vec<Injected>>,
    calls: Mutex<HashMap<String, Calls>>,
    printed: Mutex<HashSet<String>>,
    /// The most that one life of the daemon used of a processor.
    busiest: Mutex<f64>,
    /// What was done when, and what the daemon said.
    lines: Mutex<VecDeque<String>>,
    _archive: TempDir,
}

impl Stage {
    /// With faults for so long from now on.
    pub(crate) async fn new(place: Place, time: Duration) -> Self {
        let deliveries = Arc::new(Deliveries::default());
        let network = Network::start(place.port(), Arc::clone(&deliveries));
        let mut receivers = Vec::new();
        for name in RECEIVERS {
            receivers.push((format!("http.{name}"), Receiver::start().await));
        }
        let (state_disk, audit_disk, archive) = (Tmpfs::new(DISK), Tmpfs::new(DISK), tempfile::tempdir().unwrap());
        let mut site = Site::with_url(&place.transport_url(network.port)).settings(&settings(&receivers)).rules(RULES);
        for (name, value) in [
            ("HEARTBEAT", "1s"),
            ("CONNECT_TIMEOUT", "2s"),
            ("PREFETCH", "40"),
            ("BATCH", "10"),
            ("MAX_BODY", &MAX_BODY.to_string()),
        ] {
            site = site.variable(&format!("CADFD_RABBITMQ__{name}"), value);
        }
        site.put_state(&state_disk.path().join("state"));
        site.put_audit(&audit_disk.path().join("log/audit.log"));
        let files = Mutex::new(Files::new(&site.audit_path(), archive.path()));
        let began = Instant::now();
        Self {
            place,
            site,
            network,
            deliveries,
            receivers,
            control: Control::new(),
            state_disk,
            audit_disk,
            files,
            began,
            until: began + time,
            ledger: Mutex::default(),
            injected: Mutex::default(),
            calls: Mutex::default(),
            printed: Mutex::default(),
            busiest: Mutex::default(),
            lines: Mutex::default(),
            _archive: archive,
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Whether to break more: the time is not over, or one of these kinds was not injected twice yet.
    pub(crate) fn goes_on(&self, kinds: &[Kind]) -> bool {
        Instant::now() < self.until || !self.lacking(kinds).is_empty()
    }

    /// Kinds that were not injected twice yet.
    pub(crate) fn lacking(&self, kinds: &[Kind]) -> Vec<Kind> {
        let injected = self.injected.lock().unwrap();
        let often = |kind: Kind| injected.iter().filter(|fault| fault.kind == kind).take(2).count() == 2;
        kinds.iter().copied().filter(|kind| !often(*kind)).collect()
    }

    /// Writes down that a fault is injected now.
    pub(crate) fn inject(&self, kind: Kind, detail: &str) {
        let in_flight = self.ledger().in_flight();
        self.note(&format!("{}{detail} ({} in flight)", kind.name(), in_flight.len()));
        self.injected.lock().unwrap().push(Injected { kind, in_flight });
    }

    /// A line for whoever looks into a failure.
    pub(crate) fn note(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap();
        lines.push_back(format!("{:9.3} {line}", self.began.elapsed().as_secs_f64()));
        if lines.len() > LINES {
            lines.pop_front();
        }
    }

    /// What a daemon that has ended wrote: lines of its rules, and its log's end.
    pub(crate) fn take_output(&self, out: &str, log: &str) {
        self.printed.lock().unwrap().extend(out.lines().map(str::to_owned));
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].iter().for_each(|line| self.note(&format!("    {line}")));
    }

    fn history(&self) -> String {
        self.lines.lock().unwrap().make_contiguous().join("\n")
    }

    /// What happened last.
    pub(crate) fn last_history(&self) -> String {
        let history = self.history();
        let lines: Vec<_> = history.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// Keeps the ledgers up to date; never ends.
    pub(crate) async fn keep_books(self: Arc<Self>) {
        loop {
            self.update();
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn update(&self) {
        let lines = self.files.lock().unwrap().advance();
        let mut ledger = self.ledger();
        for line in &lines {
            ledger.follow(line);
        }
        drop(ledger);
        let mut calls = self.calls.lock().unwrap();
        for (destination, receiver) in &self.receivers {
            receiver.forget_attempts();
            for call in receiver.ledger().take() {
                let message_id = call.json()["message_id"].as_str().unwrap_or_default().to_owned();
                let fresh = Calls { message_id, destination: destination.clone(), count: 0 };
                calls.entry(call.header("x-cadfd-delivery")).or_insert(fresh).count += 1;
            }
        }
    }

    /// Which audit file the store says is written.
    pub(crate) fn written_file(&self) -> Option<(u64, u64)> {
        let number = |key: &str| -> Option<u64> {
            let sql = format!("SELECT value FROM meta WHERE key = '{key}'");
            self.open_store()?.query_row(&sql, [], |row| row.get::<_, i64>(0)).ok().map(i64::cast_unsigned)
        };
        Some((number("file_dev")?, number("file_ino")?))
    }

    /// Deliveries and records that wait.
    pub(crate) fn waiting(&self) -> Option<(u64, u64)> {
        let sql = "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM trail)";
        self.open_store()?.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).ok()
    }

    fn quarantine(&self) -> HashMap<String, Vec<u8>> {
        let store = self.open_store().unwrap();
        let mut statement = store.prepare("SELECT digest, body FROM quarantine").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn open_store(&self) -> Option<rusqlite::Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        rusqlite::Connection::open_with_flags(self.site.state_dir().join("cadfd.db"), flags).ok()
    }

    /// Of a run that is over.
    pub(crate) fn judge(&self) -> Verdict {
        self.update();
        compare(&Evidence {
            sent: &self.ledger().sent,
            trail: &self.files.lock().unwrap().all(),
            sessions: &self.deliveries.sessions(),
            quarantine: &self.quarantine(),
            calls: &self.calls.lock().unwrap(),
            printed: &self.printed.lock().unwrap(),
            destinations,
        })
    }

    /// Copies the trail and the store to a folder that stays.
    pub(crate) fn save(&self, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let store = fs::read_dir(self.site.state_dir()).into_iter().flatten().map(|entry| entry.unwrap().path());
        for path in self.files.lock().unwrap().paths().into_iter().chain(store) {
            // A file of a daemon that still runs may go meanwhile.
            let _copied = fs::copy(&path, to.join(path.file_name().unwrap()));
        }
        fs::write(to.join("history"), self.history()).unwrap();
    }

    pub(crate) fn injected(&self) -> MutexGuard<'_, Vec<Injected>> {
        self.injected.lock().unwrap()
    }

    pub(crate) fn note_busy(&self, share: f64) {
        let mut busiest = self.busiest.lock().unwrap();
        *busiest = busiest.max(share);
    }

    pub(crate) fn busiest(&self) -> f64 {
        *self.busiest.lock().unwrap()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
