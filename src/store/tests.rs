//! The store's promises, on a real file.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use tempfile::TempDir;

use super::*;
use crate::chain::Hash;
use crate::name::{Before, How, Kind, Thing};

const HOUR: Duration = Duration::from_hours(1);

fn entry(id: &str, destinations: &[&str]) -> Entry {
    let delivery = |(at, destination): (usize, &&str)| NewDelivery {
        id: format!("{id}-{at}"),
        destination: (*destination).to_owned(),
        rule: "r".into(),
        message_id: id.into(),
        event_type: "identity.user.deleted".into(),
        request: Ok(r#"{"slack":{"text":"hi"}}"#.into()),
        sent: None,
        steps: None,
    };
    Entry {
        key: Key::Message(MessageKey::of(id)),
        record: br#""type":"event"}"#.to_vec(),
        log: Some(format!("{id}\n")),
        deliveries: destinations.iter().enumerate().map(delivery).collect(),
        unreadable: None,
        names: Vec::new(),
        counted: Vec::new(),
    }
}

fn open(dir: &TempDir, bounds: Bounds) -> Store {
    Store::open(dir.path(), bounds).unwrap()
}

fn lines(store: &Store) -> Vec<String> {
    let chunks = store.reader().unwrap().stored(0).unwrap();
    chunks
        .iter()
        .flat_map(|chunk| std::str::from_utf8(&chunk.lines).unwrap().split_inclusive('\n'))
        .map(str::to_owned)
        .collect()
}

fn due(store: &Store, destination: &str) -> Vec<Delivery> {
    store.due(destination, Timestamp::now(), HOUR, 100, &HashSet::new()).unwrap().0
}

#[tokio::test]
async fn a_message_is_kept_once_and_numbered_without_gaps_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let session = Session::default();
    let kept = store.put(&session, vec![entry("a", &["slack.ops"]), entry("b", &[])]).await.unwrap();
    assert_eq!(kept, Kept { new: 2, repeats: vec![] });
    let kept = store.put(&session, vec![entry("b", &["slack.ops"]), entry("c", &[])]).await.unwrap();
    assert_eq!(kept, Kept { new: 1, repeats: vec![0] });
    store.close();
    drop(store);
    let store = open(&dir, Bounds::default());
    assert_eq!(store.put(&session, vec![entry("a", &[]), entry("d", &[])]).await.unwrap().repeats, [0]);
    let mut prev = Hash::START;
    let wanted = (1..=4).map(|seq| {
        let line = format!("{{\"seq\":{seq},\"prev\":\"{prev}\",\"type\":\"event\"}}\n");
        prev = Hash::of(line.as_bytes());
        line
    });
    assert_eq!(lines(&store), wanted.collect::<Vec<_>>());
    assert_eq!(due(&store, "slack.ops").len(), 1);
}

#[tokio::test]
async fn followers_know_of_a_record_before_whoever_asked_for_it_can_end_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let mut reader = store.reader().unwrap();
    store.finish_readers();
    for number in 0..200 {
        store.note(br#""type":"stop"}"#.to_vec()).await.unwrap();
        assert!(reader.wait(Duration::ZERO), "record {number} would stay unwritten");
    }
}

#[tokio::test]
async fn a_follower_reads_the_same_from_memory_and_from_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let long = "x".repeat(1 << 20);
    for number in 0..20 {
        let record = format!("\"type\":\"{}\"}}", if number % 3 == 0 { &long } else { "event" });
        store.note(record.into_bytes()).await.unwrap();
    }
    let reader = store.reader().unwrap();
    for seq in [0, 5, 15, 17, 19, 20] {
        let (any, stored) = (reader.after(seq).unwrap(), reader.stored(seq).unwrap());
        let common = any.len().min(stored.len());
        assert!(common > 0 || seq == 20, "after {seq}");
        assert_eq!(any[..common], stored[..common], "after {seq}");
        assert_eq!(any.first().map(|chunk| chunk.first), (seq < 20).then_some(seq + 1));
    }
}

