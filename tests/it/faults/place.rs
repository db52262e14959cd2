//! A broker with a queue, as one place of the matrix.
//!
//! Its promise: whoever publishes or breaks something asks here, and need not know which release, kind of queue or
//! number of nodes it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use tokio::net::TcpSocket;

use crate::broker::{Broker, Options, Vhost};
use crate::node::Release;
use crate::vhost::QueueType;

pub(crate) const EXCHANGE: &str = "keystone";
pub(crate) const QUEUE: &str = "cadfd.info";

/// A broker of the run's own.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) broker: Arc<Broker>,
    pub(crate) vhost: Vhost,
    queue: QueueType,
    /// The dead broker's port, so that nobody else is given it: bound, never listening.
    reservation: Mutex<Option<TcpSocket>>,
}

impl Place {
    /// A new broker of this release. The queue outlives it, so it is durable or a quorum queue.
    pub(crate) fn new(name: &'static str, release: Release, queue: QueueType) -> Self {
        let broker = Broker::start(Options { release, ..Options::default() });
        let vhost = broker.vhost();
        Self { name, broker, vhost, queue, reservation: Mutex::default() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.broker.port
    }

    /// For Keystone's user.
    pub(crate) fn publisher_url(&self) -> String {
        let Vhost { name, .. } = &self.vhost;
        format!("amqp://{}:k3ystone@127.0.0.1:{}/{name}", self.vhost.user("keystone"), self.port())
    }

    /// For cadfd, by way of this port.
    pub(crate) fn transport_url(&self, port: u16) -> String {
        format!("rabbit://{}:s3cr3t-pa55@127.0.0.1:{port}/{}", self.vhost.user("cadfd"), self.vhost.name)
    }

    /// As Keystone does with `amqp_durable_queues`: what it publishes outlives the broker.
    pub(crate) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default;
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, none()).await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = none();
        if self.queue == QueueType::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        channel.queue_declare(QUEUE.into(), durable, arguments).await?;
        channel.queue_bind(QUEUE.into(), EXCHANGE.into(), QUEUE.into(), QueueBindOptions::default(), none()).await
    }

    /// How long a queue must have been there before its broker may be killed. RabbitMQ 3.10, killed just after a quorum
    /// queue was declared, was seen to say `could not be restarted {error,enoent}` of it, and what it had confirmed was
    /// gone; it seems to write down a moment later which folder is the queue's. That is not what is tested here.
    pub(crate) fn settling(&self) -> Duration {
        match self.queue {
            QueueType::Transient | QueueType::Durable | QueueType::SingleActive => Duration::ZERO,
            QueueType::Quorum => Duration::from_secs(3),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.broker.kill();
        self.reservation.lock().unwrap().get_or_insert_with(|| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))).unwrap();
            socket
        });
    }

    pub(crate) fn restart(&self) {
        self.broker.restart();
    }

    /// Messages that the broker has, those delivered and not acknowledged included.
    pub(crate) fn held(&self) -> usize {
        self.vhost.held(QUEUE)
    }
}
