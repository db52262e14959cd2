//! Messages to a real rsyslog, by each way it takes them.
//!
//! Its promise: rsyslog runs as a process of the test's own, with nothing of this machine's, and ends with it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::broker::{Broker, Vhost};
use crate::certificates::{Authority, acceptor};
use crate::daemon::{Site, eventually, of_type};
use crate::node::free_ports;
use crate::notification::{ids, users_deleted};
use crate::run_test;

/// Impatient enough for a test.
const LIMITS: &str = "retry_first = \"40ms\"\nretry_max = \"200ms\"\n";

/// What of a message is written down, a JSON object a line.
const WRITTEN: [&str; 9] = [
    "structured-data",
    "app-name",
    "msgid",
    "procid",
    "hostname",
    "syslogfacility-text",
    "syslogseverity-text",
    "timereported",
    "msg",
];

/// rsyslog on 127.0.0.1 and on a socket in a directory of its own.
pub(crate) struct Rsyslog {
    dir: tempfile::TempDir,
    authority: Authority,
    udp: u16,
    tcp: u16,
    tls: u16,
    process: Option<Child>,
}

impl Rsyslog {
    pub(crate) async fn start() -> Self {
        let [tcp, tls] = free_ports();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let mut rsyslog = Self { dir, authority, udp, tcp, tls, process: None };
        fs::write(rsyslog.path("rsyslog.conf"), rsyslog.settings()).unwrap();
        rsyslog.up().await;
        rsyslog
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("log")
    }

