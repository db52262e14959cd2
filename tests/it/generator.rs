//! Trails of any length and of real shape: captured notifications with ids, names, addresses and times of their own.
//!
//! Its promise: the same seed makes the same trail; its chain is whole, and it is packed as cadfd packs.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use cadfd::chain::Hash;
use cadfd::event::{self, Event};
use cadfd::record::{self, Planned, Record, Source};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::captured;

/// Users who do nearly everything.
const BUSY: usize = 200;

/// Lines of one zstd frame, in bytes.
const FRAME: usize = 1 << 20;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Zstd,
    Gzip,
}

/// A trail that is being made.
pub(crate) struct Generator {
    rng: StdRng,
    templates: Vec<Event>,
    users: usize,
    seq: u64,
    prev: Hash,
    now: Timestamp,
    /// Deliveries that have no outcome yet.
    open: Vec<(u64, String, String, String)>,
}

impl Generator {
    /// With so many users, of whom 200 do nine tenths of everything.
    pub(crate) fn new(seed: u64, users: usize) -> Self {
        let captured = captured::read("keystone-28.1-cadf-messagingv2");
        Self {
            rng: StdRng::seed_from_u64(seed),
            templates: captured.iter().map(|message| event::decode(&message.body).unwrap()).collect(),
            users,
            seq: 0,
            prev: Hash::START,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            open: Vec::new(),
        }
    }

    /// The id of a user, from 0; those from 200 on are rare.
    pub(crate) fn user_id(number: usize) -> String {
        format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    /// The name of a user; one in a hundred wishes us ill.
    pub(crate) fn user_name(number: usize) -> String {
        match number % 100 {
            41 => format!("=cmd|'/c calc'!A{number}"),
            42 => format!("\u{1b}[31mred\r\nnext {number}"),
            43 => format!("Zoë 山田 \"{number}\" \u{202e}"),
            _ => format!("user-{number}"),
        }
    }

    fn id(&mut self) -> String {
        format!("{:032x}", self.rng.random::<u128>())
    }

    fn someone(&mut self) -> usize {
        if self.rng.random_bool(0.9) {
            self.rng.random_range(0..BUSY.min(self.users))
        } else {
            self.rng.random_range(0..self.users)
        }
    }

    /// Appends the next record's line.
    pub(crate) fn push(&mut self, lines: &mut Vec<u8>) {
        self.now += SignedDuration::from_micros(self.rng.random_range(1..2_000_000));
        self.seq += 1;
        let rest = match self.open.pop_if(|(seq, ..)| *seq + 3 < self.seq) {
            Some(open) => self.delivery(&open),
            None => self.event(),
        };
        self.prev = record::push_line(lines, self.seq, &self.prev, &rest);
    }

    fn delivery(&mut self, (event_seq, message_id, delivery, event_type): &(u64, String, String, String)) -> Vec<u8> {
        let is_done = self.rng.random_bool(0.95);
        let detail = json!({"queue_item": event_seq, "build": self.seq, "result": "SUCCESS"});
        record::rest_of_line(&Record::Delivery {
            at: self.now,
            delivery,
            event_seq: *event_seq,
            message_id,
            event_type,
            rule: "hand over",
            destination: "jenkins.ci",
            outcome: if is_done { "done" } else { "given_up" },
            attempts: self.rng.random_range(1..4),
            reason: (!is_done).then_some("503 Service Unavailable"),
            reply: None,
            detail: is_done.then(|| detail.as_object().unwrap()),
            planned: &[],
        })
    }

    fn event(&mut self) -> Vec<u8> {
        let template = self.rng.random_range(0..self.templates.len());
        let mut event = self.templates[template].clone();
        let (id, request) = (self.id(), self.id());
        event.message_id = id;
        event.request_id = event.request_id.map(|_| format!("req-{request}"));
        event.timestamp = Some(self.now);
        let by = self.someone();
        if event.initiator.id.is_some() {
            event.initiator.id = Some(Self::user_id(by));
            event.initiator.name = Some(Self::user_name(by));
            event.initiator.address = Some(format!("198.51.{}.{}", by % 100, by / 100 % 250));
        }
        if event.kind == "user" {
            let whom = if event.operation == "authenticate" { by } else { self.someone() };
            event.resource.id = Some(Self::user_id(whom));
            event.resource.name = Some(Self::user_name(whom));
        } else if event.resource.id.is_some() {
            event.resource.id = Some(self.id());
        }
        if let Some(user) = event.assignment.as_mut().and_then(|assignment| assignment.user.as_mut()) {
            user.id = Self::user_id(by / 2);
            user.name = Some(Self::user_name(by / 2));
        }
        let delivery = (event.operation == "deleted").then(|| self.id());
        let planned = match &delivery {
            Some(id) => {
                vec![Planned { rule: "hand over", to: "jenkins.ci", delivery: Some(id.clone()), error: None }]
            }
            None => vec![Planned { rule: "everything, readable", to: "log", delivery: None, error: None }],
        };
        let source =
            Source { queue: "cadfd.info", exchange: "keystone", routing_key: "cadfd.info", redelivered: false };
        let record = Record::Event { event: &event, source, received: self.now, planned: &planned };
        let rest = record::rest_of_line(&record);
        if let Some(id) = delivery {
            self.open.push((self.seq, event.message_id.clone(), id, event.event_type.clone()));
        }
        rest
    }

    /// Writes the trail `dir/audit.log`: so many records, so many a file, packed as `packing` says of each file; the last
    /// file is plain.
    pub(crate) fn write(
        &mut self,
        dir: &Path,
        records: u64,
        per_file: u64,
        mut packing: impl FnMut(u64) -> Packing,
    ) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        let live = dir.join("audit.log");
        let files = records.div_ceil(per_file);
        for number in 0..files {
            let (first, count) = (self.seq + 1, per_file.min(records - number * per_file));
            let name = format!("audit.log.{first:012}-{:012}", first + count - 1);
            if number + 1 == files {
                self.write_file(&live, count, Packing::Plain);
            } else {
                match packing(number) {
                    Packing::Plain => self.write_file(&dir.join(name), count, Packing::Plain),
                    Packing::Zstd => self.write_file(&dir.join(name + ".zst"), count, Packing::Zstd),
                    Packing::Gzip => self.write_file(&dir.join(name + ".gz"), count, Packing::Gzip),
                }
            }
        }
        live
    }

    fn write_file(&mut self, path: &Path, count: u64, packing: Packing) {
        let mut file = BufWriter::new(File::create(path).unwrap());
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut lines = Vec::new();
        for number in 0..count {
            self.push(&mut lines);
            if lines.len() >= FRAME || number + 1 == count {
                match packing {
                    Packing::Plain => file.write_all(&lines).unwrap(),
                    Packing::Zstd => file.write_all(&zstd::encode_all(&*lines, 1).unwrap()).unwrap(),
                    Packing::Gzip => gz.write_all(&lines).unwrap(),
                }
                lines.clear();
            }
        }
        if packing == Packing::Gzip {
            file.write_all(&gz.finish().unwrap()).unwrap();
        }
        file.flush().unwrap();
    }
}
