//! What each step costs for one message: decode, plan, the trail's record, a template.
//!
//! Its promise: the steps are the daemon's own, over captured notifications and the shipped rules.
#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use cadfd::action::log::{self, LineFormat};
use cadfd::event::{self, Event};
use cadfd::record::{self, Record, Source};
use cadfd::rule::{RuleTable, Subject};
use cadfd::template::{Condition, Place, Template};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use jiff::Timestamp;

#[path = "../tests/it/captured.rs"]
#[allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "it is the tests' own")]
mod captured;
#[path = "daemon/rules.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod rules;

const CADF: &str = "keystone-28.1-cadf-messagingv2";
const BASIC: &str = "keystone-28.1-basic-messagingv2";

static EVENTS: LazyLock<Vec<Arc<Event>>> = LazyLock::new(|| {
    captured::read(CADF).iter().map(|message| Arc::new(event::decode(&message.body).unwrap())).collect()
});

fn main() {
    divan::main();
}

/// Measures what is done with each of them; a median event says more than the next one.
fn each<T, O>(bencher: Bencher<'_, '_>, of: &[T], mut what: impl FnMut(&T) -> O) {
    bencher.counter(ItemsCount::new(of.len())).bench_local(|| {
        for item in of {
            black_box(what(black_box(item)));
        }
    });
}

/// Both layers of the body, and the event in it.
#[divan::bench(args = [CADF, BASIC])]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let bodies: Vec<Vec<u8>> = captured::read(name).into_iter().map(|message| message.body).collect();
    each(bencher, &bodies, |body| event::decode(black_box(body)));
}

fn table(rules: &str) -> Arc<RuleTable> {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("cadfd.toml");
    std::fs::write(&settings, "[rabbitmq]\ntransport_url = \"rabbit://u:p@h/\"\n").unwrap();
    std::fs::create_dir(dir.path().join("rules.d")).unwrap();
    std::fs::write(dir.path().join("rules.d/bench.toml"), rules).unwrap();
    cadfd::config::load(Path::new(&settings), &[]).unwrap().rules
}

/// The rules' conditions, and the lines they write.
#[divan::bench(args = [0, 1000])]
fn plan(bencher: Bencher<'_, '_>, more_rules: usize) {
    let table = table(&rules::many(more_rules));
    each(bencher, &EVENTS, |event| table.plan(black_box(event), false));
}

/// The line of the trail.
#[divan::bench]
fn record(bencher: Bencher<'_, '_>) {
    let source = Source { queue: "cadfd.info", exchange: "keystone", routing_key: "cadfd.info", redelivered: false };
    let received = Timestamp::now();
    each(bencher, &EVENTS, |event| record::rest_of_line(&Record::Event { event, source, received, planned: &[] }));
}

/// The line for people.
#[divan::bench]
fn readable_line(bencher: Bencher<'_, '_>) {
    each(bencher, &EVENTS, |event| log::line(black_box(event), LineFormat::Readable, false));
}

/// A condition of an event that no rule has looked into yet.
#[divan::bench]
fn condition(bencher: Bencher<'_, '_>) {
    let condition = Condition::compile("initiator.id and initiator.id != resource.id").unwrap();
    each(bencher, &EVENTS, |event| condition.is_true(Subject::new(event).view()));
}

/// A template of such an event.
#[divan::bench]
fn template(bencher: Bencher<'_, '_>) {
    let source = "{{ initiator.name }} deleted user {{ resource.name | default(resource.id) }}";
    let template = Template::compile(source, Place::Text).unwrap();
    each(bencher, &EVENTS, |event| template.render(Subject::new(event).view()));
}
