//! A broker's queue, a destination, and a place for a daemon between them: what goes in is compared with what comes out.
//!
//! Its promise: after [`Ground::finish`], each message stands in the trail exactly once and in the order of publishing, each
//! action was done at least once and has one outcome, and nothing waits anywhere.

use std::collections::{BTreeSet, HashMap};

use rustix::process::Signal;

use crate::broker::{Broker, Vhost};
use crate::daemon::{Daemon, Site, assert_whole, eventually, message_ids, of_type};
use crate::standins::Receiver;

/// Every message is logged and delivered.
pub(crate) struct Ground {
    pub(crate) vhost: Vhost,
    pub(crate) receiver: Receiver,
    pub(crate) site: Site,
    /// What was published.
    pub(crate) ids: Vec<String>,
    /// What all daemons before the last wrote to standard output.
    pub(crate) out: String,
    /// A broker may have given messages to a connection that was dead already, and give them again after later ones.
    pub(crate) may_come_late: bool,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        Self::on(vhost).await
    }

    /// On any broker, where the queue `cadfd.info` has been declared.
    pub(crate) async fn on(vhost: Vhost) -> Self {
        let receiver = Receiver::start().await;
        let http =
            format!("[http.inventory]\nurl = \"{}/\"\nretry_first = \"10ms\"\nretry_max = \"50ms\"\n", receiver.url());
        let site = Site::new(&vhost)
            .settings(&http)
            .rules("[[rule]]\nname = \"all\"\n[[rule.log]]\ntext = \"line {{ message_id }}\"\n[[rule.http]]\nto = \"inventory\"\n");
        Self { vhost, receiver, site, ids: Vec::new(), out: String::new(), may_come_late: false }
    }

    pub(crate) async fn publish(&mut self, count: usize) {
        self.publish_sized(count, 0).await;
    }

    /// Messages with so many bytes more than a small one has.
    pub(crate) async fn publish_sized(&mut self, count: usize, bytes: usize) {
        let first = self.ids.len();
        let new: Vec<_> = (first..first + count).map(|n| format!("cadfd000-0000-4000-8000-{n:012x}")).collect();
        self.vhost.publish("cadfd", new.iter().map(|id| body(id, bytes))).await;
        self.ids.extend(new);
    }

    /// Until all that was published is delivered and the trail says so.
    pub(crate) async fn wait_done(&self) {
        self.site.wait_trail(|trail| of_type(trail, "delivery").len() >= self.ids.len()).await;
    }

    /// Until the broker has nothing more for us.
    pub(crate) async fn wait_acknowledged(&self) {
        eventually(|| (self.vhost.held("cadfd.info") == 0).then_some(())).await;
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self, mut daemon: Daemon) {
        daemon.signal(Signal::KILL);
        daemon.ended().await;
        self.out.push_str(&daemon.out_to_end().await);
    }

    /// For faults of the sockets to the broker.
    pub(crate) fn broker_path(&self) -> String {
        format!("tcp:{}", self.vhost.broker.port)
    }

    /// For faults of the sockets to the destination.
    pub(crate) fn receiver_path(&self) -> String {
        format!("tcp:{}", self.receiver.address().port())
    }

    /// After a last, undisturbed run: everything is where it belongs, as often as promised.
    pub(crate) async fn finish(mut self) -> String {
        let mut daemon = self.site.consuming().await;
        self.wait_done().await;
        self.wait_acknowledged().await;
        let (ids, out) = (self.ids.clone(), std::mem::take(&mut self.out));
        daemon.wait_out(|last| ids.iter().all(|id| out.contains(id.as_str()) || last.contains(id.as_str()))).await;
        let log = daemon.stop().await;
        self.assert_all_done().await;
        log
    }

    /// Places in the order of publishing, in the order of the trail: of what came in order, and of what came after later
    /// ones.
    fn by_order(&self, trail: &[String]) -> (Vec<usize>, Vec<usize>) {
        let places: HashMap<_, _> = self.ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
        let mut next = 0;
        trail.iter().map(|id| places[id.as_str()]).partition(|place| {
            let in_time = *place >= next;
            next = next.max(place + 1);
            in_time
        })
    }

    /// Of a daemon that has been stopped in order.
    pub(crate) async fn assert_all_done(&self) {
        let verified = self.site.cadfd_ok(&["verify"]).await;
        assert!(verified.ends_with("not altered\n"), "{verified}");
        let trail = self.site.trail();
        assert_whole(&trail, &self.ids);
        let (in_time, late) = self.by_order(&message_ids(&trail));
        assert!(in_time.is_sorted() && late.is_sorted(), "the order of publishing: late are {late:?}");
        assert!(late.is_empty() || self.may_come_late, "the order of publishing: late are {late:?}");
        let mut outcomes: HashMap<&str, usize> = HashMap::new();
        for record in of_type(&trail, "delivery") {
            assert_eq!(record["outcome"], "done", "{record}");
            *outcomes.entry(record["message_id"].as_str().unwrap()).or_default() += 1;
        }
        assert!(self.ids.iter().all(|id| outcomes[id.as_str()] == 1), "each action has one outcome: {outcomes:?}");
        let mut deliveries: HashMap<String, BTreeSet<String>> = HashMap::new();
        for call in self.receiver.calls() {
            let id = call.json()["message_id"].as_str().unwrap().to_owned();
            deliveries.entry(id).or_default().insert(call.header("x-cadfd-delivery"));
        }
        for id in &self.ids {
            // At least once, and under one id however often.
            assert_eq!(deliveries.get(id).map(BTreeSet::len), Some(1), "{id}");
        }
        assert_eq!(deliveries.len(), self.ids.len());
        let listed = self.site.cadfd_ok(&["outbox", "list"]).await;
        assert_eq!(listed, "", "nothing waits");
    }
}

/// A notification as Keystone sends it.
pub(crate) fn body(id: &str, bytes: usize) -> String {
    let inner = serde_json::json!({
        "message_id": id,
        "publisher_id": "identity.keystone-1",
        "event_type": "identity.user.deleted",
        "priority": "INFO",
        "timestamp": "2026-11-21 07:03:23.274482",
        "payload": {"resource_info": "e580c7b4f4f44b3eb6a3e3a3f4f0b0ad", "padding": "x".repeat(bytes)},
    });
    serde_json::json!({"oslo.version": "2.0", "oslo.message": inner.to_string()}).to_string()
}
