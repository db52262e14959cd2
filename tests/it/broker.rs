//! RabbitMQ for tests, as an OpenStack has it: users, virtual hosts, and queues declared as Keystone declares them.
//!
//! Its promise: [`Broker::shared`] is started once for all tests, each with a virtual host of its own; who stops,
//! kills or freezes a broker starts one for itself.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use cadfd::intake::{Host, Mechanism, Settings};
use cadfd::retry::Schedule;
use cadfd::secret::Secret;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use rustix::process::Signal;

use crate::captured;
use crate::certificates::{Authority, Issued};
use crate::node::{Home, Node, free_ports};

/// How often a start may find its port taken.
const STARTS: usize = 3;

/// What a broker of one's own is to have.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options<'a> {
    /// A TLS listener with this certificate, which asks for a client's certificate; PLAIN and EXTERNAL.
    pub(crate) tls: Option<(&'a Authority, &'a Issued)>,
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
    distribution_port: u16,
    names: AtomicU32,
}

impl Broker {
    /// The one for all tests that do it no harm.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Broker>> = OnceLock::new();
        let start = || Arc::clone(SHARED.get_or_init(|| Arc::new(Self::start_blocking(&Options::default()))));
        tokio::task::block_in_place(start)
    }

    /// One for a test that stops, kills or freezes it.
    pub(crate) fn start(options: Options<'_>) -> Arc<Self> {
        tokio::task::block_in_place(|| Arc::new(Self::start_blocking(&options)))
    }

    fn start_blocking(options: &Options<'_>) -> Self {
        let mut failures = String::new();
        for _ in 0..STARTS {
            let home = Home::new("cadfd-rabbitmq-");
            let [port, tls_port, distribution_port] = free_ports();
            fs::write(home.dir().join("rabbitmq.conf"), config(options, port, tls_port)).unwrap();
            let plugins = if options.tls.is_some() { "[rabbitmq_auth_mechanism_ssl]." } else { "[]." };
            fs::write(home.dir().join("enabled_plugins"), plugins).unwrap();
            match Node::start(&home, port, distribution_port) {
                Ok(node) => {
                    let node = Mutex::new(Some(node));
                    return Self { node, home, port, tls_port, distribution_port, names: AtomicU32::new(0) };
                }
                Err(failure) => failures.push_str(&failure),
            }
        }
        panic!("{failures}");
    }

    /// A virtual host, a user who may do everything in it, and one who may read one queue.
    pub(crate) fn vhost(self: &Arc<Self>) -> Vhost {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", self.port);
        let vhost = Vhost { broker: Arc::clone(self), name, admin: tokio::sync::Mutex::new(None) };
        self.eval(&format!("rabbit_vhost:add({}, {ACTOR})", binary(&vhost.name)));
        vhost.add_user("keystone", "k3ystone", [".*", ".*", ".*"]);
        vhost.add_user("cadfd", "s3cr3t-pa55", ["^$", "^$", "^cadfd\\.info$"]);
        vhost
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
        self.node().as_ref().expect("the broker is stopped").signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.node().as_ref().expect("the broker is stopped").signal(Signal::CONT);
    }

    /// After a stop or a kill: the same data, the same ports.
    pub(crate) fn restart(&self) {
        let start = || Node::start(&self.home, self.port, self.distribution_port).unwrap();
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

    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap()
    }
}

/// Who does it, in the broker's log.
const ACTOR: &str = "<<\"a test\">>";