#[tokio::test]
async fn records_go_only_when_both_followers_have_written_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    for id in ["a", "b"] {
        store.put(&Session::default(), vec![entry(id, &[])]).await.unwrap();
    }
    store.written(Follower::File { dev: 1, ino: u64::MAX }, 2);
    store.note(br#""type":"stop"}"#.to_vec()).await.unwrap();
    assert_eq!(lines(&store).len(), 3);
    store.written(Follower::Log, 1);
    store.note(br#""type":"stop"}"#.to_vec()).await.unwrap();
    assert_eq!(lines(&store).len(), 3, "b's line is not on standard output yet");
    store.close();
    let position = Position { checkpoint_seq: 0, file_seq: 2, file: Some((1, u64::MAX)), log_seq: 1, next_seq: 5 };
    drop(store);
    assert_eq!(open(&dir, Bounds::default()).position(), position);
}

#[tokio::test]
async fn settling_moves_a_delivery_and_leaves_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    store.put(&Session::default(), vec![entry("a", &["x"]), entry("b", &["x"]), entry("c", &["x"])]).await.unwrap();
    let [a, b, c] = due(&store, "x").try_into().unwrap();
    store
        .settle(Settlement { n: a.n, end: End::Done { record: b"\"done\":1}".to_vec(), next: Next::default() } })
        .await
        .unwrap();
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let end = End::Later { due: later, attempts: 1, reason: Some("refused".into()), progress: Some("{}".into()) };
    store.settle(Settlement { n: b.n, end }).await.unwrap();
    let end = End::GivenUp {
        reason: "404".into(),
        reply: None,
        record: b"\"given_up\":1}".to_vec(),
        next: Next::default(),
        tried: true,
    };
    store.settle(Settlement { n: c.n, end }).await.unwrap();
    let (now, next) = store.due("x", Timestamp::now(), 2 * HOUR, 100, &HashSet::new()).unwrap();
    assert_eq!((now.len(), next.map(Timestamp::as_millisecond)), (0, Some(later.as_millisecond())));
    assert_eq!(lines(&store).len(), 5);
    let set_back =
        store.due("x", Timestamp::now() - 2 * jiff::SignedDuration::from_hours(1), HOUR, 100, &HashSet::new());
    assert_eq!(set_back.unwrap().0.len(), 1, "a clock set back does not hold it up");
    store.bring_forward(vec![b.n, c.n]).await.unwrap();
    let [again] = due(&store, "x").try_into().unwrap();
    assert_eq!((again.n, again.attempts, again.progress.as_deref()), (b.n, 1, Some("{}")));
    let skip = HashSet::from([b.n]);
    assert_eq!(store.due("x", Timestamp::now(), HOUR, 100, &skip).unwrap().0.len(), 0);
}

