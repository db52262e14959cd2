//! What was logged, by all tests together.
//!
//! Its promise: nothing is lost. A test looks for lines with a name that only it uses: its broker's port, its queue.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::EnvFilter;

use crate::node::last_lines;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Starts collecting; done by [`crate::run_test`].
pub(crate) fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::new("info").add_directive(cadfd::intake::LOG_DIRECTIVE.parse().unwrap());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).with_writer(|| Collector);
        subscriber.init();
    });
}

/// The lines with this in them.
pub(crate) fn lines_with(text: &str) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// The last lines.
pub(crate) fn tail() -> String {
    last_lines(&lines_with("").join("\n"))
}

struct Collector;

impl io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
