//! How the index of a file is made.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use rustix::fs::OFlags;

use super::codec::{self, Header, Page, Root, push_number};
use super::postings::Postings;
use super::{BLOCK, Block, ends, path_of, term};
use crate::chain::Hash;
use crate::record::LONGEST_LINE;
use crate::text::one_line;
use crate::trail::entry::Entry;
use crate::trail::files::{Kind, TrailFile};
use crate::trail::lines::read_line;

/// A page ends with the term that makes it longer than this, in bytes.
const PAGE: usize = 4096;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Makes the index of `file` beside it, in place of any that is there: whole or not at all, and harmless to repeat.
///
/// # Errors
/// When the file cannot be read or unpacked, or the index cannot be written; then nothing is left of it.
pub fn build(file: &TrailFile) -> io::Result<()> {
    build_counted(file, |_| Ok(()))
}

/// The same; `read` is told how many bytes of the file itself were read, now and then, and may end it.
///
/// # Errors
/// As [`build`], and what `read` gave.
pub fn build_counted(file: &TrailFile, read: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    let path = path_of(&file.path);
    let mut new = path.clone().into_os_string();
    new.push(".new");
    let new = Path::new(&new);
    let source = File::open(&file.path)?;
    // Held until it has its name, or is gone.
    let target = locked(new, &source.metadata()?)?;
    let made = write(file.kind, source, &target, directory(new), read)
        .and_then(|()| fs::rename(new, &path))
        .and_then(|()| File::open(directory(&path))?.sync_all());
    if made.is_err() {
        let _gone = fs::remove_file(new);
    }
    made
}

/// The file that the index is made in, which nobody else makes one in.
fn locked(new: &Path, like: &Metadata) -> io::Result<File> {
    // Whoever may read the file may read what it is known by, and nobody else.
    let mode = like.mode() & 0o666;
    // The directory is the daemon's, and root searches too: what lies there under this name may be a trap. Nothing is
    // followed, waited for, cut or given away but a file of this name alone.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(mode).custom_flags(flags);
    let target = options.open(new).map_err(|error| if is_link(new) { trap(new) } else { error })?;
    let busy = || io::Error::new(io::ErrorKind::WouldBlock, "another process is making this index");
    target.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => busy(),
        TryLockError::Error(error) => error,
    })?;
    let mine = target.metadata()?;
    let named = match fs::symlink_metadata(new) {
        Ok(named) if (named.dev(), named.ino()) == (mine.dev(), mine.ino()) => named,
        // They have just finished, and what was opened here has its name by now.
        _ => return Err(busy()),
    };
    if !named.is_file() || named.nlink() != 1 {
        return Err(trap(new));
    }
    target.set_len(0)?;
    // As root for the daemon's own file.
    let _only_as_root = fchown(&target, Some(like.uid()), Some(like.gid()));
    Ok(target)
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

