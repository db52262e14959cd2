//! What the broker delivered, read from its own bytes.
//!
//! Its promise: each message is written down with its session and in its order; nothing of the daemon's is believed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;

use tokio::sync::watch;

/// What the broker delivered: for each connection, in order, the fingerprints of the bodies.
#[derive(Default)]
pub(crate) struct Deliveries {
    sessions: Mutex<Vec<Vec<u64>>>,
    count: watch::Sender<u64>,
}

impl Deliveries {
    pub(crate) fn sessions(&self) -> Vec<Vec<u64>> {
        self.sessions.lock().unwrap().clone()
    }

    /// Changes with each message delivered.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    pub(crate) fn begin(&self) -> usize {
        let mut sessions = self.sessions.lock().unwrap();
        sessions.push(Vec::new());
        sessions.len() - 1
    }

    pub(crate) fn add(&self, session: usize, fingerprints: &[u64]) {
        if !fingerprints.is_empty() {
            self.sessions.lock().unwrap()[session].extend(fingerprints);
            self.count.send_modify(|count| *count += 1);
        }
    }
}

/// By which a body is found again.
pub(crate) fn fingerprint(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

/// Reads along what a broker sends, and finds the messages in it.
#[derive(Default)]
pub(crate) struct Tap {
    unread: Vec<u8>,
    /// Of the delivery under way on each channel: the bytes that it will have, and those that came.
    bodies: HashMap<u16, (usize, Vec<u8>)>,
}

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// `basic.deliver`
const DELIVER: [u8; 4] = [0, 60, 0, 60];

impl Tap {
    /// The fingerprints of the messages that ended with these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<u64> {
        self.unread.extend_from_slice(bytes);
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(head) = self.unread.get(at..at + 7) {
            let channel = u16::from_be_bytes([head[1], head[2]]);
            let size = usize::try_from(u32::from_be_bytes([head[3], head[4], head[5], head[6]])).unwrap();
            let kind = head[0];
            let Some(payload) = self.unread.get(at + 7..at + 7 + size + 1) else { break };
            let payload = &payload[..size];
            match kind {
                METHOD if payload.starts_with(&DELIVER) => drop(self.bodies.insert(channel, (usize::MAX, Vec::new()))),
                HEADER if let Some(body) = self.bodies.get_mut(&channel) => {
                    body.0 = usize::try_from(u64::from_be_bytes(payload[4..12].try_into().unwrap())).unwrap();
                }
                BODY if let Some(body) = self.bodies.get_mut(&channel) => body.1.extend_from_slice(payload),
                _ => {}
            }
            if let Some((_, body)) = self.bodies.remove_if_whole(channel) {
                found.push(fingerprint(&body));
            }
            at += 7 + size + 1;
        }
        self.unread.drain(..at);
        found
    }
}

trait RemoveIfWhole {
    fn remove_if_whole(&mut self, channel: u16) -> Option<(usize, Vec<u8>)>;
}

impl RemoveIfWhole for HashMap<u16, (usize, Vec<u8>)> {
    fn remove_if_whole(&mut self, channel: u16) -> Option<(usize, Vec<u8>)> {
        let is_whole = self.get(&channel).is_some_and(|(size, body)| *size == body.len());
        if is_whole { self.remove(&channel) } else { None }
    }
}
