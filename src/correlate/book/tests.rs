//! Many rules and keys at once, restarts, reloads and bounds.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use jiff::Timestamp;

use super::super::of::{AT_ONCE, HELD, KEYS};
use super::*;
use crate::rule::{Absent, Correlation, Globs, Group, Rule, Threshold};
use crate::template::Formula;

const SECOND: i64 = 1_000_000;

fn rule(name: &str, correlation: Correlation) -> Rule {
    Rule {
        name: name.into(),
        event_type: Globs::new(&[]).unwrap(),
        outcome: None,
        when: None,
        is_final: false,
        enabled: true,
        correlation: Some(correlation),
        actions: Vec::new(),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn by() -> Formula {
    Formula::compile("initiator.id").unwrap()
}

fn threshold(name: &str, count: usize) -> Rule {
    let (within, quiet) = (seconds(60), seconds(60));
    rule(name, Correlation::Threshold(Threshold { count, within, by: Some(by()), distinct: None, quiet, max: 2 }))
}

fn group(name: &str, max: usize) -> Rule {
    rule(name, Correlation::Group(Group { by: Some(by()), wait: seconds(10), longest: seconds(25), max }))
}

fn absent(name: &str) -> Rule {
    rule(name, Correlation::Absent(Absent { after: seconds(30) }))
}

fn table(rules: Vec<Rule>) -> RuleTable {
    RuleTable::new(rules)
}

fn row(n: i64, rule: &str, key: &str, at: i64) -> Matched {
    Matched {
        n,
        rule: rule.into(),
        key: key.into(),
        value: None,
        at: Timestamp::from_microsecond(at * SECOND).unwrap(),
        message_id: format!("m{n}"),
        event_type: "x.y".into(),
        bytes: 1000,
    }
}

/// What a store would have after some changes: the states, and the rows that are held.
#[derive(Default)]
struct Disk {
    states: BTreeMap<(String, String), String>,
    held: BTreeSet<i64>,
}

impl Disk {
    fn keep(&mut self, changes: Changes) -> Vec<Fired> {
        self.held.extend(changes.step.held);
        self.held.retain(|n| !changes.step.released.contains(n));
        for Correlated { rule, key, state } in changes.step.states {
            match state {
                Some(state) => drop(self.states.insert((rule, key), state)),
                None => drop(self.states.remove(&(rule, key))),
            }
        }
        changes.fired
    }

    fn states(&self) -> Vec<Correlated> {
        let of = |((rule, key), state): (&(String, String), &String)| Correlated {
            rule: rule.clone(),
            key: key.clone(),
            state: Some(state.clone()),
        };
        self.states.iter().map(of).collect()
    }
}

#[test]
fn keys_count_for_themselves_and_a_restart_changes_nothing() {
    let rules = table(vec![threshold("t", 3), group("g", 2), absent("a")]);
    let rows = [
        row(1, "t", "x", 0),
        row(2, "g", "x", 0),
        row(3, "t", "y", 1),
        row(4, "t", "x", 2),
        row(5, "g", "x", 2),
        row(6, "a", "", 2),
        row(7, "g", "x", 1),
        row(8, "gone", "x", 3),
        row(9, "t", "x", 3),
        row(10, "t", "x", 4),
    ];
    // With a restart after every so many rows, or none.
    for each in [1, 2, 3, 100] {
        let (mut disk, mut fired) = (Disk::default(), Vec::new());
        for part in rows.chunks(each) {
            let mut book = Book::new(&rules, 0);
            book.load(disk.states(), 0);
            for row in part {
                book.take(row, 4 * SECOND);
            }
            fired.extend(disk.keep(book.changes()));
        }
        assert_eq!(fired.len(), 1, "each {each}");
        assert_eq!((fired[0].rule.as_str(), fired[0].key.as_str(), fired[0].count), ("t", "x", 3));
        assert_eq!((fired[0].of, fired[0].shown.as_slice()), (Some(9), [4, 9].as_slice()));
        assert_eq!((fired[0].since, fired[0].until), (0, 3 * SECOND));
        assert_eq!(disk.held, BTreeSet::from([2, 3, 5]), "what is needed still");
        let mut book = Book::new(&rules, 4 * SECOND);
        book.load(disk.states(), 4 * SECOND);
        book.sweep(100 * SECOND);
        let fired = disk.keep(book.changes());
        let told: Vec<_> = fired.iter().map(|it| (it.cause, it.count, it.of, it.shown.clone())).collect();
        assert_eq!(told, [("absent", 0, None, Vec::new()), ("group", 3, Some(2), vec![2, 5])]);
        assert_eq!(disk.held, BTreeSet::from([3]));
    }
}

#[test]
fn what_is_due_is_known_beforehand() {
    let mut book = Book::new(&table(vec![group("g", 5), absent("a")]), 0);
    book.sweep(0);
    assert_eq!(book.due(), Some(30 * SECOND));
    book.take(&row(1, "g", "x", 0), SECOND);
    assert_eq!(book.due(), Some(11 * SECOND));
    book.take(&row(2, "g", "x", 0), 10 * SECOND);
    book.sweep(11 * SECOND);
    assert!(book.changes().fired.is_empty());
    assert_eq!(book.due(), Some(20 * SECOND));
    book.sweep(20 * SECOND);
    assert_eq!(book.changes().fired[0].count, 2);
    assert_eq!(book.due(), Some(30 * SECOND));
    book.sweep(30 * SECOND);
    book.take(&row(3, "a", "", 0), 40 * SECOND);
    let fired = book.changes().fired;
    assert_eq!(
        fired.iter().map(|it| (it.cause, it.since, it.until)).collect::<Vec<_>>(),
        [("absent", 0, 30 * SECOND), ("back", 0, 40 * SECOND),]
    );
    assert_eq!(fired[1].came, Some(("m3".to_owned(), "x.y".to_owned())));
}

#[test]
fn a_silence_that_was_told_is_not_told_again_after_a_restart() {
    let rules = table(vec![absent("a")]);
    let mut disk = Disk::default();
    let mut book = Book::new(&rules, 0);
    book.sweep(31 * SECOND);
    assert_eq!(disk.keep(book.changes()).len(), 1);
    let mut book = Book::new(&rules, 50 * SECOND);
    book.load(disk.states(), 50 * SECOND);
    book.listen_anew(50 * SECOND);
    book.sweep(100 * SECOND);
    assert!(disk.keep(book.changes()).is_empty());
    book.take(&row(1, "a", "", 0), 101 * SECOND);
    let fired = disk.keep(book.changes());
    assert_eq!((fired.len(), fired[0].cause, fired[0].since), (1, "back", 0));
    assert!(disk.states.is_empty());
}

#[test]
fn other_rules_close_the_groups_of_those_that_go_and_keep_what_stays() {
    let (mut disk, mut book) = (Disk::default(), Book::new(&table(vec![threshold("t", 3), group("g", 5)]), 0));
    book.take(&row(1, "t", "x", 0), 0);
    book.take(&row(2, "g", "x", 0), 0);
    assert!(disk.keep(book.changes()).is_empty());
    book.set_rules(&table(vec![threshold("t", 2), threshold("g", 5)]), SECOND);
    let fired = disk.keep(book.changes());
    assert_eq!((fired.len(), fired[0].cause, fired[0].of), (1, "group", Some(2)));
    assert_eq!((disk.held.clone(), disk.states.len()), (BTreeSet::from([1]), 1));
    book.take(&row(3, "t", "x", 1), SECOND);
    assert_eq!(disk.keep(book.changes())[0].count, 2, "the new count");
    let mut gone = threshold("t", 2);
    gone.enabled = false;
    book.set_rules(&table(vec![gone]), SECOND);
    disk.keep(book.changes());
    assert_eq!((disk.held.len(), disk.states.len()), (0, 0));
}

#[test]
fn what_was_open_when_its_rule_went_while_nothing_ran_is_counted_as_lost() {
    let (mut disk, mut book) = (Disk::default(), Book::new(&table(vec![threshold("t", 3), group("g", 5)]), 0));
    book.take(&row(1, "t", "x", 0), 0);
    book.take(&row(2, "g", "x", 0), 0);
    disk.keep(book.changes());
    let mut book = Book::new(&table(vec![absent("g")]), 0);
    book.load(disk.states(), 0);
    let changes = book.changes();
    assert_eq!(changes.lost, 1);
    assert!(disk.keep(changes).is_empty() && disk.held.is_empty() && disk.states.is_empty());
}

#[test]
fn what_was_to_be_counted_for_a_rule_that_is_gone_is_told() {
    let mut book = Book::new(&table(vec![threshold("t", 3)]), 0);
    book.take(&row(1, "gone", "x", 0), 0);
    book.take(&row(2, "t", "x", 0), 0);
    // Only that something came, for a rule with `absent`.
    book.take(&Matched { bytes: 0, ..row(3, "gone too", "", 0) }, 0);
    let changes = book.changes();
    assert_eq!((changes.lost_events, changes.step.released, changes.step.held), (1, vec![1, 3], vec![2]));
}

#[test]
fn rows_that_no_state_refers_to_are_let_go() {
    let rules = table(vec![threshold("t", 3), group("g", 5)]);
    let (mut disk, mut book) = (Disk::default(), Book::new(&rules, 0));
    for (n, rule, key) in [(1, "t", "x"), (2, "g", "x"), (3, "t", "y"), (4, "g", "y")] {
        book.take(&row(n, rule, key, 0), 0);
    }
    disk.keep(book.changes());
    for rule in ["t", "g"] {
        disk.states.insert((rule.to_owned(), "y".to_owned()), "{".to_owned());
    }
    let mut book = Book::new(&rules, 0);
    book.load(disk.states(), 0);
    book.let_go_of_others(&[1, 2, 3, 4]);
    let changes = book.changes();
    assert_eq!(changes.lost_events, 2);
    disk.keep(changes);
    assert_eq!((disk.held.clone(), disk.states.len()), (BTreeSet::from([1, 2]), 2));
}

#[test]
fn the_keys_of_a_rule_are_bounded() {
    let rules = table(vec![threshold("t", 3), group("g", 5)]);
    let (mut disk, mut book) = (Disk::default(), Book::new(&rules, 0));
    let most = i64::try_from(KEYS).unwrap();
    for n in 0..=most {
        book.take(&row(n, "t", &n.to_string(), 0), 0);
        book.take(&row(most + 1 + n, "g", &n.to_string(), 0), 0);
    }
    let changes = book.changes();
    assert_eq!(changes.full.iter().collect::<Vec<_>>(), ["g", "t"]);
    let fired = disk.keep(changes);
    assert_eq!((fired.len(), fired[0].rule.as_str(), fired[0].key.as_str()), (1, "g", "0"), "closed early");
    assert_eq!((disk.states.len(), disk.held.len()), (2 * KEYS, 2 * KEYS));
    // The oldest windows are over: that is nothing to be said.
    book.take(&row(-1, "t", "new", 100), 100 * SECOND);
    assert!(book.changes().full.is_empty());
}

#[test]
fn a_key_that_is_quiet_stays_as_long_as_another_can_go() {
    let mut book = Book::new(&table(vec![threshold("t", 2)]), 0);
    let most = i64::try_from(KEYS).unwrap();
    // Quiet until 160, and the oldest.
    for n in 0..2 {
        book.take(&row(n, "t", "loud", 100), 100 * SECOND);
    }
    for n in 2..=most {
        book.take(&row(n, "t", &n.to_string(), if n == 50 { 0 } else { 130 }), 130 * SECOND);
    }
    assert_eq!(book.changes().fired.len(), 1);
    book.take(&row(most + 1, "t", "new", 131), 131 * SECOND);
    assert!(book.changes().full.is_empty(), "the one that was over went");
    for n in 2..4 {
        book.take(&row(most + n, "t", "loud", 132), 132 * SECOND);
    }
    assert!(book.changes().fired.is_empty(), "it is quiet still");
    // All matter now, and the oldest goes, which is said.
    book.take(&row(most + 4, "t", "one more", 133), 133 * SECOND);
    assert_eq!(book.changes().full.len(), 1);
}

#[test]
fn the_groups_of_a_rule_that_goes_are_closed_in_pieces() {
    let (mut disk, mut book) = (Disk::default(), Book::new(&table(vec![group("g", 5)]), 0));
    let count = 2 * AT_ONCE + 1;
    for n in 0..count {
        book.take(&row(i64::try_from(n).unwrap(), "g", &n.to_string(), 0), 0);
    }
    disk.keep(book.changes());
    book.set_rules(&table(vec![threshold("t", 2)]), SECOND);
    let mut pieces = vec![disk.keep(book.changes()).len()];
    // What is not closed yet is on disk still.
    assert_eq!((disk.states.len(), disk.held.len()), (count - AT_ONCE, count - AT_ONCE));
    while book.close_leaving() {
        pieces.push(disk.keep(book.changes()).len());
    }
    assert_eq!(pieces, [AT_ONCE, AT_ONCE, 1]);
    assert!(disk.states.is_empty() && disk.held.is_empty());
}

#[test]
fn the_bytes_that_a_rule_holds_are_bounded() {
    let mut book = Book::new(&table(vec![group("g", 1000)]), 0);
    let large = |n: i64, key: &str| Matched { bytes: HELD / 4, ..row(n, "g", key, 0) };
    let mut fired = Vec::new();
    for (n, key) in (0..).zip(["a", "b", "b", "b", "b", "c", "c"]) {
        book.take(&large(n, key), 0);
        fired.extend(book.changes().fired.into_iter().map(|it| (it.key, it.shown.len())));
    }
    assert_eq!(fired, [("a".to_owned(), 1), ("b".to_owned(), 1)], "and no more is shown than fits");
}

#[test]
fn windows_that_are_over_are_dropped_though_nothing_comes() {
    let (mut disk, mut book) = (Disk::default(), Book::new(&table(vec![threshold("t", 3)]), 0));
    book.take(&row(1, "t", "x", 0), 0);
    disk.keep(book.changes());
    for minute in 1..=62 {
        book.sweep(minute * 60 * SECOND);
    }
    disk.keep(book.changes());
    assert_eq!((disk.states.len(), disk.held.len(), book.due()), (0, 0, None));
}

/// What comes of rows that come a second apart, and what is on disk in the end; with a restart after each of these.
fn run(rows: &[(u8, u8, i64)], restarts: &[usize]) -> (Vec<Fired>, Disk) {
    let rules = table(vec![threshold("t", 3), group("g", 2), absent("a")]);
    let (mut disk, mut fired, mut book) = (Disk::default(), Vec::new(), Book::new(&rules, 0));
    for (place, (rule, key, at)) in rows.iter().enumerate() {
        let n = i64::try_from(place).unwrap();
        let (rule, key) =
            [("t", key.to_string()), ("g", key.to_string()), ("a", String::new())][usize::from(*rule)].clone();
        // Nothing comes for so long that a restart could begin a silence anew.
        let now = n * SECOND;
        book.take(&row(n, rule, &key, *at), now);
        book.sweep(now);
        fired.extend(disk.keep(book.changes()));
        if restarts.contains(&place) {
            book = Book::new(&rules, now);
            book.load(disk.states(), now);
        }
    }
    book.sweep(1000 * SECOND);
    fired.extend(disk.keep(book.changes()));
    (fired, disk)
}

proptest::proptest! {
    #[test]
    fn restarts_change_nothing(
        rows in proptest::collection::vec((0_u8..3, 0_u8..4, 0_i64..100), 1..29),
        restarts in proptest::collection::vec(0_usize..29, 0..6),
    ) {
        let (fired, disk) = run(&rows, &[]);
        let (again, disk_again) = run(&rows, &restarts);
        let told = |fired: &[Fired]| fired.iter().filter(|it| it.cause != "absent").cloned().collect::<Vec<_>>();
        proptest::prop_assert_eq!(told(&fired), told(&again));
        proptest::prop_assert_eq!(&disk.held, &disk_again.held);
        // Each event of a group is in one of them.
        let grouped = rows.iter().filter(|(rule, ..)| *rule == 1).count() as u64;
        let counted: u64 = fired.iter().filter(|it| it.cause == "group").map(|it| it.count).sum();
        proptest::prop_assert_eq!(grouped, counted);
        // What is held is in a window that is not complete.
        proptest::prop_assert!(disk.held.iter().all(|n| rows[usize::try_from(*n).unwrap()].0 == 0));
    }
}
