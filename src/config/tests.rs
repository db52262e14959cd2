//! What the settings files mean, and every mistake with its exact words.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fs;
use std::ops::Add as _;

use super::*;
use crate::action::ClientSettings;
use crate::intake::{Bound, QueueType};
use crate::rule::sample;

/// The mistakes of a case, those that its rules' tests find included, written to a folder of its own, with file names instead
/// of paths. `$DIR` is that folder.
fn mistakes(case: &Case) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let here = |text: &str| text.replace("$DIR", dir.path().to_str().unwrap());
    fs::create_dir(dir.path().join("rules.d")).unwrap();
    for (name, text) in &case.files {
        fs::write(dir.path().join(name), here(text)).unwrap();
    }
    let variables: Vec<_> = case.variables.iter().map(|(name, value)| ((*name).into(), here(value))).collect();
    match load(&dir.path().join("cadfd.toml"), &variables) {
        Ok(config) => {
            assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
            named(&config.failed_tests(), dir.path())
        }
        Err(problems) => named(&problems, dir.path()),
    }
}

/// Mistakes, with file names instead of paths.
fn named(problems: &Problems, dir: &Path) -> Vec<String> {
    let dir = format!("{}/", dir.display());
    problems.0.iter().map(|problem| problem.to_string().replace(&dir, "")).collect()
}

fn data(kind: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config").join(kind);
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A file of `tests/data/config`: `#:` lines hold the expected mistakes, `#> env NAME=VALUE` variables, and what
/// follows a line `#> rules`, `#> clouds`, `#> secure`, `#> csv`, `#> json` or `#> message` is another file.
struct Case<'a> {
    files: Vec<(&'static str, String)>,
    expected: Vec<String>,
    variables: Vec<(&'a str, &'a str)>,
}

fn case(text: &str) -> Case<'_> {
    let mut files = vec![("cadfd.toml", String::new()), ("rules.d/10.toml", String::new())];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let other = match line.trim_end() {
            "#> rules" => Some("rules.d/10.toml"),
            "#> clouds" => Some("clouds.yaml"),
            "#> secure" => Some("secure.yaml"),
            "#> csv" => Some("list.csv"),
            "#> json" => Some("list.json"),
            "#> message" => Some("rules.d/message.json"),
            _ => None,
        };
        match other {
            Some(name) => {
                files.push((name, String::new()));
                at = files.len() - 1;
            }
            None => files[at].1.push_str(line),
        }
    }
    Case {
        files,
        expected: text.lines().filter_map(|line| line.strip_prefix("#: ")).map(String::from).collect(),
        variables: text.lines().filter_map(|line| line.strip_prefix("#> env ")?.split_once('=')).collect(),
    }
}

#[test]
fn each_mistake_is_said_with_its_line() {
    let files = data("bad");
    assert!(files.len() >= 30, "{} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let case = case(&text);
        assert!(!case.expected.is_empty(), "{}", file.display());
        let found = mistakes(&case);
        assert_eq!(found, case.expected, "{}", file.display());
        assert!(!found.iter().any(|problem| problem.contains("hunter2")), "{}", file.display());
    }
}

#[test]
fn what_is_right_is_taken() {
    for file in data("good") {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(mistakes(&case(&text)), Vec::<String>::new(), "{}", file.display());
    }
}

