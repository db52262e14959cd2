//! Events from files: captured messages, Keystone's log, trails.
//!
//! Its promise: what can be read is found whatever it stands among, with the file and the line it stands in; what looks like
//! a message but cannot be read is given with the reason. Logs and trails of any length are read line by line.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use crate::event::{Event, decode, message_in, messages_in, of_record};
use crate::names::{self, Book};
use crate::record::link_of;
use crate::text::one_line;
use crate::trail::{Kind, Lines, lines_of};
use crate::witness::{LogError, LogFile};

/// A file is held in memory up to this size, so that its messages may be written in as many lines as they like; in a larger
/// one each is in a line of its own. Standard input is no larger.
const IN_MEMORY: u64 = 64 << 20;

/// A message, and where it was.
pub(super) struct Input {
    /// The file and the line in it.
    pub(super) from: String,
    /// What it says, or why it cannot be read.
    event: Result<Event, String>,
    /// It stood in a trail, with the names of its time.
    is_recorded: bool,
}

impl Input {
    /// Its event, with names where it has none of its own time.
    pub(super) fn named(self, book: &Book) -> Result<Arc<Event>, String> {
        let is_recorded = self.is_recorded;
        self.event.map(|mut event| {
            if !is_recorded {
                names::fill(&mut event, book);
            }
            Arc::new(event)
        })
    }
}

/// What was named on the command line; it can be read again and again.
pub(super) struct Inputs(Vec<(String, Source)>);

enum Source {
    File(LogFile),
    /// Standard input, to its end.
    Text(Vec<u8>),
}

impl Source {
    fn lines(&self, read: impl FnMut(u64) + Send + 'static) -> io::Result<Lines> {
        match self {
            Self::File(file) => file.lines(read),
            Self::Text(text) => lines_of(io::Cursor::new(text.clone()), Kind::Plain),
        }
    }
}

impl Inputs {
    pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut sources = Vec::new();
        for path in paths {
            let name = path.display().to_string();
            if path == Path::new("-") {
                let mut text = Vec::new();
                io::stdin().take(IN_MEMORY + 1).read_to_end(&mut text)?;
                if text.len() as u64 > IN_MEMORY {
                    bail!("there is more than {IN_MEMORY} bytes on standard input: write it to a file first");
                }
                sources.push(("standard input".to_owned(), Source::Text(text)));
                continue;
            }
            let file = LogFile::open(path).map_err(|error| match error {
                LogError::Io { source, .. } => anyhow!(source).context(format!("{name} cannot be read")),
                error => error.into(),
            })?;
            sources.push((name, Source::File(file)));
        }
        Ok(Self(sources))
    }

    /// How many bytes the files have on disk.
    pub(super) fn len(&self) -> u64 {
        let len = |source: &Source| match source {
            Source::File(file) => file.len,
            Source::Text(_) => 0,
        };
        self.0.iter().map(|(_, source)| len(source)).sum()
    }

    /// Gives each message to `act`, in the order of the files; `read` is told how many bytes of a file were read, now and
    /// then.
    pub(super) fn each(
        &self,
        read: impl FnMut(u64) + Clone + Send + 'static,
        mut act: impl FnMut(Input) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for (name, source) in &self.0 {
            let context = || format!("{name} cannot be read");
            let mut lines = source.lines(read.clone()).with_context(context)?;
            let mut text = Vec::new();
            let mut is_trail = false;
            let is_whole = loop {
                let Some(line) = lines.next_line().with_context(context)? else { break true };
                is_trail = line.number == 1 && link_of(line.bytes).is_some();
                text.extend_from_slice(line.bytes);
                if is_trail || text.len() as u64 > IN_MEMORY {
                    break false;
                }
            };
            if is_whole {
                for (line, body) in messages_in(&text) {
                    act(input(name, line, &body))?;
                }
                continue;
            }
            // What was read so far is whole lines, but too much, or a trail's first.
            for (line, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1..) {
                line_of(name, number, line, is_trail).map(&mut act).transpose()?;
            }
            drop(text);
            while let Some(line) = lines.next_line().with_context(context)? {
                line_of(name, line.number, line.bytes, is_trail).map(&mut act).transpose()?;
            }
        }
        Ok(())
    }
}

fn input(name: &str, line: u64, body: &[u8]) -> Input {
    let event = decode(body).map_err(|error| error.to_string());
    Input { from: place(name, line), event, is_recorded: false }
}

fn place(name: &str, line: u64) -> String {
    format!("{}:{line}", one_line(name))
}

/// What one line of a trail, or of a file that is too large to be looked at as a whole, has to say.
fn line_of(name: &str, number: u64, line: &[u8], is_trail: bool) -> Option<Input> {
    if is_trail {
        let event = of_record(line)?.map_err(|error| error.to_string());
        return Some(Input { from: place(name, number), event, is_recorded: true });
    }
    message_in(line).map(|body| input(name, number, &body))
}