#[tokio::test]
async fn a_full_outbox_gives_up_the_oldest_of_the_fullest_destination() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds { max_rows: 3, max_given_up: 1, ..Bounds::default() });
    let session = Session::default();
    store.put(&session, vec![entry("a", &["quiet"])]).await.unwrap();
    for id in ["b", "c", "d", "e"] {
        store.put(&session, vec![entry(id, &["down"])]).await.unwrap();
    }
    assert_eq!(due(&store, "quiet").len(), 1);
    let waiting: Vec<_> = due(&store, "down").into_iter().map(|d| d.message_id).collect();
    assert_eq!(waiting, ["d", "e"]);
    let all = lines(&store).concat();
    assert_eq!(all.matches("the outbox is full").count(), 2, "{all}");
    assert_eq!(all.matches(r#""what":"given_up_deliveries","count":1"#).count(), 1, "{all}");
}

#[tokio::test]
async fn a_full_outbox_gives_up_last_what_something_follows_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds { max_rows: 3, ..Bounds::default() });
    let mut first = entry("a", &["x", "x", "x", "x", "x"]);
    for delivery in &mut first.deliveries[..3] {
        delivery.steps = Some(r#"{"otherwise":{"fetched":null}}"#.into());
    }
    store.put(&Session::default(), vec![first]).await.unwrap();
    let waiting: Vec<_> = due(&store, "x").into_iter().map(|delivery| delivery.id).collect();
    assert_eq!(waiting, ["a-0", "a-1", "a-2"]);
    store.put(&Session::default(), vec![entry("b", &["x"])]).await.unwrap();
    let waiting: Vec<_> = due(&store, "x").into_iter().map(|delivery| delivery.id).collect();
    assert_eq!(waiting, ["a-0", "a-1", "a-2"], "the newest, where it is the only one");
    let mut last = entry("c", &["x"]);
    last.deliveries[0].steps = Some(r#"{"otherwise":{"fetched":null}}"#.into());
    store.put(&Session::default(), vec![last]).await.unwrap();
    let waiting: Vec<_> = due(&store, "x").into_iter().map(|delivery| delivery.id).collect();
    assert_eq!(waiting, ["a-1", "a-2", "c-0"], "where there are no others, the oldest of them");
}

#[tokio::test]
async fn a_failed_template_is_given_up_from_the_start_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let mut bad = entry("a", &["x"]);
    bad.deliveries[0].request = Err("undefined value".into());
    store.put(&Session::default(), vec![bad]).await.unwrap();
    assert_eq!(due(&store, "x").len(), 0);
    assert!(lines(&store)[1].contains(r#""outcome":"given_up","attempts":0,"reason":"undefined value""#));
    let outbox = Outbox::open(dir.path()).unwrap();
    assert_eq!(outbox.list(&Selection::default()).unwrap()[0].state, State::GivenUp);
    assert_eq!(outbox.retry(&Selection::default(), Timestamp::now()).unwrap(), 0, "it has no request to send");
}

#[tokio::test]
async fn the_command_line_retries_and_discards_beside_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let waker = store.waker("x");
    store.put(&Session::default(), vec![entry("aa", &["x"]), entry("ab", &["x"])]).await.unwrap();
    waker.notified().await;
    let [first, _] = due(&store, "x").try_into().unwrap();
    let end = End::GivenUp {
        reason: "404".into(),
        reply: None,
        record: b"\"given_up\":1}".to_vec(),
        next: Next::default(),
        tried: true,
    };
    store.settle(Settlement { n: first.n, end }).await.unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let given_up = Selection { state: Some(State::GivenUp), ..Selection::default() };
    assert_eq!(outbox.retry(&given_up, Timestamp::now()).unwrap(), 1);
    waker.notified().await;
    assert_eq!(due(&store, "x").len(), 2);
    let one = Selection { ids: vec!["ab".into(), "ab-0".into()], ..Selection::default() };
    assert_eq!(outbox.list(&one).unwrap().len(), 1);
    assert_eq!(outbox.discard(&one).unwrap(), 1);
    let mut reader = store.reader().unwrap();
    while !lines(&store).concat().contains("discarded by hand") {
        reader.wait(Duration::from_secs(5));
    }
    assert_eq!(due(&store, "x").len(), 1);
}

#[tokio::test]
async fn undecodable_messages_are_told_apart_by_the_brokers_word() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds { quarantine_max_bytes: 600, ..Bounds::default() });
    let bad = |redelivered| Entry {
        key: Key::Unreadable { digest: "d".into(), redelivered },
        unreadable: Some(Unreadable {
            digest: "d".into(),
            queue: "cadfd.info".into(),
            exchange: "keystone".into(),
            routing_key: "cadfd.info".into(),
            reason: "empty".into(),
            size: 4,
            body: b"{\xff}".to_vec(),
        }),
        ..entry("", &[])
    };
    let session = Session::default();
    assert_eq!(store.put(&session, vec![bad(false), bad(true)]).await.unwrap(), Kept { new: 1, repeats: vec![1] });
    let outbox = Outbox::open(dir.path()).unwrap();
    assert_eq!(outbox.quarantine().unwrap()[0].body, b"{\xff}");
    store.put(&session, vec![bad(false), bad(false)]).await.unwrap();
    assert_eq!(outbox.quarantine().unwrap().len(), 2, "the oldest went, to stay within the bound");
    assert!(lines(&store).concat().contains(r#""what":"quarantined_messages","count":1"#));
    // Empty ones take room as well; and what the command line discards makes room.
    assert_eq!(store.figures().quarantine, (2, 2 * 259));
    outbox.discard_quarantine(&[]).unwrap();
    store.put(&session, vec![bad(false)]).await.unwrap();
    assert_eq!(store.figures().quarantine, (1, 259));
}

#[tokio::test]
async fn a_session_whose_batch_failed_is_refused_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds { backlog_max_bytes: 1, ..Bounds::default() });
    let session = Session::default();
    store.put(&session, vec![entry("a", &[])]).await.unwrap();
    assert!(matches!(store.put(&session, vec![entry("b", &[])]).await, Err(StoreError::Backlog)));
    store.set_bounds(Bounds::default());
    assert_eq!(store.put(&session, vec![entry("c", &[])]).await, Err(StoreError::Session));
    store.put(&Session::default(), vec![entry("b", &[]), entry("c", &[])]).await.unwrap();
}