/// The settings that a package installs, with every commented key switched on as well.
#[test]
fn the_shipped_settings_are_valid_and_their_comments_show_the_defaults() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let dir = tempfile::tempdir().unwrap();
    let url = dir.path().join("transport_url");
    fs::write(&url, "rabbit://cadfd:secret@controller:5672/\n").unwrap();
    let settings = fs::read_to_string(shipped.join("cadfd.toml")).unwrap();
    let settings = settings.replace("%d/transport_url", url.to_str().unwrap());
    let plain = write(dir.path(), "plain.toml", &settings, &shipped);
    let switched_on: String = settings.lines().map(|line| switch_on(line, dir.path())).collect();
    let mut full = write(dir.path(), "full.toml", &switched_on, &shipped);
    let bound = std::mem::take(&mut full.intake.bound);
    assert_eq!(plain.intake, full.intake);
    assert_eq!(bound, [usual_bound()]);
    assert_eq!((plain.bounds, plain.audit, plain.daemon), (full.bounds, full.audit, full.daemon));
    assert_eq!(
        full.destinations.keys().collect::<Vec<_>>(),
        ["email.ops", "file.custody", "http.inventory", "http.mistral", "jenkins.ci", "slack.ops", "syslog.siem"]
    );
    let wanted = syslog::Settings {
        url: "tls://siem.example.org:6514".to_owned(),
        facility: syslog::Facility::AUTHPRIV,
        sd_id: syslog::SD_ID.to_owned(),
        max_length: Some(syslog::LENGTH),
        client: ClientSettings::default(),
        limits: syslog::default_limits(),
    };
    assert_eq!(full.destinations["syslog.siem"], Destination::Syslog(wanted));
    let Destination::Email(mail) = &full.destinations["email.ops"] else { panic!() };
    // As `tls` is skipped above, this is its default.
    assert_eq!((mail.tls, mail.port, &mail.limits), (email::Tls::StartTls, 587, &email::default_limits()));
    assert_eq!((plain.names, plain.admin), (full.names, full.admin));
    assert_eq!(plain.keystone, None);
    let keystone = full.keystone.unwrap();
    assert_eq!(keystone.client.settings().scope, crate::keystone::Scope::System);
    assert_eq!(keystone.client.settings().timeout, crate::keystone::TIMEOUT);
    assert_eq!(keystone.services.go_on_after, action::openstack::GO_ON_AFTER);
    assert!(matches!(keystone.services.account.settings().scope, crate::keystone::Scope::Project(_)));
    let Lookups { wait, per_second, list_every, own_events } = keystone.lookups;
    assert_eq!((wait, per_second, list_every, own_events), (SECOND / 2, 20, Some(HOUR), false));
    assert_eq!(plain.rules.rules()[0].name, "everything, readable");
}

