//! `[admin]`: where metrics and health are served.

use std::net::SocketAddr;

use crate::admin::Settings;

use super::section::Section;
use super::{SECOND, YEAR};

/// The port that OpenTelemetry's exporters for Prometheus use.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

pub(super) fn read(section: Section<'_>) -> Settings {
    let settings =
        Settings { listen: listen(&section), quiet_after: section.duration("quiet_after", SECOND..=YEAR, DAY) };
    section.finish();
    settings
}

const DAY: std::time::Duration = std::time::Duration::from_hours(24);

fn listen(section: &Section<'_>) -> Option<SocketAddr> {
    let Some(text) = section.text("listen") else { return Some(DEFAULT) };
    if text == "off" {
        return None;
    }
    let parsed = text.parse();
    if parsed.is_err() {
        let found = format!(
            "expected an address and a port, such as \"{DEFAULT}\" or \"[::]:9464\", or \"off\", found {text:?}"
        );
        section.problem_at("listen", format!("`listen`: {found}"));
    }
    parsed.ok()
}
