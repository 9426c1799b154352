//! A server that speaks enough of Redis' protocol for a proxy before it: strings in memory, and
//! keys at which it misbehaves.
//!
//! In: commands. Out: answers, and for tests what it was sent. Made by tests of Redis proxying.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// How long it takes to answer for a key that begins with `slow`.
const SLOW: Duration = Duration::from_millis(120);

/// The server; dropping it closes its port and every connection at once.
///
/// A key that begins with `slow` is answered late, `silent` never, `die` with the end of the
/// connection, `broken` with bytes that are none of the protocol's, `error` with an error, `number`
/// with a number, `list` with arrays in an array, `null` with a null array and `twice` twice.
pub struct RedisServer {
    address: SocketAddr,
    commands: Commands,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Commands with the number of the connection that they came on.
type Commands = Arc<Mutex<Vec<(usize, String)>>>;

type Strings = Arc<Mutex<BTreeMap<String, String>>>;

impl RedisServer {
    /// Starts on a free port of 127.0.0.1, with nothing in memory.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .expect("loopback has a free port");
        listener
            .set_nonblocking(true)
            .expect("a bound socket can be made non-blocking");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let commands = Commands::default();
        let kept = Arc::clone(&commands);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, kept, stopped));
        Self {
            address,
            commands,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The commands since the last call, their arguments with spaces between, each with the number
    /// of its connection.
    #[must_use]
    pub fn take_commands(&self) -> Vec<(usize, String)> {
        let commands = self.commands.lock();
        std::mem::take(&mut *commands.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // ignored: a panic on the server's thread was printed there
            let _ = thread.join();
        }
    }
}

fn serve(listener: std::net::TcpListener, commands: Commands, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
        let strings = Strings::default();
        let accepting = async {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let (commands, strings) = (Arc::clone(&commands), Arc::clone(&strings));
                // ignored: a client that is gone, and keys at which the connection ends
                tokio::spawn(async move { drop(answer(stream, number, commands, strings).await) });
                number += 1;
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = stopped => {}
        }
    });
}

async fn answer(
    stream: TcpStream,
    number: usize,
    commands: Commands,
    strings: Strings,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut arguments = Vec::new();
        for _ in 0..length(&mut stream, b'*').await? {
            let size = length(&mut stream, b'$').await?;
            let mut bytes = vec![0; size + 2];
            stream.read_exact(&mut bytes).await?;
            bytes.truncate(size);
            arguments.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        let all = commands.lock();
        let shown = arguments.join(" ").chars().take(80).collect();
        all.unwrap_or_else(PoisonError::into_inner)
            .push((number, shown));
        let key = arguments.get(1).map_or("", String::as_str);
        let odd = [
            ("silent", ""),
            ("broken", "?\r\n"),
            ("error", "-ERR this key\r\n"),
            ("number", ":7\r\n"),
            ("list", "*2\r\n*1\r\n:1\r\n+two\r\n"),
            ("null", "*-1\r\n"),
            ("twice", "+one\r\n+more\r\n"),
        ];
        if key.starts_with("die") {
            return Ok(());
        }
        if key.starts_with("slow") {
            tokio::time::sleep(SLOW).await;
        }
        let odd = odd.iter().find(|(begin, _)| key.starts_with(begin));
        let text = match odd {
            Some((_, text)) => (*text).to_owned(),
            None => reply(&arguments, &strings),
        };
        stream.write_all(text.as_bytes()).await?;
    }
}

/// Reads a line that begins so and goes on with a number.
async fn length(stream: &mut BufReader<TcpStream>, kind: u8) -> std::io::Result<usize> {
    if stream.read_u8().await? != kind {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut value = 0;
    loop {
        match stream.read_u8().await? {
            digit @ b'0'..=b'9' => value = value * 10 + usize::from(digit - b'0'),
            b'\n' => return Ok(value),
            _ => {}
        }
    }
}

fn reply(arguments: &[String], strings: &Strings) -> String {
    let mut strings = strings.lock().unwrap_or_else(PoisonError::into_inner);
    let bulk = |text: Option<&String>| match text {
        Some(text) => format!("${}\r\n{text}\r\n", text.len()),
        None => "$-1\r\n".to_owned(),
    };
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let name = words.first().map_or(String::new(), |it| it.to_lowercase());
    match (name.as_str(), &words[..]) {
        ("set", [_, key, value, ..]) => {
            strings.insert((*key).to_owned(), (*value).to_owned());
            "+OK\r\n".to_owned()
        }
        ("get", [_, key]) => bulk(strings.get(*key)),
        ("incr", [_, key]) => {
            let value = strings.get(*key).and_then(|it| it.parse().ok());
            let next: i64 = value.unwrap_or(0) + 1;
            strings.insert((*key).to_owned(), next.to_string());
            format!(":{next}\r\n")
        }
        ("strlen", [_, key]) => format!(":{}\r\n", strings.get(*key).map_or(0, String::len)),
        ("del" | "unlink", [_, key]) => {
            format!(":{}\r\n", usize::from(strings.remove(*key).is_some()))
        }
        ("exists" | "touch", [_, key]) => {
            format!(":{}\r\n", usize::from(strings.contains_key(*key)))
        }
        _ => bulk(Some(&arguments.join(" "))),
    }
}
