//! One finding a file: each begins with a comment that says which.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use super::*;
use crate::finding::Verdict;

fn findings(text: &str) -> Vec<Finding> {
    KeystoneConf::read([text]).unwrap().findings(&["cadfd".to_owned()])
}

#[test]
fn each_sample_has_the_finding_that_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keystone-conf");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let said = match KeystoneConf::read([text.as_str()]) {
            Err((_, mistake)) => mistake.to_string(),
            Ok(conf) => {
                let rows = conf.findings(&["cadfd".to_owned()]);
                let rows = rows.into_iter().filter(|row| row.verdict != Verdict::Ok);
                let lines = rows.map(|row| {
                    let change = row.change.map(|change| format!(" -> {change}")).unwrap_or_default();
                    format!("{} {}: {}{change}", row.verdict.word(), row.tried, row.found)
                });
                lines.collect::<Vec<_>>().join(" | ")
            }
        };
        assert_eq!(said, expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} samples");
}

#[test]
fn what_was_written_last_counts_and_drivers_add_up() {
    let conf = KeystoneConf::read([
        "[oslo_messaging_notifications]\ndriver = log\ntopics = a\n[DEFAULT]\ntransport_url = rabbit://u:p1@a/\n",
        "[oslo_messaging_notifications]\ndriver = messagingv2\ntopics = notifications, cadfd\n\
         transport_url = rabbit://u:p2@b/\n",
    ]);
    let conf = conf.unwrap();
    assert_eq!(conf.topics(), ["notifications", "cadfd"]);
    assert_eq!(conf.drivers, ["log", "messagingv2"]);
    assert_eq!(*conf.transport_url(), TransportUrl::Is(Secret::new("rabbit://u:p2@b/")));
    assert!(!format!("{conf:?}").contains("p2"));
    let bad = KeystoneConf::read(["[a]\n", "[b\n"]).unwrap_err();
    assert_eq!((bad.0, bad.1.line), (1, 1));
}

#[test]
fn urls_that_cannot_be_known_are_said_to_be_so() {
    let url = |text: &str| KeystoneConf::read([text]).unwrap().transport_url;
    assert_eq!(url("[DEFAULT]\n"), TransportUrl::Default);
    assert_eq!(url("[DEFAULT]\ntransport_url = rabbit://u:$secret@h/\n"), TransportUrl::Unknown);
    assert_eq!(
        url("[DEFAULT]\nh = x\ntransport_url = rabbit://u:p$$@$h/\n"),
        TransportUrl::Is(Secret::new("rabbit://u:p$@x/"))
    );
}

#[test]
fn older_names_are_understood() {
    let text = "[DEFAULT]\nnotification_driver = messagingv2\nnotification_topics = cadfd\nnotification_opt_out =\n";
    assert!(findings(text).iter().all(|row| row.verdict == Verdict::Ok));
}