#[tokio::test]
async fn ids_are_forgotten_after_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds { remember: Duration::ZERO, ..Bounds::default() });
    let session = Session::default();
    store.put(&session, vec![entry("a", &[])]).await.unwrap();
    while Timestamp::now().as_millisecond() == store_time(&dir) {
        tokio::task::yield_now().await;
    }
    store.put(&session, vec![entry("b", &[])]).await.unwrap();
    assert_eq!(store.put(&session, vec![entry("a", &[])]).await.unwrap().repeats, [0; 0]);
}

fn store_time(dir: &TempDir) -> i64 {
    let connection = schema::open_beside(dir.path()).unwrap();
    connection.query_row("SELECT max(until) FROM seen", [], |row| row.get(0)).unwrap()
}

fn known(id: &str, name: Option<&str>) -> Known {
    let thing = Thing {
        kind: Kind::User,
        id: id.into(),
        name: name.map(str::to_owned),
        domain_id: Some("default".into()),
        enabled: Some(false),
        members: Some(vec!["a".into(), "b".into()]),
    };
    let at = Timestamp::from_millisecond(1_795_244_603_274).unwrap();
    let before = (id == "2").then(|| {
        Box::new(Before { name: Some("x".into()), enabled: None, members: Some(vec![]), since: at, until: at })
    });
    Known { thing, how: How::Lookup, at, deleted: None, before }
}

#[tokio::test]
async fn names_are_kept_with_the_events_that_taught_them_and_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let bob = Known { deleted: Some(Timestamp::from_second(1_795_244_700).unwrap()), ..known("1", Some("bob")) };
    let taught = Entry { names: vec![known("1", Some("rob")), bob.clone()], ..entry("one", &[]) };
    store.put(&Session::default(), vec![taught]).await.unwrap();
    store.learn(vec![known("2", None)]).await.unwrap();
    assert_eq!(store.names().unwrap(), [bob.clone(), known("2", None)]);
    store.close();
    drop(store);
    let store = open(&dir, Bounds::default());
    store.forget_names(Timestamp::from_second(1_795_244_700).unwrap()).await.unwrap();
    assert_eq!(store.names().unwrap().len(), 2);
    store.forget_names(Timestamp::from_second(1_795_244_701).unwrap()).await.unwrap();
    assert_eq!(store.names().unwrap(), [known("2", None)]);
    store.close();
}

#[tokio::test]
async fn names_that_the_command_line_imports_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let mut changed = store.names_changed();
    let mut table = NameTable::open(dir.path()).unwrap();
    assert_eq!(table.import(|all| [all, vec![known("1", Some("bob"))]].concat()), Ok(1));
    changed.changed().await.unwrap();
    assert_eq!(store.names().unwrap(), table.all().unwrap());
    assert_eq!(table.get(Kind::User, "1").unwrap(), Some(known("1", Some("bob"))));
    assert_eq!(table.get(Kind::Group, "1").unwrap(), None);
    store.close();
}

