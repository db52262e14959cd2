#![expect(clippy::unwrap_used, reason = "tests")]

use super::super::{Facility, SD_ID, default_limits};
use super::*;
use crate::action::ClientSettings;

fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        facility: Facility::AUTHPRIV,
        sd_id: SD_ID.to_owned(),
        max_length: None,
        client: ClientSettings::default(),
        limits: default_limits(),
    }
}

#[test]
fn addresses_are_read() {
    let host = |url: &str| match Way::new(&settings(url)).unwrap() {
        Way::Udp(host) | Way::Tcp(host) | Way::Tls(host, ..) => (host.name, host.port),
        Way::Unix(path) => (path.display().to_string(), 0),
    };
    for (url, name, port) in [
        ("udp://siem.example.org", "siem.example.org", 514),
        ("tcp://192.0.2.1/", "192.0.2.1", 601),
        ("tls://siem.example.org", "siem.example.org", 6514),
        ("tls://[2001:db8::1]:1234", "2001:db8::1", 1234),
        ("unix:///run/a%20b", "/run/a b", 0),
    ] {
        assert_eq!(host(url), (name.to_owned(), port));
    }
}

#[test]
fn addresses_that_cannot_work_are_named() {
    let expected = format!("; {EXPECTED}");
    for (url, problem) in [
        ("siem", "not a URL (relative URL without a base)"),
        ("https://siem", "neither udp, tcp, tls nor unix"),
        ("udp:514", "wants a host, perhaps a port, and nothing else"),
        ("tcp://user@siem", "wants a host, perhaps a port, and nothing else"),
        ("tcp://siem/path", "wants a host, perhaps a port, and nothing else"),
        ("tls://a..b", "is no host that a certificate could name"),
        ("unix://host/dev/log", "wants an absolute path and nothing else"),
        ("unix:///", "wants an absolute path and nothing else"),
    ] {
        assert_eq!(Way::new(&settings(url)).unwrap_err().to_string(), format!("url: {problem}{expected}"), "{url}");
    }
    let client = ClientSettings { ca_file: Some("/ca.pem".into()), ..ClientSettings::default() };
    let error = Way::new(&Settings { client, ..settings("tcp://siem") }).unwrap_err();
    assert_eq!(error.to_string(), "ca_file: is for tls:// only");
}

/// A receiver that takes a connection as `take` does; what the sender makes of it.
async fn sent<F: Future<Output = ()> + Send>(
    total: std::time::Duration,
    take: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = Way::new(&settings(&format!("tcp://{}", listener.local_addr().unwrap()))).unwrap();
    let limits = Limits { total_timeout: total, ..default_limits() };
    let receiver = async { take(listener.accept().await.unwrap().0).await };
    tokio::join!(way.send("<14>1 - - - - - - ü", &limits), receiver).0
}

#[tokio::test]
async fn a_message_is_taken_when_the_receiver_has_read_to_its_end_and_closed() {
    let minute = std::time::Duration::from_mins(1);
    let taken = sent(minute, async |mut stream| {
        let mut frame = String::new();
        stream.read_to_string(&mut frame).await.unwrap();
        assert_eq!(frame, "20 <14>1 - - - - - - ü");
    });
    assert!(taken.await.is_ok());
    // Closed before it was read, or even sent: the kernel says so by a reset, of which a read need not tell.
    let broken = sent(minute, async |stream| drop(stream)).await.unwrap_err();
    assert_eq!(broken.kind, FailureKind::Unreachable, "{broken:?}");
    let broken = sent(minute, async |stream| stream.readable().await.unwrap()).await.unwrap_err();
    assert_eq!(broken.kind, FailureKind::Unreachable, "{broken:?}");
    // Read, but never closed: who knows by whom.
    let (done, waits) = tokio::sync::oneshot::channel::<()>();
    let silent = sent(std::time::Duration::from_millis(50), async |mut stream| {
        stream.read_to_string(&mut String::new()).await.unwrap();
        tokio::spawn(async move { waits.await.map(|()| drop(stream)) });
    });
    let failure = silent.await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure:?}");
    assert_eq!(failure.reason, "did not take the message and close the connection within 50 ms");
    drop(done);
}

#[tokio::test]
async fn nobody_there_is_said() {
    let refused = |reason: &str| reason == "connection refused";
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("tcp://{free}"), format!("udp://{free}")] {
        let failure = Way::new(&settings(&url)).unwrap().send("x", &default_limits()).await.unwrap_err();
        assert!(refused(&failure.reason), "{url}: {failure:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let absent = format!("unix://{}/log", dir.path().display());
    let failure = Way::new(&settings(&absent)).unwrap().send("x", &default_limits()).await.unwrap_err();
    assert!(failure.reason.starts_with("No such file or directory"), "{failure:?}");
    let listener = UnixDatagram::bind(dir.path().join("log")).unwrap();
    let failure =
        Way::new(&settings(&absent)).unwrap().send(&"x".repeat(4 << 20), &default_limits()).await.unwrap_err();
    assert!(failure.too_long, "{failure:?}");
    drop(listener);
}
