//! `cadfd verify`: whether the trail is what was written.

use std::collections::HashSet;
use std::error::Error as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::checkpoint::{Checkpoint, PublicKey};
use crate::config;
use crate::record::time;
use crate::store;
use crate::text::{one_line, to_ascii_json};
use crate::trail::{self, Expected, Finding, Line, Report, Trail, TrailError, TrailFile, Verifier, What};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The trail: its file, which stands for those it was rotated to as well, a directory of them, or all of them.
    /// Without, the trail of the settings.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A public key that counts: what `cadfd key` printed where the trail was written, or a file with it. May be given
    /// again, for a trail that has seen several.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// A file with checkpoints that were kept elsewhere, one record a line: each must be in the trail.
    #[arg(long, value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// The first record to look at, by its number.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// The last one.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// JSON.
    #[arg(long)]
    json: bool,
}

/// Something was altered.
const ALTERED: u8 = 1;
/// Nobody can tell.
const UNSURE: u8 = 2;

pub(super) fn verify(path: &Path, args: &Args) -> ExitCode {
    let done = look(path, args).and_then(|verified| {
        let is_altered = verified.iter().any(|verified| verified.report.is_altered());
        let is_unsure = verified.iter().any(|verified| verified.report.is_unsure());
        // Whoever does not read to the end is told the verdict all the same.
        match print(&verified, args.json) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok((is_altered, is_unsure)),
        }
    });
    match done {
        Ok((true, _)) => ExitCode::from(ALTERED),
        Ok((false, true)) => ExitCode::from(UNSURE),
        Ok((false, false)) => ExitCode::SUCCESS,
        // Whatever keeps it from being read: nobody can tell.
        Err(error) => {
            let _closed = writeln!(io::stderr(), "cadfd: {}", super::in_words(&error));
            ExitCode::from(UNSURE)
        }
    }
}

/// A trail, and what was found about it.
struct Verified {
    /// Its name, where there are several.
    name: Option<PathBuf>,
    files: Vec<TrailFile>,
    report: Report,
}

fn look(path: &Path, args: &Args) -> anyhow::Result<Vec<Verified>> {
    let mut expected = Expected { from: args.from, to: args.to, ..Expected::default() };
    for key in &args.key {
        expected.keys.push(public_key(key)?);
    }
    for file in &args.checkpoints {
        read_checkpoints(file, &mut expected.checkpoints)?;
    }
    let paths = trails(path, &args.paths, &mut expected)?;
    let several = several(&paths);
    if !several.is_empty() && (args.from.is_some() || args.to.is_some() || !args.checkpoints.is_empty()) {
        bail!("--from, --to and --checkpoints are about one trail, and these are several: {}", names(&several));
    }
    let one = |name: Option<PathBuf>, paths: Vec<PathBuf>| {
        let files = match files(&paths) {
            // What is known to have been written is gone, unless the name is a mistake.
            Err(error) if is_gone(&error, args.paths.is_empty()) && is_known(&expected, &args.paths) => {
                let _closed = writeln!(io::stderr(), "cadfd: {}", one_line(&error.to_string()));
                Vec::new()
            }
            found => found?,
        };
        let report = read((&files, &paths), expected.clone(), "verifying", |verifier, _| !verifier.is_done())?;
        Ok(Verified { name, files, report })
    };
    let each = |names: Vec<PathBuf>| -> anyhow::Result<Vec<Verified>> {
        names.into_iter().map(|name| one(Some(name.clone()), vec![name])).collect()
    };
    if !several.is_empty() {
        return each(several);
    }
    let whole = one(None, paths.clone())?;
    let overlaps = |finding: &Finding| matches!(finding.what, What::Misplaced { .. } | What::Doubled(_));
    let is_whole = args.from.is_none() && args.to.is_none() && args.checkpoints.is_empty();
    if is_whole && whole.report.findings.iter().any(overlaps) {
        // Trails whose beginnings were removed are not known to be several before they are read.
        let names: Vec<_> = trail::trails(&paths)?.into_iter().map(|trail| trail.path).collect();
        if names.len() > 1 {
            let each = each(names)?;
            if each.iter().all(|verified| !verified.report.is_altered()) {
                return Ok(each);
            }
        }
    }
    Ok(vec![whole])
}

