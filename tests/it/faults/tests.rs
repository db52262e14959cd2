//! That the comparison finds what it looks for, and nothing else.

use std::collections::{HashMap, HashSet};

use super::compare::{Calls, Evidence, Verdict, compare};
use super::follow::Line;
use super::ledger::{Sent, What};
use super::rules::destinations;

/// What a run without faults leaves behind: eight events and two undecodable messages, over two sessions.
struct Run {
    sent: Vec<Sent>,
    trail: Vec<Line>,
    sessions: Vec<Vec<u64>>,
    quarantine: HashMap<String, Vec<u8>>,
    calls: HashMap<String, Calls>,
    printed: HashSet<String>,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            sent: Vec::new(),
            trail: Vec::new(),
            sessions: Vec::new(),
            quarantine: HashMap::new(),
            calls: HashMap::new(),
            printed: HashSet::new(),
        };
        for number in 0..10 {
            let mut sent = match number {
                3 | 7 => Sent::undecodable(format!("nonsense {number}").into_bytes()),
                _ => Sent::event(&format!("id {number}"), "identity.user.created", format!("{number}").into_bytes()),
            };
            (sent.times, sent.confirmed) = (1, true);
            run.add(sent);
        }
        let wire: Vec<_> = run.sent.iter().map(|sent| sent.fingerprint).collect();
        // The first session ended with what it had not acknowledged, which the second one was given again.
        run.sessions = vec![wire[..6].to_vec(), wire[4..].to_vec()];
        run.renumber();
        run
    }

    fn add(&mut self, sent: Sent) {
        match &sent.what {
            What::Undecodable { digest } => {
                self.trail.push(Line::Quarantine { seq: 0, sha256: digest.clone(), redelivered: false });
                self.quarantine.insert(digest.clone(), sent.body.clone());
            }
            What::Event { message_id, event_type } => {
                let planned: Vec<_> = destinations(event_type)
                    .into_iter()
                    .map(|to| (to.to_owned(), format!("{message_id} {to}")))
                    .collect();
                let (message_id, redelivered) = (message_id.clone(), false);
                self.trail.push(Line::Event {
                    seq: 0,
                    message_id: message_id.clone(),
                    redelivered,
                    planned: planned.clone(),
                });
                for (destination, id) in planned {
                    let calls = Calls { message_id: message_id.clone(), destination: destination.clone(), count: 1 };
                    self.calls.insert(id.clone(), calls);
                    let (message_id, outcome) = (message_id.clone(), "done".to_owned());
                    self.trail.push(Line::Delivery { seq: 0, id, message_id, destination, outcome });
                }
                self.printed.insert(message_id);
            }
        }
        self.sent.push(sent);
    }

    fn renumber(&mut self) {
        for (line, number) in self.trail.iter_mut().zip(1..) {
            match line {
                Line::Event { seq, .. }
                | Line::Quarantine { seq, .. }
                | Line::Delivery { seq, .. }
                | Line::Other { seq } => *seq = number,
                Line::Broken { .. } => {}
            }
        }
    }

    fn verdict(&self) -> Verdict {
        compare(&Evidence {
            sent: &self.sent,
            trail: &self.trail,
            sessions: &self.sessions,
            quarantine: &self.quarantine,
            calls: &self.calls,
            printed: &self.printed,
            destinations,
        })
    }

    /// Where a message's record stands.
    fn at(&self, message: usize) -> usize {
        let key = self.sent[message].key();
        self.trail.iter().position(|line| line.key() == Some(key)).unwrap()
    }

    fn remove(&mut self, message: usize) -> Line {
        let line = self.trail.remove(self.at(message));
        self.renumber();
        line
    }

    fn insert(&mut self, at: usize, line: Line) {
        self.trail.insert(at, line);
        self.renumber();
    }

    /// A delivery of event 0.
    fn delivery(&self) -> usize {
        self.trail.iter().position(|line| matches!(line, Line::Delivery { .. })).unwrap()
    }
}

fn found(verdict: &Verdict) -> [Vec<usize>; 3] {
    [&verdict.lost, &verdict.doubled, &verdict.out_of_order].map(|found| found.iter().copied().collect())
}

const NOTHING: [Vec<usize>; 3] = [Vec::new(), Vec::new(), Vec::new()];

fn assert_wrong(run: &Run, beginning: &str) {
    let wrong = run.verdict().wrong;
    assert!(wrong.iter().any(|line| line.starts_with(beginning)), "{beginning:?} is not in {wrong:#?}");
}

#[test]
fn a_whole_run_is_clean() {
    let verdict = Run::new().verdict();
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!((verdict.events, verdict.undecodable, verdict.deliveries, verdict.repeated_calls), (8, 2, 16, 0));
}

#[test]
fn a_lost_record_is_found() {
    for message in 0..10 {
        let mut run = Run::new();
        run.remove(message);
        assert_eq!(run.verdict().lost.into_iter().collect::<Vec<_>>(), [message]);
    }
    // As is a quarantined message without its bytes, or with others.
    let mut run = Run::new();
    let digest = run.sent[3].key().to_owned();
    run.quarantine.insert(digest.clone(), b"other".to_vec());
    assert_eq!(found(&run.verdict()), [vec![3], vec![], vec![]]);
    run.quarantine.remove(&digest);
    assert_eq!(found(&run.verdict()), [vec![3], vec![], vec![]]);
}

