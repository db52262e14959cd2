//! RabbitMQ for tests: started, stopped, killed, frozen, and short of memory or disk.
//!
//! Its promise: [`Broker::shared`] is started once for all tests, each with a virtual host of its own; who stops,
//! kills or freezes a broker starts one for itself.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use rustix::process::Signal;

use crate::certificates::{Authority, Issued};
use crate::node::{Home, Identity, Node, Release, free_ports};
pub(crate) use crate::vhost::Vhost;

/// How often a start may find its port taken.
const STARTS: usize = 3;

/// What a broker of one's own is to have.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options<'a> {
    pub(crate) release: Release,
    /// A TLS listener with this certificate, which asks for a client's certificate; PLAIN and EXTERNAL.
    pub(crate) tls: Option<(&'a Authority, &'a Issued)>,
    /// As many of Erlang's schedulers as there are processors, for measurements; otherwise one.
    pub(crate) all_processors: bool,
    /// One of several.
    pub(crate) member: Option<Member<'a>>,
}

/// What makes a node one of a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) identity: &'a Identity,
    /// The secret that its nodes share.
    pub(crate) cookie: &'a str,
    /// Further lines of its settings.
    pub(crate) config: &'a str,
}

/// A RabbitMQ node. It ends when this is dropped, or with the test process.
pub(crate) struct Broker {
    // Declared before `home`: the node ends first.
    node: Mutex<Option<Node>>,
    home: Home,
    /// AMQP on 127.0.0.1.
    pub(crate) port: u16,
    /// AMQP over TLS on 127.0.0.1; there only with [`Options::tls`].
    pub(crate) tls_port: u16,
    identity: Identity,
    names: AtomicU32,
    /// Frozen, or cut off from its cluster.
    is_away: AtomicBool,
}

impl Broker {
    /// The one for all tests that do it no harm.
    pub(crate) fn shared() -> Arc<Self> {
        Self::shared_of(Release::Installed)
    }

    /// The same for one release.
    pub(crate) fn shared_of(release: Release) -> Arc<Self> {
        static SHARED: [OnceLock<Arc<Broker>>; 2] = [const { OnceLock::new() }; 2];
        let shared = &SHARED[usize::from(release == Release::Debian13)];
        let options = Options { release, ..Options::default() };
        let start = || Arc::clone(shared.get_or_init(|| Arc::new(Self::start_blocking(&options))));
        tokio::task::block_in_place(start)
    }

    /// One for a test that stops, kills or freezes it.
    pub(crate) fn start(options: Options<'_>) -> Arc<Self> {
        tokio::task::block_in_place(|| Arc::new(Self::start_blocking(&options)))
    }

    pub(crate) fn start_blocking(options: &Options<'_>) -> Self {
        let mut failures = String::new();
        for _ in 0..STARTS {
            match Self::try_start(options) {
                Ok(broker) => return broker,
                Err(failure) => failures.push_str(&failure),
            }
        }
        panic!("{failures}");
    }

    fn try_start(options: &Options<'_>) -> Result<Self, String> {
        let mut home = Home::new("cadfd-rabbitmq-");
        let [port, tls_port, distribution_port, epmd_port] = free_ports();
        let identity = options.member.map_or_else(
            || {
                home.start_epmd(epmd_port);
                let Options { release, all_processors, .. } = *options;
                Identity { release, distribution_port, epmd_port, all_processors }
            },
            |member| member.identity.clone(),
        );
        fs::write(home.dir().join("rabbitmq.conf"), config(options, port, tls_port)).unwrap();
        let plugins = if options.tls.is_some() { "[rabbitmq_auth_mechanism_ssl]." } else { "[]." };
        fs::write(home.dir().join("enabled_plugins"), plugins).unwrap();
        if let Some(member) = options.member {
            let cookie = home.dir().join(".erlang.cookie");
            fs::write(&cookie, member.cookie).unwrap();
            fs::set_permissions(cookie, fs::Permissions::from_mode(0o400)).unwrap();
        }
        let node = Mutex::new(Some(Node::start(&home, &identity)?));
        let (names, is_away) = (AtomicU32::new(0), AtomicBool::new(false));
        Ok(Self { node, home, port, tls_port, identity, names, is_away })
    }

