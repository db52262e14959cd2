//! All metrics at one moment.
//!
//! Its promise: a label's value is a name from the settings or one of a few words here; series of what the settings name
//! are there from the start, with 0, so that a first failure is seen as an increase.

mod deliveries;
mod events;
mod state;

use jiff::Timestamp;

use super::page::{Page, label};
use super::stage::{Phase, Scene, Stage};

/// The metrics now. Blocks: it reads some rows of the store.
pub(super) fn page(stage: &Stage) -> Page {
    let mut page = Page::new();
    page.gauges("build_info", "Always 1; which version this is", [(label("version", env!("CARGO_PKG_VERSION")), true)]);
    page.gauge("start_time_seconds", "When cadfd started, in seconds since 1970", seconds(stage.started));
    page.gauge("running", "Whether cadfd has started and does not stop", *stage.phase() == Phase::Running);
    if let Some(scene) = stage.scene() {
        events::add(&mut page, &scene);
        state::add(&mut page, &scene);
        deliveries::add(&mut page, &scene);
    }
    page
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// Seconds from then until now; 0 where the clock was set back meanwhile.
fn age(then: Timestamp) -> f64 {
    Timestamp::now().duration_since(then).as_secs_f64().max(0.0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::page::Format;
    use super::*;

    #[test]
    fn before_there_is_a_store_it_tells_of_itself() {
        let text = page(&Stage::default()).text(Format::Plain).unwrap();
        assert!(text.contains("\ncadfd_running 0.0\n"), "{text}");
        assert!(
            text.contains(concat!("cadfd_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1.0\n")),
            "{text}"
        );
    }
}
