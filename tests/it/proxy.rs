//! Between a client and the broker: passes on everything, and slips in what a real broker says only under pressure.
//!
//! Its promise: whole AMQP frames stay whole.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// Accepts one client.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    to_client: Arc<Mutex<Option<OwnedWriteHalf>>>,
}

impl Proxy {
    pub(crate) async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to_client = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&to_client);
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let (mut from_client, writer) = client.into_split();
            *slot.lock().await = Some(writer);
            let (from_broker, mut to_broker) = TcpStream::connect(("127.0.0.1", broker)).await.unwrap().into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_broker).await });
            pass_frames(from_broker, &slot).await
        });
        Self { port, to_client }
    }

    /// `connection.blocked`
    pub(crate) async fn block(&self, reason: &str) {
        let mut arguments = vec![u8::try_from(reason.len()).unwrap()];
        arguments.extend(reason.bytes());
        self.method(60, &arguments).await;
    }

    /// `connection.unblocked`
    pub(crate) async fn unblock(&self) {
        self.method(61, &[]).await;
    }

    /// A frame on channel 0 with a method of class connection.
    async fn method(&self, method: u16, arguments: &[u8]) {
        let size = u32::try_from(4 + arguments.len()).unwrap();
        let mut frame = vec![1, 0, 0];
        frame.extend(size.to_be_bytes());
        frame.extend(10_u16.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.extend(arguments);
        frame.push(0xCE);
        self.to_client.lock().await.as_mut().unwrap().write_all(&frame).await.unwrap();
    }
}

async fn pass_frames(mut from: OwnedReadHalf, to: &Mutex<Option<OwnedWriteHalf>>) -> std::io::Result<()> {
    loop {
        let mut head = [0; 7];
        from.read_exact(&mut head).await?;
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut rest = vec![0; usize::try_from(size).unwrap() + 1];
        from.read_exact(&mut rest).await?;
        let mut to = to.lock().await;
        let to = to.as_mut().unwrap();
        to.write_all(&head).await?;
        to.write_all(&rest).await?;
    }
}
