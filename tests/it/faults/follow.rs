//! The trail, over all files that it was moved to.
//!
//! Its promise: the files are read in the order in which they were current; only whole lines count; a file is taken
//! away only when the store says that the daemon writes a later one, as the manual asks of logrotate.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A line of the trail, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// With destinations and delivery ids.
    Event {
        seq: u64,
        message_id: String,
        redelivered: bool,
        planned: Vec<(String, String)>,
    },
    Quarantine {
        seq: u64,
        sha256: String,
        redelivered: bool,
    },
    Delivery {
        seq: u64,
        id: String,
        message_id: String,
        destination: String,
        outcome: String,
    },
    Other {
        seq: u64,
    },
    /// A whole line that is no record.
    Broken {
        text: String,
    },
}

#[derive(Deserialize)]
struct Raw {
    seq: u64,
    #[serde(rename = "type")]
    kind: String,
    message_id: Option<String>,
    source: Option<Source>,
    #[serde(default)]
    planned: Vec<Planned>,
    sha256: Option<String>,
    delivery: Option<String>,
    destination: Option<String>,
    outcome: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    redelivered: bool,
}

#[derive(Deserialize)]
struct Planned {
    to: String,
    delivery: Option<String>,
}

impl Line {
    pub(crate) fn parse(line: &[u8]) -> Self {
        Self::read(line).unwrap_or_else(|| Self::Broken { text: String::from_utf8_lossy(line).into_owned() })
    }

    fn read(line: &[u8]) -> Option<Self> {
        let Raw { seq, kind, message_id, source, planned, sha256, delivery, destination, outcome } =
            serde_json::from_slice(line).ok()?;
        Some(match kind.as_str() {
            "event" => Self::Event {
                seq,
                message_id: message_id?,
                redelivered: source?.redelivered,
                planned: planned.into_iter().filter_map(|planned| Some((planned.to, planned.delivery?))).collect(),
            },
            "quarantine" => Self::Quarantine { seq, sha256: sha256?, redelivered: source?.redelivered },
            "delivery" => Self::Delivery {
                seq,
                id: delivery?,
                message_id: message_id?,
                destination: destination?,
                outcome: outcome?,
            },
            _ => Self::Other { seq },
        })
    }

    pub(crate) fn seq(&self) -> Option<u64> {
        match self {
            Self::Event { seq, .. }
            | Self::Quarantine { seq, .. }
            | Self::Delivery { seq, .. }
            | Self::Other { seq } => Some(*seq),
            Self::Broken { .. } => None,
        }
    }

    /// Of the message that it tells of, in the publisher's ledger.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Event { message_id, .. } => Some(message_id),
            Self::Quarantine { sha256, .. } => Some(sha256),
            _ => None,
        }
    }
}

/// The audit file and those it was moved to.
pub(crate) struct Files {
    current: PathBuf,
    /// Where moved files are put when the daemon is done with them.
    archive: PathBuf,
    moved: usize,
    /// Moved and still beside the current one, with the bytes read of each.
    beside: VecDeque<(PathBuf, u64)>,
    read: u64,
}

impl Files {
    pub(crate) fn new(current: &Path, archive: &Path) -> Self {
        let (current, archive) = (current.to_owned(), archive.to_owned());
        Self { current, archive, moved: 0, beside: VecDeque::new(), read: 0 }
    }

    /// Moves the audit file as logrotate does. False where there is none: the daemon has not begun the next one yet.
    pub(crate) fn rotate(&mut self) -> bool {
        let to = PathBuf::from(format!("{}.{}", self.current.display(), self.moved + 1));
        if fs::rename(&self.current, &to).is_err() {
            return false;
        }
        self.moved += 1;
        self.beside.push_back((to, std::mem::take(&mut self.read)));
        true
    }

    /// Takes moved files away, given which file the store says is written.
    pub(crate) fn clear(&mut self, written: Option<(u64, u64)>) {
        let current = fs::metadata(&self.current).ok().map(|found| (found.dev(), found.ino()));
        if current.is_none() || current != written {
            return;
        }
        for (path, _) in self.beside.drain(..) {
            let to = self.archive.join(path.file_name().unwrap());
            fs::copy(&path, to).unwrap();
            fs::remove_file(path).unwrap();
        }
    }

    /// The lines since this was last asked.
    pub(crate) fn advance(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (path, read) in &mut self.beside {
            lines.extend(lines_from(path, read));
        }
        lines.extend(lines_from(&self.current, &mut self.read));
        lines
    }

    /// All files, the oldest first.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let name = self.current.file_name().unwrap().to_string_lossy().into_owned();
        let taken = (1..=self.moved - self.beside.len()).map(|n| self.archive.join(format!("{name}.{n}")));
        let beside = self.beside.iter().map(|(path, _)| path.clone());
        taken.chain(beside).chain([self.current.clone()]).collect()
    }

    /// The whole trail. A torn end of the last file is a broken line like any other.
    pub(crate) fn all(&self) -> Vec<Line> {
        let read = |path: PathBuf| fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let split = |bytes: Vec<u8>| bytes.split_inclusive(|byte| *byte == b'\n').map(Line::parse).collect::<Vec<_>>();
        self.paths().into_iter().flat_map(|path| split(read(path))).collect()
    }
}

/// Whole lines from this place on, which is moved behind them.
fn lines_from(path: &Path, read: &mut u64) -> Vec<Line> {
    let mut bytes = Vec::new();
    let found = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(*read))?;
        file.read_to_end(&mut bytes)
    });
    if found.is_err() {
        return Vec::new();
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    *read += whole as u64;
    bytes[..whole].split_inclusive(|byte| *byte == b'\n').map(Line::parse).collect()
}