fn write(dir: &Path, name: &str, text: &str, shipped: &Path) -> Config {
    let path = dir.join(name);
    let rules = shipped.join("rules.d");
    let text = format!("{}\n", text.replace("[rules]\n", &format!("[rules]\ndir = {rules:?}\n")));
    fs::write(&path, text).unwrap();
    load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A commented setting as a setting, with the files it names made; other lines as they are.
fn switch_on(line: &str, dir: &Path) -> String {
    let Some(setting) = line.strip_prefix("# ").filter(|rest| {
        let key = rest.split([' ', '=']).next().unwrap_or_default();
        let is_key = !key.is_empty() && key.chars().all(|char| char.is_ascii_lowercase() || char == '_');
        (is_key && rest[key.len()..].trim_start().starts_with('=')) || rest.starts_with('[')
    }) else {
        return format!("{line}\n");
    };
    // Shown once for all destinations, and files of certificates, which would have to be real; tls goes with them.
    let skipped = [
        "dir =",
        "connect_timeout = \"5s\"",
        "timeout =",
        "rate =",
        "concurrency =",
        "retry_",
        "give_up_after",
        "ca_file",
        "cert_file",
        "key_file",
        "proxy",
        "tls =",
        // Another way to say who logs in than the one that is switched on.
        "cloud =",
        "clouds_file =",
    ];
    if skipped.iter().any(|key| setting.starts_with(key)) {
        return String::new();
    }
    if let Some((key, rest)) = setting.split_once("_file = \"/etc/cadfd/") {
        let secret = match key {
            "webhook_url" => "https://hooks.slack.com/services/T/B/x",
            "signing_secret" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            _ => "secret",
        };
        let path = dir.join(rest.split('"').next().unwrap());
        fs::write(&path, secret).unwrap();
        return format!("{key}_file = {path:?}\n");
    }
    if let Some(name) = setting.strip_prefix("path = \"/etc/cadfd/") {
        let path = dir.join(name.trim_end_matches('"'));
        fs::write(&path, "project_id,mail\np1,a@example.org\n").unwrap();
        return format!("path = {path:?}\n");
    }
    format!("{setting}\n")
}

/// What the settings of a file of `tests/data/config/good` make of `[keystone]`.
fn keystone_of(file: &str) -> Keystone {
    let dir = tempfile::tempdir().unwrap();
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/good").join(file)).unwrap();
    let case = case(&text);
    fs::create_dir(dir.path().join("rules.d")).unwrap();
    for (name, text) in &case.files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let here = |value: &str| value.replace("$DIR", dir.path().to_str().unwrap());
    let variables: Vec<_> = case.variables.iter().map(|(name, value)| ((*name).into(), here(value))).collect();
    load(&dir.path().join("cadfd.toml"), &variables).unwrap().keystone.unwrap()
}

#[test]
fn a_cloud_is_read_with_its_secrets_and_the_sections_keys_stand_over_it() {
    use crate::keystone::{Auth, Domain, Interface, Scope, User};
    let user = User::Name("cadfd".into(), Domain::Name("Default".into()));
    let auth = Auth::Password { user, password: crate::secret::Secret::new("hunter2") };
    let Keystone { client, lookups, .. } = keystone_of("keystone-cloud.toml");
    let client = client.settings();
    assert_eq!((client.auth_url.as_str(), &client.auth), ("https://h:5000/identity", &auth));
    assert_eq!((client.region.as_deref(), client.interface), (Some("RegionTwo"), Interface::Public));
    // The cloud's project is gone: a token is for one thing.
    assert_eq!(client.scope, Scope::System);
    assert_eq!(lookups, Lookups { wait: Duration::ZERO, per_second: 20, list_every: None, own_events: true });
    let Keystone { client, .. } = keystone_of("keystone-variables.toml");
    let client = client.settings();
    assert_eq!((client.auth_url.as_str(), &client.auth), ("https://h:5000/v3", &auth));
    assert_eq!((&client.scope, client.interface), (&Scope::System, Interface::Internal));
}

fn text(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Of which only queue and exchanges are written.
fn usual_bound() -> Bound {
    Bound {
        queue: "cadfd.bound".to_owned(),
        exchanges: text(&["keystone", "nova", "neutron"]),
        routing_keys: text(&["notifications.*"]),
        queue_type: QueueType::Quorum,
        single_active_consumer: false,
        max_bytes: 256 << 20,
        renew_every: 60 * SECOND,
    }
}

#[test]
fn queues_of_our_own_stand_beside_others_or_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rules.d")).unwrap();
    let path = dir.path().join("cadfd.toml");
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/good/bound.toml");
    fs::write(&path, fs::read_to_string(good).unwrap()).unwrap();
    let intake = load(&path, &[]).unwrap().intake;
    let names = ["cadfd.info", "cadfd.error", "versioned_notifications.info", "cadfd.bound", "cadfd.errors"];
    assert_eq!(intake.all_queues(), names);
    let usual = usual_bound();
    let other = Bound {
        queue: "cadfd.errors".to_owned(),
        exchanges: text(&["cinder"]),
        routing_keys: text(&["notifications.error", "notifications.critical"]),
        queue_type: QueueType::Classic,
        single_active_consumer: true,
        max_bytes: GIB,
        renew_every: 10 * SECOND,
    };
    assert_eq!(intake.bound, [usual.clone(), other]);
    assert_eq!(
        intake.grant("cadfd"),
        r"rabbitmqctl set_permissions -p / cadfd '^(cadfd\.bound|cadfd\.errors)$' '^(cadfd\.bound|cadfd\.errors)$' '^(cadfd\.info|cadfd\.error|versioned_notifications\.info|cadfd\.bound|cadfd\.errors|keystone|nova|neutron|cinder)$'"
    );
    // Without `queues` there are no others: whoever could have them would need none of cadfd's own.
    let alone = "[rabbitmq]\ntransport_url = \"rabbit://u:p@h/\"\n[[rabbitmq.bound]]\nqueue = \"cadfd.bound\"\n\
                 exchanges = [\"keystone\", \"nova\", \"neutron\"]\n";
    fs::write(&path, alone).unwrap();
    let Config { intake, notes, .. } = load(&path, &[]).unwrap();
    assert_eq!((intake.queues, intake.bound), (Vec::new(), vec![usual]));
    assert!(notes[0].contains("cadfd.info is not consumed"), "{notes:?}");
    fs::write(&path, alone.replace("[[", "queues = []\n[[")).unwrap();
    assert_eq!(load(&path, &[]).unwrap().notes, Vec::<String>::new(), "it is meant");
}

#[test]
fn no_secret_is_in_what_can_be_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cadfd.toml");
    let text = r#"
        [rabbitmq]
        transport_url = "rabbit://u:hunter2@h/"
        [slack.ops]
        webhook_url = "https://hooks.slack.com/services/hunter2"
        [http.x]
        url = "https://x.example.org/hunter2"
        bearer = "hunter2"
        headers = { X-Key = "hunter2" }
        proxy = "http://u:hunter2@proxy:3128"
    "#;
    fs::write(&path, text).unwrap();
    let config = load(&path, &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    for (name, destination) in &config.destinations {
        assert!(!format!("{:?}", destination.build()).contains("hunter2"), "{name}");
    }
}

/// The mistakes of a list that is no text, or too long to be written down here.
fn mistakes_of_list(name: &str, content: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), content).unwrap();
    let path = dir.path().join("cadfd.toml");
    let list = dir.path().join(name);
    fs::write(&path, format!("[rabbitmq]\ntransport_url = \"rabbit://u:p@h/\"\n[lookup.x]\npath = {list:?}\n"))
        .unwrap();
    load(&path, &[]).err().map(|problems| named(&problems, dir.path())).unwrap_or_default()
}

