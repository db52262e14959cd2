//! `cadfd doctor`: tries each real thing that cadfd needs, and says what to change.
//!
//! Its promise: nothing is declared, consumed, published, built or sent, unless `--send-test` says so, and then only
//! what says that it is a test; it ends, whatever does not answer; the exit status tells the worst that was found.

pub(super) mod files;
pub(super) mod keystone_conf;
mod print;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use futures_util::future::join_all;
use jiff::SignedDuration;

use crate::action::{Examined, Use};
use crate::config::{self, Config, Destination, Problems};
use crate::finding::{Finding, Verdict};
use crate::intake::{self, Known, topic};
use crate::rule::{Act, RuleTable, Step};

/// Further apart, times in the trail and signatures of requests are no longer trusted.
const SKEW: SignedDuration = SignedDuration::from_secs(10);

/// The topic that every service of OpenStack publishes to by default.
const SHARED_TOPIC: &str = "notifications";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keystone's settings, to see whether it publishes what cadfd reads. With several files, in Keystone's order.
    #[arg(long, value_name = "FILE")]
    keystone_conf: Vec<PathBuf>,
    /// Send one message, marked as a test, to each Slack destination and each HTTP destination of method POST.
    #[arg(long)]
    send_test: bool,
    /// One JSON object: the worst verdict, and the findings.
    #[arg(long)]
    json: bool,
}

pub(super) fn doctor(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let conf = keystone_conf::read(&args.keystone_conf);
    let loaded = super::load(path);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let findings = runtime.block_on(examine(path, loaded, &conf, args.send_test));
    // A name server that does not answer must not keep us: its thread is left alone.
    runtime.shutdown_background();
    print::print(&findings, args.json)?;
    Ok(exit_status(&findings))
}

/// 0: well; 1: warnings; 2: problems. What could not be tried does not count: where it is somebody's fault, that has a
/// row of its own.
fn exit_status(findings: &[Finding]) -> ExitCode {
    match findings.iter().map(|finding| finding.verdict).max() {
        None | Some(Verdict::Ok | Verdict::Untried) => ExitCode::SUCCESS,
        Some(Verdict::Warning) => ExitCode::from(1),
        Some(Verdict::Problem) => ExitCode::from(2),
    }
}

/// All findings, in order; what can be waited for together is.
async fn examine(
    path: &Path,
    loaded: Result<Config, Problems>,
    conf: &keystone_conf::Given,
    send_test: bool,
) -> Vec<Finding> {
    let secrets = files::secrets(&config::secret_files(path, &super::variables()));
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => {
            let mut findings: Vec<_> = problems.0.iter().map(mistake).collect();
            findings.extend(secrets);
            findings.push(Finding::untried("broker, keystone, destinations", "the settings have mistakes"));
            findings.extend(conf.findings(None));
            return findings;
        }
    };
    let known = known(&config, conf);
    let (broker, keystone, destinations) = tokio::join!(
        intake::examine(&config.intake, &known),
        look_at_keystone(&config),
        look_at_destinations(&config, send_test)
    );
    let mut findings = settings(path, &config);
    let (keystone, skew) = keystone;
    let mut skews: Vec<_> = skew.map(|skew| ("keystone".to_owned(), skew)).into_iter().collect();
    skews.extend(destinations.iter().filter_map(|(name, examined)| Some((name.clone(), examined.skew?))));
    findings.push(clock(&skews));
    findings.extend(secrets);
    findings.extend(files::places(path, &config));
    findings.extend(broker);
    findings.extend(conf.findings(Some(&config.intake)));
    findings.extend(keystone);
    findings.extend(destinations.into_iter().flat_map(|(_, examined)| examined.findings));
    findings
}

fn mistake(problem: &config::Problem) -> Finding {
    Finding::problem(
        format!("settings: {}", problem.place),
        problem.text.clone(),
        "correct it; `cadfd check` says all mistakes",
    )
}

fn settings(path: &Path, config: &Config) -> Vec<Finding> {
    let found = format!(
        "in order; rules: {}, destinations: {}, queues: {}",
        config.rules.len(),
        config.destinations.len(),
        config.intake.all_queues().join(", ")
    );
    let mut rows = vec![Finding::ok(format!("settings: {}", path.display()), found)];
    for note in &config.notes {
        rows.push(Finding::warning(
            "settings",
            note.clone(),
            "take it out, or write what it was to say into [rabbitmq]",
        ));
    }
    rows
}