#[tokio::test]
async fn many_names_need_no_folder_for_temporary_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let names = (0..20_000).map(|n| known(&format!("{n:032}"), Some("somebody with a name of some length")));
    store.learn(names.collect()).await.unwrap();
    assert_eq!(store.names().unwrap().len(), 20_000);
    let memory: i64 = store.reads.lock().unwrap().query_row("PRAGMA temp_store", [], |row| row.get(0)).unwrap();
    assert_eq!(memory, 2, "a container has none");
    store.close();
}

fn handed(purpose: Purpose, id: &str, destinations: &[&str]) -> Handed {
    let Entry { record, deliveries, .. } = entry(id, destinations);
    Handed { purpose, key: MessageKey::of(id), record, deliveries }
}

/// Until the store's thread has taken everything over; it looks twice a second.
async fn taken(store: &HandOver) {
    while store.waiting().unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_handed_over_stands_in_the_trail_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    store.put(&Session::default(), vec![entry("known", &[])]).await.unwrap();
    let mut beside = HandOver::open(dir.path()).unwrap();
    let import = |id: &str| handed(Purpose::Import, id, &[]);
    let replay = |id: &str| handed(Purpose::Replay, id, &["slack.ops"]);
    assert!(beside.put(&[import("known"), import("new"), import("new"), replay("again"), replay("again")]).unwrap());
    taken(&beside).await;
    assert_eq!(lines(&store).len(), 3);
    assert!(
        beside.is_replayed(MessageKey::of("again")).unwrap() && !beside.is_replayed(MessageKey::of("new")).unwrap()
    );
    // Handed over once more, and received after all.
    assert!(beside.put(&[import("new"), replay("again")]).unwrap());
    taken(&beside).await;
    assert_eq!(store.put(&Session::default(), vec![entry("new", &["slack.ops"])]).await.unwrap().repeats, [0]);
    assert_eq!(lines(&store).len(), 3);
    let due = due(&store, "slack.ops");
    assert_eq!((due.len(), due[0].id.as_str(), due[0].seq), (1, "again-0", 3));
    assert_eq!(beside.fate("again-0").unwrap(), Fate::Waiting);
    assert_eq!(beside.fate("new-0").unwrap(), Fate::Done);
}

#[tokio::test]
async fn however_much_is_handed_over_it_keeps_its_order_and_one_bad_row_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, Bounds::default()));
    let mut beside = HandOver::open(dir.path()).unwrap();
    let all: Vec<_> = (0..1200)
        .map(|n| Handed {
            record: format!("\"type\":\"event\",\"n\":{n}}}").into_bytes(),
            ..handed(Purpose::Import, &format!("m{n}"), &[])
        })
        .collect();
    assert!(beside.put(&all).unwrap());
    let connection = schema::open_beside(dir.path()).unwrap();
    connection.execute("UPDATE handed SET deliveries = 'x' WHERE n = 7", []).unwrap();
    let store = open(&dir, Bounds::default());
    taken(&beside).await;
    let numbers: Vec<u64> = lines(&store)
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..1200).filter(|n| *n != 6).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_handed_over_waits_while_the_trail_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { backlog_max_bytes: 50, ..Bounds::default() };
    let store = open(&dir, bounds);
    store.put(&Session::default(), vec![entry("a", &[])]).await.unwrap();
    let mut beside = HandOver::open(dir.path()).unwrap();
    assert!(beside.put(&[handed(Purpose::Import, "b", &[])]).unwrap());
    // The thread has looked at it when it answers.
    store.answers().await;
    store.answers().await;
    assert_eq!((beside.waiting().unwrap(), lines(&store).len()), (1, 1));
    store.set_bounds(Bounds::default());
    taken(&beside).await;
    assert_eq!(lines(&store).len(), 2);
}

/// A delivery that follows another.
fn following(id: &str, destination: &str, request: Result<String, String>) -> NewDelivery {
    NewDelivery { id: id.into(), request, ..entry("a", &[destination]).deliveries.remove(0) }
}