/// Whether there is no trail, or, where the settings say what it is, nothing that is one.
fn is_gone(error: &TrailError, is_ours: bool) -> bool {
    match error {
        TrailError::Absent(_) => true,
        TrailError::Foreign(_) | TrailError::Packed(_) => is_ours,
        TrailError::Io { source, .. } => is_ours && source.kind() == io::ErrorKind::NotFound,
        TrailError::Damaged(_) | TrailError::Moved(_) => false,
    }
}

/// Whether there must be records at these paths.
fn is_known(expected: &Expected, named: &[PathBuf]) -> bool {
    let is_there = named.iter().all(|path| path.exists());
    is_there && (expected.written.is_some_and(|written| written > 0) || !expected.checkpoints.is_empty())
}

/// The trails at the paths, where they are several: each has a first record of its own. None, where it is one, or where
/// its files have no first record.
pub(super) fn several(paths: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(found) = trail::trails(paths) else { return Vec::new() };
    let first = |trail: &Trail| trail.files.iter().find(|file| file.first.seq == 1).map(|file| file.id);
    let firsts: HashSet<_> = found.iter().filter_map(first).collect();
    if firsts.len() < 2 { Vec::new() } else { found.into_iter().map(|trail| trail.path).collect() }
}

/// As they are said in a message.
pub(super) fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| one_line(&path.display().to_string()).into_owned()).collect::<Vec<_>>().join(", ")
}

/// The trails that were named, or the one of the settings, of which more is known.
pub(super) fn trails(path: &Path, named: &[PathBuf], expected: &mut Expected) -> anyhow::Result<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let (audit, state_dir) = config::trail(path, &super::variables())?;
    if expected.keys.is_empty() {
        expected.keys.push(super::key::ours(&audit, &state_dir)?);
    }
    expected.written = Some(store::written(&state_dir)?);
    Ok(vec![audit.path])
}

pub(super) fn public_key(given: &str) -> anyhow::Result<PublicKey> {
    if let Ok(key) = given.parse() {
        return Ok(key);
    }
    let text = fs::read_to_string(given).with_context(|| format!("--key {given}"))?;
    text.parse().with_context(|| format!("--key {given}"))
}

/// Checkpoints one a line, as they stand in a trail, or behind what a log puts before them; other lines are passed over.
fn read_checkpoints(file: &Path, known: &mut Vec<Checkpoint>) -> anyhow::Result<()> {
    let text = fs::read(file).with_context(|| format!("--checkpoints {}", file.display()))?;
    let before = known.len();
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    known.extend(lines.iter().filter_map(|line| checkpoint_in(line)));
    let (found, of) = (known.len() - before, lines.len());
    if found == 0 {
        bail!("--checkpoints {}: there is no checkpoint in it", file.display());
    }
    if found < of {
        let _closed = writeln!(
            io::stderr(),
            "cadfd: --checkpoints {}: {} of its {of} lines hold no checkpoint as cadfd wrote it",
            file.display(),
            of - found
        );
    }
    Ok(())
}

/// The checkpoint in a line of a log, or in the body of a request.
fn checkpoint_in(line: &[u8]) -> Option<Checkpoint> {
    const BEGINNING: &[u8] = b"{\"seq\":";
    #[derive(serde::Deserialize)]
    struct Body {
        line: String,
    }
    let line = line.trim_ascii_end();
    match line.windows(BEGINNING.len()).position(|bytes| bytes == BEGINNING) {
        Some(at) => Checkpoint::read(line.get(at..)?),
        None => Checkpoint::read(serde_json::from_slice::<Body>(line).ok()?.line.as_bytes()),
    }
}

/// The files of one trail, wherever they are.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<TrailFile>, TrailError> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(trail::find_all(path)?);
    }
    trail::in_order(&mut files);
    Ok(files)
}

