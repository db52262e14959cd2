//! The network between the daemon and the broker: delayed, cut, swallowed, refused.
//!
//! Its promise: bytes that pass are the broker's and the client's own, and were read along before the client could have
//! them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::wire::{Deliveries, Tap};

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Each piece arrives so much later.
    Slow(Duration),
    /// Connections are accepted and stay open; nothing passes, their end neither.
    Hole,
    /// The same for all up to this one; later ones are well. The broker holds what it gave to the others.
    Stuck(u64),
    /// Nobody listens.
    Refusing,
}

/// How connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As when a firewall's table is flushed.
    Reset,
    /// As when the peer is stopped in order.
    Close,
}

/// A way to one broker.
pub(crate) struct Network {
    pub(crate) port: u16,
    weather: watch::Sender<Weather>,
    cuts: watch::Sender<Option<Cut>>,
    connections: Arc<AtomicU64>,
    /// Bound, never listening: while nobody listens, no one else is given the port.
    _reservation: TcpSocket,
}

impl Network {
    /// To the broker on this port.
    pub(crate) fn start(broker: u16, deliveries: Arc<Deliveries>) -> Self {
        let reservation = bind(0);
        let port = reservation.local_addr().unwrap().port();
        let connections = Arc::default();
        let (weather, cuts) = (watch::Sender::new(Weather::Clear), watch::Sender::new(None));
        let link = Link {
            broker,
            weather: weather.subscribe(),
            number: Arc::clone(&connections),
            cuts: cuts.subscribe(),
            deliveries,
        };
        tokio::spawn(accept(port, link));
        Self { port, weather, cuts, connections, _reservation: reservation }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// The connections that there are pass nothing more; later ones do.
    pub(crate) fn set_stuck(&self) {
        self.set(Weather::Stuck(self.connections.load(Ordering::Relaxed)));
    }

    /// All connections.
    pub(crate) fn cut(&self, cut: Cut) {
        self.cuts.send_replace(Some(cut));
    }
}

fn bind(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    socket
}

#[derive(Clone)]
struct Link {
    broker: u16,
    weather: watch::Receiver<Weather>,
    /// Of the last connection, in the order of their coming; of one connection, its own.
    number: Arc<AtomicU64>,
    cuts: watch::Receiver<Option<Cut>>,
    deliveries: Arc<Deliveries>,
}

impl Link {
    fn is_swallowed(&self, weather: Weather) -> bool {
        match weather {
            Weather::Hole => true,
            Weather::Stuck(last) => self.number.load(Ordering::Relaxed) <= last,
            Weather::Clear | Weather::Slow(_) | Weather::Refusing => false,
        }
    }

    /// Resolves when bytes pass again; an error says that the network is gone, with its test.
    async fn passes(&mut self) -> io::Result<()> {
        let mut changes = self.weather.clone();
        let passes = changes.wait_for(|weather| !self.is_swallowed(*weather)).await;
        passes.map(drop).map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }
}

async fn accept(port: u16, mut link: Link) {
    loop {
        if link.weather.wait_for(|weather| *weather != Weather::Refusing).await.is_err() {
            return;
        }
        let listener: TcpListener = bind(port).listen(128).unwrap();
        loop {
            let mut weather = link.weather.clone();
            tokio::select! {
                refusing = weather.wait_for(|weather| *weather == Weather::Refusing) => match refusing {
                    Ok(_) => break,
                    Err(_) => return,
                },
                Ok((client, _)) = listener.accept() => {
                    let mut link = link.clone();
                    link.cuts.mark_unchanged();
                    let number = link.number.fetch_add(1, Ordering::Relaxed) + 1;
                    link.number = Arc::new(AtomicU64::new(number));
                    tokio::spawn(connection(client, link));
                }
            }
        }
    }
}

async fn connection(mut client: TcpStream, mut link: Link) {
    // Who comes through a hole is not seen on the other side until it is over.
    let mut cuts = link.cuts.clone();
    let arrived = tokio::select! {
        passes = link.passes() => passes.is_ok(),
        _ = cuts.changed() => false,
    };
    if !arrived {
        return;
    }
    let Ok(mut broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, link.broker)).await else { return };
    let session = link.deliveries.begin();
    let deliveries = Arc::clone(&link.deliveries);
    let mut tap = Tap::default();
    {
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        let up = pump(from_client, to_broker, link.clone(), |_| {});
        let down = pump(from_broker, to_client, link.clone(), |bytes| deliveries.add(session, &tap.feed(bytes)));
        tokio::select! {
            // An error of one ends both; the orderly end of one leaves the other its time.
            _ended = async { tokio::try_join!(up, down) } => return,
            _ = cuts.changed() => {}
        }
    }
    let cut = *cuts.borrow();
    for stream in [&mut client, &mut broker] {
        match cut {
            Some(Cut::Reset) => drop(stream.set_zero_linger()),
            _ => drop(stream.shutdown().await),
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: Link,
    mut passed: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        link.passes().await?;
        let mut weather = link.weather.clone();
        let size = tokio::select! {
            biased;
            _ = weather.wait_for(|weather| link.is_swallowed(*weather)) => continue,
            size = from.read(&mut buffer) => size?,
        };
        let now = *weather.borrow();
        if let Weather::Slow(delay) = now {
            sleep(delay).await;
        }
        // What was under way when the hole opened comes out of it at its end.
        link.passes().await?;
        if size == 0 {
            return to.shutdown().await;
        }
        passed(&buffer[..size]);
        to.write_all(&buffer[..size]).await?;
    }
}
