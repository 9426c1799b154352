//! Why a stream or a connection ended.

use std::fmt;
use std::io;

/// An error code (RFC 9113, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(u32);

impl Reason {
    /// Not an error.
    pub const NO_ERROR: Self = Self(0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The fault is ours.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// Settings were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    /// A frame came for a half that had ended.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing of the stream was processed.
    pub const REFUSED_STREAM: Self = Self(7);
    /// The stream is not needed any more.
    pub const CANCEL: Self = Self(8);
    /// The state of header compression is lost.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// A tunnel's connection failed.
    pub const CONNECT_ERROR: Self = Self(10);
    /// The peer asks too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);

    /// The code with this number, whether or not it has a name.
    #[must_use]
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// Its number.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0
    }

    fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 12] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
        ];
        NAMES.get(self.0 as usize).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

/// Why something of a stream or a connection failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Error(pub(crate) Kind);

/// Why a connection was ended whose client opens streams to reset them.
pub(crate) const PREMATURE_RESETS: &str = "too many streams are reset as soon as they are open";

/// What failed, and who ended it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Kind {
    /// The peer reset the stream.
    #[error("stream reset by the peer: {0}")]
    RemoteReset(Reason),
    /// We reset the stream, for what the peer did.
    #[error("stream error: {0}: {1}")]
    Reset(Reason, &'static str),
    /// Whoever uses the stream reset it, or let go of it.
    #[error("stream reset: {0}")]
    Cancelled(Reason),
    /// The peer ended the connection, having seen nothing of the stream.
    #[error("the peer goes away: {0}")]
    RemoteGoAway(Reason),
    /// We ended the connection, for what the peer did.
    #[error("connection error: {0}: {1}")]
    GoAway(Reason, &'static str),
    /// The connection broke.
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
    /// The connection takes no more streams now, and nothing was sent.
    #[error("the connection takes no more streams")]
    Full,
    /// What was to be sent cannot be.
    #[error("{0}")]
    Unsendable(&'static str),
}

impl Error {
    /// The code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.0 {
            Kind::RemoteReset(reason)
            | Kind::Reset(reason, _)
            | Kind::Cancelled(reason)
            | Kind::RemoteGoAway(reason)
            | Kind::GoAway(reason, _) => Some(reason),
            Kind::Io(_) | Kind::Full | Kind::Unsendable(_) => None,
        }
    }

    /// Whether the connection broke.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self.0, Kind::Io(_))
    }

    /// Whether the connection takes no more streams and has processed nothing of this one.
    #[must_use]
    pub fn is_go_away(&self) -> bool {
        matches!(
            self.0,
            Kind::RemoteGoAway(_) | Kind::GoAway(..) | Kind::Full
        )
    }

    /// Whether the peer ended it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.0, Kind::RemoteReset(_) | Kind::RemoteGoAway(_))
    }

    /// Whether the connection was ended because the client reset too many streams as soon as they
    /// were open.
    #[must_use]
    pub fn is_premature_resets(&self) -> bool {
        matches!(self.0, Kind::GoAway(_, PREMATURE_RESETS))
    }

    /// Whether it was ended here, for what the peer did.
    #[must_use]
    pub fn is_library(&self) -> bool {
        matches!(self.0, Kind::Reset(..) | Kind::GoAway(..))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self(Kind::Io(error.kind()))
    }
}
