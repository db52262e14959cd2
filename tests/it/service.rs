//! What a service manager sees: readiness, reloads, the state in words, the watchdog; and what a health check is told.
//!
//! Its promise: the manager is a socket, as systemd's is; the daemon is told of it as systemd tells it.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::daemon::{Site, eventually};
use crate::run_test;

/// A socket in the place of systemd's, and all that was said to it.
struct Manager {
    socket: UnixDatagram,
    said: String,
}

impl Manager {
    fn new(dir: &Path) -> (Self, String) {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Self { socket, said: String::new() }, path.display().to_string())
    }

    /// Waits until a line like that was said since the last one that was waited for; it and what was before are taken.
    async fn wait(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        eventually(|| {
            self.read();
            let end = self.said.split_inclusive('\n').scan(0, |end, line| {
                *end += line.len();
                Some((*end, line.trim_end().to_owned()))
            });
            let (end, line) = end.into_iter().find(|(_, line)| wanted(line))?;
            self.said.drain(..end);
            Some(line)
        })
        .await
    }

    fn read(&mut self) {
        let mut message = [0; 4096];
        while let Ok(read) = self.socket.recv(&mut message) {
            self.said.push_str(std::str::from_utf8(&message[..read]).unwrap());
        }
    }
}

/// With what systemd tells a service; the watchdog's time is in microseconds.
fn managed(site: Site, socket: &str) -> Site {
    site.variable("NOTIFY_SOCKET", socket).variable("WATCHDOG_USEC", "600000")
}

#[test]
fn the_manager_is_told_what_is() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.permit(&vhost.user("cadfd"), ["^$", "^$", ".*"]);
        let dir = tempfile::tempdir().unwrap();
        let (mut manager, socket) = Manager::new(dir.path());
        let site = managed(Site::new(&vhost), &socket);
        let daemon = site.start();
        // No queue yet: to wait for one is what it is there for.
        manager.wait(|line| line == "READY=1").await;
        manager.wait(|line| line.starts_with("STATUS=connected to ") && line.contains("cadfd.info: waiting")).await;
        vhost.declare("cadfd").await;
        manager.wait(|line| line.starts_with("STATUS=") && line.contains("cadfd.info: consuming")).await;
        daemon.signal(rustix::process::Signal::HUP);
        manager.wait(|line| line == "RELOADING=1").await;
        let time = manager.wait(|line| line.starts_with("MONOTONIC_USEC=")).await;
        assert!(time["MONOTONIC_USEC=".len()..].parse::<u64>().unwrap() > 0);
        manager.wait(|line| line == "READY=1").await;
        for _ in 0..3 {
            manager.wait(|line| line == "WATCHDOG=1").await;
        }
        daemon.terminate();
        manager.wait(|line| line == "STOPPING=1").await;
        manager.wait(|line| line == "STATUS=stopping on SIGTERM").await;
        manager.wait(|line| line == "EXTEND_TIMEOUT_USEC=50000000").await;
    });
}

#[test]
fn without_a_broker_it_is_ready_and_says_why_nothing_comes() {
    run_test(async || {
        let dir = tempfile::tempdir().unwrap();
        let (mut manager, socket) = Manager::new(dir.path());
        let site = managed(Site::with_url("rabbit://u:p@127.0.0.1:1/"), &socket);
        let _daemon = site.start();
        manager.wait(|line| line == "READY=1").await;
        manager.wait(|line| line.starts_with("STATUS=no broker since ") && line.contains("refused")).await;
    });
}

#[test]
fn health_is_what_the_daemon_answers() {
    run_test(async || {
        let site = Site::with_url("rabbit://u:p@127.0.0.1:1/");
        for (status, exit, words) in [
            (StatusCode::OK, 0, "consuming"),
            (StatusCode::SERVICE_UNAVAILABLE, 1, "cadfd: not ready: consuming (503)"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/readyz", get(move || async move { (status, "consuming\n") }));
            let serving = tokio::spawn(async move { axum::serve(listener, router).await });
            let asking =
                Site::with_url("rabbit://u:p@127.0.0.1:1/").variable("CADFD_ADMIN__LISTEN", address.to_string());
            let output = asking.cadfd(&["health"]).await;
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!((output.status.code(), said.trim()), (Some(exit), words));
            serving.abort();
        }
        let nobody = site.variable("CADFD_ADMIN__LISTEN", "127.0.0.1:1").cadfd(&["health"]).await;
        assert_eq!(nobody.status.code(), Some(1));
        let said = String::from_utf8(nobody.stderr).unwrap();
        assert!(said.starts_with("cadfd: 127.0.0.1:1 does not answer; "), "{said}");
        let off = Site::with_url("rabbit://u:p@127.0.0.1:1/").variable("CADFD_ADMIN__LISTEN", "off");
        assert_eq!(off.cadfd(&["health"]).await.status.code(), Some(1));
        let wrong = Site::with_url("rabbit://u:p@127.0.0.1:1/").variable("CADFD_ADMIN__LISTEN", "here");
        assert_eq!(wrong.cadfd(&["health"]).await.status.code(), Some(2));
    });
}

/// The unit's promise in README; systemd 252 and later can tell without running it.
#[test]
fn the_sandbox_is_tight() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cadfd.service");
    let mut command = std::process::Command::new("systemd-analyze");
    let output = command.args(["security", "--offline=true", "--threshold=15", "--no-pager"]).arg(unit).output();
    let output = output.expect("systemd-analyze is missing: apt-get install systemd");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("Overall exposure level"), "{said}");
}