    fn settings(&self) -> String {
        let issued = self.authority.issue(&["localhost", "127.0.0.1"]);
        let (dir, ca, cert, key) = (self.dir.path(), self.authority.ca_file(), issued.cert_file, issued.key_file);
        let time = |name: &str| if name == "timereported" { " dateFormat=\"rfc3339\"" } else { "" };
        let properties =
            WRITTEN.map(|name| format!("property(outname=\"{name}\" name=\"{name}\" format=\"jsonf\"{})", time(name)));
        format!(
            r#"global(workDirectory="{dir}" defaultNetstreamDriverCAFile="{ca}"
                defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")
            module(load="imudp") module(load="imtcp") module(load="imuxsock" SysSock.Use="off")
            template(name="written" type="list" option.jsonf="on") {{ {properties} }}
            ruleset(name="all") {{ action(type="omfile" file="{dir}/messages" template="written") }}
            input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="all")
            input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="all")
            input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="all"
                StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")
            input(type="imuxsock" socket="{dir}/log" useSpecialParser="off" parseHostname="on"
                ignoreTimestamp="off" ruleset="all")
            "#,
            dir = dir.display(),
            ca = ca.display(),
            cert = cert.display(),
            key = key.display(),
            properties = properties.join("\n"),
            udp = self.udp,
            tcp = self.tcp,
            tls = self.tls,
        )
    }

    /// Starts it, until it takes messages.
    async fn up(&mut self) {
        // It goes when the test's process does, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "rsyslogd", "-n", "-f"]).arg(self.path("rsyslog.conf"));
        command.arg("-i").arg(self.path("pid")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").kill_on_drop(true);
        let said = fs::File::create(self.path("said")).unwrap();
        command.stdin(std::process::Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let mut process = command.spawn().unwrap();
        eventually(|| {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "rsyslogd ended (is it installed?): {}", read(&self.path("said")));
            let takes = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
            (takes(self.tcp) && takes(self.tls) && self.socket().exists()).then_some(())
        })
        .await;
        self.process = Some(process);
    }

    /// SIGKILL.
    async fn down(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// `[syslog.NAME]` for one of its ways.
    pub(crate) fn destination(&self, name: &str) -> String {
        let more = match name {
            "tls" => {
                let ours = self.authority.issue(&["cadfd"]);
                let (ca, cert, key) = (self.authority.ca_file(), ours.cert_file, ours.key_file);
                let (ca, cert, key) = (ca.display(), cert.display(), key.display());
                format!("ca_file = \"{ca}\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n")
            }
            _ => String::new(),
        };
        format!("[syslog.{name}]\nurl = \"{}\"\n{LIMITS}{more}", self.url(name))
    }

    pub(crate) fn url(&self, way: &str) -> String {
        match way {
            "udp" => format!("udp://127.0.0.1:{}", self.udp),
            "tcp" => format!("tcp://127.0.0.1:{}", self.tcp),
            "tls" => format!("tls://localhost:{}", self.tls),
            _ => format!("unix://{}", self.socket().display()),
        }
    }

    /// What it has written, whole lines only.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let text = read(&self.path("messages"));
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Value> {
        eventually(|| Some(self.messages()).filter(|messages| messages.len() >= count)).await
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    vhost
}

/// A notification of a failure, about a user with this id.
fn failed(id: &str, user: &str) -> String {
    let payload = json!({
        "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event",
        "id": "e1", "eventType": "activity", "eventTime": "2026-11-21T07:03:23.274482+0000",
        "action": "deleted.user", "outcome": "failure", "resource_info": user,
        "initiator": {"id": "i1", "typeURI": "service/security/account/user"},
        "target": {"id": user, "typeURI": "data/security/account/user"},
        "observer": {"id": "o1", "typeURI": "service/security"},
    });
    let inner = json!({
        "message_id": id, "publisher_id": "identity.keystone-1", "event_type": "identity.user.deleted",
        "priority": "INFO", "timestamp": "2026-11-21 07:03:23.274482", "payload": payload,
    });
    json!({"oslo.version": "2.0", "oslo.message": inner.to_string()}).to_string()
}

#[test]
fn rsyslog_takes_messages_by_each_way() {
    run_test(async || {
        let (vhost, rsyslog) = (vhost().await, Rsyslog::start().await);
        let ways = ["udp", "tcp", "tls", "unix"];
        let settings: Vec<_> = ways.iter().map(|way| rsyslog.destination(way)).collect();
        let actions = ways.map(|way| {
            format!(
                "[[rule.syslog]]\nto = {way:?}\nfacility = \"local3\"\ntext = \"Zoë: {{{{ resource.id }}}}\"\n\
                 data = {{ way = {way:?}, user = \"{{{{ resource.id }}}}\", none = \"{{{{ request_id }}}}\" }}\n"
            )
        });
        let usual = "[[rule.syslog]]\nto = \"tcp\"\nseverity = \"notice\"\n";
        let site = Site::new(&vhost)
            .settings(&settings.concat())
            .rules(&format!("[[rule]]\nname = \"r\"\n{}{usual}", actions.concat()));
        let daemon = site.consuming().await;
        vhost.publish("cadfd", [failed("m-1", "u\"1]\n<0>[x@1 a=\"b\"] \\")]).await;
        let messages = rsyslog.wait_for(5).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 5).await;
        assert!(of_type(&trail, "delivery").iter().all(|it| it["outcome"] == "done"), "{trail:?}");
        let process = daemon.pid().as_raw_nonzero().to_string();
        daemon.stop().await;
        assert_eq!(messages.len(), 5, "{messages:?}");
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        for way in ways {
            let data = format!("[cadfd@32473 way=\"{way}\" user=");
            let starts = |message: &&Value| message["structured-data"].as_str().unwrap().starts_with(&data);
            let message = messages.iter().find(starts).unwrap_or_else(|| panic!("{way}: {messages:?}"));
            let wanted = json!({
                // One line first (\n, and \ to \\), then the RFC's own escapes.
                "structured-data": format!("{data}\"u\\\"1\\]\\\\n<0>[x@1 a=\\\"b\\\"\\] \\\\\\\\\"]"),
                "app-name": "cadfd", "msgid": "identity.user.deleted", "procid": process, "hostname": host,
                "syslogfacility-text": "local3", "syslogseverity-text": "warning",
                "timereported": "2026-11-21T07:03:23.274482Z",
                "msg": "\u{feff}Zoë: u\"1]\\n<0>[x@1 a=\"b\"] \\\\",
            });
            assert_eq!(*message, wanted, "{way}");
        }
        let usual = messages.iter().find(|message| message["syslogfacility-text"] == "authpriv").unwrap();
        assert_eq!(usual["syslogseverity-text"], "notice");
        let data = usual["structured-data"].as_str().unwrap();
        let wanted = "[cadfd@32473 message_id=\"m-1\" event_type=\"identity.user.deleted\" outcome=\"failure\" initiator.id=\"i1\" ";
        assert!(data.starts_with(wanted), "{data}");
        assert!(usual["msg"].as_str().unwrap().contains("USER DELETED failure: "), "{usual}");
    });
}

#[test]
fn what_rsyslog_does_not_take_waits_until_it_is_back() {
    run_test(async || {
        let (vhost, mut rsyslog) = (vhost().await, Rsyslog::start().await);
        let ways = ["tcp", "tls", "unix"];
        let settings: Vec<_> = ways.iter().map(|way| rsyslog.destination(way)).collect();
        let actions =
            ways.map(|way| format!("[[rule.syslog]]\nto = {way:?}\ndata = {{ {way} = \"{{{{ message_id }}}}\" }}\n"));
        let site = Site::new(&vhost)
            .settings(&settings.concat())
            .rules(&format!("[[rule]]\nname = \"r\"\n{}", actions.concat()));
        let mut daemon = site.consuming().await;
        let published = users_deleted(20);
        vhost.publish("cadfd", &published[..5]).await;
        rsyslog.wait_for(15).await;
        rsyslog.down().await;
        vhost.publish("cadfd", &published[5..]).await;
        daemon.wait_log_times("destination lost: connection refused", 3).await;
        rsyslog.up().await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 60).await;
        assert!(of_type(&trail, "delivery").iter().all(|it| it["outcome"] == "done"));
        let messages = rsyslog.wait_for(60).await;
        daemon.stop().await;
        assert_eq!(messages.len(), 60, "each once: none was on its way when rsyslog ended");
        for way in ways {
            let data = messages.iter().map(|message| message["structured-data"].as_str().unwrap());
            let of_way = |data: &&str| data.starts_with(&format!("[cadfd@32473 {way}="));
            let sent: Vec<_> = data.filter(of_way).map(|data| data.split('"').nth(1).unwrap().to_owned()).collect();
            let all = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
            assert_eq!((sent.len(), all(&sent)), (20, all(&ids(&published))), "{way}");
            if way != "tls" {
                // Whichever found it working again came first; the rest follow in their order.
                let mut wanted = ids(&published);
                wanted.retain(|id| *id != sent[5]);
                wanted.insert(5, sent[5].clone());
                assert_eq!(sent, wanted, "{way}");
            }
        }
    });
}

