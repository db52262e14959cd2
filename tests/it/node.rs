//! A RabbitMQ node as a child process, and its console.
//!
//! Its promise: private (own folder, own ports, own epmd, loopback only), and gone with the test process, however that
//! ends: a guardian process waits for the end of its input, which is the end of ours, then kills the node and removes
//! the folder. A node also ends by itself when the input of its console does.
//!
//! Another release than the installed one is Debian's packages unpacked into a folder, whose `/usr` covers ours in a
//! mount namespace of the node's own. That ends with the node; process, files, network and signals are as ever.
//!
//! The console is the node's Erlang shell, on pipes: a command takes milliseconds where `rabbitmqctl` takes seconds.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Debian's and the upstream packages' place; a symbolic link to the script that needs no particular user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// What `.ci/rabbitmq-4` unpacks, in the build's folder, which is one of those that this program is in.
const DEBIAN_13: &str = "rabbitmq/trixie";

/// Covers the programs and libraries by those in `$1`, then becomes the rest of its arguments.
const COVER: &str = r#"
    root=$1
    shift
    for part in bin lib lib64 sbin usr; do
        # Usually all but the last are links into it.
        if [ -d "$root/$part" ] && [ ! -L "/$part" ]; then
            parts="$parts $part"
        fi
    done
    for part in $parts; do
        mount --bind "$root/$part" "/$part" || exit
    done
    exec "$@"
"#;

/// For a start on a slow and busy machine.
const START: Duration = Duration::from_secs(90);

/// In seconds; a node that says nothing for this long, give or take a quarter, is down for the others of its cluster.
const TICK_TIME: u32 = 4;

/// Enough to see what happened last.
const LAST_LINES: usize = 60;

/// For a stop in order, after which systemd would kill it too.
const STOP: Duration = Duration::from_mins(1);

const ANSWER: Duration = Duration::from_secs(20);

/// The shell answers before Erlang's distribution is up, which RabbitMQ's own waiting needs.
const AWAIT_STARTUP: &str = "(fun Again() -> case catch rabbit:await_startup() of ok -> ok; _ -> \
                             timer:sleep(50), Again() end end)()";

/// Kills the processes whose groups are in `$1/group` and `$1/epmd`, if any, and removes `$1`, when its input ends.
const GUARDIAN: &str = r#"
    trap '' INT TERM HUP QUIT
    cat > /dev/null
    for group in "$1/group" "$1/epmd"; do
        if [ -s "$group" ]; then
            kill -s KILL -- "-$(cat "$group")"
        fi
    done
    for attempt in 1 2 3 4 5 6 7 8 9; do
        rm -rf "$1" && exit
        sleep 0.2
    done
"#;

/// Which RabbitMQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Release {
    /// The machine's own: 3.10 on Debian 12.
    #[default]
    Installed,
    /// 4.0.
    Debian13,
}

/// What a node is, at each of its starts.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) release: Release,
    /// Where Erlang's distribution listens.
    pub(crate) distribution_port: u16,
    /// Where nodes ask each other's ports; without an epmd of its own, RabbitMQ starts one for the whole machine.
    pub(crate) epmd_port: u16,
    /// As many of Erlang's schedulers as there are processors; otherwise one.
    pub(crate) all_processors: bool,
}

impl Identity {
    /// As Erlang names the node.
    pub(crate) fn name(&self) -> String {
        format!("cadfd-test-{}@127.0.0.1", self.distribution_port)
    }
}

/// Where a node lives, from its first start to its end.
pub(crate) struct Home {
    dir: PathBuf,
    guardian: Child,
    epmd: Option<Child>,
}

impl Home {
    /// A new folder whose name begins like this, and somebody to clean up after us.
    pub(crate) fn new(prefix: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir().unwrap().keep();
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { dir, guardian, epmd: None }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the Erlang port mapper, which ends with the folder.
    pub(crate) fn start_epmd(&mut self, port: u16) {
        let mut epmd = Command::new("epmd");
        epmd.args(["-address", "127.0.0.1", "-port"]).arg(port.to_string()).process_group(0);
        let epmd = epmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let epmd = epmd.expect("epmd is missing: install erlang-base");
        fs::write(self.dir.join("epmd"), epmd.id().to_string()).unwrap();
        self.epmd = Some(epmd);
    }

    /// The process that ends with the folder; it leads a group of its own.
    pub(crate) fn guard(&self, process: u32) {
        fs::write(self.dir.join("group"), process.to_string()).unwrap();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
        if let Some(epmd) = &mut self.epmd {
            let _ = epmd.kill();
            let _ = epmd.wait();
        }
    }
}

/// A running node.
pub(crate) struct Node {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    commands: u32,
}

impl Node {
    /// Starts a node in this folder, where `rabbitmq.conf` and `enabled_plugins` are, and waits until it listens.
    /// `Err` has the end of its log: a port may have been taken in the meantime.
    pub(crate) fn start(home: &Home, identity: &Identity) -> Result<Self, String> {
        let mut child = command(home.dir(), identity).spawn().unwrap();
        home.guard(child.id());
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, output) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut node = Self { child, input, output, commands: 0 };
        match node.ask(AWAIT_STARTUP, START) {
            Ok(answer) if answer == "ok" => Ok(node),
            other => Err(format!("the node did not start: {other:?}\n{}", log_tail(home.dir()))),
        }
    }