#[tokio::test]
async fn what_follows_a_delivery_is_kept_with_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let mut first = entry("a", &["x"]);
    first.deliveries[0].steps = Some("{\"path\":\"0\"}".into());
    store.put(&Session::default(), vec![first]).await.unwrap();
    let [a] = due(&store, "x").try_into().unwrap();
    assert_eq!(a.steps.as_deref(), Some("{\"path\":\"0\"}"));
    let deliveries = vec![following("b", "y", Ok("{}".into())), following("c", "y", Err("why".into()))];
    let next = Next { event_seq: a.seq, deliveries, log: Some("a line\n".into()) };
    let record = b"\"done\":1}".to_vec();
    store.settle(Settlement { n: a.n, end: End::Done { record, next } }).await.unwrap();
    assert_eq!(due(&store, "x").len(), 0);
    let [b] = due(&store, "y").try_into().unwrap();
    assert_eq!((b.id.as_str(), b.seq, b.steps), ("b", a.seq, None));
    let lines = lines(&store);
    assert!(lines.len() == 3 && lines[2].contains("\"reason\":\"why\""), "{lines:?}");
    let logs: String = store.reader().unwrap().stored(0).unwrap().iter().map(|chunk| chunk.log.clone()).collect();
    assert_eq!(logs, "a\na line\n");
}

#[tokio::test]
async fn what_followed_though_it_was_given_up_does_not_follow_a_retry() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let mut first = entry("a", &["x", "x"]);
    first.deliveries.iter_mut().for_each(|delivery| delivery.steps = Some("{}".into()));
    store.put(&Session::default(), vec![first]).await.unwrap();
    let [a, b] = due(&store, "x").try_into().unwrap();
    for (n, deliveries) in [(a.n, vec![following("f", "y", Ok("{}".into()))]), (b.n, Vec::new())] {
        let next = Next { event_seq: a.seq, deliveries, log: None };
        let end =
            End::GivenUp { reason: "404".into(), reply: None, record: b"\"given_up\":1}".to_vec(), next, tried: true };
        store.settle(Settlement { n, end }).await.unwrap();
    }
    assert_eq!(due(&store, "y").len(), 1);
    let outbox = Outbox::open(dir.path()).unwrap();
    assert_eq!(outbox.retry(&Selection::default(), Timestamp::now()).unwrap(), 3);
    let [a, b] = due(&store, "x").try_into().unwrap();
    assert_eq!((a.steps, b.steps.as_deref()), (None, Some("{}")));
}

fn counting(id: &str, rule: &str, is_kept: bool) -> Entry {
    let new = NewMatch {
        rule: rule.to_owned(),
        key: "k".to_owned(),
        value: None,
        at: Timestamp::UNIX_EPOCH,
        message_id: id.to_owned(),
        event_type: "x.y".to_owned(),
        event: is_kept.then(|| id.as_bytes().to_vec()),
    };
    Entry { counted: vec![new], ..entry(id, &[]) }
}

#[tokio::test]
async fn what_events_count_for_is_kept_once_and_ends_with_what_comes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let session = Session::default();
    let batch = |ids: &[&str]| ids.iter().map(|id| counting(id, "g", true)).collect::<Vec<_>>();
    store.put(&session, batch(&["a", "b"])).await.unwrap();
    store.put(&session, batch(&["b", "c"])).await.unwrap();
    // Of those that are only to be known of, the last of a batch.
    let silent = ["d", "e"].map(|id| counting(id, "s", false));
    store.put(&session, silent.into()).await.unwrap();
    let rows = store.uncounted(10).unwrap();
    assert_eq!(rows.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "e"]);
    assert_eq!(store.uncounted(2).unwrap().len(), 2);
    let state =
        |state: Option<&str>| vec![Correlated { rule: "g".into(), key: "k".into(), state: state.map(str::to_owned) }];
    let held =
        Step { read: 2, read_bytes: 2, held: vec![rows[0].n, rows[1].n], states: state(Some("{}")), ..Step::default() };
    store.correlate(held).await.unwrap();
    assert_eq!(store.uncounted(10).unwrap().len(), 2);
    store.close();
    drop(store);
    let store = open(&dir, Bounds::default());
    assert_eq!(store.correlated().unwrap().len(), 1);
    assert_eq!(store.counted_records(&[rows[1].n, 99, rows[0].n]).unwrap(), [b"b", b"a"]);
    let delivery = entry("x", &["slack.ops"]).deliveries;
    let firing = Firing { record: br#""type":"fired"}"#.to_vec(), log: Some("line\n".into()), deliveries: delivery };
    let released = rows.iter().map(|row| row.n).collect();
    let done = Step { read: 2, read_bytes: 1, released, states: state(None), firings: vec![firing], held: Vec::new() };
    store.correlate(done).await.unwrap();
    assert!(store.uncounted(10).unwrap().is_empty() && store.correlated().unwrap().is_empty());
    assert!(store.counted_records(&[rows[0].n]).unwrap().is_empty());
    let last = lines(&store).pop().unwrap();
    assert!(last.ends_with("\"type\":\"fired\"}\n"), "{last}");
    let due = due(&store, "slack.ops");
    assert_eq!((due.len(), due[0].seq), (1, crate::record::seq_of(last.as_bytes()).unwrap()));
}

