//! `cadfd doctor` against real brokers and the stand-ins: each kind of trouble is found, and nothing is done.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use cadfd::cli::Cli;
use clap::CommandFactory as _;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use serde_json::{Value, json};

use crate::broker::{Broker, Options, Vhost};
use crate::certificates::Authority;
use crate::daemon::Site;
use crate::node::{Release, free_ports};
use crate::run_test;
use crate::standins::keystone::PASSWORD;
use crate::standins::{Fault, Jenkins, Job, Keystone, Receiver, Slack, Trouble};
use crate::vhost::QueueType;

const QUEUE: &str = "cadfd.info";

/// What a doctor said.
struct Said {
    status: i32,
    rows: Vec<Value>,
}

impl Said {
    fn of(output: &Output) -> Self {
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        for secret in ["s3cr3t-pa55", PASSWORD, Jenkins::TOKEN, "k3ystone", "sL4ck"] {
            assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
        }
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        let rows = report["findings"].as_array().unwrap().clone();
        Self { status: output.status.code().unwrap(), rows }
    }

    /// The verdict of the row that was tried, with what was found and is to be changed.
    #[track_caller]
    fn row(&self, tried: &str) -> (&str, &str, &str) {
        let found: Vec<_> = self.rows.iter().filter(|row| row["tried"] == tried).collect();
        assert_eq!(found.len(), 1, "{tried}: {:#?}", self.rows);
        let text = |key: &str| found[0][key].as_str().unwrap_or_default();
        (text("verdict"), text("found"), text("change"))
    }

    /// All rows that are neither well nor untried: verdict and what was tried.
    fn bad(&self) -> Vec<(&str, &str)> {
        let bad = |row: &&Value| row["verdict"] == "warning" || row["verdict"] == "problem";
        self.rows
            .iter()
            .filter(bad)
            .map(|row| (row["verdict"].as_str().unwrap(), row["tried"].as_str().unwrap()))
            .collect()
    }
}

/// Secrets stand in the settings themselves: nobody else may get there.
fn close(site: &Site) {
    fs::set_permissions(site.path("."), fs::Permissions::from_mode(0o700)).unwrap();
}

async fn doctor(site: &Site, args: &[&str]) -> Said {
    close(site);
    let args: Vec<_> = ["doctor", "--json"].iter().chain(args).copied().collect();
    Said::of(&site.cadfd(&args).await)
}

fn at(vhost: &Vhost, step: &str) -> String {
    format!("broker 127.0.0.1:{}: {step}", vhost.broker.port)
}

#[test]
fn where_all_is_well_it_says_so_and_does_nothing() {
    run_test(async || {
        for (release, queue_type) in [
            (Release::Installed, QueueType::Transient),
            (Release::Installed, QueueType::Quorum),
            (Release::Debian13, QueueType::Durable),
            (Release::Debian13, QueueType::Quorum),
        ] {
            let vhost = Broker::shared_of(release).vhost();
            vhost.declare_as("cadfd", queue_type).await;
            vhost.publish("cadfd", ["a", "b", "c"]).await;
            let site = Site::new(&vhost);
            let said = doctor(&site, &[]).await;
            assert_eq!(said.bad(), []);
            assert_eq!(said.status, 0, "{:#?}", said.rows);
            assert_eq!(said.row(&format!("queue {QUEUE}")).1, "3 messages wait, nobody consumes it");
            assert_eq!(said.row(&format!("permissions: read {QUEUE}")).0, "ok");
            assert_eq!(said.row("permissions: nothing more").0, "ok");
            assert_eq!(said.row(&at(&vhost, &format!("virtual host {}", vhost.name))).0, "ok");
            assert!(said.row("queues: durable, arguments").2.starts_with("rabbitmqctl list_queues -p test-"));
            // No message was moved, not even touched: the first to come is not marked as redelivered.
            assert_eq!(vhost.depth(QUEUE).await, 3);
            let channel = vhost.channel().await;
            let got =
                channel.basic_get(QUEUE.into(), lapin::options::BasicGetOptions::default()).await.unwrap().unwrap();
            assert!(!got.redelivered);
            channel.close(200, "OK".into()).await.unwrap();
            assert!(!site.state_dir().exists(), "nothing was begun");
        }
    });
}

