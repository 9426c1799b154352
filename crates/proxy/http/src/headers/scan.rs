//! One pass over a request's headers that finds which of the special ones are there, so that
//! the usual request pays for no look-up of what it does not have.

use http::HeaderMap;

/// Which special headers a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(u32);

macro_rules! seen {
    ($($bit:literal $constant:ident;)*) => {
        impl Seen {
            $(pub(crate) const $constant: Self = Self(1 << $bit);)*
        }
    };
}

seen! {
    0 CONNECTION;
    1 UPGRADE;
    2 KEEP_ALIVE;
    3 PROXY_CONNECTION;
    4 TE;
    5 TRANSFER_ENCODING;
    6 CONTENT_LENGTH;
    7 EXPECT;
    8 X_FORWARDED_FOR;
    9 X_FORWARDED_PROTO;
    10 X_FORWARDED_CLIENT_CERT;
    11 X_REQUEST_ID;
    12 ENVOY;
    13 GRPC;
    14 ORIGIN;
    15 PEER_METADATA;
    16 HTTP2_SETTINGS;
    17 HOST;
}

impl Seen {
    /// Looks at every header once.
    pub(crate) fn scan(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            seen.0 |= match name {
                "host" => Self::HOST,
                "connection" => Self::CONNECTION,
                "upgrade" => Self::UPGRADE,
                "keep-alive" => Self::KEEP_ALIVE,
                "proxy-connection" => Self::PROXY_CONNECTION,
                "te" => Self::TE,
                "transfer-encoding" => Self::TRANSFER_ENCODING,
                "content-length" => Self::CONTENT_LENGTH,
                "expect" => Self::EXPECT,
                "x-forwarded-for" => Self::X_FORWARDED_FOR,
                "x-forwarded-proto" => Self::X_FORWARDED_PROTO,
                "x-forwarded-client-cert" => Self::X_FORWARDED_CLIENT_CERT,
                "x-request-id" => Self::X_REQUEST_ID,
                "origin" => Self::ORIGIN,
                "http2-settings" => Self::HTTP2_SETTINGS,
                "content-type" if crate::route::is_grpc_type(value.as_bytes()) => Self::GRPC,
                _ if name.starts_with("x-envoy-") => {
                    if name.starts_with("x-envoy-peer-metadata") {
                        Self::PEER_METADATA
                    } else {
                        Self::ENVOY
                    }
                }
                _ => continue,
            }
            .0;
        }
        seen
    }

    /// Whether any of these is there.
    #[inline]
    pub(crate) fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These and those.
    #[inline]
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
