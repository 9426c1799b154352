//! Fields as they are kept in tables: the static one (RFC 7541, appendix A), and the one that a
//! decoder keeps of what the peer has sent.
//!
//! In: names and values as bytes. Out: fields that are parsed already, so that a field that is
//! only pointed at costs no more than a count of references.

use std::collections::VecDeque;

use http::header;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::DecodeError;

/// What each field counts for beyond its bytes (RFC 7541, 4.1).
pub(super) const OVERHEAD: usize = 32;

/// The number of entries in the static table.
pub(super) const STATIC: usize = 61;

/// The index of the first entry of the static table that is not a pseudo-header.
pub(super) const FIRST_REGULAR: usize = 15;

/// A parsed field.
#[derive(Clone, Debug)]
pub(super) enum Field {
    Regular(HeaderName, HeaderValue),
    Method(Method),
    Scheme(Scheme),
    Authority(Authority),
    Path(PathAndQuery),
    Protocol(HeaderValue),
    Status(StatusCode),
    /// One that makes the message malformed, and why.
    Refused(Name, &'static str),
}

/// The name of a field.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Regular(HeaderName),
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
}

/// A field and what it counts for.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) field: Field,
    pub(super) size: usize,
}

/// The fields that the peer has put into the table, the newest first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
}

impl Name {
    /// The name in these bytes.
    pub(super) fn parse(name: &[u8]) -> Result<Self, DecodeError> {
        if name.first() != Some(&b':') {
            return HeaderName::from_lowercase(name)
                .map(Self::Regular)
                .map_err(|_| DecodeError::Field("invalid header name"));
        }
        Ok(match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            _ => return Err(DecodeError::Field("unknown pseudo-header")),
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Regular(name) => name.as_str().len(),
            Self::Method | Self::Scheme | Self::Status => 7,
            Self::Authority => 10,
            Self::Path => 5,
            Self::Protocol => 9,
        }
    }
}

impl Field {
    /// The name, for a field that has it in common with this one.
    fn name(&self) -> Name {
        match self {
            Self::Regular(name, _) => Name::Regular(name.clone()),
            Self::Method(_) => Name::Method,
            Self::Scheme(_) => Name::Scheme,
            Self::Authority(_) => Name::Authority,
            Self::Path(_) => Name::Path,
            Self::Protocol(_) => Name::Protocol,
            Self::Status(_) => Name::Status,
            Self::Refused(name, _) => name.clone(),
        }
    }

    fn parse(name: Name, value: &[u8], sensitive: bool) -> Result<Self, DecodeError> {
        const INVALID: DecodeError = DecodeError::Field("invalid header value");
        if let Name::Regular(name) = name {
            let mut value = HeaderValue::from_bytes(value).map_err(|_| INVALID)?;
            value.set_sensitive(sensitive);
            return Ok(if is_connection_specific(&name, &value) {
                Self::Refused(Name::Regular(name), "connection-specific header")
            } else {
                Self::Regular(name, value)
            });
        }
        let text = std::str::from_utf8(value).map_err(|_| INVALID)?;
        Ok(match name {
            Name::Method => Self::Method(
                Method::from_bytes(value).map_err(|_| DecodeError::Field("invalid :method"))?,
            ),
            Name::Status => Self::Status(
                StatusCode::from_bytes(value).map_err(|_| DecodeError::Field("invalid :status"))?,
            ),
            Name::Scheme => match text.parse() {
                Ok(scheme) => Self::Scheme(scheme),
                Err(_) => Self::Refused(name, "invalid :scheme"),
            },
            Name::Authority => match text.parse() {
                Ok(authority) => Self::Authority(authority),
                Err(_) => Self::Refused(name, "invalid :authority"),
            },
            // A fragment is cut off, so that of such a path nothing would be left.
            Name::Path if text.is_empty() || text.starts_with('#') => {
                Self::Refused(name, "empty :path")
            }
            Name::Path => match PathAndQuery::try_from(value) {
                Ok(path) => Self::Path(path),
                Err(_) => Self::Refused(name, "invalid :path"),
            },
            Name::Protocol | Name::Regular(_) => match HeaderValue::from_str(text) {
                Ok(protocol) => Self::Protocol(protocol),
                Err(_) => Self::Refused(name, "invalid :protocol"),
            },
        })
    }
}

impl Entry {
    /// The field of this name with the value in these bytes.
    pub(super) fn parse(name: Name, value: &[u8], sensitive: bool) -> Result<Self, DecodeError> {
        let size = OVERHEAD + name.len() + value.len();
        let field = Field::parse(name, value, sensitive)?;
        Ok(Self { field, size })
    }
}

impl Table {
    pub(super) fn new(max_size: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size,
        }
    }

    /// The entry with this index, in either table.
    pub(super) fn get(&self, index: usize) -> Result<&Entry, DecodeError> {
        let found = match index.checked_sub(STATIC + 1) {
            Some(nth) => self.entries.get(nth),
            None => index.checked_sub(1).map(|nth| &ENTRIES[nth]),
        };
        found.ok_or(DecodeError::Compression("no such table entry"))
    }

    /// The name of the entry with this index.
    pub(super) fn name(&self, index: usize) -> Result<Name, DecodeError> {
        Ok(self.get(index)?.field.name())
    }

    /// Adds an entry, for which older ones have to go. One that is larger than the table leaves
    /// it empty.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.shrink(self.max_size.saturating_sub(entry.size));
        if entry.size <= self.max_size {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.shrink(max_size);
    }

    /// What the entries count for.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }
}

