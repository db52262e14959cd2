//! Keystone 28.1 as a child process, on a MariaDB and a broker's virtual host.
//!
//! Its promise: set up as its documentation says, and published by its own settings; gone with the test process, as
//! the brokers are.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::broker::Vhost;
use crate::mariadb::{MariaDb, PATH};
use crate::node::Home;

/// Of the user `admin`, who has the role `admin` in the project `admin` and in the system.
pub(crate) const ADMIN_PASSWORD: &str = "4dm1n-pa55w0rd";

/// `[DEFAULT] notification_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Cadf,
    Basic,
}

/// What keystone.conf says beyond the defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) format: Format,
    /// Nothing is opted out; by default, logins that succeed are.
    pub(crate) everything: bool,
}

/// A Keystone that serves.
pub(crate) struct Keystone {
    // Declared before the others: it ends first.
    server: Child,
    home: Home,
    database: MariaDb,
    url: String,
}

impl Keystone {
    /// Sets up and starts one whose notifications go to this virtual host. What setting it up notifies is in the queue
    /// when this returns.
    pub(crate) async fn start(vhost: &Vhost, options: Options) -> Self {
        let database = MariaDb::start().await;
        let home = Home::new("cadfd-keystone-");
        fs::write(home.dir().join("keystone.conf"), settings(vhost, &database, home.dir(), options)).unwrap();
        // Listens before anybody serves: the catalogue has to name the port, and until then it has to stay ours.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v3", listener.local_addr().unwrap());
        // On this thread: nothing else is to be done before they have ended.
        tokio::task::block_in_place(|| {
            manage(&home, &["db_sync"]);
            let (user, group) = (rustix::process::geteuid().to_string(), rustix::process::getegid().to_string());
            let owner = ["--keystone-user", &user, "--keystone-group", &group];
            for setup in ["fernet_setup", "credential_setup"] {
                manage(&home, &[&[setup][..], &owner].concat());
            }
            manage(
                &home,
                &[
                    "bootstrap",
                    "--bootstrap-password",
                    ADMIN_PASSWORD,
                    "--bootstrap-public-url",
                    &url,
                    "--bootstrap-region-id",
                    "RegionOne",
                ],
            );
            let server = serve(&home, listener);
            Self { server, home, database, url }
        })
    }

    /// `http://127.0.0.1:port/v3`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where its own files are, and the database's.
    pub(crate) fn dirs(&self) -> [&Path; 2] {
        [self.home.dir(), self.database.dir()]
    }

    /// Its own log.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.home.dir().join("keystone.log")
    }

    /// Its log's last lines, for a test that failed.
    pub(crate) fn log(&self) -> String {
        tail(&self.home)
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn settings(vhost: &Vhost, database: &MariaDb, dir: &Path, options: Options) -> String {
    let format = match options.format {
        Format::Cadf => "cadf",
        Format::Basic => "basic",
    };
    let opt_out = if options.everything { "notification_opt_out =\n" } else { "" };
    let transport = vhost.keystone_url(&vhost.broker).replacen("amqp:", "rabbit:", 1);
    let (database, dir) = (database.url(), dir.display());
    // One round of hashing, or as few as there may be: a password takes no quarter of a second.
    format!(
        "[DEFAULT]\nnotification_format = {format}\n{opt_out}transport_url = {transport}\nlog_file = {dir}/keystone.log\n\
         [database]\nconnection = {database}\n\
         [oslo_messaging_notifications]\ndriver = messagingv2\ndriver = log\ntopics = notifications,cadfd\n\
         [fernet_tokens]\nkey_repository = {dir}/fernet-keys\n\
         [credential]\nkey_repository = {dir}/credential-keys\n\
         [identity]\npassword_hash_rounds = 4\n\
         [security_compliance]\nunique_last_password_count = 2\nlockout_failure_attempts = 3\nlockout_duration = 1800\n"
    )
}

/// What `.ci/keystone` makes.
fn program(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/keystone/bin").join(name);
    assert!(program.exists(), "{} is missing: run .ci/keystone, which makes it", program.display());
    program
}

/// With nothing of our environment that could change what Keystone does.
fn command(home: &Home, name: &str) -> Command {
    let mut command = Command::new(program(name));
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", home.dir())
        .env("LANG", "C.UTF-8")
        .env("PYTHONWARNINGS", "ignore")
        .env("OS_KEYSTONE_CONFIG_DIR", home.dir())
        .current_dir(home.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn said(home: &Home) -> File {
    File::options().create(true).append(true).open(home.dir().join("stderr")).unwrap()
}

fn manage(home: &Home, args: &[&str]) {
    let mut command = command(home, "keystone-manage");
    command.arg("--config-file").arg(home.dir().join("keystone.conf")).args(args);
    let mut child = command.stderr(said(home)).process_group(0).spawn().unwrap();
    home.guard(child.id());
    let status = child.wait().unwrap();
    assert!(status.success(), "keystone-manage {}: {status}\n{}", args[0], tail(home));
}

/// Starts it on a socket that listens, and waits until it serves.
fn serve(home: &Home, listener: TcpListener) -> Child {
    let mut command = command(home, "python");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keystone/serve.py"));
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::piped()).stderr(said(home)).process_group(0);
    let mut server = command.spawn().unwrap();
    home.guard(server.id());
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "serving\n", "Keystone does not serve:\n{}", tail(home));
    server
}

/// The end of what it said and logged.
fn tail(home: &Home) -> String {
    let mut text = String::new();
    for name in ["stderr", "keystone.log"] {
        // Not before the first line of it.
        if let Ok(mut file) = File::open(home.dir().join(name)) {
            file.read_to_string(&mut text).unwrap();
        }
    }
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