#[test]
fn what_went_with_its_queue_may_be_there_once_or_not() {
    let mut run = Run::new();
    run.sent[5].gone = true;
    assert!(run.verdict().is_clean());
    let line = run.remove(5);
    let fingerprint = run.sent[5].fingerprint;
    run.sessions[1].retain(|known| *known != fingerprint);
    assert_eq!(found(&run.verdict()), NOTHING);
    let at = run.at(4) + 1;
    run.insert(at, line.clone());
    run.insert(at, line);
    assert_eq!(found(&run.verdict()), [vec![], vec![5], vec![]]);
}

#[test]
fn a_doubled_record_is_found() {
    let mut run = Run::new();
    let line = run.trail[run.at(2)].clone();
    run.insert(run.trail.len(), line);
    assert_eq!(found(&run.verdict()), [vec![], vec![2], vec![]]);
    // An undecodable one is doubled where the broker had marked it, and only there.
    for redelivered in [true, false] {
        let mut run = Run::new();
        let sha256 = run.sent[3].key().to_owned();
        run.insert(run.trail.len(), Line::Quarantine { seq: 0, sha256, redelivered });
        let verdict = run.verdict();
        assert_eq!(found(&verdict), [vec![], if redelivered { vec![3] } else { vec![] }, vec![]]);
        assert_eq!(verdict.unmarked_repeats, usize::from(!redelivered));
    }
}

#[test]
fn swapped_records_are_found() {
    for message in 0..9 {
        let mut run = Run::new();
        let line = run.remove(message);
        let at = run.at(message + 1) + 1;
        run.insert(at, line);
        assert!(run.verdict().out_of_order.contains(&message), "{message}: {:?}", run.verdict());
    }
}

#[test]
fn an_order_that_the_broker_made_is_none_of_ours() {
    // What the first session had in its hands when it ended came after what was new by then.
    let mut run = Run::new();
    let wire: Vec<_> = run.sent.iter().map(|sent| sent.fingerprint).collect();
    run.sessions = vec![wire[..6].to_vec(), [&wire[6..8], &wire[4..6], &wire[8..]].concat()];
    for message in [4, 5] {
        let mut line = run.remove(message);
        if let Line::Event { redelivered, .. } = &mut line {
            *redelivered = true;
        }
        let at = run.at(8);
        run.insert(at, line);
    }
    let verdict = run.verdict();
    assert_eq!((found(&verdict), verdict.given_again), (NOTHING, 2));
    // Where the broker did not say so, it is.
    for line in &mut run.trail {
        if let Line::Event { redelivered, .. } = line {
            *redelivered = false;
        }
    }
    assert_eq!(found(&run.verdict()), [vec![], vec![], vec![4, 5]]);
    // And where the daemon kept a later batch of a session without an earlier one, which came again.
    let mut run = Run::new();
    run.sessions = vec![wire[..6].to_vec(), wire[2..].to_vec()];
    let line = run.remove(2);
    let at = run.at(5) + 1;
    run.insert(at, line);
    assert!(!run.verdict().out_of_order.is_empty());
}

#[test]
fn numbers_and_lines_are_looked_at() {
    let mut run = Run::new();
    run.trail.remove(run.delivery());
    assert_wrong(&run, "numbers: 3 follows 1");
    let mut run = Run::new();
    run.insert(4, Line::parse(b"{\"seq\":4,\"type\":\"ev{\"seq\":4,\"type\":\"stop\"}\n"));
    assert_wrong(&run, "a line is no record");
    let mut run = Run::new();
    let (message_id, planned) = ("a stranger".to_owned(), Vec::new());
    run.insert(4, Line::Event { seq: 0, message_id, redelivered: false, planned });
    assert_wrong(&run, "nobody published");
    let mut run = Run::new();
    run.sent[4].confirmed = false;
    assert_wrong(&run, "never confirmed");
}

#[test]
fn deliveries_are_looked_at() {
    let id = "id 0 http.all";
    let mut run = Run::new();
    run.calls.remove(id);
    assert_wrong(&run, "never performed");
    let mut run = Run::new();
    run.calls.get_mut(id).unwrap().message_id = "id 1".to_owned();
    assert_wrong(&run, "performed elsewhere");
    let mut run = Run::new();
    run.calls.get_mut(id).unwrap().count = 3;
    assert_eq!((run.verdict().is_clean(), run.verdict().repeated_calls), (true, 2));
    let mut run = Run::new();
    let calls = run.calls[id].clone();
    run.calls.insert("another id".to_owned(), calls);
    assert_wrong(&run, "never planned");
    let mut run = Run::new();
    let twice = run.trail[run.delivery()].clone();
    run.insert(run.trail.len(), twice);
    assert_wrong(&run, "not one outcome");
    let mut run = Run::new();
    run.trail.remove(run.delivery());
    run.renumber();
    assert_wrong(&run, "not one outcome");
    let mut run = Run::new();
    let at = run.delivery();
    if let Line::Delivery { outcome, .. } = &mut run.trail[at] {
        *outcome = "given_up".to_owned();
    }
    assert_wrong(&run, "not one outcome");
    let mut run = Run::new();
    if let Line::Event { planned, .. } = &mut run.trail[0] {
        planned.pop();
    }
    assert_wrong(&run, "planned otherwise");
    let mut run = Run::new();
    run.printed.remove("id 0");
    assert_wrong(&run, "not on standard output");
}