#[test]
fn rights_are_found_out_without_using_them() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            let vhost = Broker::shared_of(release).vhost();
            vhost.declare("cadfd").await;
            vhost.declare("notifications").await;
            vhost.publish("cadfd", ["a", "b", "c"]).await;
            let site = Site::new(&vhost);
            let user = vhost.user("cadfd");
            let nothing = "permissions: nothing more";
            let grant = format!("rabbitmqctl set_permissions -p {} {user} '^$' '^$' '^cadfd\\.info$'", vhost.name);
            for (permissions, found) in [
                ([".*", "^$", "^cadfd\\.info$"], "configure;"),
                (["^$", ".*", "^cadfd\\.info$"], "write;"),
                (["^$", "^$", ".*"], "read other queues;"),
                (["^$", "^$", "^cadfd"], "read other queues;"),
                (["^$", "^$", "^(cadfd|notifications)\\.info$"], "read notifications.info;"),
                ([".*", ".*", ".*"], "configure, write, read other queues;"),
            ] {
                vhost.permit(&user, permissions);
                let said = doctor(&site, &[]).await;
                let (verdict, text, change) = said.row(nothing);
                assert!(verdict == "warning" && text.contains(&format!("may also {found}")), "{permissions:?}: {text}");
                assert_eq!(change, grant);
                assert_eq!(said.row(&format!("permissions: read {QUEUE}")).0, "ok");
                assert_eq!(said.status, 1);
            }
            vhost.permit(&user, ["^$", "^$", "^$"]);
            let said = doctor(&site, &[]).await;
            assert_eq!(said.row(&format!("permissions: read {QUEUE}")).0, "problem");
            assert_eq!(said.row(&format!("permissions: read {QUEUE}")).2, grant);
            assert_eq!(said.row(nothing).0, "ok");
            assert_eq!(said.status, 2);
            assert_eq!(vhost.depth(QUEUE).await, 3, "nothing was taken, whatever the rights");
            let (verdict, found, change) = said.row("queue notifications.info (of others)");
            assert_eq!(verdict, "warning");
            assert!(found.starts_with("nobody consumes it and 0 messages wait"), "{found}");
            assert!(change.contains("take `notifications` out of topics"), "{change}");
        }
    });
}

#[test]
fn each_trouble_with_the_broker_has_its_row() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        let site = Site::new(&vhost);
        let said = doctor(&site, &[]).await;
        let (verdict, found, change) = said.row(&format!("queue {QUEUE}"));
        assert_eq!((verdict, found), ("problem", &*format!("does not exist in virtual host `{}`", vhost.name)));
        assert!(change.ends_with("topics = notifications,cadfd"), "{change}");
        assert_eq!(said.row(&format!("permissions: read {QUEUE}")).0, "ok", "it will be readable once it is there");

        let url = vhost.transport_url();
        let [port] = free_ports();
        let told = async |url: &str, step: &str, word: &str| {
            let site = Site::with_url(url);
            let said = doctor(&site, &[]).await;
            let (verdict, found, change) = said.row(step);
            assert!(verdict == "problem" && found.contains(word) && !change.is_empty(), "{step}: {:#?}", said.rows);
            assert_eq!(said.row("permissions").0, "untried");
            assert_eq!(said.status, 2);
        };
        let nobody = format!("rabbit://u:s3cr3t-pa55@127.0.0.1:{port}/");
        told(&nobody, &format!("broker 127.0.0.1:{port}: TCP"), "connection refused").await;
        let login = at(&vhost, &format!("log in as {}", vhost.user("cadfd")));
        told(&url.replace("s3cr3t-pa55", "wrong"), &login, "the user or its password was refused").await;
        let missing = format!("{url}-not");
        told(&missing, &at(&vhost, &format!("virtual host {}-not", vhost.name)), "there is no virtual host").await;
        let other = Broker::shared().vhost();
        let refused =
            format!("rabbit://{}:s3cr3t-pa55@127.0.0.1:{}/{}", vhost.user("cadfd"), vhost.broker.port, other.name);
        told(&refused, &at(&vhost, &format!("virtual host {}", other.name)), "may not use the virtual host").await;
        told(&url.replace("rabbit://", "amqps://"), &at(&vhost, "TLS"), "").await;
        told("rabbit://u:p@no-such-host.invalid/", "broker no-such-host.invalid:5672: DNS", "no address").await;

        // One host of several is enough to go on.
        let user = vhost.user("cadfd");
        let both = format!(
            "rabbit://{user}:s3cr3t-pa55@127.0.0.1:{port},{user}:s3cr3t-pa55@127.0.0.1:{}/{}",
            vhost.broker.port, vhost.name
        );
        vhost.declare("cadfd").await;
        let said = doctor(&Site::with_url(&both), &[]).await;
        assert_eq!(said.bad(), [("problem", &*format!("broker 127.0.0.1:{port}: TCP"))]);
        assert_eq!(said.row(&format!("queue {QUEUE}")).0, "ok");
    });
}

