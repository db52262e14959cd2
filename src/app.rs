//! The daemon: its parts put together, kept going, taken down in order.
//!
//! Its promise: nothing is acknowledged before the store runs, nothing performed before it is kept; at a stop the parts
//! end from the broker's side to the disk's, each within its time. Signals are an argument, so that nothing here
//! depends on where they come from.

mod disks;
mod tasks;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::action;
use crate::admin::{self, Admin, Phase, Scene};
use crate::audit::key::SignerError;
use crate::audit::{AuditError, Desk, Followers, Output, Upkeep};
use crate::checkpoint::Signer;
use crate::config::{Config, Destination, Problems};
use crate::correlate;
use crate::intake;
use crate::names::{self, Names};
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::service::Service;
use crate::store::{OpenError, Store};
use crate::worker::{Conditions, InForce, Order};
use disks::Disks;
use tasks::{Task, checkpoints, cover, ended, take_in, work};

/// How long the audit file and standard output may take to write what is committed, at a stop.
const FLUSH: Duration = Duration::from_secs(10);

/// How long the upkeep of the rotated files may take to end: it stops within a piece of its work.
const UPKEEP: Duration = Duration::from_secs(3);

/// What a stop takes at most beside `stop_timeout`: the intake's end and [`FLUSH`], and time for the disk.
const STOP: Duration = Duration::from_secs(30);

