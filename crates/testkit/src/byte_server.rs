//! A server of plain bytes that follows a script on every connection, and keeps what it was sent.
//!
//! In: a script. Out: per connection, the bytes received and how it ended. Made by tests of TCP
//! proxying.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// One thing that the server does on a connection.
#[derive(Debug, Clone)]
pub enum Action {
    /// Writes bytes.
    Send(Bytes),
    /// Reads until so many bytes have come in all.
    Expect(usize),
    /// Reads until the peer has sent all.
    ExpectEnd,
    /// Sends back what comes until the peer has sent all.
    Echo,
    /// Ends its sending half.
    Finish,
    /// Does nothing for a while.
    Wait(Duration),
    /// Breaks the connection.
    Reset,
}

/// What came on one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The bytes.
    pub received: Vec<u8>,
    /// How the peer's half ended; none while it has not.
    pub end: Option<End>,
}

/// How a half of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order.
    Finished,
    /// With a reset.
    Reset,
}

/// The server; dropping it closes its port and every connection at once.
pub struct ByteServer {
    address: SocketAddr,
    transcripts: Transcripts,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Transcripts = Arc<Mutex<Vec<Transcript>>>;

impl ByteServer {
    /// Starts on a free port of 127.0.0.1. After the script a connection is closed.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(script: Vec<Action>) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .expect("loopback has a free port");
        listener
            .set_nonblocking(true)
            .expect("a bound socket can be made non-blocking");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let transcripts = Transcripts::default();
        let kept = Arc::clone(&transcripts);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, script.into(), kept, stopped));
        Self {
            address,
            transcripts,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came on each connection since the last call, in the order of their beginning.
    #[must_use]
    pub fn take_transcripts(&self) -> Vec<Transcript> {
        let mut transcripts = self
            .transcripts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // those still open keep their place
        let taken = transcripts.clone();
        transcripts.iter_mut().for_each(|it| it.received.clear());
        taken
    }
}

impl Drop for ByteServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // ignored: a panic on the server's thread was printed there
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: std::net::TcpListener,
    script: Arc<[Action]>,
    transcripts: Transcripts,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
        let accepting = async {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut all = transcripts.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Transcript::default());
                    all.len() - 1
                };
                let connection = Connection {
                    stream,
                    number,
                    transcripts: Arc::clone(&transcripts),
                };
                tokio::spawn(connection.run(Arc::clone(&script)));
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = stopped => {}
        }
    });
}

struct Connection {
    stream: TcpStream,
    number: usize,
    transcripts: Transcripts,
}

impl Connection {
    async fn run(mut self, script: Arc<[Action]>) {
        let mut read = 0;
        for action in script.iter() {
            match action {
                // ignored: what the peer did shows in the transcript
                Action::Send(bytes) => drop(self.stream.write_all(bytes).await),
                Action::Expect(count) => {
                    while read < *count {
                        match self.receive().await {
                            Some(bytes) => read += bytes.len(),
                            None => break,
                        }
                    }
                }
                Action::ExpectEnd => while self.receive().await.is_some() {},
                Action::Echo => {
                    while let Some(bytes) = self.receive().await {
                        if self.stream.write_all(&bytes).await.is_err() {
                            break;
                        }
                    }
                }
                Action::Finish => drop(self.stream.shutdown().await),
                Action::Wait(duration) => tokio::time::sleep(*duration).await,
                Action::Reset => {
                    // ignored: without it the peer sees an end where the test wants a reset
                    let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                    return;
                }
            }
        }
    }

    async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 64 * 1024];
        let read = self.stream.read(&mut bytes).await;
        let mut all = self
            .transcripts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transcript = &mut all[self.number];
        match read {
            Ok(0) => transcript.end = Some(End::Finished),
            Err(_) => transcript.end = Some(End::Reset),
            Ok(length) => {
                bytes.truncate(length);
                transcript.received.extend_from_slice(&bytes);
                return Some(bytes);
            }
        }
        None
    }
}