/// Verifies all lines; `each` has those that were looked at, and says whether to go on.
pub(super) fn read(
    (files, paths): (&[TrailFile], &[PathBuf]),
    expected: Expected,
    what: &str,
    mut each: impl FnMut(&Verifier, &Line<'_>) -> bool,
) -> anyhow::Result<Report> {
    let bar = super::progress::bytes(files.iter().map(|file| file.len).sum(), what);
    let mut verifier = Verifier::new(expected);
    let counted = bar.clone();
    let read = move |bytes| counted.inc(bytes);
    trail::walk(
        files,
        || self::files(paths),
        read,
        |file, line| match line {
            Ok(line) => {
                verifier.line(&file.path, line);
                each(&verifier, line)
            }
            Err((error, lines)) => {
                let why = error.source().map_or_else(|| "its beginning was changed".to_owned(), ToString::to_string);
                verifier.damage(&file.path, lines, &one_line(&why));
                true
            }
        },
    )?;
    bar.finish_and_clear();
    Ok(verifier.finish())
}

fn print(verified: &[Verified], is_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (number, verified) in verified.iter().enumerate() {
        if is_json {
            json(&mut out, verified)?;
            continue;
        }
        if let Some(name) = &verified.name {
            let gap = if number == 0 { "" } else { "\n" };
            writeln!(out, "{gap}{}", one_line(&name.display().to_string()))?;
        }
        text(&mut out, verified)?;
    }
    out.flush()
}

fn place(finding: &Finding) -> String {
    let Some((path, line)) = &finding.place else { return String::new() };
    format!("{}:{line}: ", one_line(&path.display().to_string()))
}

fn text(out: &mut impl Write, Verified { files, report, .. }: &Verified) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{}{}", place(finding), finding.what)?;
    }
    if report.more > 0 {
        writeln!(out, "and {} more", report.more)?;
    }
    if let Some((first, last)) = report.range {
        let count = files.len();
        writeln!(out, "records {first} to {last} in {count} file{}", if count == 1 { "" } else { "s" })?;
    }
    if let Some(first) = report.removed_before {
        writeln!(out, "those before {first} were removed as the settings said; the trail tells so")?;
    }
    if let Some(last) = report.unchained {
        writeln!(out, "those up to {last} are from a version without a chain: nothing covers them")?;
    }
    let Report { kept, kept_apart, kept_of_others, .. } = report;
    if kept + kept_apart + kept_of_others > 0 {
        writeln!(
            out,
            "{kept} checkpoints kept elsewhere compared; {kept_apart} there are of records outside of these, \
             {kept_of_others} of other keys"
        )?;
    }
    if let Some(checkpoint) = &report.last_checkpoint {
        writeln!(
            out,
            "{} checkpoints signed with {}, the last at {} is record {}; longest time between two: {}",
            report.checkpoints,
            checkpoint.key,
            time(checkpoint.at),
            checkpoint.seq,
            humantime::format_duration(std::time::Duration::from_secs(report.longest_silence)),
        )?;
        if report.uncovered() > 0 {
            writeln!(out, "{} records after it are chained, but not signed yet", report.uncovered())?;
        }
    }
    writeln!(out, "{}", verdict(report))
}

fn verdict(report: &Report) -> &'static str {
    if report.is_altered() {
        "ALTERED"
    } else if report.is_unsure() {
        "nobody can tell"
    } else {
        "not altered"
    }
}

fn json(out: &mut impl Write, Verified { name, files, report }: &Verified) -> io::Result<()> {
    let finding = |finding: &Finding| {
        let (path, line) = finding.place.clone().unzip();
        json!({"text": finding.what.to_string(), "altered": finding.what.is_alteration(), "file": path, "line": line})
    };
    let (first, last) = report.range.unzip();
    let checkpoint = report
        .last_checkpoint
        .as_ref()
        .map(|checkpoint| json!({"seq": checkpoint.seq, "at": time(checkpoint.at), "key": checkpoint.key.to_string()}));
    let whole = json!({
        "trail": name,
        "verdict": verdict(report),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "more": report.more,
        "files": files.iter().map(|file| &file.path).collect::<Vec<_>>(),
        "records": report.records, "first": first, "last": last,
        "head": report.head.map(|head| head.to_string()),
        "checkpoints": report.checkpoints, "last_checkpoint": checkpoint,
        "uncovered": report.uncovered(), "longest_silence_seconds": report.longest_silence,
        "unchained_to": report.unchained, "removed_before": report.removed_before,
    });
    let json = to_ascii_json(&whole).map_err(io::Error::other)?;
    out.write_all(&json)?;
    out.write_all(b"\n")
}