#[tokio::test]
async fn what_nobody_counts_holds_up_the_intake_at_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let one = counting("a", "g", true).counted.remove(0);
    let most = usize::try_from(super::work::UNCOUNTED).unwrap();
    let full = Entry { counted: vec![one; most + 1], ..entry("a", &[]) };
    store.put(&Session::default(), vec![full]).await.unwrap();
    let refused = store.put(&Session::default(), vec![entry("b", &[])]).await;
    assert_eq!(refused, Err(StoreError::Uncounted));
    let rows = store.uncounted(10).unwrap();
    let released = rows.iter().map(|row| row.n).collect();
    store.correlate(Step { read: 10, released, ..Step::default() }).await.unwrap();
    store.put(&Session::default(), vec![entry("b", &[])]).await.unwrap();
}

#[tokio::test]
async fn the_bytes_that_nobody_counts_are_bounded_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let bytes = usize::try_from(UNCOUNTED_BYTES / 2).unwrap();
    let large = |id: &str| {
        let mut large = counting(id, "g", true);
        large.counted[0].event = Some(vec![b' '; bytes]);
        large
    };
    store.put(&Session::default(), vec![large("a"), large("b"), counting("c", "g", true)]).await.unwrap();
    assert_eq!(store.put(&Session::default(), vec![entry("d", &[])]).await, Err(StoreError::Uncounted));
    store.close();
    drop(store);
    let store = open(&dir, Bounds::default());
    assert_eq!(store.put(&Session::default(), vec![entry("d", &[])]).await, Err(StoreError::Uncounted), "as before");
    let [first] = store.uncounted(1).unwrap().try_into().unwrap();
    let step = Step { read: 1, read_bytes: first.bytes as u64, released: vec![first.n], ..Step::default() };
    store.correlate(step).await.unwrap();
    store.put(&Session::default(), vec![entry("d", &[])]).await.unwrap();
}

#[tokio::test]
async fn what_something_follows_all_the_same_is_not_given_up_by_age_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, Bounds::default());
    let mut first = entry("a", &["x", "x", "x", "y"]);
    for (at, steps) in [r#"{"otherwise":{"fetched":null}}"#, r#"{"path":"0"}"#].into_iter().enumerate() {
        first.deliveries[at].steps = Some(steps.into());
    }
    first.deliveries[3].steps = first.deliveries[0].steps.clone();
    store.put(&Session::default(), vec![first]).await.unwrap();
    let before = Timestamp::now() + jiff::SignedDuration::from_secs(1);
    assert_eq!(store.expire("x", before, "down").await.unwrap(), 2);
    let [left] = store.overdue("x", before, 0, 10).unwrap().try_into().unwrap();
    assert_eq!(left.id, "a-0");
    assert_eq!(store.overdue("x", before, left.n, 10).unwrap().len(), 0);
    assert_eq!(store.overdue("x", Timestamp::UNIX_EPOCH, 0, 10).unwrap().len(), 0);
}
