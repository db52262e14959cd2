//! A virtual host as an OpenStack has it: its users, and queues declared and filled as Keystone does it.
//!
//! Its promise: what is declared is what oslo.messaging declares; when something is published, the queue has it.

use std::sync::Arc;
use std::time::Duration;

use cadfd::intake::{Host, Mechanism, Settings};
use cadfd::retry::Schedule;
use cadfd::secret::Secret;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::broker::Broker;
use crate::captured;

/// Who does it, in the broker's log.
const ACTOR: &str = "<<\"a test\">>";

/// What RabbitMQ itself says of a quorum queue is seconds old; its leader knows, once there is one.
const COUNT: &str = "fun({ok, Q}) -> case {amqqueue:get_type(Q), amqqueue:get_pid(Q)} of \
                     {rabbit_quorum_queue, {Name, _}} -> (fun Again() -> \
                     case catch ra:leader_query({Name, node()}, fun rabbit_fifo:query_messages_total/1) of \
                     {ok, {_, N}, _} -> N; _ -> timer:sleep(50), Again() end end)(); \
                     _ -> [{messages, N}] = rabbit_amqqueue:info(Q, [messages]), N end end";

/// As oslo.messaging declares Keystone's queues, by its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueType {
    /// Classic; neither exchange nor queue outlives the broker. The default.
    Transient,
    /// Classic, with `amqp_durable_queues = true`.
    Durable,
    /// With `rabbit_quorum_queue = true`.
    Quorum,
    /// Classic and durable, and one consumer at a time is given messages. Nobody but an operator declares that.
    SingleActive,
}

/// A virtual host for one test, with what Keystone would do in it.
pub(crate) struct Vhost {
    /// Where it is; in a cluster, the first node.
    pub(crate) broker: Arc<Broker>,
    others: Vec<Arc<Broker>>,
    /// Its name, in no other test.
    pub(crate) name: String,
    admin: tokio::sync::Mutex<Option<Connection>>,
}

impl Vhost {
    /// Made, with its users, on this broker, which may have others beside it in a cluster.
    pub(crate) fn new(broker: &Arc<Broker>, others: Vec<Arc<Broker>>, name: String) -> Self {
        let vhost = Self { broker: Arc::clone(broker), others, name, admin: tokio::sync::Mutex::new(None) };
        broker.eval(&format!("rabbit_vhost:add({}, {ACTOR})", binary(&vhost.name)));
        vhost.add_user("keystone", "k3ystone", [".*", ".*", ".*"]);
        vhost.add_user("cadfd", "s3cr3t-pa55", ["^$", "^$", "^cadfd\\.info$"]);
        vhost
    }

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

    /// As `rabbitmqctl set_policy --apply-to`, of a policy that has no other beside it.
    pub(crate) fn set_policy(&self, apply_to: &str, pattern: &str, definition: &str) {
        let [vhost, pattern, definition, apply_to] = [&*self.name, pattern, definition, apply_to].map(binary);
        let set = format!("parse_set({vhost}, <<\"cadfd\">>, {pattern}, {definition}, <<\"0\">>, {apply_to}, {ACTOR})");
        assert_eq!(self.broker.eval(&format!("rabbit_policy:{set}")), "ok");
    }

    /// As `rabbitmqctl change_password`.
    pub(crate) fn change_password(&self, user: &str, password: &str) {
        let (user, password) = (binary(&self.user(user)), binary(password));
        let change = format!("rabbit_auth_backend_internal:change_password({user}, {password}, {ACTOR})");
        assert_eq!(self.broker.eval(&change), "ok");
    }

    /// As `rabbitmqctl close_all_connections --vhost`. How many there were.
    pub(crate) fn close_connections(&self) -> usize {
        self.close_connections_with("vhost", &self.name)
    }

    /// As `rabbitmqctl close_all_user_connections`, for the name as RabbitMQ has it. How many there were.
    pub(crate) fn close_connections_of(&self, user: &str) -> usize {
        self.close_connections_with("user", user)
    }

    fn close_connections_with(&self, item: &str, value: &str) -> usize {
        let pids = format!(
            "[P || P <- rabbit_networking:connections(), {{{item}, V}} <- rabbit_networking:connection_info(P, \
             [{item}]), V =:= {}]",
            binary(value)
        );
        let close = "rabbit_networking:close_connection(P, \"closed by an operator\")";
        self.broker.eval(&format!("length([{close} || P <- {pids}])")).parse().unwrap()
    }