/// Whether a field is about the connection it came on, so that it has no place in HTTP/2
/// (RFC 9113, 8.2.2).
pub(crate) fn is_connection_specific(name: &HeaderName, value: &HeaderValue) -> bool {
    let name = name.as_str();
    match name.len() {
        2 => name == "te" && value != "trailers",
        7 => name == "upgrade",
        10 => name == "connection" || name == "keep-alive",
        16 => name == "proxy-connection",
        17 => name == "transfer-encoding",
        _ => false,
    }
}

const fn pseudo(field: Field, size: usize) -> Entry {
    Entry {
        field,
        size: OVERHEAD + size,
    }
}

const fn regular(name: HeaderName, text: &str, value: &'static str) -> Entry {
    let size = OVERHEAD + text.len() + value.len();
    let field = match text.as_bytes() {
        b"transfer-encoding" => Field::Refused(Name::Regular(name), "connection-specific header"),
        _ => Field::Regular(name, HeaderValue::from_static(value)),
    };
    Entry { field, size }
}

macro_rules! static_table {
    ($($text:literal $name:ident $value:literal,)*) => {
        /// The static table.
        static ENTRIES: [Entry; STATIC] = [
            pseudo(Field::Refused(Name::Authority, "invalid :authority"), 10),
            pseudo(Field::Method(Method::GET), 10),
            pseudo(Field::Method(Method::POST), 11),
            pseudo(Field::Path(PathAndQuery::from_static("/")), 6),
            pseudo(Field::Path(PathAndQuery::from_static("/index.html")), 16),
            pseudo(Field::Scheme(Scheme::HTTP), 11),
            pseudo(Field::Scheme(Scheme::HTTPS), 12),
            pseudo(Field::Status(StatusCode::OK), 10),
            pseudo(Field::Status(StatusCode::NO_CONTENT), 10),
            pseudo(Field::Status(StatusCode::PARTIAL_CONTENT), 10),
            pseudo(Field::Status(StatusCode::NOT_MODIFIED), 10),
            pseudo(Field::Status(StatusCode::BAD_REQUEST), 10),
            pseudo(Field::Status(StatusCode::NOT_FOUND), 10),
            pseudo(Field::Status(StatusCode::INTERNAL_SERVER_ERROR), 10),
            $(regular(header::$name, $text, $value),)*
        ];

        /// The names in the static table that are not those of pseudo-headers.
        pub(super) const REGULAR: [&str; STATIC + 1 - FIRST_REGULAR] = [$($text,)*];
    };
}

static_table! {
    "accept-charset" ACCEPT_CHARSET "",
    "accept-encoding" ACCEPT_ENCODING "gzip, deflate",
    "accept-language" ACCEPT_LANGUAGE "",
    "accept-ranges" ACCEPT_RANGES "",
    "accept" ACCEPT "",
    "access-control-allow-origin" ACCESS_CONTROL_ALLOW_ORIGIN "",
    "age" AGE "",
    "allow" ALLOW "",
    "authorization" AUTHORIZATION "",
    "cache-control" CACHE_CONTROL "",
    "content-disposition" CONTENT_DISPOSITION "",
    "content-encoding" CONTENT_ENCODING "",
    "content-language" CONTENT_LANGUAGE "",
    "content-length" CONTENT_LENGTH "",
    "content-location" CONTENT_LOCATION "",
    "content-range" CONTENT_RANGE "",
    "content-type" CONTENT_TYPE "",
    "cookie" COOKIE "",
    "date" DATE "",
    "etag" ETAG "",
    "expect" EXPECT "",
    "expires" EXPIRES "",
    "from" FROM "",
    "host" HOST "",
    "if-match" IF_MATCH "",
    "if-modified-since" IF_MODIFIED_SINCE "",
    "if-none-match" IF_NONE_MATCH "",
    "if-range" IF_RANGE "",
    "if-unmodified-since" IF_UNMODIFIED_SINCE "",
    "last-modified" LAST_MODIFIED "",
    "link" LINK "",
    "location" LOCATION "",
    "max-forwards" MAX_FORWARDS "",
    "proxy-authenticate" PROXY_AUTHENTICATE "",
    "proxy-authorization" PROXY_AUTHORIZATION "",
    "range" RANGE "",
    "referer" REFERER "",
    "refresh" REFRESH "",
    "retry-after" RETRY_AFTER "",
    "server" SERVER "",
    "set-cookie" SET_COOKIE "",
    "strict-transport-security" STRICT_TRANSPORT_SECURITY "",
    "transfer-encoding" TRANSFER_ENCODING "",
    "user-agent" USER_AGENT "",
    "vary" VARY "",
    "via" VIA "",
    "www-authenticate" WWW_AUTHENTICATE "",
}