#[test]
fn tls_and_silence_have_their_rows() {
    run_test(async || {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let server = authority.issue(&["localhost", "127.0.0.1"]);
        let broker = Broker::start(Options { tls: Some((&authority, &server)), ..Options::default() });
        let vhost = broker.vhost();
        vhost.declare("cadfd").await;
        let user = vhost.user("cadfd");
        let site = |host: &str, settings: &str| {
            let url = format!("amqps://{user}:s3cr3t-pa55@{host}:{}/{}", broker.tls_port, vhost.name);
            let site = Site::with_url(&url);
            let path = site.path("ca.pem");
            fs::copy(if settings == "stranger" { stranger.ca_file() } else { authority.ca_file() }, &path).unwrap();
            site.variable("CADFD_RABBITMQ__CA_FILE", path.to_str().unwrap())
        };
        let port = broker.tls_port;
        let said = doctor(&site("localhost", ""), &[]).await;
        assert_eq!(said.bad(), []);
        assert_eq!(said.row(&format!("broker localhost:{port}: TLS")).0, "ok");
        assert!(said.row(&format!("broker localhost:{port}: DNS")).1.contains("127.0.0.1"));
        let said = doctor(&site("localhost", "stranger"), &[]).await;
        let (verdict, found, change) = said.row(&format!("broker localhost:{port}: TLS"));
        assert!(verdict == "problem" && found.contains("unknown CA"), "{found}");
        assert_eq!(change, "name it as [rabbitmq] ca_file");

        // Accepted by the kernel, answered by nobody.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = silent.local_addr().unwrap();
        let site = Site::with_url(&format!("rabbit://u:s3cr3t-pa55@{at}/"));
        let said = doctor(&site.variable("CADFD_RABBITMQ__CONNECT_TIMEOUT", "100ms"), &[]).await;
        let (verdict, found, _) = said.row(&format!("broker {at}: log in as u"));
        assert!(verdict == "problem" && found.contains("does not answer in 100ms"), "{found}");
        assert_eq!(said.row(&format!("broker {at}: TCP")).0, "ok");
    });
}

#[test]
fn consumers_and_what_waits_are_told() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let (site, queue, consumers) =
            (Site::new(&vhost), format!("queue {QUEUE}"), format!("queue {QUEUE}: consumers"));
        vhost.publish("cadfd", (0..10_000).map(|_| "x")).await;
        let said = doctor(&site, &[]).await;
        assert_eq!(said.row(&queue).0, "warning");
        assert!(said.row(&queue).2.contains("start the daemon"), "{:?}", said.row(&queue));
        vhost.delete(QUEUE).await;
        vhost.declare("cadfd").await;

        // The daemon itself is no stranger.
        let daemon = site.consuming().await;
        let said = doctor(&site, &[]).await;
        assert_eq!(said.bad(), []);
        assert_eq!(said.row(&queue).1, "0 messages wait, cadfd consumes it");

        let channel = vhost.channel().await;
        let options = BasicConsumeOptions::default();
        let _stranger = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await.unwrap();
        let said = doctor(&site, &[]).await;
        assert_eq!(said.row(&consumers).0, "warning");
        assert!(said.row(&consumers).1.starts_with("1 by others than the daemon here"), "{:?}", said.row(&consumers));
        daemon.stop().await;
        let said = doctor(&site, &[]).await;
        assert!(said.row(&consumers).1.starts_with("1 by another program"), "{:?}", said.row(&consumers));
    });
}

const RULES: &str = r#"
[[rule]]
name = "hand over"
  [[rule.jenkins]]
  job = "team/hand_over"
  parameters = { USER = "{{ resource.id | default('') }}" }
  [[rule.slack]]
  [[rule.http]]
  to = "post"
  [[rule.http]]
  to = "put"
