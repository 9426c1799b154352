//! Frames made by hand, and what comes back for them.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::fixture::run;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const HAS_PRIORITY: u8 = 0x20;
/// Both of a head that nothing follows.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL: u32 = 1;
pub const FLOW_CONTROL: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE: u32 = 6;
pub const REFUSED: u32 = 7;
pub const COMPRESSION: u32 = 9;
pub const CALM: u32 = 11;

/// The last PING of a script: once it is answered, all before it has been digested.
const LAST: &[u8; 8] = b"the last";

/// What comes back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The code of a GOAWAY.
    pub gone: Option<u32>,
    /// Streams that were reset, and their codes.
    pub resets: Vec<(u32, u32)>,
    /// The streams of heads.
    pub heads: Vec<u32>,
    /// Bytes of data.
    pub data: usize,
    /// The last PING was answered.
    pub lasted: bool,
}

/// What must come of a script.
#[derive(Debug)]
pub enum Outcome {
    /// Nobody minds.
    Fine,
    /// The connection ends, with one of these codes.
    Gone(&'static [u32]),
    /// The stream ends, with this code, and the connection goes on.
    Reset(u32, u32),
    /// Either: the stream or the connection ends, with this code.
    Broken(u32, u32),
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A setting.
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()
}

/// A header without compression.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend_from_slice(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend_from_slice(value.as_bytes());
    field
}

/// Headers without compression.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().map(|(name, value)| field(name, value));
    fields.collect::<Vec<_>>().concat()
}

/// Says all of a script, then waits for it to be digested, then ends. Gives what comes back.
pub async fn exchange(mut io: DuplexStream, before: &[u8], script: &[u8]) -> Heard {
    // the other side's settings come first, so that they can be acknowledged
    let mut head = [0; 9];
    if before == PREFACE {
        io.read_exact(&mut head).await.unwrap();
        assert_eq!((head[3], head[4]), (SETTINGS, 0));
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut settings = vec![0; length as usize];
        io.read_exact(&mut settings).await.unwrap();
    }
    let said = [before, script, &frame(PING, 0, 0, LAST)].concat();
    let (mut read, mut write) = tokio::io::split(io);
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    let writer = async move {
        // ignored: who has gone away listens no more
        let _ = write.write_all(&said).await;
        // ready when the reader lets go of it
        let _ = is_done.await;
        let _ = write.shutdown().await;
    };
    let reader = async move {
        let mut heard = Heard::default();
        let mut done = Some(done);
        while let Some((head, payload)) = next(&mut read).await {
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (DATA, _) => heard.data += payload.len(),
                (HEADERS, _) => heard.heads.push(stream),
                (RST_STREAM, _) => {
                    let code = u32::from_be_bytes(payload[..].try_into().unwrap());
                    heard.resets.push((stream, code));
                }
                (GOAWAY, _) => {
                    let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                    heard.gone = Some(code);
                }
                (PING, ACK) if payload[..] == LAST[..] => {
                    heard.lasted = true;
                    drop(done.take());
                }
                _ => {}
            }
        }
        heard
    };
    let ((), heard) = tokio::join!(writer, reader);
    heard
}

/// The next frame.
async fn next(read: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<([u8; 9], Bytes)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    let whole = read.read_exact(&mut payload).await;
    whole.expect("what is sent are whole frames");
    Some((head, payload.into()))
}

/// Whether what comes back is what must.
pub fn is_as_it_must(outcome: &Outcome, heard: &Heard) -> bool {
    match outcome {
        Outcome::Fine => heard.lasted && heard.resets.is_empty(),
        Outcome::Gone(codes) => {
            !heard.lasted && heard.gone.is_some_and(|code| codes.contains(&code))
        }
        Outcome::Reset(stream, code) => heard.lasted && heard.resets == [(*stream, *code)],
        Outcome::Broken(stream, code) => match heard.gone.filter(|code| *code != NO_ERROR) {
            Some(gone) => gone == *code,
            None => heard.lasted && heard.resets == [(*stream, *code)],
        },
    }
}

/// A script, and what must come of it.
pub type Case = (&'static str, Vec<Vec<u8>>, Outcome);

/// Holds each script to what must come of it, with what comes of it said by `said`.
pub fn check_all(cases: Vec<Case>, said: impl AsyncFn(&[u8]) -> Heard) {
    let mut wrong = Vec::new();
    for (name, script, outcome) in cases {
        run(async {
            let heard = said(&script.concat()).await;
            if !is_as_it_must(&outcome, &heard) {
                wrong.push(format!("{name}: {heard:?}, not {outcome:?}"));
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