fn trap(new: &Path) -> io::Error {
    let name = one_line(&new.display().to_string()).into_owned();
    io::Error::other(format!("{name} is a link or no file, and is left alone; remove it, and the index can be made"))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write(
    kind: Kind,
    source: File,
    target: &File,
    dir: &Path,
    read: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let again = source.try_clone()?;
    let mut collected = Collected::new(dir);
    collected.file(BufReader::with_capacity(BUFFER, Counted { file: source, read }), kind)?;
    let ends = ends(&again, collected.len)?;
    let Collected { postings, mut root, .. } = collected;
    root.ends = ends;
    let mut target = BufWriter::new(target);
    target.seek(SeekFrom::Start(Header::LENGTH))?;
    root.pages = write_pages(&mut target, postings)?;
    let bytes = root.bytes()?;
    let root_at = target.stream_position()?;
    target.write_all(&bytes)?;
    target.rewind()?;
    target.write_all(&Header { root_at, root_len: bytes.len() as u64, digest: Hash::of(&bytes) }.bytes())?;
    target.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Writes all terms, and says where they are.
fn write_pages(target: &mut BufWriter<&File>, postings: Postings) -> io::Result<Vec<Page>> {
    let (mut pages, mut page, mut at) = (Vec::new(), OpenPage::default(), Header::LENGTH);
    let mut open: Option<(u64, Vec<u32>)> = None;
    for pair in postings.sorted()? {
        let (term, block) = pair?;
        match &mut open {
            Some((same, blocks)) if *same == term => blocks.push(block),
            _ => {
                if let Some((term, blocks)) = open.replace((term, vec![block])) {
                    page.push(term, &blocks);
                    page.close_above(PAGE, target, &mut at, &mut pages)?;
                }
            }
        }
    }
    if let Some((term, blocks)) = open {
        page.push(term, &blocks);
        page.close_above(0, target, &mut at, &mut pages)?;
    }
    Ok(pages)
}

/// A page in the making.
#[derive(Default)]
struct OpenPage {
    bytes: Vec<u8>,
    first: u64,
    last: u64,
}

impl OpenPage {
    fn push(&mut self, term: u64, blocks: &[u32]) {
        if self.bytes.is_empty() {
            (self.first, self.last) = (term, 0);
        }
        push_number(&mut self.bytes, term - self.last);
        push_number(&mut self.bytes, blocks.len() as u64);
        let mut before = 0;
        for block in blocks {
            push_number(&mut self.bytes, u64::from(block - before));
            before = *block;
        }
        self.last = term;
    }

    fn close_above(
        &mut self,
        length: usize,
        target: &mut BufWriter<&File>,
        at: &mut u64,
        pages: &mut Vec<Page>,
    ) -> io::Result<()> {
        if self.bytes.len() <= length {
            return Ok(());
        }
        let len = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;
        let check = codec::short(&Hash::of(&self.bytes));
        pages.push(Page { first: self.first, at: *at, len, check });
        target.write_all(&self.bytes)?;
        *at += u64::from(len);
        self.bytes.clear();
        Ok(())
    }
}

/// What is known of a file while it is read.
struct Collected {
    root: Root,
    postings: Postings,
    /// Bytes of the file as stored that are part of a block.
    len: u64,
    block: Block,
    unpacked: u64,
    /// Of the block.
    terms: HashSet<u64>,
}

const EMPTY: Block = Block { at: 0, len: 0, first: 0, last: 0, earliest: i64::MAX, latest: i64::MIN };

impl Collected {
    fn new(dir: &Path) -> Self {
        let root = Root {
            file_len: 0,
            ends: Hash::START,
            first: 0,
            last: 0,
            last_digest: Hash::START,
            records: 0,
            blocks: Vec::new(),
            pages: Vec::new(),
        };
        Self { root, postings: Postings::new(dir), len: 0, block: EMPTY, unpacked: 0, terms: HashSet::new() }
    }

    fn file(&mut self, reader: impl BufRead, kind: Kind) -> io::Result<()> {
        let mut reader = Placed { reader, at: 0 };
        match kind {
            Kind::Plain => self.plain(&mut reader)?,
            Kind::Zstd => self.zstd(&mut reader)?,
            Kind::Gzip => {
                let mut line = Vec::new();
                let mut unpacked = BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(&mut reader));
                self.lines(&mut unpacked, &mut line)?;
                self.line(&mut line);
                drop(unpacked);
                self.cut(reader.at)?;
            }
        }
        self.root.file_len = self.len;
        Ok(())
    }

    fn plain(&mut self, reader: &mut Placed<impl BufRead>) -> io::Result<()> {
        let mut line = Vec::new();
        while read_line(reader, &mut line)? > 0 {
            self.line(&mut line);
            if self.unpacked >= BLOCK {
                self.cut(reader.at)?;
            }
        }
        self.cut(reader.at)
    }

    /// A block ends with the frame in which it has a whole line's end, and enough of them.
    fn zstd(&mut self, reader: &mut Placed<impl BufRead>) -> io::Result<()> {
        let mut line = Vec::new();
        while !reader.fill_buf()?.is_empty() {
            let frame = zstd::Decoder::with_buffer(&mut *reader)?.single_frame();
            self.lines(&mut BufReader::with_capacity(BUFFER, frame), &mut line)?;
            if line.is_empty() && self.unpacked >= BLOCK / 2 {
                self.cut(reader.at)?;
            }
        }
        self.line(&mut line);
        self.cut(reader.at)
    }

    /// Takes all whole lines; what comes after the last stays in `line`.
    fn lines(&mut self, reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
        while read_line(reader, line)? > 0 {
            if line.ends_with(b"\n") || line.len() as u64 >= LONGEST_LINE {
                self.line(line);
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &mut Vec<u8>) {
        self.unpacked += line.len() as u64;
        if let Some(entry) = Entry::read(line) {
            if self.root.records == 0 {
                self.root.first = entry.seq;
            }
            if self.block.first == 0 {
                self.block.first = entry.seq;
            }
            (self.block.last, self.root.last) = (entry.seq, entry.seq);
            self.root.last_digest = Hash::of(line);
            self.root.records += 1;
            if let Some(at) = entry.time() {
                self.block.earliest = self.block.earliest.min(at.as_microsecond());
                self.block.latest = self.block.latest.max(at.as_microsecond());
            }
            entry.each_term(&mut |class, text| _ = self.terms.insert(term(class, &text.to_lowercase())));
        }
        line.clear();
    }

    /// Ends the block, at this place of the file as stored.
    fn cut(&mut self, at: u64) -> io::Result<()> {
        if at > self.len {
            let number = u32::try_from(self.root.blocks.len()).map_err(io::Error::other)?;
            for term in self.terms.drain() {
                self.postings.push(term, number)?;
            }
            self.root.blocks.push(Block { at: self.len, len: at - self.len, ..self.block });
            (self.len, self.block, self.unpacked) = (at, EMPTY, 0);
        }
        Ok(())
    }
}

/// A reader that knows how far it has come.
struct Placed<R> {
    reader: R,
    at: u64,
}

impl<R: BufRead> Read for Placed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Placed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount as u64;
        self.reader.consume(amount);
    }
}

/// A file that tells how much of it was read.
struct Counted<F> {
    file: File,
    read: F,
}

impl<F: FnMut(u64) -> io::Result<()>> Read for Counted<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        (self.read)(count as u64)?;
        Ok(count)
    }
}
