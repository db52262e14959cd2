//! What is kept of a firing, and counted.
#![expect(clippy::unwrap_used, reason = "tests")]

use tempfile::TempDir;

use super::book::Fired;
use super::*;
use crate::rule::{Absent, Act, Correlation, Globs, LogAct, Rule, Step};
use crate::store::Bounds;
use crate::template::{Condition, Place, Template};

fn log(text: &str) -> Step {
    Step::from(Act::Log(LogAct::Template(Template::compile(text, Place::Text).unwrap())))
}

fn correlator(dir: &TempDir, actions: Vec<Step>) -> Correlator {
    let rule = Rule {
        name: "r".into(),
        event_type: Globs::new(&[]).unwrap(),
        outcome: None,
        when: None,
        is_final: false,
        enabled: true,
        correlation: Some(Correlation::Absent(Absent { after: Duration::from_secs(30) })),
        actions,
    };
    let store = Arc::new(Store::open(dir.path(), Bounds::default()).unwrap());
    Correlator::new(store, Arc::new(RuleTable::new(vec![rule])), false, Arc::default())
}

fn fired(cause: &'static str) -> Changes {
    let fired = Fired { rule: "r".into(), cause, of: Some(1), shown: vec![1], ..Fired::default() };
    Changes { fired: vec![fired], ..Changes::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_firing_whose_events_cannot_be_read_is_told_in_the_trail() {
    let dir = tempfile::tempdir().unwrap();
    let mut correlator = correlator(&dir, vec![log("x")]);
    correlator.keep(fired("threshold")).await.unwrap();
    correlator.keep(Changes { lost_events: 3, ..Changes::default() }).await.unwrap();
    let chunks = correlator.store.reader().unwrap().after(0).unwrap();
    let text: String = chunks.iter().map(|chunk| std::str::from_utf8(&chunk.lines).unwrap()).collect();
    let [unread, lost]: [serde_json::Value; 2] =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((&unread["type"], &unread["what"], &unread["count"]), (&"dropped".into(), &"firings".into(), &1.into()));
    assert_eq!((&lost["what"], &lost["count"]), (&"counted_events".into(), &3.into()));
    assert!(correlator.shown.counts().fired.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_cannot_be_evaluated_in_a_firing_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let when = Step { when: Some(Condition::compile("payload + 1").unwrap()), ..log("x") };
    let mut correlator = correlator(&dir, vec![log("{{ payload + 1 }}"), when, log("x")]);
    correlator.keep(fired("absent")).await.unwrap();
    let counts = correlator.shown.counts();
    assert_eq!((counts.planned["r"]["log"], counts.failed["r"]), (3, 2));
    correlator.forget_counts(&RuleTable::new(Vec::new()));
    assert!(correlator.shown.counts().failed.is_empty());
}
