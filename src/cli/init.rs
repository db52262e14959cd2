//! `cadfd init`: commented settings and a first rule file, and what is left to do.
//!
//! Its promise: it asks nothing, replaces no file, prints no secret, and what it writes passes `cadfd check`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::doctor::keystone_conf::{self, Given};
use crate::finding::Verdict;
use crate::intake::{ParsedUrl, parse_transport_url, quote, set_permissions};
use crate::oslo::{KeystoneConf, TransportUrl};

/// The settings as they are shipped, every key with its default.
const SETTINGS: &str = include_str!("../../config/cadfd.toml");
const FIRST_RULES: &str = include_str!("../../config/rules.d/00-log.toml");
const EXAMPLES: &str = include_str!("../../config/rules.d/10-examples.toml");
const TOGETHER: &str = include_str!("../../config/rules.d/20-together.toml");

/// Where the shipped settings say that they are.
const SHIPPED_DIR: &str = "/etc/cadfd";

/// The user in RabbitMQ and in Keystone.
const USER: &str = "cadfd";
const QUEUE: &str = "cadfd.info";
const TOPIC: &str = "cadfd";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keystone's settings: broker, virtual host and TLS are taken from them. With several files, in Keystone's order.
    #[arg(long, value_name = "FILE")]
    keystone_conf: Vec<PathBuf>,
    /// Where settings, rules and the broker's address with its password are written.
    #[arg(long, value_name = "DIR", default_value = SHIPPED_DIR)]
    dir: PathBuf,
}

/// What keystone.conf told, or defaults.
struct Broker {
    url: ParsedUrl,
    tls: bool,
    ca_file: Option<String>,
}

pub(super) fn init(args: &Args) -> anyhow::Result<ExitCode> {
    let given = keystone_conf::read(&args.keystone_conf);
    if let Given::Unreadable(finding) = &given {
        bail!("{}: {}; {}", finding.tried, finding.found, finding.change.as_deref().unwrap_or_default());
    }
    let conf = given.conf();
    let broker = broker(conf)?;
    let dir = std::path::absolute(&args.dir).with_context(|| format!("{} is no path", args.dir.display()))?;
    let Some(dir) = dir.to_str() else { bail!("{} is not UTF-8; choose another --dir", dir.display()) };
    if dir.contains(['"', '\\']) || dir.contains(char::is_control) {
        bail!("{dir:?} cannot be written into settings as it is; choose another --dir");
    }
    let mut out = io::stdout().lock();
    let folder = Path::new(dir).join("rules.d");
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&folder);
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    let in_dir = |name: &str| Path::new(dir).join(name);
    let secrets = in_dir("credentials");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&secrets);
    made.with_context(|| format!("cannot make {}", secrets.display()))?;
    let url = secrets.join("transport_url");
    let is_new = write(&mut out, &url, &format!("{}\n", transport_url(&broker.url, broker.tls)), 0o600)?;
    write(&mut out, &in_dir("cadfd.toml"), &settings(dir, &broker, conf), 0o644)?;
    write(&mut out, &in_dir("rules.d/00-log.toml"), FIRST_RULES, 0o644)?;
    write(&mut out, &in_dir("rules.d/10-examples.toml"), EXAMPLES, 0o644)?;
    write(&mut out, &in_dir("rules.d/20-together.toml"), TOGETHER, 0o644)?;
    write!(out, "{}", next_steps(dir, &broker, (conf, &args.keystone_conf), is_new))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that is not there yet; whether it did.