fn known(config: &Config, conf: &keystone_conf::Given) -> Known {
    let topics = conf.conf().map_or_else(|| vec![SHARED_TOPIC.to_owned()], |conf| conf.topics().to_vec());
    Known {
        neighbours: topics.iter().map(|topic| format!("{topic}.info")).collect(),
        is_running: files::is_running(&config.state_dir),
    }
}

/// The topics that fill these queues.
fn topics(queues: &[String]) -> Vec<String> {
    queues.iter().map(|queue| topic(queue).to_owned()).collect()
}

async fn look_at_keystone(config: &Config) -> (Vec<Finding>, Option<SignedDuration>) {
    let Some(keystone) = &config.keystone else {
        let why = "there is no [keystone]: names come from the messages alone";
        return (vec![Finding::untried("keystone: log in", why)], None);
    };
    keystone.client.client().examine().await
}

async fn look_at_destinations(config: &Config, send_test: bool) -> Vec<(String, Examined)> {
    let uses = uses(&config.rules);
    let look = async |(name, destination): (&String, &Destination)| {
        let asked = uses.get(name).map_or(&[][..], Vec::as_slice);
        let examined = match destination.build() {
            Ok(built) => {
                let mut examined = built.examine(name, asked).await;
                if send_test {
                    examined.findings.push(built.send_test(name).await);
                }
                examined
            }
            Err(error) => {
                let finding = Finding::problem_in_words(format!("{name}: settings"), &error.to_string());
                Examined { findings: vec![finding], skew: None }
            }
        };
        (name.clone(), examined)
    };
    join_all(config.destinations.iter().map(look)).await
}

/// What the rules in force ask of each destination.
fn uses(rules: &RuleTable) -> BTreeMap<String, Vec<Use>> {
    let mut all: BTreeMap<String, Vec<Use>> = BTreeMap::new();
    for rule in rules.rules().iter().filter(|rule| rule.enabled) {
        for step in rule.actions.iter().flat_map(Step::all) {
            let wanted = match &step.act {
                Act::Jenkins(act) => Use::Job {
                    job: act.job.clone(),
                    parameters: act.parameters.iter().map(|(name, _)| name.clone()).collect(),
                    rule: rule.name.clone(),
                },
                Act::Log(_)
                | Act::Slack(_)
                | Act::Http(_)
                | Act::File(_)
                | Act::Syslog(_)
                | Act::Email(_)
                | Act::Fetch(_) => Use::Other,
            };
            all.entry(step.act.to().to_owned()).or_default().push(wanted);
        }
    }
    all
}

/// Our clock against those of the servers that told theirs.
fn clock(skews: &[(String, SignedDuration)]) -> Finding {
    let tried = "clock";
    let Some((whose, worst)) = skews.iter().max_by_key(|(_, skew)| skew.abs()) else {
        return Finding::untried(tried, "no server told its time; RabbitMQ does not, Keystone and destinations do");
    };
    if worst.abs() <= SKEW {
        let all: Vec<_> = skews.iter().map(|(name, _)| name.as_str()).collect();
        return Finding::ok(tried, format!("agrees with {}", all.join(", ")));
    }
    let way = if worst.is_positive() { "behind" } else { "ahead of" };
    let found = format!("{} s {way} that of {whose}", worst.abs().as_secs());
    Finding::warning(tried, found, "set the wrong one right: timedatectl, chronyc tracking")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_is_the_worst() {
        let ok = Finding::ok("a", "b");
        let untried = Finding::untried("a", "b");
        let warning = Finding::warning("a", "b", "c");
        let problem = Finding::problem("a", "b", "c");
        let of = |findings: &[&Finding]| exit_status(&findings.iter().map(|f| (*f).clone()).collect::<Vec<_>>());
        assert_eq!(of(&[]), ExitCode::SUCCESS);
        assert_eq!(of(&[&ok, &untried]), ExitCode::SUCCESS);
        assert_eq!(of(&[&ok, &warning, &untried]), ExitCode::from(1));
        assert_eq!(of(&[&problem, &warning, &ok]), ExitCode::from(2));
    }

    #[test]
    fn a_wrong_clock_is_told_with_its_direction() {
        let of =
            |seconds| clock(&[("a".into(), SignedDuration::ZERO), ("b".into(), SignedDuration::from_secs(seconds))]);
        assert_eq!(of(10).verdict, Verdict::Ok);
        assert_eq!(of(61).found, "61 s behind that of b");
        assert_eq!(of(-61).found, "61 s ahead of that of b");
        assert_eq!(clock(&[]).verdict, Verdict::Untried);
    }
}
