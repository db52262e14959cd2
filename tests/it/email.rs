//! Mails to a real exim, which delivers them into a folder, and to servers that no real one should be.
//!
//! Its promise: exim runs as a process of the test's own, with nothing of this machine's, and ends with it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cadfd::action::email::{self, Email, Tls};
use cadfd::action::{Attempt, ClientSettings, Destination, Outcome, Request, Scope};
use cadfd::secret::Secret;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::broker::{Broker, Vhost};
use crate::certificates::Authority;
use crate::daemon::{Site, eventually, of_type};
use crate::node::free_ports;
use crate::notification::{cadf, ids, user_deleted, users_deleted};
use crate::run_test;

/// Impatient enough for a test.
const LIMITS: &str = "retry_first = \"40ms\"\nretry_max = \"200ms\"\n";

const PROGRAM: &str = "/usr/sbin/exim4";
const PASSWORD: &str = "hunter2-smtp";

/// Reads a mail as a mail reader does: its headers decoded, its parts, and what is wrong with it.
const READ: &str = r#"
import email, email.policy, json, sys
mail = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
part = lambda kind: (lambda found: found.get_content() if found else None)(mail.get_body(preferencelist=(kind,)))
defects = [repr(defect) for node in mail.walk() for defect in node.defects]
json.dump({"headers": [[name, str(value)] for name, value in mail.items()], "type": mail.get_content_type(),
           "text": part("plain"), "html": part("html"), "defects": defects}, sys.stdout)
"#;

/// exim on 127.0.0.1, in a folder of its own.
struct Exim {
    dir: tempfile::TempDir,
    authority: Authority,
    starttls: u16,
    tls: u16,
    process: Option<Child>,
}