    /// All nodes that it is on.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Broker>> {
        std::iter::once(&self.broker).chain(&self.others)
    }

    /// One of them that serves.
    pub(crate) fn node(&self) -> &Arc<Broker> {
        self.nodes().find(|node| node.serves()).expect("no node serves")
    }

    /// What keystone.conf of a deployment with this broker says; also for `cadfd run`.
    pub(crate) fn transport_url(&self) -> String {
        let user = self.user("cadfd");
        let hosts: Vec<_> = self.nodes().map(|node| format!("{user}:s3cr3t-pa55@127.0.0.1:{}", node.port)).collect();
        format!("rabbit://{}/{}", hosts.join(","), self.name)
    }

    /// The intake's settings for the user with the least privilege, impatient enough for a test.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            hosts: vec![self.host()],
            vhost: self.name.clone(),
            tls: None,
            mechanism: Mechanism::Plain,
            queues: vec!["cadfd.info".to_owned()],
            bound: Vec::new(),
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

    /// As Keystone declares a topic by default.
    pub(crate) async fn declare(&self, topic: &str) {
        self.declare_as(topic, QueueType::Transient).await;
    }

    /// The same with `amqp_durable_queues = true`.
    pub(crate) async fn declare_durable(&self, topic: &str) {
        self.declare_as(topic, QueueType::Durable).await;
    }

    /// What Keystone does on each connection for a topic: its exchange, the queue `<topic>.info`, the binding.
    pub(crate) async fn declare_as(&self, topic: &str, queue_type: QueueType) {
        let channel = self.channel().await;
        let queue = format!("{topic}.info");
        let durable = queue_type != QueueType::Transient;
        let exchange = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
        let arguments = FieldTable::default;
        channel.exchange_declare("keystone".into(), ExchangeKind::Topic, exchange, arguments()).await.unwrap();
        let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        let mut queue_arguments = arguments();
        if queue_type == QueueType::SingleActive {
            queue_arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        if queue_type == QueueType::Quorum {
            queue_arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        channel.queue_declare(queue.as_str().into(), options, queue_arguments).await.unwrap();
        let (name, key) = (queue.as_str().into(), queue.as_str().into());
        channel.queue_bind(name, "keystone".into(), key, QueueBindOptions::default(), arguments()).await.unwrap();
        if queue_type == QueueType::Quorum {
            // A node killed within half a second of it would not know the new queue's log again: it writes down whose
            // log is whose a little later, and then begins an empty one that never finds a leader.
            for node in self.nodes() {
                assert_eq!(node.eval("dets:sync(ra_directory_reverse)"), "ok");
            }
        }
    }

    /// Publishes as oslo.messaging does, mandatory and confirmed: when this returns, the queue has them.
    pub(crate) async fn publish<B: AsRef<[u8]>>(&self, topic: &str, bodies: impl IntoIterator<Item = B>) {
        self.publish_as(&format!("{topic}.info"), bodies).await;
    }

    /// The same with any priority: `<topic>.error`.
    pub(crate) async fn publish_as<B: AsRef<[u8]>>(&self, key: &str, bodies: impl IntoIterator<Item = B>) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2)
            .with_priority(0);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut confirms = Vec::new();
        for body in bodies {
            let (exchange, key, body) = ("keystone".into(), key.into(), body.as_ref());
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
        self.node().eval(&format!("({COUNT})(rabbit_amqqueue:lookup({name}))")).parse().unwrap()
    }

    /// For Keystone's user at one node.
    pub(crate) fn keystone_url(&self, node: &Broker) -> String {
        format!("amqp://{}:k3ystone@127.0.0.1:{}/{}", self.user("keystone"), node.port, self.name)
    }

    /// A new channel of Keystone's user.
    pub(crate) async fn channel(&self) -> Channel {
        let mut admin = self.admin.lock().await;
        if let Some(connection) = admin.as_ref().filter(|connection| connection.status().connected()) {
            return connection.create_channel().await.unwrap();
        }
        let url = self.keystone_url(self.node());
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        *admin = Some(connection);
        channel
    }
}

/// An Erlang binary.
fn binary(text: &str) -> String {
    format!("<<\"{}\">>", text.replace('\\', "\\\\").replace('"', "\\\""))
}