#[test]
fn a_list_is_text_within_bounds_and_so_are_its_mistakes() {
    assert_eq!(mistakes_of_list("x.csv", b"id\na\n\xff\n"), ["x.csv:3: not UTF-8; save the file as such"]);
    // As spreadsheets save it.
    assert_eq!(mistakes_of_list("x.csv", "\u{feff}id,mail\r\na,b\r\n".as_bytes()), Vec::<String>::new());
    let wrong = mistakes_of_list("x.csv", "id,mail\n".to_owned().add(&"a\n".repeat(30)).as_bytes());
    assert_eq!((wrong.len(), wrong[20].as_str()), (21, "x.csv: and 10 more mistakes"));
    let large = mistakes_of_list("x.json", &vec![b' '; (16 << 20) + 1]);
    assert_eq!(large, ["cadfd.toml:4: `path`: x.json has more than 16 MiB"]);
}

/// The settings at the top of an example, and its rules; both as they are shipped.
#[test]
fn the_example_for_osel_is_valid_with_the_settings_it_shows() {
    let rules = include_str!("../../config/examples/osel.toml");
    let shown = rules.split("\n\n").next().unwrap().lines().map(|line| line.trim_start_matches('#').trim_start());
    let settings: Vec<_> = shown.skip_while(|line| *line != "[rabbitmq]").collect();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rules.d")).unwrap();
    fs::write(dir.path().join("rules.d/20-osel.toml"), rules).unwrap();
    fs::write(dir.path().join("qualys.password"), "hunter2").unwrap();
    let clouds = "clouds: {cadfd: {auth: {auth_url: 'https://h:5000', username: u, password: p, user_domain_name: d, \
                  project_name: p, project_domain_name: d}}}";
    fs::write(dir.path().join("clouds.yaml"), clouds).unwrap();
    let settings = settings.join("\n").replace("[rabbitmq]", "[rabbitmq]\ntransport_url = \"rabbit://u:p@h/\"");
    let settings = settings.replace("/etc/cadfd", dir.path().to_str().unwrap());
    let path = dir.path().join("cadfd.toml");
    fs::write(&path, settings).unwrap();
    let file = ("OS_CLIENT_CONFIG_FILE".to_owned(), dir.path().join("clouds.yaml").display().to_string());
    let config = load(&path, &[file]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.destinations.keys().collect::<Vec<_>>(), ["http.qualys", "openstack.network", "syslog.splunk"]);
    assert_eq!((config.tests.len(), config.failed_tests()), (8, Problems::default()));
    // Each of them does something about what Neutron tells.
    let captured = include_str!("../../tests/data/notifications/real/oslo-neutron-nova-cinder-messagingv2.jsonl");
    let several =
        include_str!("../../tests/data/notifications/documented/neutron-security_group_rule-create-end-bulk.json");
    let lines = captured.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let bodies = lines.map(|line| line["body"].as_str().unwrap().to_owned()).chain([several.to_owned()]);
    let events = bodies.map(|body| Arc::new(crate::event::decode(body.as_bytes()).unwrap()));
    let planned: Vec<_> = events.flat_map(|event| config.rules.plan(&event, false).planned).collect();
    for rule in config.rules.rules() {
        assert!(planned.iter().any(|p| p.rule == rule.name && p.error.is_none()), "{}: {planned:?}", rule.name);
    }
}