"#;

#[test]
fn keystone_and_destinations_are_tried_and_nothing_is_sent() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let (keystone, jenkins, slack) = (Keystone::start().await, Jenkins::start().await, Slack::start().await);
        let (post, put) = (Receiver::start().await, Receiver::start().await);
        jenkins.add(Job::parameterized("team/hand_over", &["USER", "WHY"]));
        let site = Site::new(&vhost)
            .settings(&keystone.settings())
            .settings(&format!(
                "[jenkins.ci]\nurl = {:?}\nuser = \"cadfd\"\ntoken = {:?}\n",
                jenkins.base_url(),
                Jenkins::TOKEN
            ))
            .settings(&format!("[slack.ops]\nwebhook_url = {:?}\n", slack.webhook_url()))
            .settings(&format!("[http.post]\nurl = \"{}/hook?key=k3ystone\"\n", post.url()))
            .settings(&format!("[http.put]\nurl = \"{}\"\nmethod = \"PUT\"\n", put.url()))
            .rules(RULES);
        let said = doctor(&site, &[]).await;
        assert_eq!(said.bad(), []);
        let job = "jenkins.ci: job team/hand_over (rule \"hand over\")";
        assert_eq!(said.row("clock").1, "agrees with keystone, http.post, http.put, jenkins.ci, slack.ops");
        assert_eq!(said.row("keystone: role").0, "ok");
        assert_eq!(said.row("jenkins.ci: Jenkins").1, "Jenkins 2.479.1, lets \"cadfd\" in");
        assert_eq!(said.row(&format!("{job}: parameters")).1, "defaults for WHY");
        assert_eq!(said.row(&format!("{job}: right to build")).0, "ok");
        assert_eq!(said.status, 0);
        let asked = |attempts: Vec<String>| attempts.iter().all(|line| line.starts_with("HEAD / ") || line == "HEAD /");
        assert!(asked(post.attempts()) && asked(slack.attempts()), "{:?} {:?}", post.attempts(), slack.attempts());
        assert!(jenkins.attempts().iter().all(|line| line.starts_with("GET ")), "{:?}", jenkins.attempts());
        assert_eq!(post.calls()[0].header("authorization"), "");

        // One marked message each, where it does no harm.
        post.forget_attempts();
        let said = doctor(&site, &["--send-test"]).await;
        assert_eq!(said.bad(), []);
        let tested: Vec<_> = ["jenkins.ci", "http.put", "http.post", "slack.ops"]
            .map(|name| said.row(&format!("{name}: test message")).0.to_owned())
            .to_vec();
        assert_eq!(tested, ["untried", "untried", "ok", "ok"]);
        assert_eq!(slack.messages().len(), 1);
        assert!(slack.messages()[0].text.starts_with("Test by `cadfd doctor --send-test`"));
        assert_eq!(post.calls().iter().filter(|call| call.method == "POST").count(), 1);
        assert_eq!(post.calls().last().unwrap().json()["test"], true);
        assert!(put.calls().iter().all(|call| call.method == "HEAD") && jenkins.builds().is_empty());
    });
}

