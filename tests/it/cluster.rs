//! Three nodes of RabbitMQ, as a production has them: a quorum queue on all, and a minority pauses.
//!
//! Its promise: a node that is killed, frozen or cut off is gone for the other two, which go on; it and the mapper of
//! their ports end with the test process.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::broker::{Broker, Member, Options, Vhost};
use crate::daemon::eventually;
use crate::ground::body;
use crate::node::{Home, Identity, Release, free_ports, log_tail, show};

/// Nodes of a cluster.
pub(crate) const NODES: usize = 3;

/// It ends when this and what was made of it is dropped, or with the test process.
pub(crate) struct Cluster {
    /// In the order of the transport URL.
    pub(crate) nodes: [Arc<Broker>; NODES],
    _epmd: Home,
}

impl Cluster {
    /// Starts the nodes together and waits until they are one cluster.
    pub(crate) async fn start(release: Release) -> Self {
        let [epmd_port, ports @ ..] = free_ports::<{ 1 + NODES }>();
        let mut epmd = Home::new("cadfd-epmd-");
        epmd.start_epmd(epmd_port);
        let identities =
            ports.map(|distribution_port| Identity { release, distribution_port, epmd_port, all_processors: false });
        let names = (1..).zip(&identities);
        let names = names.map(|(n, node)| format!("cluster_formation.classic_config.nodes.{n} = {}\n", node.name()));
        let config = format!(
            "cluster_formation.peer_discovery_backend = classic_config\n{}\
             cluster_partition_handling = pause_minority\n",
            names.collect::<String>()
        );
        let cookie = format!("{:032x}", rand::random::<u128>());
        let start = |identity: &Identity| {
            let member = Some(Member { identity, cookie: &cookie, config: &config });
            Arc::new(Broker::start_blocking(&Options { release, member, ..Options::default() }))
        };
        let nodes = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let starting = identities.each_ref().map(|identity| scope.spawn(|| start(identity)));
                starting.map(|node| node.join().unwrap())
            })
        });
        let cluster = Self { nodes, _epmd: epmd };
        cluster.whole().await;
        cluster
    }

    /// Until every node serves and knows all others to.
    pub(crate) async fn whole(&self) {
        let running = "length([N || N <- rabbit_mnesia:cluster_nodes(running), rpc:call(N, rabbit, is_running, [], 5000) =:= true])";
        for node in &self.nodes {
            eventually(|| (node.eval(running) == NODES.to_string()).then_some(())).await;
        }
    }

    /// A virtual host on all nodes.
    pub(crate) fn vhost(&self) -> Vhost {
        let [first, others @ ..] = &self.nodes;
        first.vhost_with(others.to_vec())
    }

    /// No other node is reached from this one, nor the other way round; its clients are. What it is left alone with is a
    /// minority, which pauses.
    pub(crate) fn cut_off(&self, node: &Broker) {
        for other in self.others(node) {
            let name = other.identity().name();
            node.eval(&format!("erlang:set_cookie('{name}', cut), erlang:disconnect_node('{name}')"));
        }
        node.set_away(true);
    }

    /// Until it has found the others again.
    pub(crate) async fn heal(&self, node: &Broker) {
        for other in self.others(node) {
            node.eval(&format!("erlang:set_cookie('{}', erlang:get_cookie())", other.identity().name()));
        }
        self.whole().await;
        node.set_away(false);
    }

    /// All but this one.
    pub(crate) fn others(&self, node: &Broker) -> impl Iterator<Item = &Arc<Broker>> {
        self.nodes.iter().filter(move |other| other.port != node.port)
    }

    /// Where the leader of a quorum queue is.
    pub(crate) async fn leader(&self, vhost: &Vhost, queue: &str) -> &Arc<Broker> {
        let members = format!("ra:members({{'{}_{queue}', node()}})", vhost.name);
        let leader = format!("case catch {members} of {{ok, _, {{_, N}}}} -> atom_to_list(N); _ -> none end");
        eventually(|| {
            let name = vhost.node().eval(&leader);
            self.nodes.iter().find(|node| name.trim_matches('"') == node.identity().name())
        })
        .await
    }

    /// As `rabbitmq-queues rebalance` or a rolling upgrade does it.
    pub(crate) async fn move_leader(&self, vhost: &Vhost, queue: &str, to: &Broker) {
        let (name, from) = (&vhost.name, self.leader(vhost, queue).await.identity().name());
        let to = to.identity().name();
        let server = |node: &str| format!("{{'{name}_{queue}', '{node}'}}");
        let moved = vhost.node().eval(&format!("ra:transfer_leadership({}, {})", server(&from), server(&to)));
        assert!(["ok", "already_leader"].contains(&&*moved), "{moved}");
        // Until then, the old leader waits for half a minute for one that may be killed in the meantime.
        while self.leader(vhost, queue).await.identity().name() != to {
            tokio::time::sleep(PACE).await;
        }
    }

    /// Where the connection of a user is.
    pub(crate) fn node_of(&self, user: &str) -> Option<&Arc<Broker>> {
        let connected = format!(
            "lists:member([{{user, <<\"{user}\">>}}], [rabbit_networking:connection_info(P, [user]) || P <- \
             rabbit_networking:local_connections()])"
        );
        self.nodes.iter().filter(|node| node.serves()).find(|node| node.eval(&connected) == "true")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &self.nodes {
            show(&format!("the log of {} ends:\n{}", node.identity().name(), log_tail(node.dir())));
        }
    }
}