/// The fenced blocks of README and of the pages under `docs` in `language`. README shows some that a page has too: they are
/// here once, and one that differs would be another.
fn blocks_of_pages(language: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<_> = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages.insert(0, root.join("README.md"));
    let fence = format!("```{language}\n");
    let mut blocks = Vec::new();
    for page in pages {
        let page = fs::read_to_string(page).unwrap();
        for block in page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()) {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
    }
    blocks
}

#[test]
fn the_settings_and_rules_of_the_pages_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = [
        ("transport_url", "rabbit://cadfd:a%20long%20password@controller:5672/\n"),
        ("jenkins.token", "token"),
        ("slack.url", "https://hooks.slack.com/services/T/B/x"),
        ("cmdb.token", "token"),
        ("keystone.password", "password"),
        ("owners.csv", "project_id,mail,channel\n"),
        ("offices.json", "[]"),
    ];
    for (name, secret) in secrets {
        fs::write(dir.path().join(name), secret).unwrap();
    }
    let (rules, settings): (Vec<_>, Vec<_>) =
        blocks_of_pages("toml").into_iter().partition(|block| block.contains("[[rule]]"));
    let (tests, settings): (Vec<_>, Vec<_>) = settings.into_iter().partition(|block| block.contains("[[test]]"));
    assert_eq!((rules.len(), settings.len(), tests.len()), (9, 4, 1));
    for rule in rules.iter().flat_map(|block| block.split("\n[[rule]]")) {
        let rule = format!("[[rule]]{}", rule.strip_prefix("[[rule]]").unwrap_or(rule).trim_end());
        let off: Vec<_> = rule.lines().map(|line| format!("# {line}").trim_end().to_owned()).collect();
        let off = off.join("\n");
        assert!(SHIPPED.iter().any(|(_, text)| text.contains(&off)), "config/rules.d does not have:\n{off}");
    }
    fs::create_dir(dir.path().join("rules.d")).unwrap();
    for (at, rules) in rules.iter().enumerate() {
        // The tests are of the first rule.
        let tests = if at == 0 { tests.concat() } else { String::new() };
        fs::write(dir.path().join(format!("rules.d/{at}.toml")), format!("{rules}\n{tests}")).unwrap();
    }
    let path = dir.path().join("cadfd.toml");
    let (settings, here) = (settings.concat(), dir.path().to_str().unwrap());
    fs::write(&path, settings.replace("%d", here).replace("\"/etc/cadfd/", &format!("\"{here}/"))).unwrap();
    let config = load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.rules.len(), 13);
    assert_eq!((config.tests.len(), config.failed_tests()), (1, Problems::default()));
    assert!(config.keystone.is_some());
    // Each of them does something on a captured event.
    let planned: Vec<_> = sample::typical().flat_map(|event| config.rules.plan(event, false).planned).collect();
    for rule in config.rules.rules() {
        assert!(planned.iter().any(|p| p.rule == rule.name && p.error.is_none()), "{}", rule.name);
    }
}

/// A file of `config/examples`: rules, and before them in comments the settings they want.
fn example(rules: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let head = rules.split("[[rule]]").next().unwrap();
    let mut settings = "[rabbitmq]\ntransport_url = \"rabbit://u:p@h/\"\n".to_owned();
    for line in head.lines().filter_map(|line| line.strip_prefix("#     ")) {
        settings += line;
        settings.push('\n');
        if let Some((_, file)) = line.split_once("_file = \"%d/") {
            // Whatever it is the secret of, this can be it.
            let file = file.split('"').next().unwrap();
            fs::write(dir.path().join(file), "https://hooks.slack.com/services/T/B/x").unwrap();
        }
    }
    fs::create_dir(dir.path().join("rules.d")).unwrap();
    fs::write(dir.path().join("rules.d/10.toml"), rules).unwrap();
    let path = dir.path().join("cadfd.toml");
    fs::write(&path, settings).unwrap();
    let variables = [("CREDENTIALS_DIRECTORY".to_owned(), dir.path().to_str().unwrap().to_owned())];
    load(&path, &variables).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_shipped_examples_are_valid_and_do_something() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    // What OSEL did wants more, and has a test of its own.
    for file in files.into_iter().filter(|file| !file.ends_with("osel.toml")) {
        let text = fs::read_to_string(&file).unwrap();
        // As it is, and with the rules that are switched off.
        let begin = text.find("\n# [[rule]]").unwrap_or(text.len());
        let all = text[begin..].replace("\n# ", "\n").replace("\n#\n", "\n\n");
        let proxy = "#     [http.proxy]\n#     url = \"http://proxy.example.org:5000/\"\n";
        let all = format!("{proxy}{}{all}", &text[..begin]);
        for text in [&text, &all] {
            let config = example(text);
            assert_eq!((config.tests.is_empty(), config.failed_tests()), (false, Problems::default()), "{file:?}");
            let rules = config.rules;
            let planned: Vec<_> = sample::typical().flat_map(|event| rules.plan(event, false).planned).collect();
            for rule in rules.rules() {
                let of_rule = || planned.iter().filter(|planned| planned.rule == rule.name);
                assert!(of_rule().next().is_some(), "{}: {} never applies", file.display(), rule.name);
                assert!(of_rule().all(|planned| planned.error.is_none()), "{}: {}", file.display(), rule.name);
            }
        }
    }
}

