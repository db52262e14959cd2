//! `cadfd health`: asks the running daemon whether it is well; a container's health check, which needs no shell.
//!
//! Its promise: it ends within [`WITHIN`] and a little, reads at most [`LONGEST`], and needs no settings but where the
//! daemon listens.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use crate::{config, text};

/// For the whole conversation.
const WITHIN: Duration = Duration::from_secs(4);

/// Bytes of the answer that are read.
const LONGEST: usize = 16 << 10;

pub(super) fn health(path: &Path) -> anyhow::Result<ExitCode> {
    let Some(address) = config::admin_listen(path, &super::variables())? else {
        bail!("[admin] listen is \"off\": the daemon answers nobody; give it an address to ask for its health");
    };
    let address = reachable(address);
    let answer = ask(address, Instant::now() + WITHIN)
        .with_context(|| format!("{address} does not answer; is `cadfd run` running, with [admin] listen?"))?;
    let (status, body) = parse(&answer).ok_or_else(|| anyhow!("what listens on {address} is not cadfd"))?;
    let body = text::one_line(body.trim()).into_owned();
    if status != 200 {
        bail!("not ready: {body} ({status})");
    }
    writeln!(io::stdout(), "{body}")?;
    Ok(ExitCode::SUCCESS)
}

/// Who listens everywhere is asked here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::from(Ipv6Addr::LOCALHOST) });
    }
    address
}

fn ask(address: SocketAddr, until: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, left(until)?)?;
    stream.set_write_timeout(Some(left(until)?))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while answer.len() < LONGEST {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(answer)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Status and body of an answer; the body may be of any form, it is only shown.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nno\n";
        assert_eq!(parse(answer), Some((503, "no\n".to_owned())));
        for bad in ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        for (listens, asked) in
            [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:9464", "[::1]:9464"), ("10.1.2.3:1", "10.1.2.3:1")]
        {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), asked);
        }
    }
}
