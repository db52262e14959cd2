//! A file that is read and unpacked by a thread of its own, ahead of who goes through its lines.
//!
//! Its promise: the same bytes in the same order, and an error where it was; no more memory than a few chunks; the thread
//! ends with its reader.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes of a chunk, at most.
const CHUNK: usize = 256 << 10;

/// Chunks that wait, are being filled or are being read.
const CHUNKS: usize = 4;

/// What the thread has read.
pub(super) struct Ahead {
    filled: Receiver<Chunk>,
    emptied: SyncSender<Vec<u8>>,
    chunk: Chunk,
    /// So much of it was read.
    at: usize,
    is_over: bool,
}

/// What was read at once; one without bytes is the end.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// What came behind the bytes.
    error: Option<io::Error>,
}

impl Ahead {
    /// Begins to read.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(super) fn of(reader: impl Read + Send + 'static) -> io::Result<Self> {
        let (fill, filled) = sync_channel(CHUNKS);
        let (emptied, empty) = sync_channel(CHUNKS);
        for _ in 1..CHUNKS {
            let _both_ends_are_here = emptied.try_send(Vec::with_capacity(CHUNK));
        }
        thread::Builder::new().name("read-ahead".to_owned()).spawn(move || fill_all(reader, &empty, &fill))?;
        let chunk = Chunk { bytes: Vec::with_capacity(CHUNK), error: None };
        Ok(Self { filled, emptied, chunk, at: 0, is_over: false })
    }

    /// Gives back the chunk that was read, and takes the next.
    fn turn(&mut self) -> io::Result<()> {
        if let Some(error) = self.chunk.error.take() {
            self.is_over = true;
            return Err(error);
        }
        // A thread that has come to the end takes none.
        let _taken = self.emptied.try_send(std::mem::take(&mut self.chunk.bytes));
        self.at = 0;
        self.chunk = self.filled.recv().map_err(|_| io::Error::other("the thread that reads ahead has ended early"))?;
        if self.chunk.bytes.is_empty() {
            self.is_over = true;
            return self.chunk.error.take().map_or(Ok(()), Err);
        }
        Ok(())
    }
}

/// Fills chunks up to the end or an error, or until nobody wants them.
fn fill_all(mut reader: impl Read, empty: &Receiver<Vec<u8>>, fill: &SyncSender<Chunk>) {
    while let Ok(mut bytes) = empty.recv() {
        bytes.clear();
        let error = reader.by_ref().take(CHUNK as u64).read_to_end(&mut bytes).err();
        let is_last = bytes.is_empty() || error.is_some();
        if fill.send(Chunk { bytes, error }).is_err() || is_last {
            return;
        }
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.bytes.len() && !self.is_over {
            self.turn()?;
        }
        Ok(self.chunk.bytes.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// Gives these in turn, as a file that is read in small parts and then cannot be read.
    struct Parts(Vec<io::Result<Vec<u8>>>);

    impl Read for Parts {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let part = self.0.remove(0)?;
            part.as_slice().read(buffer)
        }
    }

    #[test]
    fn what_is_read_is_what_was_there_and_an_error_stands_where_it_was() {
        let text: Vec<u8> = (0..=250).cycle().take(3 * CHUNK + 7).collect();
        let mut read = Vec::new();
        Ahead::of(io::Cursor::new(text.clone())).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, text);

        // Behind some bytes, and where a chunk would begin.
        for before in [vec![&b"one\n"[..], b"tw"], vec![]] {
            let parts = before.iter().map(|part| Ok(part.to_vec())).chain([Err(io::Error::other("no more"))]);
            let (mut ahead, mut read) = (Ahead::of(Parts(parts.collect())).unwrap(), Vec::new());
            let error = ahead.read_to_end(&mut read).unwrap_err();
            assert_eq!((read, error.to_string()), (before.concat(), "no more".to_owned()));
        }
    }

    #[test]
    fn a_thread_that_dies_is_not_the_end_of_the_file() {
        struct Dies;
        impl Read for Dies {
            #[expect(clippy::panic, reason = "it is what is tried")]
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("a decoder's mistake")
            }
        }
        let error = Ahead::of(Dies).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("ended early"), "{error}");
    }
}
