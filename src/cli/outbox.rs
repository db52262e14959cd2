//! `cadfd outbox`: what waits, what was given up, what could not be decoded.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use crate::config;
use crate::record::time;
use crate::rule::Steps;
use crate::store::{Held, Outbox, Quarantine, Selection, State};
use crate::text::{one_line, to_ascii_json};

/// As many of an id's 32 characters as make a typing mistake unlikely to mean another delivery.
const SHORTEST_ID: usize = 6;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List deliveries, oldest first; with --quarantine, messages that could not be decoded.
    List(Which),
    /// Show everything about deliveries or quarantined messages.
    Show(Which),
    /// Make deliveries due at once; those that were given up start anew.
    Retry(Which),
    /// Discard deliveries, which the audit trail will tell, or quarantined messages.
    Discard(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Ids, or the beginnings of ids; with --quarantine, numbers.
    ids: Vec<String>,
    /// Only those of this rule.
    #[arg(long)]
    rule: Option<String>,
    /// Only those for this destination, such as slack.ops.
    #[arg(long)]
    destination: Option<String>,
    /// Only those in this state.
    #[arg(long, value_parser = ["waiting", "given-up"])]
    state: Option<String>,
    /// All of them: retry and discard want it said.
    #[arg(long)]
    all: bool,
    /// The messages that could not be decoded.
    #[arg(long, conflicts_with_all = ["rule", "destination", "state"])]
    quarantine: bool,
    /// JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Which {
    fn selection(&self) -> Selection {
        let state = self.state.as_deref().map(|state| if state == "waiting" { State::Waiting } else { State::GivenUp });
        Selection { ids: self.ids.clone(), rule: self.rule.clone(), destination: self.destination.clone(), state }
    }

    /// The deliveries meant; each id must be long enough to mean one, and mean one.
    fn found(&self, outbox: &Outbox) -> anyhow::Result<Vec<Held>> {
        for id in &self.ids {
            if id.len() < SHORTEST_ID {
                bail!("{id:?} is too short for an id; {SHORTEST_ID} characters at least");
            }
            let one = Selection { ids: vec![id.clone()], ..Selection::default() };
            match outbox.list(&one)?.len() {
                0 => bail!("there is no delivery {id}; one that is done is in the audit trail only"),
                1 => {}
                several => bail!("{id} is the beginning of {several} ids; write more of it"),
            }
        }
        Ok(outbox.list(&self.selection())?)
    }

    fn is_narrow(&self) -> bool {
        !self.ids.is_empty() || self.rule.is_some() || self.destination.is_some() || self.state.is_some()
    }

    fn numbers(&self) -> anyhow::Result<Vec<i64>> {
        let number = |id: &String| id.parse().with_context(|| format!("{id:?} is no number of a quarantined message"));
        self.ids.iter().map(number).collect()
    }
}

