//! Keystone, publishing without a pause.
//!
//! Its promise: what the broker did not confirm is published again under the same id before anything new, until it is
//! confirmed; bodies are those of real services, with an id of their own.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::ledger::{MAX_BODY, Sent};
use super::place::{EXCHANGE, QUEUE};
use super::stage::Stage;
use crate::captured::{self, Captured};

/// A broker that does not answer for so long is given up, and connected to anew.
const PATIENCE: Duration = Duration::from_secs(15);

/// More unfinished work than this is not made: the run has to end.
const MOST_IN_FLIGHT: usize = 1500;
const MOST_DELIVERIES: i64 = 2500;

const CAPTURES: [&str; 4] = [
    "keystone-28.1-cadf-messagingv2",
    "keystone-28.1-cadf-messaging-v1",
    "keystone-28.1-basic-messagingv2",
    "oslo-neutron-nova-cinder-messagingv2",
];

/// That the queue be deleted and declared again.
pub(crate) struct Delete {
    /// Whether to wait, for a while, until nothing is in it.
    pub(crate) patient: bool,
    /// When it is done.
    pub(crate) done: oneshot::Sender<()>,
}

pub(crate) struct Publisher {
    stage: Arc<Stage>,
    random: StdRng,
    captured: Vec<(Captured, String)>,
    connection: Option<(Connection, Channel)>,
    /// Numbers in the ledger, in order.
    unconfirmed: Vec<usize>,
    made: usize,
}

impl Publisher {
    pub(crate) fn new(stage: Arc<Stage>, random: StdRng) -> Self {
        let captured = CAPTURES.iter().flat_map(|name| captured::read(name)).map(with_type).collect();
        Self { stage, random, captured, connection: None, unconfirmed: Vec::new(), made: 0 }
    }

    /// Until `stop`, and then until everything is confirmed.
    pub(crate) async fn run(mut self, mut deletions: mpsc::Receiver<Delete>, stop: watch::Receiver<bool>) {
        let mut deletion = None;
        loop {
            let stopping = *stop.borrow();
            if stopping && self.unconfirmed.is_empty() && deletion.is_none() {
                return;
            }
            deletion = deletion.or_else(|| deletions.try_recv().ok());
            if let Err(error) = self.turn(stopping, &mut deletion).await {
                if self.connection.take().is_some() {
                    self.stage.note(&format!("the publisher lost its broker: {error}"));
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn turn(&mut self, stopping: bool, deletion: &mut Option<Delete>) -> Result<(), String> {
        let patient = |_| "no answer".to_owned();
        timeout(PATIENCE, self.connect()).await.map_err(patient)??;
        if self.unconfirmed.is_empty() {
            if let Some(wanted) = deletion {
                let is_patient = std::mem::take(&mut wanted.patient);
                timeout(PATIENCE, self.delete(is_patient)).await.map_err(patient)?.map_err(|e| e.to_string())?;
                let _not_waited_for = deletion.take().map(|deletion| deletion.done.send(()));
            }
            if !stopping && self.has_room() {
                self.make();
            }
        }
        timeout(PATIENCE, self.publish()).await.map_err(patient)?.map_err(|error| error.to_string())?;
        if self.unconfirmed.is_empty() && !stopping {
            sleep(Duration::from_millis(self.random.random_range(10..300))).await;
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), String> {
        if self.connection.as_ref().is_some_and(|(_, channel)| channel.status().connected()) {
            return Ok(());
        }
        let fresh = async {
            let url = self.stage.place.publisher_url();
            let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            self.stage.place.declare(&channel).await?;
            lapin::Result::Ok((connection, channel))
        };
        self.connection = Some(fresh.await.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn channel(&self) -> Channel {
        self.connection.as_ref().unwrap().1.clone()
    }

    fn has_room(&self) -> bool {
        let ledger = self.stage.ledger();
        ledger.in_flight().len() < MOST_IN_FLIGHT && ledger.open_deliveries < MOST_DELIVERIES
    }

    /// Some new messages, mostly few.
    fn make(&mut self) {
        let count = if self.random.random_bool(0.15) {
            self.random.random_range(20..60)
        } else {
            self.random.random_range(1..12)
        };
        for _ in 0..count {
            self.made += 1;
            let sent = if self.random.random_bool(0.04) { self.undecodable() } else { self.event() };
            self.unconfirmed.push(self.stage.ledger().add(sent));
        }
    }

    fn event(&mut self) -> Sent {
        let (captured, event_type) = self.captured.choose(&mut self.random).unwrap();
        let id = format!("{:08x}-{:04x}-4000-8000-{:012x}", self.random.next_u32(), self.made % 65_536, self.made);
        let body = String::from_utf8(captured.body.clone()).unwrap().replace(&captured.message_id, &id);
        Sent::event(&id, event_type, body.into_bytes())
    }

    fn undecodable(&mut self) -> Sent {
        let number = self.made;
        let captured = &self.captured.choose(&mut self.random).unwrap().0.body;
        Sent::undecodable(match self.random.random_range(0..5) {
            0 => format!("no JSON {number}").into_bytes(),
            1 => [&captured[..captured.len() / 2], format!(" {number}").as_bytes()].concat(),
            2 => [&[0xff, 0x00, 0xfe], number.to_be_bytes().as_slice()].concat(),
            3 => format!(r#"{{"oslo.version": "2.0", "oslo.message": {number}}}"#).into_bytes(),
            _ => [format!("too large {number} ").as_bytes(), &vec![b'x'; MAX_BODY]].concat(),
        })
    }

    /// What is not confirmed, as oslo.messaging does it: mandatory and confirmed.
    async fn publish(&mut self) -> lapin::Result<()> {
        {
            // Before the connection broke within a batch, or the broker fell silent.
            let ledger = self.stage.ledger();
            self.unconfirmed.retain(|&at| !ledger.sent[at].confirmed);
        }
        if self.unconfirmed.is_empty() {
            return Ok(());
        }
        let channel = self.channel();
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut confirms = Vec::new();
        for &at in &self.unconfirmed {
            let body = {
                let sent = &mut self.stage.ledger().sent[at];
                sent.times += 1;
                sent.body.clone()
            };
            confirms
                .push(channel.basic_publish(EXCHANGE.into(), QUEUE.into(), options, &body, properties.clone()).await?);
        }
        let mut left = Vec::new();
        for (&at, confirm) in self.unconfirmed.iter().zip(confirms) {
            let confirmation = confirm.await?;
            if confirmation.is_ack() && confirmation.take_message().is_none() {
                self.stage.ledger().sent[at].confirmed = true;
            } else {
                left.push(at);
            }
        }
        self.unconfirmed = left;
        if self.unconfirmed.is_empty() { Ok(()) } else { self.stage.place.declare(&channel).await }
    }

    /// Deletes the queue with what is in it, and declares it again.
    async fn delete(&mut self, patient: bool) -> lapin::Result<()> {
        if patient {
            let empty = async {
                while !self.stage.ledger().in_flight().is_empty() {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            // Otherwise what is left goes with it.
            let _in_time = timeout(Duration::from_secs(8), empty).await;
        }
        {
            // Before it is: what became of it, when the broker dies now, nobody knows.
            let mut ledger = self.stage.ledger();
            for at in ledger.in_flight() {
                ledger.sent[at].gone = true;
            }
        }
        let channel = self.channel();
        channel.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await?;
        self.stage.place.declare(&channel).await
    }
}

fn with_type(captured: Captured) -> (Captured, String) {
    let event = cadfd::event::decode(&captured.body).unwrap();
    (captured, event.event_type)
}