    /// A virtual host, a user who may do everything in it, and one who may read one queue.
    pub(crate) fn vhost(self: &Arc<Self>) -> Vhost {
        self.vhost_with(Vec::new())
    }

    /// The same in a cluster, which has these nodes as well.
    pub(crate) fn vhost_with(self: &Arc<Self>, others: Vec<Arc<Self>>) -> Vhost {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        Vhost::new(self, others, format!("test-{}-{number}", self.port))
    }

    /// What it is started as.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Runs, and is neither frozen nor cut off.
    pub(crate) fn serves(&self) -> bool {
        self.node().is_some() && !self.is_away.load(Ordering::Relaxed)
    }

    /// Whether it is cut off from its cluster, which only the test knows.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Where its data and its log are.
    pub(crate) fn dir(&self) -> &Path {
        self.home.dir()
    }

    /// Evaluates an Erlang expression in the node.
    pub(crate) fn eval(&self, expression: &str) -> String {
        tokio::task::block_in_place(|| self.node().as_mut().expect("the broker is stopped").eval(expression))
    }

    /// An orderly stop.
    pub(crate) fn stop(&self) {
        let node = self.node().take().expect("the broker is stopped");
        tokio::task::block_in_place(|| node.stop());
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        let node = self.node().take().expect("the broker is stopped");
        tokio::task::block_in_place(|| node.kill());
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub(crate) fn freeze(&self) {
        self.set_away(true);
        self.node().as_ref().expect("the broker is stopped").signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.node().as_ref().expect("the broker is stopped").signal(Signal::CONT);
        self.set_away(false);
    }

    /// After a stop or a kill: the same data, the same ports.
    pub(crate) fn restart(&self) {
        let start = || Node::start(&self.home, &self.identity).unwrap();
        *self.node() = Some(tokio::task::block_in_place(start));
    }

    /// Raises or clears the memory alarm, which stops whoever publishes.
    pub(crate) fn set_memory_alarm(&self, raised: bool) {
        let change = if raised {
            "set_alarm({{resource_limit, memory, node()}, []})"
        } else {
            "clear_alarm({resource_limit, memory, node()})"
        };
        assert_eq!(self.eval(&format!("rabbit_alarm:{change}")), "ok");
    }

    /// Raises or clears the alarm of a full disk, which stops whoever publishes.
    pub(crate) fn set_disk_alarm(&self, raised: bool) {
        let limit = if raised { "1 bsl 60" } else { "1000000" };
        assert_eq!(self.eval(&format!("rabbit_disk_monitor:set_disk_free_limit({limit})")), "ok");
        let alarmed =
            "lists:any(fun({{resource_limit, disk, _}, _}) -> true; (_) -> false end, rabbit_alarm:get_alarms())";
        assert_eq!(self.eval(alarmed), raised.to_string());
    }

    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap()
    }
}

fn config(options: &Options<'_>, port: u16, tls_port: u16) -> String {
    let mut config = format!("listeners.tcp.default = 127.0.0.1:{port}\ndisk_free_limit.absolute = 1MB\n");
    config.push_str(options.member.map_or("", |member| member.config));
    if let Some((authority, server)) = options.tls {
        write!(
            config,
            "listeners.ssl.default = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = false\n\
             ssl_cert_login_from = common_name\n\
             auth_mechanisms.1 = PLAIN\n\
             auth_mechanisms.2 = EXTERNAL\n",
            authority.ca_file().display(),
            server.cert_file.display(),
            server.key_file.display(),
        )
        .unwrap();
    }
    config
}
