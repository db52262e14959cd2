//! OSEL's case, by the rules that are shipped for it: a security group changes, what it affects is scanned, and the line
//! with the change and the scan is in a real rsyslog.

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::captured;
use crate::daemon::{Site, of_type};
use crate::notification::v2;
use crate::run_test;
use crate::standins::{Fault, Keystone, Neutron, Qualys, port};
use crate::syslog::Rsyslog;

const RULES: &str = include_str!("../../config/examples/osel.toml");
const SEVERAL: &str = include_str!("../data/notifications/documented/neutron-security_group_rule-create-end-bulk.json");
const CAPTURE: &str = "oslo-neutron-nova-cinder-messagingv2";

/// The captured notifications' group, its rule, its port and who did it all.
const GROUP: &str = "cfe980cf-f351-49b3-8681-80bf0b6a9e84";
const RULE: &str = "8cfbef10-84f3-4051-ae0a-bafbfdd2745f";
const PORT: &str = "6dfa6d0b-69f8-47d1-8603-bf36f8866241";
const USER: &str = "21ef42a576bd4c80a0d7f49096dca89f";

const SCANNER: (&str, &str) = ("scanner", "a Qualys password: hunter2");

/// Impatient enough for a test.
const LIMITS: &str = "retry_first = \"40ms\"\nretry_max = \"200ms\"\n";

struct Stage {
    keystone: Keystone,
    neutron: Neutron,
    qualys: Qualys,
    rsyslog: Rsyslog,
}

impl Stage {
    async fn new() -> Self {
        let keystone = Keystone::start().await;
        let neutron = Neutron::start(keystone.gate()).await;
        keystone.serve("network", &neutron.endpoint());
        keystone.odd(|odd| odd.catalog_for_projects_only = true);
        Self { neutron, qualys: Qualys::start(SCANNER.0, SCANNER.1).await, rsyslog: Rsyslog::start().await, keystone }
    }

    /// What docs/OSEL.md says, with the stand-ins' addresses.
    fn settings(&self) -> String {
        self.settings_by("tls")
    }

    /// With this way to rsyslog.
    fn settings_by(&self, way: &str) -> String {
        let splunk = self.rsyslog.destination(way).replace(&format!("[syslog.{way}]"), "[syslog.splunk]");
        format!(
            "{}list_every = \"0s\"\n[keystone.services]\nproject_name = \"service\"\n\
             project_domain_name = \"Default\"\n{LIMITS}\n[http.qualys]\nurl = \"{}\"\nuser = {:?}\npassword = {:?}\n\
             headers = {{ X-Requested-With = \"cadfd\" }}\nconcurrency = 1\n{LIMITS}\n{splunk}",
            self.keystone.settings(),
            self.qualys.url(),
            SCANNER.0,
            SCANNER.1,
        )
    }
}

fn about<'a>(messages: &'a [Value], text: &str) -> Vec<&'a Value> {
    messages.iter().filter(|message| message["msg"].as_str().unwrap().contains(text)).collect()
}

#[test]
fn what_a_changed_security_group_affects_is_scanned_and_the_change_is_in_splunk() {
    run_test(async || {
        let (vhost, stage) = (Broker::shared().vhost(), Stage::new().await);
        vhost.declare("cadfd").await;
        let Stage { neutron, qualys, rsyslog, .. } = &stage;
        // On two pages; of another group; with an address of IPv6, and one twice.
        neutron.page(2);
        neutron.put(port("p1", &[GROUP], &["192.0.2.7", "2001:db8::7"]));
        neutron.put(port("p2", &["another"], &["198.51.100.1"]));
        neutron.put(port("p3", &["default", GROUP], &["192.0.2.8"]));
        neutron.put(port("p4", &[GROUP], &["192.0.2.8"]));
        // All of them are away when it happens.
        neutron.fault(Fault::Status(503)).await;
        qualys.fault(Fault::Down).await;
        let site = Site::new(&vhost).settings(&stage.settings()).rules(RULES);
        let mut daemon = site.consuming().await;
        vhost.publish_captured("cadfd", CAPTURE).await;
        daemon.wait_log("destination lost: answered 503").await;
        daemon.kill().await;
        neutron.heal().await;
        qualys.heal().await;
        let daemon = site.consuming().await;
        // Three changes (a group, a rule added, a rule taken away) and two scans.
        let messages = rsyslog.wait_for(5).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 8).await;
        daemon.stop().await;
        assert_eq!(messages.len(), 5, "{messages:?}");

        let scans = qualys.scans();
        let scan =
            |ip: &str| scans.iter().find(|scan| scan.get("ip") == Some(ip)).unwrap_or_else(|| panic!("{scans:?}"));
        let (of_rule, of_port) = (scan("192.0.2.7,192.0.2.8"), scan("192.0.2.15"));
        assert_eq!(scans.len(), 2, "{scans:?}");
        assert_eq!(of_rule.get("scan_title"), Some(&*format!("cadfd: rule {RULE} of security group {GROUP}")));
        assert_eq!(of_port.get("scan_title"), Some(&*format!("cadfd: new port {PORT}")));
        assert!(neutron.asked()[0].contains(&format!("security_groups={GROUP}")), "{:?}", neutron.asked());

        let line = about(&messages, &format!("scan {} of", of_rule.id))[0];
        let text = format!(
            "scan {} of 192.0.2.7, 2001:db8::7, 192.0.2.8, 192.0.2.8: security group {GROUP} lets in tcp 22-22 from \
             0.0.0.0/0, by user {USER}",
            of_rule.id
        );
        assert_eq!(line["msg"], json!(text));
        let data = line["structured-data"].as_str().unwrap();
        for wanted in [
            "change=\"cee4de17-fab0-455a-8e0a-8205788a38dd\"",
            &format!("scan_id=\"{}\"", of_rule.id),
            &format!("scan=\"{}\"", of_rule.reference),
        ] {
            assert!(data.contains(wanted), "{wanted}: {data}");
        }
        let line = about(&messages, &format!("scan {} of", of_port.id))[0];
        assert!(line["msg"].as_str().unwrap().contains(&format!("of 192.0.2.15: new port {PORT} ")), "{line}");
        for change in ["security_group cfe980cf", "security_group_rule 8cfbef10"] {
            assert!(!about(&messages, change).is_empty(), "{change}: {messages:?}");
        }

        let ends = of_type(&trail, "delivery");
        assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:?}");
        let launched: Vec<_> = ends.iter().filter(|end| end["destination"] == "http.qualys").collect();
        let ids: Vec<_> = launched.iter().map(|end| end["detail"]["captured"]["scan_id"].clone()).collect();
        assert!(ids.contains(&json!(of_rule.id)) && ids.contains(&json!(of_port.id)), "{launched:?}");
        assert!(!format!("{trail:?}").contains("hunter2"));
    });
}

