//! The files of a log, however they were rotated and packed.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::trail::{Counted, Kind, Lines, lines_of};

/// Why a log cannot be read. Each says the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An error of input or output, or of unpacking.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// There is none.
    #[error("{0} does not exist, and nothing that it was rotated to")]
    Absent(PathBuf),
    /// Packed in a way that is not known here.
    #[error("{0} is packed with another program than zstd or gzip; unpack it first")]
    Packed(PathBuf),
}

/// Where lines come from.
#[derive(Debug)]
pub enum Log {
    /// A file.
    File(LogFile),
    /// Standard input, which can be read once.
    Stdin,
}

/// One file of a log, open: rotated while it is read, it is still the same.
#[derive(Debug)]
pub struct LogFile {
    /// Where it was found.
    pub path: PathBuf,
    /// How it is packed.
    pub kind: Kind,
    /// Its length on disk, in bytes.
    pub len: u64,
    file: File,
}

impl LogFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened, or is packed with another program.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let io = |source| LogError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let mut head = Vec::new();
        (&mut file).take(4).read_to_end(&mut head).map_err(io)?;
        let kind = Kind::of(&head).ok_or_else(|| LogError::Packed(path.to_owned()))?;
        let len = file.metadata().map_err(io)?.len();
        Ok(Self { path: path.to_owned(), kind, len, file })
    }

    /// Its lines from the first on; one reader at a time. `read` is told how many bytes of the file itself were read, now
    /// and then.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lines(&self, read: impl FnMut(u64) + Send + 'static) -> io::Result<Lines> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        lines_of(Counted { file, read }, self.kind)
    }
}

impl Log {
    /// What a person calls it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(file) => file.path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Whether its last line may be one that is just being written.
    #[must_use]
    pub fn may_be_torn(&self) -> bool {
        match self {
            Self::File(file) => file.kind == Kind::Plain,
            Self::Stdin => true,
        }
    }

    /// Its lines; see [`LogFile::lines`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lines(&self, read: impl FnMut(u64) + Send + 'static) -> io::Result<Lines> {
        match self {
            Self::File(file) => file.lines(read),
            Self::Stdin => lines_of(io::stdin(), Kind::Plain),
        }
    }
}

/// The logs at these paths, the oldest first: `-` is standard input, a directory stands for all files in it, any other name
/// for the file and all that it was rotated to: what is named like it with `.` or `-` and more behind it, beside it.
///
/// # Errors
/// When there is none at one of the paths, or one cannot be opened.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Log>, LogError> {
    let mut files = Vec::new();
    for path in paths.iter().filter(|path| *path != Path::new("-")) {
        files.extend(files_at(path)?);
    }
    // A rotated file may have been named beside the name that stands for it.
    files.sort_by(|a, b| a.1.cmp(&b.1));
    files.dedup_by(|a, b| a.1 == b.1);
    // By the time of their last line, which is what a file's own time is.
    files.sort_by_key(|(modified, _)| *modified);
    let mut logs = Vec::new();
    for (_, path) in files {
        logs.push(Log::File(LogFile::open(&path)?));
    }
    if paths.iter().any(|path| path == Path::new("-")) {
        logs.push(Log::Stdin);
    }
    Ok(logs)
}

/// When a file was last written, in seconds since 1970 and their billionths.
type Modified = (i64, i64);

fn files_at(path: &Path) -> Result<Vec<(Modified, PathBuf)>, LogError> {
    use std::os::unix::fs::MetadataExt as _;
    let io = |at: &Path| {
        let path = at.to_owned();
        move |source| LogError::Io { path, source }
    };
    let (dir, name) = if path.is_dir() {
        (path, None)
    } else {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (dir, Some(path.file_name().unwrap_or_default().to_string_lossy().into_owned()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io(dir))? {
        let entry = entry.map_err(io(dir))?;
        let entry_name = entry.file_name().to_string_lossy().into_owned();
        let is_meant = name.as_ref().is_none_or(|name| {
            entry_name.strip_prefix(name).is_some_and(|end| end.is_empty() || end.starts_with(['.', '-']))
        });
        let at = dir.join(entry.file_name());
        if is_meant && at.is_file() {
            let data = fs::metadata(&at).map_err(io(&at))?;
            let real = fs::canonicalize(&at).map_err(io(&at))?;
            found.push(((data.mtime(), data.mtime_nsec()), real));
        }
    }
    if found.is_empty() { Err(LogError::Absent(path.to_owned())) } else { Ok(found) }
}