#[test]
fn each_trouble_with_keystone_and_destinations_has_its_row() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let (keystone, jenkins, receiver) = (Keystone::start().await, Jenkins::start().await, Receiver::start().await);
        for (name, trouble) in [("off", Trouble::Disabled), ("no", Trouble::Forbidden)] {
            jenkins.add(Job { trouble: Some(trouble), ..Job::plain(name) });
        }
        jenkins.add(Job::plain("plain"));
        jenkins.add(Job::parameterized("other", &["WHO"]));
        let mut rules = String::new();
        for (job, parameters) in
            [("gone", ""), ("off", ""), ("no", ""), ("plain", "X = \"x\""), ("other", "WHOM = \"x\"")]
        {
            writeln!(
                rules,
                "[[rule]]\nname = {job:?}\n[[rule.jenkins]]\njob = {job:?}\nparameters = {{ {parameters} }}\n"
            )
            .unwrap();
        }
        let mut site = Site::new(&vhost)
            .settings(&keystone.settings())
            .settings(&format!(
                "[jenkins.ci]\nurl = {:?}\nuser = \"cadfd\"\ntoken = {:?}\n",
                jenkins.base_url(),
                Jenkins::TOKEN
            ))
            .settings(&format!("[http.x]\nurl = \"{}\"\n", receiver.url()))
            .rules(&rules);
        keystone.put_json("domains", "default", json!({"id": "default", "name": "Default", "enabled": true}));
        keystone.odd(|odd| odd.forbidden = vec!["/v3/users".into(), "/v3/groups".into()]);
        receiver.fault(Fault::Down).await;
        let said = doctor(&site, &[]).await;
        let job = |name: &str| format!("jenkins.ci: job {name} (rule {name:?})");
        for (tried, verdict, words) in [
            ("keystone: role".to_owned(), "warning", "may not list users, groups"),
            (job("gone"), "problem", "no such job"),
            (job("off"), "problem", "disabled"),
            (format!("{}: right to build", job("no")), "problem", "may not build it"),
            (format!("{}: parameters", job("plain")), "problem", "takes none, the rule gives X"),
            (format!("{}: parameters", job("other")), "problem", "does not define WHOM"),
            ("http.x: reachable".to_owned(), "problem", "connection refused"),
            ("http.x: rules".to_owned(), "warning", "no rule in force sends there"),
        ] {
            let (found, text, change) = said.row(&tried);
            assert!(found == verdict && text.contains(words) && !change.is_empty(), "{tried}: {found} {text} {change}");
        }
        assert_eq!(said.bad().len(), 8, "{:?}", said.bad());
        assert_eq!(jenkins.builds(), []);

        keystone.odd(|odd| odd.refuse_logins = true);
        site.rewrite_settings(Jenkins::TOKEN, "wrong");
        let said = doctor(&site, &[]).await;
        assert_eq!(said.row("keystone: log in").0, "problem");
        assert_eq!(said.row("keystone: role").0, "untried");
        assert!(said.row("jenkins.ci: Jenkins").1.contains("with this token"));
        assert_eq!(said.row(&job("plain")).0, "untried");
    });
}

#[test]
fn keystone_conf_is_held_against_the_settings() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        vhost.declare("billing").await;
        let site = Site::new(&vhost);
        let path = site.path("keystone.conf");
        let path = path.to_str().unwrap();
        let url = vhost.keystone_url(&vhost.broker);
        let conf = |url: &str, topics: &str| {
            let text = format!(
                "[DEFAULT]\nnotification_format = cadf\nnotification_opt_out =\ntransport_url = {url}\n\
                 [oslo_messaging_notifications]\ndriver = messagingv2\ntopics = {topics}\n"
            );
            fs::write(path, text).unwrap();
        };
        let args = ["--keystone-conf", path];
        conf(&url, "cadfd");
        let said = doctor(&site, &args).await;
        assert_eq!((said.bad(), said.status), (vec![], 0));
        assert_eq!(said.row("keystone.conf: transport_url").0, "ok");

        conf("rabbit://k:k3ystone@elsewhere:5672/other", "billing");
        let said = doctor(&site, &args).await;
        let wanted = [
            ("warning", "queue billing.info (of others)"),
            ("problem", "keystone.conf: topics"),
            ("problem", "keystone.conf: transport_url"),
        ];
        assert_eq!(said.bad(), wanted);
        conf(&format!("rabbit://k:k3ystone@elsewhere:5672/{}", vhost.name), "cadfd");
        let said = doctor(&site, &args).await;
        assert_eq!(said.bad(), [("warning", "keystone.conf: transport_url")]);

        // Also where cadfd's own settings cannot be used yet.
        let broken = Site::with_url("nonsense");
        let said = doctor(&broken, &args).await;
        assert_eq!(said.row("keystone.conf: topics").0, "ok");
        assert!(said.rows[0]["tried"].as_str().unwrap().contains("cadfd.toml:2"), "{:?}", said.rows[0]);
        assert_eq!(said.status, 2);
        let said = doctor(&site, &["--keystone-conf", "/nonexistent"]).await;
        assert!(said.row("keystone.conf: /nonexistent").1.starts_with("cannot be read"));
    });
}