#[test]
fn without_a_port_there_is_no_scan_and_a_line_says_so() {
    run_test(async || {
        let (vhost, stage) = (Broker::shared().vhost(), Stage::new().await);
        vhost.declare("cadfd").await;
        stage.neutron.put(port("p1", &[GROUP], &["2001:db8::7"]));
        let site = Site::new(&vhost).settings(&stage.settings_by("tcp")).rules(RULES);
        let daemon = site.consuming().await;
        let messages = captured::read(CAPTURE).into_iter().map(|message| message.body);
        let added = messages.filter(|body| String::from_utf8_lossy(body).contains("security_group_rule.create.end"));
        vhost.publish("cadfd", added.collect::<Vec<_>>()).await;
        let messages = stage.rsyslog.wait_for(2).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 3).await;
        daemon.stop().await;
        assert_eq!(about(&messages, &format!("no scan: security group {GROUP} is used by no port")).len(), 1);
        assert!(stage.qualys.scans().is_empty(), "{trail:?}");
    });
}

#[test]
fn the_port_that_nova_makes_is_scanned_and_of_several_rules_a_line_says_how_many() {
    run_test(async || {
        let (vhost, stage) = (Broker::shared().vhost(), Stage::new().await);
        vhost.declare("cadfd").await;
        // Over TLS rsyslog 8.2302 was seen to lose one of several messages that came within milliseconds, after an internal error.
        let site = Site::new(&vhost).settings(&stage.settings_by("tcp")).rules(RULES);
        let daemon = site.consuming().await;
        // Nova says by an update, after this, that it owns the port; a router's port is none of a server's.
        let made = |id: &str, owner: &str, address: &str| {
            let fixed = json!([{"subnet_id": "s1", "ip_address": address}]);
            let port =
                json!({"id": id, "device_id": "d1", "device_owner": owner, "project_id": "p", "fixed_ips": fixed});
            v2(&json!({"event_type": "port.create.end", "publisher_id": "network.ctl1", "payload": {"port": port},
                "_context_user_id": USER, "_context_project_id": "p"}))
        };
        let several: Value = serde_json::from_str(SEVERAL).unwrap();
        let messages = [made("o1", "network:router_interface", "192.0.2.1"), made("o2", "", "192.0.2.9"), v2(&several)];
        vhost.publish("cadfd", messages).await;
        // The scan's, and of the two rules that there is a change and how many.
        let messages = stage.rsyslog.wait_for(3).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 4).await;
        daemon.stop().await;
        assert_eq!(about(&messages, "of 192.0.2.9: new port o2 of project p").len(), 1, "{messages:?}");
        let line = about(&messages, "no scan: 2 at once (security_group_rule.create.end), look at them;");
        assert!(line[0]["structured-data"].as_str().unwrap().contains("several=\"2\""), "{messages:?}");
        let scans = stage.qualys.scans();
        assert_eq!(scans.iter().map(|scan| scan.get("ip")).collect::<Vec<_>>(), [Some("192.0.2.9")]);
        assert!(stage.neutron.attempts().is_empty(), "{trail:?}");
        assert!(of_type(&trail, "delivery").iter().all(|end| end["outcome"] == "done"), "{trail:?}");
    });
}

#[test]
fn explain_shows_what_would_be_asked_scanned_and_said() {
    run_test(async || {
        let (vhost, stage) = (Broker::shared().vhost(), Stage::new().await);
        let site = Site::new(&vhost).settings(&stage.settings()).rules(RULES);
        let file = format!("{}/tests/data/notifications/real/{CAPTURE}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let shown = site.cadfd_ok(&["explain", &file]).await;
        assert!(shown.contains(&format!(r#"["security_groups","{GROUP}"]"#)), "{shown}");
        assert!(shown.contains(r#"["ip","<addresses>"]"#), "{shown}");
        assert!(shown.contains("scan <scan_id> of <addresses>: security group"), "{shown}");
        assert!(stage.neutron.attempts().is_empty() && stage.qualys.attempts().is_empty());
    });
}
