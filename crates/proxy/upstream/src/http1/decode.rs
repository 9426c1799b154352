//! The body of a response: where it ends, and what of the connection's bytes belongs to it.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{MAX_HEADER_BYTES, MAX_HEADERS, malformed};
use crate::ResetReason;

/// Most bytes of all of a body's chunk extensions.
const MAX_EXTENSIONS: usize = 16 << 10;
/// As much is copied out of the connection's buffer, so that the buffer stays its own.
const SMALL: usize = 4 << 10;

/// How much of a body is still to come.
#[derive(Debug)]
pub(super) enum Decoder {
    /// Nothing.
    Ended,
    /// So many bytes.
    Length(u64),
    /// Chunks, and perhaps trailers.
    Chunked(Chunks),
    /// All until the upstream closes the connection.
    UntilClose,
}

/// What there is of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// Some bytes of it.
    Data(Bytes),
    /// What follows it, and its end.
    Trailers(HeaderMap),
    /// Its end.
    End,
    /// Nothing before more has been read.
    Missing,
}

/// Where in a chunked body its reader is.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// Of the chunk at hand.
    left: u64,
    /// Bytes of extensions there were.
    extensions: usize,
    /// As they came, with their line ends.
    trailers: Vec<u8>,
    /// Lines of trailers.
    lines: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a chunk's size.
    #[default]
    Start,
    /// In it.
    Size,
    /// In white space after it.
    Space,
    Extension,
    SizeEnd,
    Data,
    /// After a chunk's data.
    DataEnd,
    DataLineEnd,
    /// At the beginning of a line after the last chunk.
    Line,
    /// In a trailer.
    Trailer,
    TrailerEnd,
    LastEnd,
    End,
    /// Something else came where one of these was due.
    Broken,
}

impl Decoder {
    /// Whether nothing is to come.
    #[inline]
    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// How many bytes are to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Ended => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes what there is of the body out of `unread`.
    pub(super) fn decode(&mut self, unread: &mut BytesMut) -> Result<Piece, ResetReason> {
        let piece = match self {
            Self::Ended => Piece::End,
            Self::Length(left) => {
                let data = take(unread, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                or_missing(data)
            }
            Self::UntilClose => or_missing(take(unread, u64::MAX)),
            Self::Chunked(chunks) => {
                let piece = chunks.decode(unread)?;
                if chunks.is_ended() {
                    *self = Self::Ended;
                }
                piece
            }
        };
        Ok(piece)
    }

    /// The upstream has closed the connection.
    pub(super) fn close(&mut self) -> Result<Piece, ResetReason> {
        match self {
            Self::Ended => Ok(Piece::End),
            Self::UntilClose => {
                *self = Self::Ended;
                Ok(Piece::End)
            }
            Self::Length(_) | Self::Chunked(_) => Err(ResetReason::ConnectionTermination),
        }
    }
}

fn or_missing(data: Bytes) -> Piece {
    if data.is_empty() {
        Piece::Missing
    } else {
        Piece::Data(data)
    }
}

/// Takes at most `limit` bytes.
fn take(unread: &mut BytesMut, limit: u64) -> Bytes {
    let count = usize::try_from(limit).map_or(unread.len(), |limit| limit.min(unread.len()));
    if count <= SMALL {
        let data = Bytes::copy_from_slice(&unread[..count]);
        unread.advance(count);
        data
    } else {
        unread.split_to(count).freeze()
    }
}

impl Chunks {
    /// The next piece. After a chunk's data it goes on to where more is needed, so that an end that
    /// is there already is seen with the last of the data.
    fn decode(&mut self, unread: &mut BytesMut) -> Result<Piece, ResetReason> {
        self.advance(unread)?;
        match self.state {
            State::Data => {
                let data = take(unread, self.left);
                self.left -= data.len() as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                    // The data was sound.
                    if self.advance(unread).is_err() {
                        self.state = State::Broken;
                    }
                }
                Ok(or_missing(data))
            }
            State::End if self.trailers.is_empty() => Ok(Piece::End),
            State::End => {
                let mut trailers = std::mem::take(&mut self.trailers);
                trailers.extend_from_slice(b"\r\n");
                parse_trailers(&trailers).map(Piece::Trailers)
            }
            State::Broken => Err(malformed("a malformed chunk")),
            _ => Ok(Piece::Missing),
        }
    }

    /// Whether nothing is to come, not even trailers.
    fn is_ended(&self) -> bool {
        self.state == State::End && self.trailers.is_empty()
    }

    /// Goes on to the data of a chunk, or to the end.
    fn advance(&mut self, unread: &mut BytesMut) -> Result<(), ResetReason> {
        let mut at = 0;
        while !matches!(self.state, State::Data | State::End | State::Broken) {
            let Some(&byte) = unread.get(at) else {
                break;
            };
            at += 1;
            self.state = self.step(byte)?;
        }
        unread.advance(at);
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<State, ResetReason> {
        let state = match (self.state, byte) {
            (State::Start | State::Size, _) if byte.is_ascii_hexdigit() => self.digit(byte)?,
            (State::Size | State::Space, b'\t' | b' ') => State::Space,
            (State::Size | State::Space, b';') => State::Extension,
            (State::Size | State::Space | State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, b'\n') => {
                return Err(malformed("a chunk extension with a line feed"));
            }
            (State::Extension, _) => {
                self.extensions += 1;
                if self.extensions >= MAX_EXTENSIONS {
                    return Err(malformed("chunk extensions over the limit"));
                }
                State::Extension
            }
            (State::SizeEnd, b'\n') if self.left == 0 => State::Line,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataEnd, b'\r') => State::DataLineEnd,
            (State::DataLineEnd, b'\n') => State::Start,
            (State::Line, b'\r') => State::LastEnd,
            (State::LastEnd, b'\n') => State::End,
            (State::Line | State::Trailer, _) => {
                self.trailer(byte)?;
                match byte {
                    b'\r' => State::TrailerEnd,
                    _ => State::Trailer,
                }
            }
            (State::TrailerEnd, b'\n') => {
                self.trailer(byte)?;
                self.lines += 1;
                if self.lines > MAX_HEADERS {
                    return Err(malformed("too many trailers"));
                }
                State::Line
            }
            _ => return Err(malformed("a malformed chunk")),
        };
        Ok(state)
    }

    /// Another digit of a chunk's size.
    fn digit(&mut self, byte: u8) -> Result<State, ResetReason> {
        let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
        let left = self.left.checked_mul(16);
        let left = left.and_then(|left| left.checked_add(digit));
        self.left = left.ok_or_else(|| malformed("a chunk's size overflows"))?;
        Ok(State::Size)
    }

    /// Another byte of the trailers.
    fn trailer(&mut self, byte: u8) -> Result<(), ResetReason> {
        self.trailers.push(byte);
        if self.trailers.len() >= MAX_HEADER_BYTES {
            return Err(malformed("trailers over the limit"));
        }
        Ok(())
    }
}

fn parse_trailers(bytes: &[u8]) -> Result<HeaderMap, ResetReason> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let broken = || malformed("malformed trailers");
    let parsed = httparse::parse_headers(bytes, &mut fields).map_err(|_| broken())?;
    let httparse::Status::Complete((_, fields)) = parsed else {
        return Err(broken());
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| broken())?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| broken())?;
        trailers.append(name, value);
    }
    Ok(trailers)
}
