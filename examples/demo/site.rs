//! cadfd with settings, rules and secrets in files, as an operator has them.
//!
//! Its promise: the process and its folder end with the demo, however that ends: a guardian sees to it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::node::Home;
use crate::standins::{Jenkins, Slack};

/// Where its rules are in the source tree.
pub(crate) const RULES_FILE: &str = "examples/demo/rules.toml";
const RULES: &str = include_str!("rules.toml");

/// Between looks at cadfd's files.
const LOOK: Duration = Duration::from_millis(20);

/// A folder with `etc`, `state` and `log`.
pub(crate) struct Site {
    home: Home,
}

impl Site {
    /// Writes settings, rules and secrets.
    pub(crate) fn new(transport_url: &str, jenkins: &Jenkins, slack: &Slack) -> anyhow::Result<Self> {
        let site = Self { home: Home::new("cadfd-demo-") };
        let path = |name: &str| site.dir().join(name);
        let settings = format!(
            "[rabbitmq]\ntransport_url_file = \"{0}/etc/transport_url\"\n\n[admin]\nlisten = \"off\"\n\n[state]\ndir = \"{0}/state\"\n\n\
             [audit]\npath = \"{1}\"\n\n\
             [jenkins.ci]\nurl = \"{2}\"\nuser = \"{3}\"\ntoken_file = \"{0}/etc/jenkins.token\"\n\n\
             [slack.ops]\nwebhook_url_file = \"{0}/etc/slack.url\"\nrate = \"unlimited\"\n",
            site.dir().display(),
            site.audit_file().display(),
            jenkins.base_url(),
            Jenkins::USER,
        );
        fs::create_dir_all(path("etc/rules.d"))?;
        fs::write(site.settings_file(), settings)?;
        fs::write(path("etc/rules.d/demo.toml"), RULES)?;
        let webhook_url = slack.webhook_url();
        for (name, secret) in
            [("transport_url", transport_url), ("jenkins.token", Jenkins::TOKEN), ("slack.url", &webhook_url)]
        {
            let file = path("etc").join(name);
            fs::write(&file, format!("{secret}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
        Ok(site)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.home.dir()
    }

    pub(crate) fn settings_file(&self) -> PathBuf {
        self.dir().join("etc/cadfd.toml")
    }

    fn audit_file(&self) -> PathBuf {
        self.dir().join("log/audit.log")
    }

    /// The trail's text.
    pub(crate) fn trail(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.audit_file()).context("the audit trail cannot be read")
    }

    /// The trail's records.
    pub(crate) fn records(&self) -> anyhow::Result<Vec<Value>> {
        let trail = self.trail()?;
        trail.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no record: {line}"))).collect()
    }

    /// How many records of this type there are so far.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.trail().unwrap_or_default().matches(&format!(",\"type\":\"{kind}\",")).count()
    }

    /// Starts `cadfd run`, the one that was built beside this example.
    pub(crate) fn start(&self) -> anyhow::Result<Cadfd> {
        let this = std::env::current_exe()?;
        let folder = this.parent().and_then(Path::parent).context("this example lies in no target directory")?;
        let program = folder.join("cadfd");
        ensure!(program.exists(), "{} is missing: cargo build", program.display());
        let [out, log] = ["out", "err"].map(|name| self.dir().join(name));
        let mut command = Command::new(&program);
        command.arg("--config").arg(self.settings_file()).arg("run");
        // Not the settings of whoever tries the demo.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CADFD_")) {
            command.env_remove(name);
        }
        // A group of its own: an interrupted demo ends it in order.
        command.stdin(Stdio::null()).stdout(fs::File::create(&out)?).stderr(fs::File::create(&log)?).process_group(0);
        let child =
            command.kill_on_drop(true).spawn().with_context(|| format!("cannot start {}", program.display()))?;
        if let Some(process) = child.id() {
            self.home.guard(process);
        }
        Ok(Cadfd { child, out, log })
    }
}

/// The running daemon.
pub(crate) struct Cadfd {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Cadfd {
    /// What its rules wrote so far.
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it said of itself so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something is so; fails when cadfd ends before, or when it takes too long.
    pub(crate) async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        so: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !so(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!("cadfd ended before {what}: {status}\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "waited {limit:?} until {what}; cadfd says:\n{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// SIGTERM; it must end with exit status 0.
    pub(crate) async fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        let process = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(process.context("cadfd has ended before it was told to")?, Signal::TERM)?;
        let status =
            tokio::time::timeout(limit, self.child.wait()).await.context("cadfd does not end on SIGTERM")??;
        ensure!(status.success(), "cadfd ended with {status}\n{}", self.log());
        Ok(())
    }
}