    /// Evaluates an Erlang expression; the value as Erlang prints it, on one line.
    pub(crate) fn eval(&mut self, expression: &str) -> String {
        self.ask(expression, ANSWER).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn ask(&mut self, expression: &str, limit: Duration) -> Result<String, RecvTimeoutError> {
        self.commands += 1;
        let marker = format!("@@{} ", self.commands);
        // In a function: a variable of the shell's own would be bound for good.
        let line = format!("io:format(\"~n{marker}~0p~n\", [catch (fun() -> {expression} end)()]).\n");
        let written = self.input.as_mut().map(|input| input.write_all(line.as_bytes()));
        assert!(written.is_some_and(|written| written.is_ok()), "the node is not running");
        loop {
            let line = self.output.recv_timeout(limit)?;
            if let Some(answer) = line.strip_prefix(&marker) {
                return Ok(answer.to_owned());
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// As `systemctl stop` does it: connections are closed with 320. What does not stop is killed.
    pub(crate) fn stop(mut self) {
        let input = self.input.as_mut().unwrap();
        input.write_all(b"rabbit:stop_and_halt().\n").unwrap();
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if started.elapsed() > STOP {
                show("the node does not stop: killed");
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As the kernel does it when memory runs out.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Wherever it is, also if it is frozen; an error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two ports free a moment ago: one for AMQP or TLS, one for Erlang.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The program that is a node of this release, and becomes no other process.
fn program(release: Release) -> Command {
    match release {
        Release::Installed => {
            assert!(Path::new(SERVER).exists(), "{SERVER} is missing: install rabbitmq-server");
            Command::new(SERVER)
        }
        Release::Debian13 => {
            let program = std::env::current_exe().unwrap();
            let root = program.ancestors().map(|folder| folder.join(DEBIAN_13)).find(|root| root.is_dir());
            let root = root.expect("RabbitMQ 4.0 is missing: run .ci/rabbitmq-4, which unpacks it");
            let mut command = Command::new("unshare");
            if !rustix::process::geteuid().is_root() {
                command.arg("--map-root-user");
            }
            command.args(["--mount", "sh", "-c", COVER, "cover"]).arg(root).arg(SERVER);
            command
        }
    }
}

fn command(dir: &Path, identity: &Identity) -> Command {
    let Identity { release, distribution_port, epmd_port, all_processors } = identity;
    let schedulers = if *all_processors { "" } else { "+S 1:1 " };
    let erlang = format!(
        "{schedulers}+sbwt none +sbwtdcpu none +sbwtdio none \
         -kernel inet_dist_use_interface {{127,0,0,1}} -kernel net_ticktime {TICK_TIME}"
    );
    let mut command = program(*release);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", dir)
        .env("LANG", "C.UTF-8")
        .env("RABBITMQ_NODENAME", identity.name())
        .env("RABBITMQ_USE_LONGNAME", "true")
        .env("RABBITMQ_DIST_PORT", distribution_port.to_string())
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_BASE", dir)
        .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", dir.join("advanced"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join("generated"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_LOGS", dir.join("log/node.log"))
        // Not in the arguments: the little program that RabbitMQ runs first, to start epmd, is meant above all.
        .env("ERL_FLAGS", "-start_epmd false")
        // An Erlang shell on its standard input, which makes it end with us.
        .env("RABBITMQ_ALLOW_INPUT", "1")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(dir.join("stderr")).unwrap())
        .process_group(0);
    command
}

/// The end of what a node said and logged.
pub(crate) fn log_tail(dir: &Path) -> String {
    let [said, log] = ["stderr", "log/node.log"].map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default());
    last_lines(&format!("{said}\n{log}"))
}

/// The end of what may be long, for whoever looks for the cause of a failure.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// The test runner shows it of a test that failed, or that took too long.
#[expect(clippy::print_stderr, reason = "a test has no log of its own")]
pub(crate) fn show(text: &str) {
    eprintln!("{text}");
}