#[test]
fn checkpoints_that_rsyslog_collects_are_evidence() {
    run_test(async || {
        let (vhost, rsyslog) = (vhost().await, Rsyslog::start().await);
        let rule = "[[rule]]\nname = \"elsewhere\"\nevent_type = \"cadfd.checkpoint.created\"\n[[rule.syslog]]\n\
                    text = \"{{ payload.line }}\"\n";
        let site = Site::new(&vhost)
            .settings(&rsyslog.destination("tls"))
            .variable("CADFD_AUDIT__CHECKPOINT_EVERY", "1s")
            .rules(rule);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", &users_deleted(1)).await;
        let messages = rsyslog.wait_for(2).await;
        daemon.stop().await;
        let line = |message: &Value| message["msg"].as_str().unwrap().to_owned();
        let collected = site.path("collected.jsonl");
        fs::write(&collected, messages.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
        let verify = ["verify", "--checkpoints", collected.to_str().unwrap()];
        assert!(site.cadfd_ok(&verify).await.ends_with("not altered\n"));
        // Whoever owns the machine writes the past anew: what was collected elsewhere still says otherwise.
        let last: Value = serde_json::from_str(&line(messages.last().unwrap())).unwrap();
        let mut lines: Vec<_> = read(&site.audit_path()).lines().map(str::to_owned).collect();
        lines.truncate(last["seq"].as_u64().and_then(|seq| usize::try_from(seq).ok()).unwrap() - 1);
        fs::write(site.audit_path(), lines.join("\n") + "\n").unwrap();
        let cut = site.cadfd(&verify).await;
        assert_eq!(cut.status.code(), Some(1), "{}", String::from_utf8_lossy(&cut.stdout));
    });
}

#[test]
fn a_tls_connection_that_ends_without_a_word_has_broken() {
    run_test(async || {
        let (vhost, authority) = (vhost().await, Authority::new());
        let acceptor = acceptor(&authority.issue(&["localhost"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Reads each message to its end; the first connection is then dropped, the others closed as RFC 5425 asks for.
        let receiver = tokio::spawn(async move {
            for is_closed in [false, true] {
                let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.unwrap();
                if is_closed {
                    stream.shutdown().await.unwrap();
                }
            }
        });
        let ca = authority.ca_file();
        let settings = format!("[syslog.siem]\nurl = \"tls://localhost:{port}\"\nca_file = {ca:?}\n{LIMITS}");
        let site = Site::new(&vhost).settings(&settings).rules("[[rule]]\nname = \"r\"\n[[rule.syslog]]\n");
        let daemon = site.consuming().await;
        vhost.publish("cadfd", &users_deleted(1)).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        daemon.stop().await;
        let end = of_type(&trail, "delivery")[0];
        assert_eq!((&end["outcome"], &end["attempts"]), (&json!("done"), &json!(2)), "{end:#}");
        receiver.await.unwrap();
    });
}

#[test]
fn a_certificate_that_nobody_vouches_for_gets_no_message() {
    run_test(async || {
        let (vhost, rsyslog, other) = (vhost().await, Rsyslog::start().await, Authority::new());
        let settings = format!(
            "[syslog.siem]\nurl = \"{}\"\nca_file = \"{}\"\n{LIMITS}",
            rsyslog.url("tls"),
            other.ca_file().display()
        );
        let site = Site::new(&vhost).settings(&settings).rules("[[rule]]\nname = \"r\"\n[[rule.syslog]]\n");
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", &users_deleted(1)).await;
        daemon.wait_log("destination lost: certificate not trusted: ").await;
        daemon.stop().await;
        assert_eq!(rsyslog.messages(), Vec::<Value>::new());
    });
}

#[test]
fn the_doctor_tries_each_way_and_sends_when_told_to() {
    run_test(async || {
        let (vhost, mut rsyslog) = (vhost().await, Rsyslog::start().await);
        let settings: Vec<_> = ["udp", "tcp", "tls", "unix"].iter().map(|way| rsyslog.destination(way)).collect();
        let site = Site::new(&vhost).settings(&settings.concat());
        let said = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
        let shown = said(site.cadfd(&["doctor"]).await);
        let udp = format!("is 127.0.0.1:{}; UDP does not tell whether anybody listens there", rsyslog.udp);
        for found in [udp.as_str(), "answers; without TLS", "its certificate is trusted", "somebody listens"] {
            assert!(shown.contains(found), "{found}: {shown}");
        }
        assert_eq!(rsyslog.messages(), Vec::<Value>::new());
        let shown = said(site.cadfd(&["doctor", "--send-test"]).await);
        assert_eq!(shown.matches("taken").count(), 4, "{shown}");
        let messages = rsyslog.wait_for(4).await;
        assert!(messages.iter().all(|message| message["msgid"] == "cadfd.doctor.test"), "{messages:?}");
        assert!(messages[0]["msg"].as_str().unwrap().starts_with("Test by `cadfd doctor --send-test`"), "{messages:?}");
        rsyslog.down().await;
        let shown = said(site.cadfd(&["doctor"]).await);
        assert_eq!(shown.matches("connection refused").count(), 3, "{shown}");
    });
}