pub(super) fn outbox(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let dir = config::state_dir(path, &super::variables())?;
    let outbox = Outbox::open(&dir)?;
    let mut out = io::stdout().lock();
    match &args.command {
        Command::List(which) if which.quarantine => {
            list_quarantine(&mut out, &quarantined(&outbox, which)?, which.json)
        }
        Command::Show(which) if which.quarantine => {
            show_quarantine(&mut out, &quarantined(&outbox, which)?, which.json)
        }
        Command::List(which) => list(&mut out, &which.found(&outbox)?, which.json),
        Command::Show(which) => {
            let found = which.found(&outbox)?;
            if found.is_empty() {
                bail!("no such delivery; one that is done is in the audit trail only");
            }
            show(&mut out, &found, which.json)
        }
        Command::Retry(which) | Command::Discard(which) if !which.is_narrow() && !which.all => {
            bail!("which ones? name ids, --rule, --destination or --state, or say --all")
        }
        Command::Retry(which) if which.quarantine => {
            bail!(
                "a message that could not be decoded cannot be tried again; look at it with: cadfd outbox show --quarantine"
            )
        }
        Command::Retry(which) => {
            let found = which.found(&outbox)?;
            let changed = outbox.retry(&which.selection(), Timestamp::now())?;
            writeln!(out, "{changed} of {} due at once", found.len())?;
            let without = found.iter().filter(|held| held.request.is_none()).count();
            if without > 0 {
                writeln!(out, "{without} have no request, because their template failed; correct the rule")?;
            }
            Ok(())
        }
        Command::Discard(which) if which.quarantine => {
            Ok(writeln!(out, "{} forgotten", outbox.discard_quarantine(&which.numbers()?)?)?)
        }
        Command::Discard(which) => {
            which.found(&outbox)?;
            Ok(writeln!(out, "{} discarded", outbox.discard(&which.selection())?)?)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn quarantined(outbox: &Outbox, which: &Which) -> anyhow::Result<Vec<Quarantine>> {
    let numbers = which.numbers()?;
    let all = outbox.quarantine()?;
    Ok(all.into_iter().filter(|message| numbers.is_empty() || numbers.contains(&message.n)).collect())
}

fn json_line(out: &mut impl Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    out.write_all(&to_ascii_json(value)?)?;
    writeln!(out)?;
    Ok(())
}

fn state(held: &Held) -> &'static str {
    match held.state {
        State::Waiting => "waiting",
        State::GivenUp => "given up",
    }
}

fn list(out: &mut impl Write, found: &[Held], json: bool) -> anyhow::Result<()> {
    for held in found {
        if json {
            json_line(out, held)?;
            continue;
        }
        let Held { id, destination, rule, event_type, attempts, created, reason, .. } = held;
        writeln!(
            out,
            "{id}  {}  {:8}  {destination}  {}  {}  {attempts} failed{}",
            time(*created),
            state(held),
            one_line(event_type),
            one_line(rule),
            reason.as_deref().map(|reason| format!(": {}", one_line(reason))).unwrap_or_default(),
        )?;
    }
    Ok(())
}

fn show(out: &mut impl Write, found: &[Held], json: bool) -> anyhow::Result<()> {
    for held in found {
        if json {
            json_line(out, held)?;
            continue;
        }
        writeln!(out, "delivery     {}", held.id)?;
        writeln!(out, "state        {}, {} attempts failed", state(held), held.attempts)?;
        writeln!(out, "destination  {}", held.destination)?;
        writeln!(out, "rule         {}", one_line(&held.rule))?;
        writeln!(
            out,
            "event        {} {} (record {} of the audit trail)",
            one_line(&held.event_type),
            one_line(&held.message_id),
            held.event_seq
        )?;
        writeln!(out, "planned      {}", time(held.created))?;
        if let Some(due) = held.due {
            writeln!(out, "next attempt {}", time(due))?;
        }
        for (name, text) in [("reason       ", &held.reason), ("reply        ", &held.reply)] {
            if let Some(text) = text {
                writeln!(out, "{name}{}", one_line(text))?;
            }
        }
        for (name, raw) in [("request      ", &held.request), ("progress     ", &held.progress)] {
            if let Some(raw) = raw {
                writeln!(out, "{name}{}", one_line(raw.get()))?;
            }
        }
        if let Some(steps) = &held.steps {
            writeln!(out, "then         {}", one_line(&then(steps.get())))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Where what follows a delivery goes, and how much it will see beside the event: that may be megabytes, which `--json` has.
fn then(steps: &str) -> String {
    let Ok(Steps { to, extras, .. }) = serde_json::from_str(steps) else { return "cannot be read".to_owned() };
    let sizes = extras.iter().map(|(name, value)| format!("{name} ({} bytes)", value.to_string().len()));
    let sizes: Vec<_> = sizes.collect();
    let knows = if sizes.is_empty() { String::new() } else { format!(", with {}", sizes.join(", ")) };
    format!("{}{knows}", to.join(", "))
}

fn list_quarantine(out: &mut impl Write, found: &[Quarantine], json: bool) -> anyhow::Result<()> {
    for message in found {
        if json {
            json_line(out, message)?;
            continue;
        }
        let Quarantine { n, at, queue, size, reason, .. } = message;
        writeln!(out, "{n}  {}  {}  {size} bytes: {}", time(*at), one_line(queue), one_line(reason))?;
    }
    Ok(())
}

fn show_quarantine(out: &mut impl Write, found: &[Quarantine], json: bool) -> anyhow::Result<()> {
    if found.is_empty() {
        bail!("no such message in quarantine");
    }
    for message in found {
        if json {
            // Bytes that are no text at all survive JSON only in hexadecimal.
            let hex: Vec<_> = message.body.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut value = serde_json::to_value(message)?;
            value["body_hex"] = hex.concat().into();
            json_line(out, &value)?;
            continue;
        }
        list_quarantine(out, std::slice::from_ref(message), false)?;
        writeln!(out, "exchange     {}", one_line(&message.exchange))?;
        writeln!(out, "routing key  {}", one_line(&message.routing_key))?;
        writeln!(out, "sha256       {}", message.sha256)?;
        writeln!(out, "body         {}", one_line(&String::from_utf8_lossy(&message.body)))?;
        if message.size > message.body.len() as u64 {
            writeln!(out, "             (its first {} of {} bytes)", message.body.len(), message.size)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_told_in_few_words() {
        let steps =
            r#"{"path":"0","message":"m","to":["http.x","log"],"extras":{"count":3,"events":["a","b"]},"event":{}}"#;
        assert_eq!(then(steps), "http.x, log, with count (1 bytes), events (9 bytes)");
        assert_eq!(then("{"), "cannot be read");
    }
}
