//! `cadfd report`: one page about a time of the trail, for auditors.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};

use super::verify::{files, names, public_key, read, several, trails};
use crate::checkpoint::PublicKey;
use crate::report::{self, Collector, Origin, Span};
use crate::text::one_line;
use crate::trail::{self, Expected, TrailError, TrailFile};

/// Without --since: so many hours before the end.
const USUAL: SignedDuration = SignedDuration::from_hours(30 * 24);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The trail: its file, which stands for those it was rotated to as well, a directory of them, or all of them.
    /// Without, the trail of the settings.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Its beginning: how long ago (2d, 1h30m), a day (2026-11-21, UTC) or a time (RFC 3339). Without, 30 days before its
    /// end.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Its end, which does not belong to it. Without, now.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What it is written in. Without, what the name of FILE says (.md is Markdown), or HTML.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write it, instead of standard output. A file that is there is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A public key that counts: what `cadfd key` printed where the trail was written, or a file with it. May be given
    /// again, for a trail that has seen several. Without, and without PATH, the key of the settings.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Rows of each table at most.
    #[arg(long, default_value_t = 500, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rows: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One file for any browser, and for paper.
    Html,
    /// Text with tables.
    Markdown,
}

pub(super) fn report(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let (span, keys) = match range(args, now).and_then(|span| Ok((span, keys(args)?))) {
        Ok(given) => given,
        Err(mistake) => {
            writeln!(io::stderr(), "cadfd: {}", one_line(&mistake))?;
            return Ok(ExitCode::from(2));
        }
    };
    let mut expected = Expected { keys, ..Expected::default() };
    let paths = trails(path, &args.paths, &mut expected)?;
    let several = several(&paths);
    if !several.is_empty() {
        bail!("a page is about one trail, and these are several: {}", names(&several));
    }
    let files = files(&paths)?;
    if let Some(file) = args.output.as_ref().filter(|file| is_of_a_trail(file, &files, &paths)) {
        bail!("--output {}: that is a file of a trail; name another one", file.display());
    }
    let keys = expected.keys.clone();
    let mut collector = Collector::new(span, usize::try_from(args.rows).unwrap_or(usize::MAX));
    // One pass for both: what is told is what was verified.
    let verified = read((&files, &paths), expected, "reading", |_, line| {
        collector.line(line.bytes);
        true
    })?;
    let origin = Origin {
        paths: paths.iter().map(|path| path.display().to_string()).collect(),
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.len).sum(),
        made: now,
        version: env!("CARGO_PKG_VERSION"),
        keys,
        verified,
    };
    let page = collector.finish(&origin).render(format(args))?;
    match &args.output {
        None => io::stdout().lock().write_all(page.as_bytes())?,
        Some(file) => put(file, page.as_bytes()).with_context(|| format!("--output {}", file.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a file holds records, is one of these under another name, or the one that a trail is written to, though it is
/// empty.
fn is_of_a_trail(file: &Path, files: &[TrailFile], paths: &[PathBuf]) -> bool {
    let id = |file: &Path| fs::metadata(file).map(|found| (found.dev(), found.ino())).ok();
    let trails = trail::trails(paths).unwrap_or_default();
    let is_live = id(file).is_some_and(|own| {
        let named = trails.iter().map(|trail| &trail.path).chain(paths).any(|path| id(path) == Some(own));
        named || files.iter().any(|file| file.id == own)
    });
    is_live || matches!(TrailFile::of(file), Ok(Some(_)) | Err(TrailError::Packed(_)))
}

/// What is asked for.
fn range(args: &Args, now: Timestamp) -> Result<Span, String> {
    let read = |name: &str, text: &str| trail::time(text, now).map_err(|error| format!("--{name} {text}: {error}"));
    let until = args.until.as_ref().map_or(Ok(now), |text| read("until", text))?;
    let usual = || Ok(until.checked_sub(USUAL).unwrap_or(Timestamp::MIN));
    let since = args.since.as_ref().map_or_else(usual, |text| read("since", text))?;
    if since < until { Ok(Span { since, until }) } else { Err("--since is not before --until".to_owned()) }
}

fn keys(args: &Args) -> Result<Vec<PublicKey>, String> {
    args.key.iter().map(|key| public_key(key).map_err(|error| super::in_words(&error))).collect()
}

fn format(args: &Args) -> report::Format {
    let is_markdown = |file: &PathBuf| file.extension().is_some_and(|end| end == "md" || end == "markdown");
    let by_name = args.output.as_ref().filter(|file| is_markdown(file)).map(|_| Format::Markdown);
    match args.format.or(by_name).unwrap_or(Format::Html) {
        Format::Html => report::Format::Html,
        Format::Markdown => report::Format::Markdown,
    }
}

/// Writes the file whole or not at all.
fn put(file: &Path, page: &[u8]) -> anyhow::Result<()> {
    if file.is_dir() {
        bail!("it is a directory; name a file in it");
    }
    // What is no plain file (a pipe, /dev/stdout) cannot be replaced.
    if file.exists() && !file.is_file() {
        return Ok(fs::write(file, page)?);
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let written = File::create(&new).and_then(|mut out| {
        out.write_all(page)?;
        out.sync_all()?;
        fs::rename(&new, file)
    });
    if written.is_err() {
        let _left = fs::remove_file(&new);
    }
    Ok(written?)
}