fn write(out: &mut impl Write, path: &Path, text: &str, mode: u32) -> anyhow::Result<bool> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match file {
        Ok(mut file) => {
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            if let Err(error) = written {
                // Half a file would be kept the next time.
                let _gone = fs::remove_file(path);
                return Err(error).with_context(|| format!("cannot write {}", path.display()));
            }
            writeln!(out, "written: {}", path.display())?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            writeln!(out, "kept:    {} (it was there already)", path.display())?;
            Ok(false)
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}

fn broker(conf: Option<&KeystoneConf>) -> anyhow::Result<Broker> {
    let text = match conf.map(KeystoneConf::transport_url) {
        Some(TransportUrl::Is(url)) => url.expose(),
        Some(TransportUrl::Unknown) => {
            bail!("transport_url in keystone.conf refers to a value that is not in the file; name that file as well")
        }
        Some(TransportUrl::Default) | None => "rabbit://",
    };
    let url = parse_transport_url(text).context("transport_url in keystone.conf")?;
    let ca_file = conf.and_then(|conf| conf.ca_file.clone()).or_else(|| {
        let file = url.tls.as_ref()?.ca_file.as_ref()?;
        file.to_str().map(str::to_owned)
    });
    Ok(Broker { tls: url.tls.is_some() || conf.is_some_and(|conf| conf.tls), ca_file, url })
}

/// Keystone's hosts and virtual host, with a user of cadfd's own and a new password of 128 random bits.
fn transport_url(keystones: &ParsedUrl, tls: bool) -> String {
    let password = format!("{:032x}", rand::random::<u128>());
    let hosts: Vec<_> = keystones.hosts.iter().map(|host| format!("{USER}:{password}@{host}")).collect();
    let vhost = match keystones.vhost.as_str() {
        "/" => String::new(),
        name => utf8_percent_encode(name, NON_ALPHANUMERIC).to_string(),
    };
    // Whatever the settings say: those that came with a package are kept.
    let scheme = if tls { "amqps" } else { "rabbit" };
    format!("{scheme}://{}/{vhost}", hosts.join(","))
}

/// The shipped settings, with this folder and what keystone.conf tells.
fn settings(dir: &str, broker: &Broker, conf: Option<&KeystoneConf>) -> String {
    let dir = dir.trim_end_matches('/');
    let mut text = SETTINGS.replace(&format!("{SHIPPED_DIR}/"), &format!("{dir}/"));
    if dir != SHIPPED_DIR {
        // systemd gives the service what is in the usual folder.
        text = text.replace("\"%d/", &format!("\"{dir}/credentials/"));
    }
    if broker.tls {
        text = text.replacen("# tls = false\n", "tls = true\n", 1);
        // A file that cannot be read is a mistake in the settings: it is only named.
        if let Some(file) = broker.ca_file.as_deref().filter(|file| fs::File::open(file).is_ok()) {
            let line = text.lines().find(|line| line.starts_with("# ca_file = ")).map(str::to_owned);
            if let Some(line) = line {
                text = text.replacen(&line, &format!("ca_file = {}", toml::Value::from(file)), 1);
            }
        }
    }
    if let Some(endpoint) = conf.and_then(|conf| conf.public_endpoint.as_deref()) {
        let address = toml::Value::from(format!("{}/v3", endpoint.trim_end_matches('/').trim_end_matches("/v3")));
        text = text.replacen(
            "# auth_url = \"https://keystone.example.org:5000/v3\"",
            &format!("# auth_url = {address}"),
            1,
        );
    }
    text
}

/// What is left to be done, as commands.
fn next_steps(dir: &str, broker: &Broker, (conf, files): (Option<&KeystoneConf>, &[PathBuf]), is_new: bool) -> String {
    let url_file = quote(&format!("{}/credentials/transport_url", dir.trim_end_matches('/')));
    let settings_file = quote(&format!("{dir}/cadfd.toml"));
    let for_keystone = lines_for_keystone(conf);
    let add_user = if is_new {
        // Its standard input is where rabbitmqctl reads a password from that is not to be seen.
        format!("sed 's/^[^:]*:..{USER}:\\([^@]*\\)@.*/\\1/' {url_file} | rabbitmqctl add_user {USER}")
    } else {
        format!("rabbitmqctl add_user {USER}   # asks for the password: the one in {url_file}")
    };
    let grant = set_permissions(&broker.url.vhost, USER, &[QUEUE.to_owned()]);
    let mut beside = String::new();
    for file in files.iter().filter_map(|file| file.to_str()) {
        beside.push_str(" --keystone-conf ");
        beside.push_str(&quote(file));
    }
    let authority = match &broker.ca_file {
        Some(file) => format!("\nIf {settings_file} was kept, write into its [rabbitmq]: ca_file = {file:?}\n"),
        None => String::new(),
    };
    let localhost = if conf.is_some() {
        String::new()
    } else {
        format!("\nWithout --keystone-conf, RabbitMQ is taken to be on localhost: correct {url_file} if it is not.\n")
    };
    format!(
        "
1. keystone.conf, on each Keystone node; then restart Keystone:

{for_keystone}
2. RabbitMQ: a user who may do nothing but read that queue:

    {add_user}
    {grant}

3. Keystone: a user who may read names (optional; then [keystone] in {settings_file}):

    openstack user create {USER} --domain default --password-prompt
    openstack role add --user {USER} --user-domain default --system all reader

4. The address with its password is root's: systemd gives it to the service (without systemd: chown {USER}: {url_file}).
   Whether all is well:

    sudo cadfd --config {settings_file} doctor{beside}
{localhost}{authority}"
    )
}

fn lines_for_keystone(conf: Option<&KeystoneConf>) -> String {
    let Some(conf) = conf else {
        return format!(
            "    [DEFAULT]\n    notification_format = cadf\n    [oslo_messaging_notifications]\n    \
             driver = messagingv2\n    topics = notifications,{TOPIC}\n"
        );
    };
    let rows = conf.findings(&[TOPIC.to_owned()]).into_iter().filter(|row| row.verdict == Verdict::Problem);
    let changes: Vec<_> = rows.filter_map(|row| row.change).collect();
    if changes.is_empty() {
        return "    nothing: it publishes what cadfd reads\n".to_owned();
    }
    format!("    {}\n", changes.join("\n    "))
}