impl Exim {
    async fn start() -> Self {
        let [starttls, tls] = free_ports();
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let mut exim = Self { dir, authority, starttls, tls, process: None };
        for folder in ["", "spool", "mail"] {
            // exim becomes a user of its own where it is started by root.
            let folder = exim.path(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let issued = exim.authority.issue(&["localhost", "127.0.0.1"]);
        for (from, to) in [(issued.cert_file, "cert.pem"), (issued.key_file, "key.pem")] {
            fs::copy(from, exim.path(to)).unwrap();
            fs::set_permissions(exim.path(to), fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::write(exim.path("exim.conf"), exim.settings()).unwrap();
        exim.up().await;
        exim
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self) -> String {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let (own, user, group) = if uid.is_root() {
            (String::new(), "Debian-exim".to_owned(), "Debian-exim".to_owned())
        } else {
            let (uid, gid) = (uid.as_raw().to_string(), gid.as_raw().to_string());
            (format!("exim_user = {uid}\nexim_group = {gid}\nadmin_groups = {gid}\n"), uid, gid)
        };
        format!(
            r"{own}primary_hostname = mail.example.org
            spool_directory = {dir}/spool
            log_file_path = {dir}/%slog
            pid_file_path = {dir}/pid
            local_interfaces = <; [127.0.0.1]:{starttls} ; [127.0.0.1]:{tls}
            tls_on_connect_ports = {tls}
            tls_advertise_hosts = *
            tls_certificate = {dir}/cert.pem
            tls_privatekey = {dir}/key.pem
            auth_advertise_hosts = ${{if def:tls_in_cipher{{*}}}}
            acl_smtp_rcpt = recipient
            acl_smtp_data = accept
            keep_environment =
            host_lookup =
            rfc1413_hosts =
            begin acl
            recipient:
              deny !authenticated = *
                message = authentication required
              deny local_parts = nobody
                message = no such user here
              defer local_parts = later
                condition = ${{if exists{{{dir}/greylist}}}}
                message = 450 4.2.0 greylisted, come again
              accept
            begin routers
            all:
              driver = accept
              transport = folder
            begin transports
            folder:
              driver = appendfile
              directory = {dir}/mail
              maildir_format
              envelope_to_add
              user = {user}
              group = {group}
            begin authenticators
            plain:
              driver = plaintext
              public_name = PLAIN
              server_prompts = :
              server_condition = ${{if and{{{{eq{{$auth2}}{{cadfd}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}
              server_set_id = $auth2
            ",
            dir = self.dir.path().display(),
            starttls = self.starttls,
            tls = self.tls,
        )
    }

    /// Starts it, until it takes connections.
    async fn up(&mut self) {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: .ci/exim");
        // It goes when the test's process does, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--no-new-privs", PROGRAM, "-C"]).arg(self.path("exim.conf")).arg("-bdf");
        let said = fs::File::create(self.path("said")).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        eventually(|| {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "exim ended: {}", self.said());
            let takes = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
            (takes(self.starttls) && takes(self.tls)).then_some(())
        })
        .await;
        self.process = Some(process);
    }

    /// SIGKILL.
    async fn down(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
        ["said", "mainlog", "rejectlog", "paniclog"].map(read).concat()
    }

    /// `[email.NAME]` for one of its ways.
    fn destination(&self, name: &str) -> String {
        let port = if name == "tls" { self.tls } else { self.starttls };
        let ca = self.authority.ca_file().display().to_string();
        format!(
            "[email.{name}]\nhost = \"localhost\"\nport = {port}\ntls = {name:?}\nuser = \"cadfd\"\n\
             password = {PASSWORD:?}\nfrom = \"Wächter <cadfd@cloud.example.org>\"\nca_file = {ca:?}\n{LIMITS}"
        )
    }

    /// The mails it has delivered, one for each recipient.
    fn delivered(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("mail/new")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The same, read, in the order of their recipients.
    async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let files = eventually(|| Some(self.delivered()).filter(|files| files.len() >= count)).await;
        let mut mails = Vec::new();
        for file in files {
            mails.push(Mail::read(&file).await);
        }
        mails.sort_by_key(|mail| mail.header("Envelope-to"));
        mails
    }
}

/// A mail as its reader sees it.
#[derive(Debug)]
struct Mail(Value);

impl Mail {
    async fn read(file: &Path) -> Self {
        let input = fs::File::open(file).unwrap();
        let output = Command::new("python3").args(["-I", "-c", READ]).stdin(input).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    fn header(&self, name: &str) -> String {
        let all = self.0["headers"].as_array().unwrap();
        let mut found = all.iter().filter(|it| it[0].as_str().unwrap().eq_ignore_ascii_case(name));
        let value = found.next().map(|it| it[1].as_str().unwrap().to_owned()).unwrap_or_default();
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.0["headers"].as_array().unwrap().iter().map(|it| it[0].as_str().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn part(&self, kind: &str) -> &str {
        self.0[kind].as_str().unwrap_or_else(|| panic!("no {kind}: {self:?}"))
    }
}

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    vhost
}

#[test]
fn exim_takes_mails_after_starttls_and_over_tls() {
    run_test(async || {
        let (vhost, exim) = (vhost().await, Exim::start().await);
        let ways = ["starttls", "tls"];
        let settings = ways.map(|way| exim.destination(way)).concat();
        let actions = ways.map(|way| {
            format!(
                "[[rule.email]]\nto = {way:?}\nrecipients = [\"ops-{way}@example.org\", \"sec-{way}@example.org\"]\n\
                 subject = \"Zoë: {{{{ resource.name }}}} is gone\"\ntext = \"\"\"\nGone: {{{{ resource.name }}}}\n.\nBye\"\"\"\n\
                 html = \"<p title='{{{{ resource.name }}}}'>{{{{ resource.name }}}}</p>\"\n"
            )
        });
        let site = Site::new(&vhost)
            .settings(&settings)
            .rules(&format!("[[rule]]\nname = \"r\"\nevent_type = \"*tag*\"\n{}", actions.concat()));
        let daemon = site.consuming().await;
        let hostile = "x\r\nBcc: eve@example.net\r\n\r\n<b>'\" =?utf-8?q?=0d=0aX-Injected:_y?= \u{202e}ü";
        vhost.publish("cadfd", [cadf("identity.project tag.created", &json!({"resource_info": hostile}))]).await;
        let mails = exim.wait_for(4).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 2).await;
        daemon.stop().await;
        assert_eq!(mails.len(), 4, "one each: {mails:?}");
        let deliveries: BTreeMap<_, _> =
            of_type(&trail, "delivery").into_iter().map(|it| (it["destination"].as_str().unwrap(), it)).collect();
        let shown = "x\\r\\nBcc: eve@example.net\\r\\n\\r\\n<b>'\" =?utf-8?q?=0d=0aX-Injected:_y?= \\u{202e}ü";
        for (mail, (to, way)) in
            mails.iter().zip([("ops", "starttls"), ("ops", "tls"), ("sec", "starttls"), ("sec", "tls")])
        {
            let delivery = deliveries[format!("email.{way}").as_str()];
            let id = delivery["delivery"].as_str().unwrap();
            assert_eq!(mail.header("Envelope-to"), format!("{to}-{way}@example.org"));
            assert_eq!(mail.header("To"), format!("ops-{way}@example.org, sec-{way}@example.org"));
            assert_eq!(mail.header("From"), "Wächter <cadfd@cloud.example.org>");
            assert_eq!(mail.header("Subject").replace('\u{2060}', ""), format!("Zoë: {shown} is gone"));
            assert_eq!(mail.header("Message-ID"), format!("<{id}@cloud.example.org>"));
            assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
            let ours = ["Auto-Submitted", "Content-Type", "Date", "Envelope-to", "From", "MIME-Version", "Message-ID"];
            let exims = ["Received", "Subject", "To", "X-Cadfd-Delivery"];
            assert_eq!(mail.names(), [&ours[..], &exims].concat(), "{mail:?}");
            assert_eq!(mail.part("text").replace("\r\n", "\n").trim_end(), format!("Gone: {shown}\n.\nBye"));
            let escaped = mail.part("html").replace("&#x27;", "'").replace("&quot;", "\"").replace("&lt;", "<");
            assert!(!mail.part("html").contains("<b>") && mail.part("html").matches('\'').count() == 2, "{mail:?}");
            assert!(escaped.contains("eve@example.net") && mail.0["type"] == "multipart/alternative", "{mail:?}");
            assert_eq!(mail.0["defects"], json!([]), "{mail:?}");
            let answer = delivery["detail"]["answer"].as_str().unwrap();
            assert!(answer.contains("OK id=") && delivery["detail"]["recipients"] == 2, "{delivery}");
        }
    });
}

#[test]
fn whom_the_server_took_is_not_written_to_again_because_of_another() {
    run_test(async || {
        let (vhost, exim) = (vhost().await, Exim::start().await);
        fs::write(exim.path("greylist"), "").unwrap();
        let rule = "[[rule]]\nname = \"r\"\n[[rule.email]]\n\
                    recipients = [\"ops@example.org\", \"nobody@example.org\", \"later@example.org\"]\n";
        let site = Site::new(&vhost).settings(&exim.destination("starttls")).rules(rule);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", [user_deleted("u1")]).await;
        let mails = exim.wait_for(1).await;
        assert_eq!(mails[0].header("Envelope-to"), "ops@example.org");
        assert!(mails[0].part("text").contains("USER DELETED success: "), "{mails:?}");
        assert_eq!(mails[0].header("Subject"), "[cadfd] r");
        let deferred = "temporarily rejected RCPT <later@example.org>";
        // In two files each.
        eventually(|| (exim.said().matches(deferred).count() >= 6).then_some(())).await;
        let held = site.cadfd_ok(&["outbox", "list", "--json"]).await;
        let held: Value = serde_json::from_str(held.lines().next().unwrap()).unwrap();
        let reason = "not taken for nobody@example.org: 550 no such user here, later@example.org: 450 4.2.0 greylisted, \
                      come again; taken for ops@example.org";
        assert_eq!(held["reason"], reason);
        fs::remove_file(exim.path("greylist")).unwrap();
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        let mails = exim.wait_for(2).await;
        daemon.stop().await;
        let delivery = of_type(&trail, "delivery")[0];
        assert_eq!(delivery["outcome"], "given_up");
        let reason = "not taken for nobody@example.org: 550 no such user here; taken for ops@example.org, \
                      later@example.org; look at the rule's recipients";
        assert_eq!(delivery["reason"], reason);
        let recipients: Vec<_> = mails.iter().map(|mail| mail.header("Envelope-to")).collect();
        assert_eq!(recipients, ["later@example.org", "ops@example.org"], "each once");
        assert_eq!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
    });
}

#[test]
fn mails_wait_until_the_server_is_back() {
    run_test(async || {
        let (vhost, mut exim) = (vhost().await, Exim::start().await);
        let rule =
            "[[rule]]\nname = \"r\"\n[[rule.email]]\nrecipients = \"ops@example.org\"\ntext = \"{{ message_id }}\"\n";
        let site = Site::new(&vhost).settings(&exim.destination("tls")).rules(rule);
        let mut daemon = site.consuming().await;
        let published = users_deleted(8);
        vhost.publish("cadfd", &published[..3]).await;
        exim.wait_for(3).await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 3).await;
        exim.down().await;
        vhost.publish("cadfd", &published[3..]).await;
        daemon.wait_log("destination lost: connection refused").await;
        exim.up().await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 8).await;
        assert!(of_type(&trail, "delivery").iter().all(|it| it["outcome"] == "done"));
        let mails = exim.wait_for(8).await;
        daemon.stop().await;
        let mut sent: Vec<_> = mails.iter().map(|mail| mail.part("text").trim().to_owned()).collect();
        let mut wanted = ids(&published);
        sent.sort();
        wanted.sort();
        assert_eq!(sent, wanted, "each once");
    });
}

#[test]
fn events_that_come_together_are_one_mail_that_lists_them() {
    run_test(async || {
        let (vhost, exim) = (vhost().await, Exim::start().await);
        let rule = |wait: &str| {
            let group = format!("group = {{ by = \"initiator.id\", wait = \"{wait}\", max = 2 }}");
            format!(
                "[[rule]]\nname = \"deleted\"\nevent_type = \"identity.user.deleted\"\n{group}\n\
                 [[rule.email]]\nrecipients = \"ops@example.org\"\n"
            )
        };
        let mut site = Site::new(&vhost).settings(&exim.destination("starttls")).rules(&rule("1h"));
        let daemon = site.consuming().await;
        let published = users_deleted(3);
        vhost.publish("cadfd", &published).await;
        site.wait_events(&ids(&published)).await;
        // Nobody waits for an hour: the group is closed because it is to wait for less.
        site.rewrite_rules(&[&rule("1ms")]);
        daemon.signal(Signal::HUP);
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        let mails = exim.wait_for(1).await;
        daemon.stop().await;
        assert_eq!((mails.len(), &of_type(&trail, "delivery")[0]["outcome"]), (1, &json!("done")), "{mails:?}");
        assert_eq!(mails[0].header("Subject"), "[cadfd] deleted: 3 events");
        let text = mails[0].part("text").replace("\r\n", "\n");
        let lines: Vec<_> = text.trim_end().lines().collect();
        let [head, "", first, second, "and 1 more", "", rule] = lines[..] else { panic!("{text}") };
        assert_eq!((head, rule), ("3 events:", "Rule: deleted"));
        for (line, user) in [(first, "u0"), (second, "u1")] {
            assert!(line.contains(&format!(" USER DELETED success: {user} by admin (")), "{user}: {text}");
        }
    });
}

#[test]
fn neither_a_stranger_nor_a_wrong_password_gets_a_mail_through() {
    run_test(async || {
        let (vhost, exim, other) = (vhost().await, Exim::start().await, Authority::new());
        let starttls = exim.destination("starttls");
        let strange = exim
            .destination("tls")
            .replace(&exim.authority.ca_file().display().to_string(), &other.ca_file().display().to_string());
        let wrong = starttls.replace(PASSWORD, "wrong-hunter2");
        let rules = ["starttls", "tls"].map(|to| {
            format!("[[rule]]\nname = \"{to}\"\n[[rule.email]]\nto = {to:?}\nrecipients = \"ops@example.org\"\n")
        });
        let site = Site::new(&vhost).settings(&wrong).settings(&strange).rules(&rules.concat());
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", [user_deleted("u1")]).await;
        daemon.wait_log("destination lost: certificate not trusted: ").await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        let log = daemon.stop().await;
        let delivery = of_type(&trail, "delivery")[0];
        assert_eq!((&delivery["destination"], &delivery["outcome"]), (&json!("email.starttls"), &json!("given_up")));
        let reason = delivery["reason"].as_str().unwrap();
        assert!(reason.starts_with("the login answered 535 "), "{reason}");
        assert!(reason.ends_with("look at user and password in the settings"), "{reason}");
        assert!(!format!("{trail:?}{log}").contains("hunter2"), "{log}");
        assert_eq!(exim.delivered(), Vec::<PathBuf>::new());
    });
}

#[test]
fn the_doctor_logs_in_and_sends_nothing() {
    run_test(async || {
        let (vhost, mut exim) = (vhost().await, Exim::start().await);
        let wrong = exim.destination("tls").replace(PASSWORD, "wrong-hunter2");
        let site = Site::new(&vhost).settings(&exim.destination("starttls")).settings(&wrong);
        let said = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
        let shown = said(site.cadfd(&["doctor", "--send-test"]).await);
        for found in [
            "answers, and its certificate is trusted; it takes the login",
            "the login answered 535",
            "not sent: only rules have recipients; the login was tried",
        ] {
            assert!(shown.contains(found), "{found}: {shown}");
        }
        assert!(!shown.contains("hunter2"), "{shown}");
        exim.down().await;
        let shown = said(site.cadfd(&["doctor"]).await);
        assert_eq!(shown.matches("connection refused").count(), 2, "{shown}");
        assert_eq!(exim.delivered(), Vec::<PathBuf>::new());
    });
}

/// Says its lines, one for each that it hears, and then the end; hands back what it heard.
async fn scripted(says: &'static [&'static str]) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        let mut heard = Vec::new();
        for line in says {
            writer.write_all(line.as_bytes()).await.unwrap();
            match lines.next_line().await {
                Ok(Some(line)) => heard.push(line),
                _ => break,
            }
        }
        heard
    });
    (port, task)
}

async fn mail_to(port: u16, tls: Tls, login: bool) -> Outcome {
    let authority = Authority::new();
    let client = ClientSettings { ca_file: Some(authority.ca_file()), ..ClientSettings::default() };
    let settings = email::Settings {
        host: "localhost".into(),
        port,
        tls,
        login: login.then(|| ("cadfd".into(), Secret::new(PASSWORD))),
        from: "cadfd@example.org".into(),
        client: if tls == Tls::None { ClientSettings::default() } else { client },
        limits: email::default_limits(),
    };
    let destination = Destination::Email(Email::new(&settings).unwrap());
    let request = Request::Email(email::Request {
        recipients: vec!["ops@example.org".into()],
        subject: "s".into(),
        text: "t".into(),
        html: None,
    });
    let now = jiff::Timestamp::now();
    destination.perform(Attempt { delivery_id: "d1", request: &request, progress: None, now, created: now }).await
}

fn retried(outcome: Outcome) -> (String, Scope) {
    let Outcome::Retry { reason, scope, .. } = outcome else { panic!("{outcome:?}") };
    (reason, scope)
}

#[tokio::test]
async fn without_starttls_nothing_is_said_in_the_clear() {
    let (port, heard) = scripted(&["220 mail ESMTP\r\n", "250-mail\r\n250 SIZE 1000\r\n"]).await;
    let (reason, _) = retried(mail_to(port, Tls::StartTls, true).await);
    assert!(reason.starts_with("the server offers no STARTTLS; "), "{reason}");
    let heard = heard.await.unwrap();
    assert!(heard.len() == 1 && heard[0].starts_with("EHLO "), "{heard:?}");
    // What somebody on the way puts behind the answer would be read as the server's words under TLS.
    let (port, _) =
        scripted(&["220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "220 go\r\n250-mail\r\n250 AUTH PLAIN\r\n"]).await;
    let (reason, _) = retried(mail_to(port, Tls::StartTls, true).await);
    assert_eq!(reason, "more than an answer to STARTTLS came before TLS");
}

#[tokio::test]
async fn an_answer_means_what_its_first_digit_says() {
    let (hello, from) = ("250 mail\r\n", "250 ok\r\n");
    for (says, wanted, scope) in [
        (&["421 too busy\r\n"][..], "the greeting answered 421 too busy", Scope::Destination),
        (&["220 mail\r\n", hello, "451 disk\r\n"], "MAIL FROM answered 451 disk", Scope::Destination),
        (&["220 mail\r\n", hello, from, "421 bye\r\n"], "421 bye", Scope::Destination),
        (
            &["220 mail\r\n", hello, from, from, "354 go\r\n", "450-a\r\n450 b\x1b[31m\r\n"],
            "the mail answered 450 a b\\u{1b}[31m",
            Scope::Delivery,
        ),
    ] {
        let says: &'static [&'static str] = Box::leak(says.to_vec().into_boxed_slice());
        let (port, _heard) = scripted(says).await;
        let (reason, of) = retried(mail_to(port, Tls::None, false).await);
        assert_eq!((reason.as_str(), of), (wanted, scope));
    }
    // Who refuses whoever comes says nothing of the mail.
    let offer = "250-mail\r\n250 STARTTLS\r\n";
    for (tls, says, wanted) in [
        (Tls::None, &["554 no service here\r\n"][..], "the greeting answered 554 no service here"),
        (Tls::None, &["220 mail\r\n", "550 who\r\n", "550 who\r\n"], "the greeting answered 550 who"),
        (Tls::StartTls, &["554 no service here\r\n"], "the greeting answered 554 no service here"),
        (Tls::StartTls, &["220 mail\r\n", "550 who\r\n"], "EHLO answered 550 who"),
        (Tls::StartTls, &["220 mail\r\n", offer, "502 not now\r\n"], "STARTTLS answered 502 not now"),
    ] {
        let says: &'static [&'static str] = Box::leak(says.to_vec().into_boxed_slice());
        let (port, _heard) = scripted(says).await;
        let (reason, of) = retried(mail_to(port, tls, false).await);
        assert_eq!((reason.as_str(), of), (wanted, Scope::Destination));
    }
    let (port, _heard) = scripted(&["220 mail\r\n", "250 mail\r\n", "550 you may not\r\n"]).await;
    let Outcome::GivenUp { reason, .. } = mail_to(port, Tls::None, false).await else { panic!() };
    assert_eq!(reason, "MAIL FROM answered 550 you may not");
}

#[tokio::test]
async fn an_answer_without_end_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Says what no line ends, until the other side goes.
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 ").await.unwrap();
        while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
    });
    let (reason, of) = retried(mail_to(port, Tls::None, false).await);
    assert_eq!((reason.as_str(), of), ("the answer is longer than 8192 bytes", Scope::Destination));
    endless.await.unwrap();
}
