//! A RabbitMQ node as a child process, and its console.
//!
//! Its promise: private (own folder, own ports, loopback only, no epmd), and gone with the test process, however that
//! ends: a guardian process waits for the end of its input, which is the end of ours, then kills the node and removes
//! the folder. A node also ends by itself when the input of its console does.
//!
//! The console is the node's Erlang shell, on pipes: a command takes milliseconds where `rabbitmqctl` takes seconds.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Debian's and the upstream packages' place; a symbolic link to the script that needs no particular user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// For a start on a slow and busy machine.
const START: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_secs(20);

/// The shell answers before Erlang's distribution is up, which RabbitMQ's own waiting needs.
const AWAIT_STARTUP: &str = "(fun Again() -> case catch rabbit:await_startup() of ok -> ok; _ -> \
                             timer:sleep(50), Again() end end)()";

/// Kills the process whose group is in `$1/group`, if any, and removes `$1`, when its input ends.
const GUARDIAN: &str = r#"
    trap '' INT TERM HUP QUIT
    cat > /dev/null
    if [ -s "$1/group" ]; then
        kill -s KILL -- "-$(cat "$1/group")"
    fi
    for attempt in 1 2 3 4 5 6 7 8 9; do
        rm -rf "$1" && exit
        sleep 0.2
    done
"#;

/// Where a node lives, from its first start to its end.
pub(crate) struct Home {
    dir: PathBuf,
    guardian: Child,
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
        Self { dir, guardian }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
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
    pub(crate) fn start(home: &Home, port: u16, distribution_port: u16) -> Result<Self, String> {
        assert!(Path::new(SERVER).exists(), "{SERVER} is missing: install rabbitmq-server");
        let mut child = command(home.dir(), port, distribution_port).spawn().unwrap();
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
        let line = format!("io:format(\"~n{marker}~0p~n\", [catch begin {expression} end]).\n");
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

    /// As `systemctl stop` does it: connections are closed with 320.
    pub(crate) fn stop(mut self) {
        let input = self.input.as_mut().unwrap();
        input.write_all(b"rabbit:stop_and_halt().\n").unwrap();
        self.child.wait().unwrap();
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

fn command(dir: &Path, port: u16, distribution_port: u16) -> Command {
    let erlang = format!(
        "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false -erl_epmd_port {distribution_port} \
         -kernel inet_dist_use_interface {{127,0,0,1}}"
    );
    let mut command = Command::new(SERVER);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", dir)
        .env("LANG", "C.UTF-8")
        .env("RABBITMQ_NODENAME", format!("cadfd-test-{port}@localhost"))
        .env("RABBITMQ_DIST_PORT", distribution_port.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_BASE", dir)
        .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", dir.join("advanced"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join("generated"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_LOGS", dir.join("log/node.log"))
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

fn log_tail(dir: &Path) -> String {
    let [said, log] = ["stderr", "log/node.log"].map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default());
    let lines: Vec<_> = said.lines().chain(log.lines()).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