/// What the daemon can be told while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Read settings and rules again; open the audit file anew.
    Reload,
    /// Say in the log how things stand.
    Report,
    /// End in order; the cause is for the trail.
    Stop(&'static str),
}

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The audit file.
    #[error("the audit trail cannot be written: {0}")]
    Audit(#[from] AuditError),
    /// The key for its checkpoints.
    #[error("the audit trail cannot be signed: {0}")]
    Signer(#[from] SignerError),
    /// The store opened but does not take writes.
    #[error(transparent)]
    Write(#[from] crate::store::StoreError),
    /// Metrics and health.
    #[error(transparent)]
    Listen(#[from] admin::ListenError),
    /// A destination whose settings cannot work after all.
    #[error("{name}: {source}")]
    Destination {
        /// Its name.
        name: String,
        /// What is wrong.
        source: crate::action::BuildError,
    },
}

impl StartError {
    /// Whether it may pass by itself: a full disk, an error of input or output.
    fn may_pass(&self) -> bool {
        match self {
            Self::Store(error) => error.may_pass(),
            Self::Audit(error) => error.may_pass(),
            Self::Signer(error) => error.may_pass(),
            Self::Write(_) => true,
            Self::Listen(_) | Self::Destination { .. } => false,
        }
    }
}

/// Where the lines of `log` actions go.
pub struct Standard {
    /// Standard output.
    pub output: Output,
    /// Whether it is a terminal.
    pub colour: bool,
}

/// Runs until it is told to stop. `load` reads settings and rules again.
///
/// # Errors
/// When it cannot start; once it runs it ends only when told to.
pub async fn run(
    config: Config,
    load: impl Fn() -> Result<Config, Problems>,
    mut controls: mpsc::Receiver<Control>,
    standard: Standard,
    mut service: Service,
) -> Result<(), StartError> {
    let mut admin = Admin::default();
    // First of all: that the port is taken is known before anything is touched, and a start that takes long is told.
    admin.follow(config.admin.listen).await?;
    let Some(disks) = disks::open(&config, &mut controls, admin.stage(), &service).await? else { return Ok(()) };
    let mut app = App::start(config, disks, standard, admin).await?;
    service.follow(&app.status, &app.store);
    let cause = loop {
        match controls.recv().await {
            Some(Control::Reload) => {
                service.reloads();
                app.followers.reopen();
                match load() {
                    Ok(config) => app.reload(config).await,
                    Err(problems) => {
                        problems.0.iter().for_each(|problem| tracing::error!("{problem}"));
                        tracing::error!("reload refused: the old settings and rules stay in force");
                    }
                }
                service.has_reloaded();
            }
            Some(Control::Report) => app.report(),
            Some(Control::Stop(cause)) => break cause,
            None => break "the end of its controls",
        }
    };
    service.stops(cause, app.config.daemon.stop_timeout + STOP);
    app.stop(cause).await;
    Ok(())
}

struct App {
    config: Config,
    store: Arc<Store>,
    names: Arc<Names>,
    pipeline: Arc<Pipeline>,
    followers: Followers,
    desk: Arc<Desk>,
    rules: InForce,
    upkeep: Upkeep,
    signer: Arc<Signer>,
    checkpoints: Task<Duration>,
    correlator: Task<correlate::Order>,
    fired: Arc<correlate::Shown>,
    intake: Task<bool>,
    status: Arc<intake::Status>,
    workers: BTreeMap<String, Task<Order>>,
    conditions: Conditions,
    admin: Admin,
}

impl App {
    async fn start(config: Config, disks: Disks, standard: Standard, admin: Admin) -> Result<Self, StartError> {
        config.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let destinations = build(&config.destinations)?;
        let Disks { store, file, last, signer } = disks;
        let Standard { output, colour } = standard;
        let desk = Desk::new(&config.audit.path, config.audit.rotation.clone(), store.position().file_seq);
        let followers = Followers::start(&store, &desk, file, last, output)?;
        let names = Arc::new(Names::open(Arc::clone(&store))?);
        ask(&names, &config);
        names.tidy(config.names.keep_deleted);
        let pipeline = Arc::new(Pipeline::new(Arc::clone(&store), Arc::clone(&names), colour));
        pipeline.set_rules(Arc::clone(&config.rules), own_events(&config));
        let status = Arc::new(intake::Status::default());
        let conditions = Conditions::default();
        let record = Record::Start {
            at: Timestamp::now(),
            version: env!("CARGO_PKG_VERSION"),
            host: &host(),
            pid: std::process::id(),
            queues: &config.intake.all_queues(),
            rules: config.rules.len(),
            key: &signer.public().to_string(),
        };
        pipeline.note(&record).await;
        let watch = admin.stage().parts().watch("the trail's upkeep");
        let upkeep = Upkeep::start(&desk, &store, cover(&store, &pipeline, &signer), watch)?;
        let checkpoints = checkpoints(&pipeline, &signer, &admin, config.audit.checkpoint_every);
        let rules = InForce::new(pipeline.rules(), colour);
        let mut workers = BTreeMap::new();
        for (name, destination) in destinations {
            let task = work(&name, destination, &store, &rules, &conditions, &admin, None);
            workers.insert(name, task);
        }
        let fired = Arc::new(correlate::Shown::default());
        let correlator = tasks::correlate(&store, &config.rules, colour, &fired, &admin);
        let intake = take_in(config.intake.clone(), &pipeline, &status, &admin, None);
        let app = Self {
            config,
            store,
            names,
            pipeline,
            followers,
            desk,
            rules,
            upkeep,
            signer,
            checkpoints,
            correlator,
            fired,
            intake,
            status,
            workers,
            conditions,
            admin,
        };
        app.show();
        app.admin.stage().enter(Phase::Running);
        tracing::info!(
            rules = app.config.rules.len(),
            destinations = app.config.destinations.len(),
            audit.path = %app.config.audit.path.display(),
            audit.key = %app.signer.public(),
            "cadfd {} started",
            env!("CARGO_PKG_VERSION")
        );
        app.say_orphans();
        Ok(app)
    }

    /// Puts new settings in force: what did not change goes on undisturbed.
    async fn reload(&mut self, mut config: Config) {
        config.keep_tokens(&self.config);
        config.notes.iter().for_each(|note| tracing::warn!("{note}"));
        for (what, changed) in [
            ("[state] dir", config.state_dir != self.config.state_dir),
            ("[audit] path", config.audit.path != self.config.audit.path),
            ("[audit] key_file", config.audit.key_file != self.config.audit.key_file),
            ("[daemon]", config.daemon != self.config.daemon),
        ] {
            if changed {
                tracing::warn!("{what} changed; that takes effect at the next start");
            }
        }
        if let Err(error) = self.put_in_force(&config).await {
            tracing::error!("reload refused: {error}; the old settings and rules stay in force");
            return;
        }
        self.store.set_bounds(config.bounds.clone());
        self.desk.set_rotation(config.audit.rotation.clone());
        self.checkpoints.orders.send_replace(config.audit.checkpoint_every);
        // First, so that it knows every rule that something is counted for.
        self.correlator.orders.send_replace(correlate::Order { rules: Arc::clone(&config.rules), is_past: false });
        self.pipeline.set_rules(Arc::clone(&config.rules), own_events(&config));
        self.pipeline.planned_is_kept().await;
        self.correlator.orders.send_modify(|order| order.is_past = true);
        self.names.tidy(config.names.keep_deleted);
        if config.intake != self.config.intake {
            let old = std::mem::replace(&mut self.intake.handle, tokio::spawn(async {}));
            self.intake.orders.send_replace(true);
            self.intake = take_in(config.intake.clone(), &self.pipeline, &self.status, &self.admin, Some(old));
        }
        let rules = config.rules.len();
        let old = std::mem::replace(&mut self.config, config);
        // What takes effect only at the next start is still the old.
        (self.config.state_dir, self.config.daemon) = (old.state_dir, old.daemon);
        (self.config.audit.path, self.config.audit.key_file) = (old.audit.path, old.audit.key_file);
        self.show();
        self.pipeline.note(&Record::Reload { at: Timestamp::now(), rules }).await;
        tracing::info!(rules, destinations = self.config.destinations.len(), "reloaded settings and rules");
        self.say_orphans();
    }

    /// What may not work with new settings. On an error it is as before.
    async fn put_in_force(&mut self, config: &Config) -> Result<(), StartError> {
        self.admin.follow(config.admin.listen).await?;
        let replaced = self.replace_workers(&config.destinations).map(|()| self.ask_anew(config));
        if replaced.is_err() {
            self.admin.follow(self.config.admin.listen).await?;
        }
        replaced
    }

    /// Lets what there is now be seen.
    fn show(&self) {
        self.admin.stage().show(Scene {
            store: Arc::clone(&self.store),
            pipeline: Arc::clone(&self.pipeline),
            names: Arc::clone(&self.names),
            intake: Arc::clone(&self.status),
            fired: Arc::clone(&self.fired),
            conditions: Arc::clone(&self.conditions),
            followers: self.followers.health(),
            trail: Arc::clone(&self.desk),
            checkpoint_every: self.config.audit.checkpoint_every,
            audit_path: self.config.audit.path.clone(),
            rules: Arc::clone(&self.config.rules),
            queues: self.config.intake.all_queues(),
            bindings: self.config.intake.all_bindings(),
            destinations: self.config.destinations.keys().cloned().collect(),
            quiet_after: self.config.admin.quiet_after,
        });
    }

    fn replace_workers(&mut self, wanted: &BTreeMap<String, Destination>) -> Result<(), StartError> {
        // All are built before one is touched: a reload takes effect whole or not at all.
        let mut built = build(wanted)?;
        let deadline = Instant::now() + self.config.daemon.stop_timeout;
        let current = std::mem::take(&mut self.workers);
        let mut ending = BTreeMap::new();
        for (name, task) in current {
            if wanted.get(&name).is_some() && wanted.get(&name) == self.config.destinations.get(&name) {
                self.workers.insert(name, task);
            } else {
                task.orders.send_replace(Order::Stop(deadline));
                ending.insert(name, task.handle);
            }
        }
        built.retain(|name, _| !self.workers.contains_key(name));
        for (name, destination) in built {
            // It begins when the old one has ended, so that none performs what the other has claimed.
            let before = ending.remove(&name);
            let task = work(&name, destination, &self.store, &self.rules, &self.conditions, &self.admin, before);
            self.workers.insert(name, task);
        }
        // What became of one that is no longer in the settings is nobody's trouble. A part of the daemon has no dot.
        self.admin.stage().parts().keep(|part| !part.contains('.') || wanted.contains_key(part));
        Ok(())
    }

    /// Another Keystone, or other ways to ask it.
    fn ask_anew(&self, config: &Config) {
        if config.keystone != self.config.keystone || config.names != self.config.names {
            ask(&self.names, config);
        }
    }

    /// Deliveries for destinations that are no longer in the settings wait for their return.
    fn say_orphans(&self) {
        for (name, waiting) in self.store.waiting().unwrap_or_default() {
            if !self.workers.contains_key(&name) {
                tracing::warn!(
                    "{waiting} deliveries wait for {name}, which is not in the settings; bring it back or type: \
                     cadfd outbox discard --destination {name}"
                );
            }
        }
    }

    /// How things stand, for SIGUSR1.
    fn report(&self) {
        tracing::info!("intake: {}", self.status.snapshot());
        tracing::info!("names: {}", self.names.report());
        let figures = self.store.figures();
        let (quarantined, given_up) = (figures.quarantine.0, figures.given_up_rows);
        tracing::info!("put away: {quarantined} messages in quarantine, {given_up} deliveries given up");
        let waiting: BTreeMap<_, _> = self.store.waiting().unwrap_or_default().into_iter().collect();
        let conditions = self.conditions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, condition) in conditions.iter() {
            let state = match &condition.down {
                None => "works".to_owned(),
                Some((since, reason)) => format!("is lost since {}: {reason}", crate::record::time(*since)),
            };
            let waiting = waiting.get(name).copied().unwrap_or(0);
            let (done, given_up) = (condition.done, condition.refused + condition.expired);
            tracing::info!(action.name = name, "{name} {state}; {waiting} waiting, {done} done, {given_up} given up");
        }
    }

    async fn stop(self, cause: &'static str) {
        tracing::info!("stopping on {cause}");
        self.admin.stage().enter(Phase::Stopping(cause));
        self.intake.orders.send_replace(true);
        ended(self.intake.handle).await;
        // What waits to be counted, or for its time, does so on disk.
        drop(self.correlator.orders);
        ended(self.correlator.handle).await;
        let deadline = Instant::now() + self.config.daemon.stop_timeout;
        for task in self.workers.values() {
            task.orders.send_replace(Order::Stop(deadline));
        }
        for task in self.workers.into_values() {
            ended(task.handle).await;
        }
        // What it keeps in the trail comes before the end of it.
        let upkeep = self.upkeep;
        if !tokio::task::spawn_blocking(move || upkeep.finish(UPKEEP)).await.unwrap_or(false) {
            tracing::warn!("the upkeep of the rotated files did not end in time; it goes on after the next start");
        }
        drop(self.checkpoints.orders);
        ended(self.checkpoints.handle).await;
        self.pipeline.note(&Record::Stop { at: Timestamp::now(), cause }).await;
        let _said = self.pipeline.checkpoint(&self.signer).await;
        let (followers, store) = (self.followers, Arc::clone(&self.store));
        let finished = tokio::task::spawn_blocking(move || {
            let finished = followers.finish(&store, FLUSH);
            store.close();
            finished
        });
        if !finished.await.unwrap_or(false) {
            tracing::warn!("not everything could be written out; the rest follows after the next start");
        }
        tracing::info!("stopped");
    }
}

/// Lets names be asked for where the settings say.
fn ask(names: &Names, config: &Config) {
    let settings = config.keystone.as_ref().map(|keystone| {
        let lookups = names::Settings {
            wait: keystone.lookups.wait,
            lookups_per_second: NonZeroU32::new(keystone.lookups.per_second).unwrap_or(NonZeroU32::MIN),
            list_every: keystone.lookups.list_every,
            remember_unknown: config.names.remember_unknown,
        };
        (keystone.client.client(), lookups)
    });
    names.ask(settings);
}

/// Whether rules apply to cadfd's own logins at Keystone.
fn own_events(config: &Config) -> bool {
    config.keystone.as_ref().is_some_and(|keystone| keystone.lookups.own_events)
}

/// What performs deliveries, for each destination in the settings.
fn build(settings: &BTreeMap<String, Destination>) -> Result<BTreeMap<String, action::Destination>, StartError> {
    let build = |(name, settings): (&String, &Destination)| match settings.build() {
        Ok(destination) => Ok((name.clone(), destination)),
        Err(source) => Err(StartError::Destination { name: name.clone(), source }),
    };
    settings.iter().map(build).collect()
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