#[test]
fn the_table_ends_with_a_count() {
    run_test(async || {
        let site = Site::with_url("rabbit://u:p@127.0.0.1:1/");
        close(&site);
        let output = site.cadfd(&["doctor"]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("problem    broker 127.0.0.1:1: TCP"), "{text}");
        assert!(text.ends_with("1 problem, 0 warnings, 5 not tried, 4 ok\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "no terminal, no colour");
    });
}

#[test]
fn what_init_writes_passes_check_and_is_never_replaced() {
    run_test(async || {
        let site = Site::with_url("rabbit://u:p@127.0.0.1:1/");
        let dir = site.path("new/etc");
        let dir = dir.to_str().unwrap();
        let config = format!("{dir}/cadfd.toml");
        let out = site.cadfd_ok(&["init", "--dir", dir]).await;
        assert!(out.contains("rabbitmqctl set_permissions -p / cadfd '^$' '^$' '^cadfd\\.info$'"), "{out}");
        assert!(
            out.contains("openstack role add --user cadfd") && out.contains("topics = notifications,cadfd"),
            "{out}"
        );
        let url = fs::read_to_string(format!("{dir}/credentials/transport_url")).unwrap();
        let password = url.strip_prefix("rabbit://cadfd:").unwrap().split('@').next().unwrap();
        assert!(password.len() == 32 && !out.contains(password), "{out}");
        assert_eq!(
            fs::metadata(format!("{dir}/credentials/transport_url")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let check = site.cadfd_ok(&["check", "--config", &config]).await;
        assert!(
            check
                .ends_with(": in order. Rules: 1, destinations: 0, queues: cadfd.info\ntests of the rules: 1 passed\n"),
            "{check}"
        );

        // The command that it prints takes the password out of the file.
        let line = out.lines().find(|line| line.contains("add_user")).unwrap().split('|').next().unwrap();
        let taken = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
        assert_eq!(String::from_utf8(taken.stdout).unwrap().trim(), password);

        fs::write(&config, "# mine\n").unwrap();
        let again = site.cadfd_ok(&["init", "--dir", dir]).await;
        assert_eq!(again.matches("kept: ").count(), 5, "{again}");
        assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");
        assert_eq!(fs::read_to_string(format!("{dir}/credentials/transport_url")).unwrap(), url);
    });
}

#[test]
fn init_takes_what_keystone_conf_tells() {
    run_test(async || {
        let site = Site::with_url("rabbit://u:p@127.0.0.1:1/");
        let (conf, dir) = (site.path("keystone.conf"), site.path("new"));
        let (conf, dir) = (conf.to_str().unwrap(), dir.to_str().unwrap());
        let text = "[DEFAULT]\ntransport_url = rabbit://k:k3ystone@h1:5671,k:k3ystone@[::1]:5671//os%2Fx\n\
                    public_endpoint = https://id.example.org:5000\n[oslo_messaging_rabbit]\nssl = true\n";
        fs::write(conf, text).unwrap();
        let out = site.cadfd_ok(&["init", "--dir", dir, "--keystone-conf", conf]).await;
        let url = fs::read_to_string(format!("{dir}/credentials/transport_url")).unwrap();
        assert!(url.contains("@h1:5671,cadfd:") && url.trim_end().ends_with("@[::1]:5671/%2Fos%2Fx"), "{url}");
        assert!(out.contains("set_permissions -p /os/x cadfd"), "{out}");
        assert!(out.contains("driver = messagingv2") && out.contains("topics = notifications,cadfd"), "{out}");
        assert!(!out.contains("k3ystone") && !url.contains("k3ystone"));
        let settings = fs::read_to_string(format!("{dir}/cadfd.toml")).unwrap();
        assert!(settings.contains("\ntls = true\n"), "{settings}");
        assert!(settings.contains("# auth_url = \"https://id.example.org:5000/v3\""), "{settings}");
        site.cadfd_ok(&["check", "--config", &format!("{dir}/cadfd.toml")]).await;

        fs::write(conf, "[DEFAULT]\ntransport_url = rabbit://k:$secret@h1/\n").unwrap();
        let output = site.cadfd(&["init", "--dir", dir, "--keystone-conf", conf]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains("refers to a value that is not in the file"),
            "{said}"
        );
    });
}

#[test]
fn the_help_is_a_page_to_read() {
    run_test(async || {
        let site = Site::with_url("rabbit://u:p@127.0.0.1:1/").variable("COLUMNS", "100").variable("CADFD_CONFIG", "");
        insta::assert_snapshot!("help", site.cadfd_ok(&["--help"]).await);
    });
}

#[test]
fn every_command_has_a_man_page_and_is_completed() {
    run_test(async || {
        let site = Site::with_url("rabbit://u:p@127.0.0.1:1/").variable("CADFD_CONFIG", "/a/path/of/this/machine");
        let dir = site.path("assets");
        site.cadfd_ok(&["assets", dir.to_str().unwrap()]).await;
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut pages = 0;
        let mut commands = vec![("cadfd".to_owned(), Cli::command())];
        while let Some((name, command)) = commands.pop() {
            let page = read(&format!("man/{name}.1"));
            assert!(page.contains(".SH NAME") && !page.contains("/a/path/of/this/machine"), "{name}");
            pages += 1;
            let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned();
            commands.extend(inner.map(|inner| (format!("{name}-{}", inner.get_name()), inner)));
        }
        assert!(pages > 12, "{pages}");
        assert_eq!(fs::read_dir(dir.join("man")).unwrap().count(), pages, "and nothing else has one");
        let page = read("man/cadfd.1");
        for section in ["EXAMPLES", "FILES", "ENVIRONMENT", "SIGNALS TO THE DAEMON", "EXIT STATUS"] {
            assert!(page.contains(section), "{section}: {page}");
        }
        for name in ["cadfd.bash", "_cadfd", "cadfd.fish"] {
            let text = read(&format!("completions/{name}"));
            assert!(text.contains("doctor") && text.contains("keystone-conf"), "{name}");
        }
    });
}

#[test]
fn a_queue_of_our_own_its_exchanges_and_rights_are_looked_at_and_not_made() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            let vhost = Broker::shared_of(release).vhost();
            // Keystone's user declares its exchange; nobody has declared nova's.
            vhost.declare("notifications").await;
            let site = Site::new(&vhost)
                .settings("[[rabbitmq.bound]]\nqueue = \"cadfd.bound\"\nexchanges = [\"keystone\", \"nova\"]");
            let (user, own) = (vhost.user("cadfd"), r"^cadfd\.bound$");
            let all = r"^(cadfd\.bound|keystone|nova)$";
            let grant = format!("rabbitmqctl set_permissions -p {} {user} '{own}' '{own}' '{all}'", vhost.name);
            vhost.permit(&user, [own, own, all]);
            let before = async || {
                let said = doctor(&site, &[]).await;
                assert_eq!(said.row("queue cadfd.bound").1, "does not exist yet; cadfd declares it");
                said
            };
            let said = before().await;
            assert_eq!(
                said.bad(),
                // That no other queue is consumed is said, as nobody wrote so.
                [
                    ("warning", "settings"),
                    ("warning", "exchange nova"),
                    ("warning", "queue notifications.info (of others)")
                ],
                "{:#?}",
                said.rows
            );
            for granted in ["read cadfd.bound", "declare cadfd.bound", "bind cadfd.bound to nova", "nothing more"] {
                assert_eq!(said.row(&format!("permissions: {granted}")).0, "ok", "{:#?}", said.rows);
            }
            for (permissions, row) in [
                (["^$", own, all], "declare cadfd.bound"),
                ([own, "^$", all], "bind cadfd.bound to keystone"),
                ([own, own, r"^(cadfd\.bound|nova)$"], "bind cadfd.bound to keystone"),
                ([own, own, "^(keystone|nova)$"], "read cadfd.bound"),
            ] {
                vhost.permit(&user, permissions);
                let said = before().await;
                let (verdict, _, change) = said.row(&format!("permissions: {row}"));
                assert_eq!((verdict, change), ("problem", &*grant), "{permissions:?}: {:#?}", said.rows);
            }
            vhost.permit(&user, [".*", own, all]);
            let said = before().await;
            let (verdict, found, change) = said.row("permissions: nothing more");
            assert_eq!((verdict, change), ("warning", &*grant), "{found}");

            vhost.permit(&user, [own, own, all]);
            let mut daemon = site.start();
            daemon.wait_log("bound queue.name").await;
            let said = doctor(&site, &[]).await;
            assert_eq!(said.row("queue cadfd.bound").1, "0 messages wait, cadfd consumes it");
            assert_eq!(said.row("permissions: declare cadfd.bound").0, "ok");
            assert_eq!(said.row("exchange keystone").1, "exists");
            daemon.stop().await;
        }
    });
}