fn config(options: &Options<'_>, port: u16, tls_port: u16) -> String {
    let mut config = format!("listeners.tcp.default = 127.0.0.1:{port}\ndisk_free_limit.absolute = 1MB\n");
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

/// An Erlang binary.
fn binary(text: &str) -> String {
    format!("<<\"{}\">>", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A virtual host for one test, with what Keystone would do in it.
pub(crate) struct Vhost {
    /// Where it is.
    pub(crate) broker: Arc<Broker>,
    /// Its name, in no other test.
    pub(crate) name: String,
    admin: tokio::sync::Mutex<Option<Connection>>,
}

impl Vhost {
    /// A user is known in the whole broker: its name is told apart by the virtual host's.
    pub(crate) fn user(&self, user: &str) -> String {
        format!("{user}-{}", self.name)
    }

    /// Adds a user with permissions to configure, write and read.
    pub(crate) fn add_user(&self, user: &str, password: &str, permissions: [&str; 3]) {
        let name = binary(&self.user(user));
        let added =
            self.broker.eval(&format!("rabbit_auth_backend_internal:add_user({name}, {}, {ACTOR})", binary(password)));
        assert_eq!(added, "ok");
        self.permit(&self.user(user), permissions);
    }

    /// As `rabbitmqctl set_permissions`, for the name as RabbitMQ has it.
    pub(crate) fn permit(&self, user: &str, permissions: [&str; 3]) {
        let [configure, write, read] = permissions.map(binary);
        let (user, vhost) = (binary(user), binary(&self.name));
        let set = format!("set_permissions({user}, {vhost}, {configure}, {write}, {read}, {ACTOR})");
        assert_eq!(self.broker.eval(&format!("rabbit_auth_backend_internal:{set}")), "ok");
    }

    /// As `rabbitmqctl change_password`.
    pub(crate) fn change_password(&self, user: &str, password: &str) {
        let (user, password) = (binary(&self.user(user)), binary(password));
        let change = format!("rabbit_auth_backend_internal:change_password({user}, {password}, {ACTOR})");
        assert_eq!(self.broker.eval(&change), "ok");
    }

    /// As `rabbitmqctl close_all_connections --vhost`. How many there were.
    pub(crate) fn close_connections(&self) -> usize {
        let pids = "[P || P <- rabbit_networking:connections(), {vhost, V} <- rabbit_networking:connection_info(P, \
                    [vhost]), V =:= ";
        let close = "rabbit_networking:close_connection(P, \"closed by an operator\")";
        let expression = format!("length([{close} || P <- {pids}{}]])", binary(&self.name));
        self.broker.eval(&expression).parse().unwrap()
    }

    /// What keystone.conf of a deployment with this broker says; also for `cadfd run`.
    pub(crate) fn transport_url(&self) -> String {
        format!("rabbit://{}:s3cr3t-pa55@127.0.0.1:{}/{}", self.user("cadfd"), self.broker.port, self.name)
    }

    /// The intake's settings for the user with the least privilege, impatient enough for a test.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            hosts: vec![self.host()],
            vhost: self.name.clone(),
            tls: None,
            mechanism: Mechanism::Plain,
            queues: vec!["cadfd.info".to_owned()],
            prefetch: 500,
            batch: 250,
            max_body: 1 << 20,
            connect_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(30),
            reconnect: Schedule { first: Duration::from_millis(50), max: Duration::from_millis(400) },
        }
    }

    /// The broker with that user.
    pub(crate) fn host(&self) -> Host {
        Host {
            host: "127.0.0.1".to_owned(),
            port: self.broker.port,
            user: self.user("cadfd"),
            password: Secret::new("s3cr3t-pa55"),
        }
    }

    /// What Keystone does on each connection for a topic: its exchange, the queue `<topic>.info`, the binding; none of
    /// them durable, as is the default.
    pub(crate) async fn declare(&self, topic: &str) {
        self.declare_as(topic, false).await;
    }

    /// The same with `amqp_durable_queues = true`.
    pub(crate) async fn declare_durable(&self, topic: &str) {
        self.declare_as(topic, true).await;
    }

    async fn declare_as(&self, topic: &str, durable: bool) {
        let channel = self.channel().await;
        let queue = format!("{topic}.info");
        let exchange = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
        let arguments = FieldTable::default;
        channel.exchange_declare("keystone".into(), ExchangeKind::Topic, exchange, arguments()).await.unwrap();
        let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), options, arguments()).await.unwrap();
        let (name, key) = (queue.as_str().into(), queue.as_str().into());
        channel.queue_bind(name, "keystone".into(), key, QueueBindOptions::default(), arguments()).await.unwrap();
    }

    /// Publishes as oslo.messaging does, mandatory and confirmed: when this returns, the queue has them.
    pub(crate) async fn publish<B: AsRef<[u8]>>(&self, topic: &str, bodies: impl IntoIterator<Item = B>) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let key = format!("{topic}.info");
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2)
            .with_priority(0);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut confirms = Vec::new();
        for body in bodies {
            let (exchange, key, body) = ("keystone".into(), key.as_str().into(), body.as_ref());
            confirms.push(channel.basic_publish(exchange, key, options, body, properties.clone()).await.unwrap());
        }
        for confirm in confirms {
            let confirmation = confirm.await.unwrap();
            assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "not routed to a queue");
        }
    }

    /// Publishes a captured file; the ids of its messages, in order.
    pub(crate) async fn publish_captured(&self, topic: &str, name: &str) -> Vec<String> {
        let captured = captured::read(name);
        self.publish(topic, captured.iter().map(|message| &message.body)).await;
        captured.into_iter().map(|message| message.message_id).collect()
    }

    /// As an operator's mistake does it.
    pub(crate) async fn delete(&self, queue: &str) {
        self.channel().await.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Messages ready for delivery, which those delivered but not acknowledged are not.
    pub(crate) async fn depth(&self, queue: &str) -> u32 {
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel().await.queue_declare(queue.into(), look, FieldTable::default()).await.unwrap();
        queue.message_count()
    }

    /// Messages in the queue, those delivered but not acknowledged included.
    pub(crate) fn held(&self, queue: &str) -> usize {
        let name = format!("rabbit_misc:r({}, queue, {})", binary(&self.name), binary(queue));
        let info = "fun({ok, Q}) -> [{messages, N}] = rabbit_amqqueue:info(Q, [messages]), N end";
        self.broker.eval(&format!("({info})(rabbit_amqqueue:lookup({name}))")).parse().unwrap()
    }

    /// A new channel of Keystone's user.
    pub(crate) async fn channel(&self) -> Channel {
        let mut admin = self.admin.lock().await;
        if let Some(connection) = admin.as_ref().filter(|connection| connection.status().connected()) {
            return connection.create_channel().await.unwrap();
        }
        let Self { name, broker, .. } = self;
        let url = format!("amqp://{}:k3ystone@127.0.0.1:{}/{name}", self.user("keystone"), broker.port);
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        *admin = Some(connection);
        channel
    }
}