/// The shipped rules that are switched off.
const SHIPPED: [(&str, &str); 2] = [
    ("10-examples.toml", include_str!("../../config/rules.d/10-examples.toml")),
    ("20-together.toml", include_str!("../../config/rules.d/20-together.toml")),
];

/// The shipped examples, each of them switched on, with what `change` makes of them.
fn shipped_examples(change: impl Fn(&str) -> Option<String>) -> Config {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rules.d")).unwrap();
    for (name, shipped) in SHIPPED {
        let begin = shipped.find("# [[rule]]").unwrap();
        let lines = shipped[begin..].lines();
        let on = lines.map(|line| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line));
        let on: Vec<_> = on.filter_map(&change).collect();
        fs::write(dir.path().join("rules.d").join(name), on.join("\n")).unwrap();
    }
    fs::write(dir.path().join("rules.d/00-log.toml"), include_str!("../../config/rules.d/00-log.toml")).unwrap();
    let http = |name: &str| format!("[http.{name}]\nurl = \"https://x.example.org/v1\"\n");
    let settings = "[rabbitmq]\ntransport_url = \"rabbit://u:p@h/\"\n[file.custody]\npath = \"/mnt/x\"\n\
        [jenkins.ci]\nurl = \"https://j.example.org\"\nuser = \"u\"\ntoken = \"t\"\n\
        [slack.ops]\nwebhook_url = \"https://hooks.slack.com/services/T/B/x\"\n";
    let https = ["cmdb_grants", "cmdb_revocations", "witness"].map(http).concat();
    let path = dir.path().join("cadfd.toml");
    fs::write(&path, format!("{settings}{https}")).unwrap();
    load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_shipped_rules_have_tests_that_pass_and_can_fail() {
    let failed = |config: &Config| -> BTreeMap<String, String> {
        let of = |problem: &Problem| {
            let text = problem.text.strip_prefix("test \"").unwrap().split_once("\": ").unwrap();
            (text.0.to_owned(), text.1.to_owned())
        };
        config.failed_tests().0.iter().map(of).collect()
    };
    let config = shipped_examples(|line| Some(line.to_owned()));
    assert_eq!(failed(&config), BTreeMap::new());
    assert!(config.tests.len() >= 16, "{}", config.tests.len());
    for rule in config.rules.rules() {
        assert!(config.tests.iter().any(|test| test.names(&rule.name)), "no test names {:?}", rule.name);
    }
    // Each that expects something finds it when no rule is about these events any more; the line for everything stays.
    let away = shipped_examples(|line| match line.split_once("event_type = \"") {
        Some(("", _)) => Some("event_type = \"none.at.all\"".to_owned()),
        _ => Some(line.to_owned()),
    });
    let expecting: Vec<_> = config.tests.iter().filter(|test| test.expects_a_match()).collect();
    assert_eq!(failed(&away).len(), expecting.len() - 1, "{:?}", failed(&away));
    // Each that expects nothing finds what is no longer excluded.
    let wide = shipped_examples(|line| {
        let excludes = ["when ", "outcome ", "final "].iter().any(|key| line.starts_with(key));
        (!excludes).then(|| line.to_owned())
    });
    let found = failed(&wide);
    for test in config.tests.iter().filter(|test| !test.expects_a_match()) {
        assert!(found.contains_key(test.name()), "{}: {found:?}", test.name());
    }
}
