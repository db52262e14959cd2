//! A look at the brokers and queues as they are, for `cadfd doctor`.
//!
//! Its promise: nothing is declared, consumed or published; no message moves; every step ends within
//! `connect_timeout`. What it asks for to find out about rights is refused by the broker in any case.

mod bound;
mod queues;
mod rights;

use std::net::IpAddr;
use std::time::Instant;

use futures_util::future::join_all;
use lapin::Connection;
use tokio::time::timeout;

use super::dial::{self, Link};
use super::{Cause, Host, Settings, TlsCause};
use crate::finding::Finding;

/// What the doctor knows besides the settings.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Queues of others that Keystone fills as well: `notifications.info`.
    pub neighbours: Vec<String>,
    /// Whether cadfd's daemon runs here with these settings: then one of the consumers is its.
    pub is_running: bool,
}

/// Tries every host, then the queues and rights at the first that lets us in.
pub async fn examine(settings: &Settings, known: &Known) -> Vec<Finding> {
    let hosts = join_all(settings.hosts.iter().map(|host| try_host(settings, host))).await;
    let mut findings = Vec::new();
    let mut first = None;
    for (host, (rows, link)) in settings.hosts.iter().zip(hosts) {
        findings.extend(rows);
        match link {
            Some(link) if first.is_none() => first = Some((host, link)),
            Some(link) => close(settings, link).await,
            None => {}
        }
    }
    let Some((host, link)) = first else {
        let why = "no broker lets cadfd in";
        findings.extend(settings.all_queues().iter().map(|queue| Finding::untried(format!("queue {queue}"), why)));
        findings.push(Finding::untried("permissions", why));
        return findings;
    };
    let look = Look { settings, host, connection: &link.connection };
    findings.extend(look.queues(known).await);
    findings.extend(look.rights().await);
    close(settings, link).await;
    findings
}

/// A connection and what it is for.
struct Look<'a> {
    settings: &'a Settings,
    host: &'a Host,
    connection: &'a Connection,
}

async fn close(settings: &Settings, link: Link) {
    // Whatever comes of it, `link.socket` shuts the socket.
    let _ = timeout(settings.connect_timeout, link.connection.close(200, "OK".into())).await;
}

/// The steps to a broker, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Dns,
    Tcp,
    Tls,
    Login,
    Vhost,
}

impl Step {
    const ALL: [Self; 5] = [Self::Dns, Self::Tcp, Self::Tls, Self::Login, Self::Vhost];

    /// At which step a cause stands in the way.
    fn of(cause: &Cause, tls: bool) -> Self {
        match cause {
            Cause::Dns(_) => Self::Dns,
            Cause::Refused | Cause::Unreachable(_) | Cause::DialTimeout(_) => Self::Tcp,
            // Told only after the handshake of TLS 1.3, but it is about the certificate.
            Cause::Tls(_) | Cause::File(_) => Self::Tls,
            Cause::HandshakeTimeout(_) if tls => Self::Tls,
            Cause::VhostMissing(_) | Cause::VhostRefused(_) => Self::Vhost,
            Cause::HandshakeTimeout(_)
            | Cause::NotAmqp(_)
            | Cause::LoginRefused(_)
            | Cause::Forced(_)
            | Cause::Silent
            | Cause::Broken(_)
            | Cause::Reply(..) => Self::Login,
        }
    }

    fn tried(self, settings: &Settings, host: &Host) -> String {
        match self {
            Self::Dns => format!("broker {host}: DNS"),
            Self::Tcp => format!("broker {host}: TCP"),
            Self::Tls => format!("broker {host}: TLS"),
            Self::Login => format!("broker {host}: log in as {}", host.user),
            Self::Vhost => format!("broker {host}: virtual host {}", settings.vhost),
        }
    }
}

/// A row for each step to this host, and the connection if all were taken.
async fn try_host(settings: &Settings, host: &Host) -> (Vec<Finding>, Option<Link>) {
    let addresses = addresses(settings, host).await;
    let began = Instant::now();
    let (failed, link) = match dial::connect(settings, host).await {
        Ok(link) => (None, Some(link)),
        Err(cause) => (Some((Step::of(&cause, settings.tls.is_some()), cause)), None),
    };
    let took = began.elapsed().as_millis();
    let mut rows = Vec::new();
    for step in Step::ALL {
        let tried = step.tried(settings, host);
        if let Some((at, cause)) = &failed
            && *at == step
        {
            rows.push(refused(settings, host, tried, cause));
            break;
        }
        let found = match step {
            Step::Dns if host.host.parse::<IpAddr>().is_ok() => continue,
            Step::Tls if settings.tls.is_none() => continue,
            Step::Dns => addresses.clone(),
            Step::Tcp if settings.tls.is_none() && !is_local(host) => {
                "connected; without TLS, password and messages can be read on the way".to_owned()
            }
            Step::Tcp => "connected".to_owned(),
            Step::Tls => "the certificate is valid for this name".to_owned(),
            Step::Login => format!("let in, {took} ms after the dial"),
            Step::Vhost => "open to this user".to_owned(),
        };
        rows.push(Finding::ok(tried, found));
    }
    (rows, link)
}

fn is_local(host: &Host) -> bool {
    host.host == "localhost" || host.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn addresses(settings: &Settings, host: &Host) -> String {
    let lookup = tokio::net::lookup_host((host.host.as_str(), host.port));
    match timeout(settings.connect_timeout, lookup).await {
        Ok(Ok(found)) => found.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", "),
        // `connect` says why.
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

fn refused(settings: &Settings, host: &Host, tried: String, cause: &Cause) -> Finding {
    let user = super::quote(&host.user);
    let vhost = super::quote(&settings.vhost);
    match cause {
        Cause::LoginRefused(_) => Finding::problem(
            tried,
            cause.to_string(),
            format!("look at user and password in transport_url; `rabbitmqctl authenticate_user {user}` tries them"),
        ),
        Cause::VhostMissing(_) => Finding::problem(
            tried,
            format!("there is no virtual host `{}`", settings.vhost),
            "write the virtual host of Keystone's transport_url at the end of cadfd's; `rabbitmqctl list_vhosts` has all",
        ),
        Cause::VhostRefused(_) => Finding::problem(
            tried,
            format!("`{}` may not use the virtual host `{}`", host.user, settings.vhost),
            settings.grant(&host.user),
        ),
        Cause::Refused => Finding::problem(
            tried,
            "connection refused: nothing listens there",
            "look whether RabbitMQ runs, and at host and port in transport_url",
        ),
        Cause::Tls(TlsCause::Expired) => {
            Finding::problem(tried, cause.to_string(), "renew the broker's certificate, or set the clocks")
        }
        Cause::Reply(530, _) => Finding::problem(
            tried,
            cause.to_string(),
            format!("look at the limits: `rabbitmqctl list_vhost_limits -p {vhost}`"),
        ),
        _ => Finding::problem_in_words(tried, &cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cause_stands_at_its_step() {
        let second = Duration::from_secs(1);
        for (cause, tls, step) in [
            (Cause::Dns("none".into()), false, Step::Dns),
            (Cause::DialTimeout(second), true, Step::Tcp),
            (Cause::HandshakeTimeout(second), true, Step::Tls),
            (Cause::HandshakeTimeout(second), false, Step::Login),
            (Cause::File("x".into()), true, Step::Tls),
            (Cause::VhostRefused("x".into()), false, Step::Vhost),
        ] {
            assert_eq!(Step::of(&cause, tls), step, "{cause}");
        }
    }
}