/// What oslo.messaging gives a broker before it tries the next.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two messages.
const PACE: Duration = Duration::from_millis(10);

/// Publishes one message after another, each until a node has confirmed it, as Keystone does.
pub(crate) struct Publisher {
    confirmed: watch::Receiver<Vec<String>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Starts for a topic.
    pub(crate) fn start(vhost: &Vhost, topic: &str) -> Self {
        let urls: Vec<_> = vhost.nodes().map(|node| vhost.keystone_url(node)).collect();
        let key = format!("{topic}.info");
        let (sender, confirmed) = watch::channel(Vec::new());
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut hosts = urls.iter().map(String::as_str).cycle();
            let mut link = None;
            for id in (0..).map(|n| format!("cadfd000-0000-4000-8000-{n:012x}")) {
                // It may be kept twice, where a confirm was lost, but never first after the next one.
                while !publish(&mut link, &mut hosts, &key, &id).await {}
                sender.send_modify(|confirmed| confirmed.push(id));
                if *stopped.borrow() {
                    return;
                }
                tokio::time::sleep(PACE).await;
            }
        });
        Self { confirmed, stop, task }
    }

    /// Waits until so many more are confirmed; the id of the last.
    pub(crate) async fn more(&self, count: usize) -> String {
        let mut confirmed = self.confirmed.clone();
        let wanted = confirmed.borrow().len() + count;
        let confirmed = confirmed.wait_for(|confirmed| confirmed.len() >= wanted).await.unwrap();
        confirmed[wanted - 1].clone()
    }

    /// All that was published.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.confirmed.borrow().clone()
    }
}

type Link = Option<(Connection, Channel)>;

/// One attempt, at the next host if there is no connection; whether it was confirmed.
async fn publish<'a>(link: &mut Link, hosts: &mut impl Iterator<Item = &'a str>, key: &str, id: &str) -> bool {
    let attempt = async {
        if link.is_none() {
            let connection = Connection::connect(hosts.next().unwrap(), ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            *link = Some((connection, channel));
        }
        let (_, channel) = link.as_ref().unwrap();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (exchange, body) = ("keystone".into(), body(id, 0));
        let confirm = channel.basic_publish(exchange, key.into(), options, body.as_bytes(), properties).await?;
        let confirmation = confirm.await?;
        Ok::<_, lapin::Error>(confirmation.is_ack() && confirmation.take_message().is_none())
    };
    let confirmed = matches!(timeout(PATIENCE, attempt).await, Ok(Ok(true)));
    if !confirmed {
        *link = None;
    }
    confirmed
}
