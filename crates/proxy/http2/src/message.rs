//! Heads of requests and responses as header blocks, and back.
//!
//! In: the fields of a block that came, or a head that is to be sent. Out: a head of the `http`
//! crate, or the bytes of a block; or why there is none, which concerns only the stream.

use bytes::BytesMut;
use http::uri;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};

use crate::hpack::{Block, Encoder, Pseudo, is_connection_specific};

#[cfg(test)]
mod tests;

/// What an extended CONNECT asks for (RFC 8441), in the extensions of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub HeaderValue);

impl Protocol {
    /// The protocol's name, which is empty if it is not one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }
}

/// The head of a request (RFC 9113, 8.3.1).
///
/// # Errors
/// When the fields do not make one.
pub(crate) fn request(block: Block, extended_connect: bool) -> Result<Request<()>, &'static str> {
    let Block {
        pseudo,
        headers,
        over_size: _,
        malformed,
    } = block;
    if let Some(why) = malformed {
        return Err(why);
    }
    let Pseudo {
        method,
        scheme,
        authority,
        path,
        protocol,
        status,
    } = pseudo;
    let method = method.ok_or("no :method")?;
    if status.is_some() {
        return Err(":status in a request");
    }
    let connect = method == Method::CONNECT;
    if protocol.is_some() {
        if !connect {
            return Err(":protocol without CONNECT");
        }
        if !extended_connect {
            return Err(":protocol, which was not allowed");
        }
    }
    let mut parts = uri::Parts::default();
    if connect && protocol.is_none() {
        if scheme.is_some() {
            return Err(":scheme in CONNECT");
        }
        if path.is_some() {
            return Err(":path in CONNECT");
        }
    } else {
        let scheme = scheme.ok_or("no :scheme")?;
        parts.path_and_query = Some(path.ok_or("no :path")?);
        // There are no addresses with a scheme and no authority.
        if authority.is_some() {
            parts.scheme = Some(scheme);
        }
    }
    parts.authority = authority;

    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| "invalid address")?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(Protocol(protocol));
    }
    Ok(request)
}

/// The head of a response (RFC 9113, 8.3.2), also of an informational one.
///
/// # Errors
/// When the fields do not make one.
pub(crate) fn response(block: Block) -> Result<Response<()>, &'static str> {
    if let Some(why) = block.malformed {
        return Err(why);
    }
    if is_of_request(&block.pseudo) {
        return Err("pseudo-headers of a request in a response");
    }
    let mut response = Response::new(());
    *response.status_mut() = block.pseudo.status.ok_or("no :status")?;
    *response.version_mut() = Version::HTTP_2;
    *response.headers_mut() = block.headers;
    Ok(response)
}

/// Trailers (RFC 9113, 8.1).
///
/// # Errors
/// When the fields are not all such.
pub(crate) fn trailers(block: Block) -> Result<HeaderMap, &'static str> {
    if let Some(why) = block.malformed {
        return Err(why);
    }
    if is_of_request(&block.pseudo) || block.pseudo.status.is_some() {
        return Err("pseudo-headers in trailers");
    }
    Ok(block.headers)
}

/// How many bytes of data there are said to be.
///
/// # Errors
/// When that cannot be told.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    let length = parse_length(first.as_bytes())?;
    for other in lengths {
        if parse_length(other.as_bytes())? != length {
            return Err("contradictory content-length");
        }
    }
    Ok(Some(length))
}

/// Writes the head of a request as a block.
///
/// # Errors
/// When it cannot be sent. Then nothing is written.
pub(crate) fn write_request(
    encoder: &mut Encoder,
    request: &Request<()>,
    out: &mut BytesMut,
) -> Result<(), &'static str> {
    check_headers(request.headers())?;
    let (method, uri) = (request.method(), request.uri());
    let authority = uri.authority().map(uri::Authority::as_str);
    let connect = *method == Method::CONNECT;
    let protocol = match connect {
        true => request.extensions().get::<Protocol>(),
        false => None,
    };
    if connect && protocol.is_none() {
        let authority = authority.ok_or("CONNECT without an authority")?;
        encoder.begin(out);
        encoder.method(method, out);
        encoder.authority(authority, out);
    } else {
        let scheme = match uri.scheme_str() {
            Some(scheme) => scheme,
            None if authority.is_some() => return Err("an address without a scheme"),
            None if request.version() == Version::HTTP_2 => {
                return Err("an address without a scheme and an authority");
            }
            // A request of HTTP/1 that goes on has only a path, and HTTP/2 wants a scheme.
            None => "http",
        };
        let path = match uri.path_and_query() {
            Some(path) => path.as_str(),
            None if *method == Method::OPTIONS => "*",
            None => "/",
        };
        encoder.begin(out);
        encoder.method(method, out);
        encoder.scheme(scheme, out);
        if let Some(authority) = authority {
            encoder.authority(authority, out);
        }
        encoder.path(path, out);
        if let Some(Protocol(protocol)) = protocol {
            encoder.protocol(protocol, out);
        }
    }
    encoder.fields(request.headers(), out);
    Ok(())
}

/// Writes the head of a response as a block.
///
/// # Errors
/// When it cannot be sent. Then nothing is written.
pub(crate) fn write_response(
    encoder: &mut Encoder,
    status: StatusCode,
    headers: &HeaderMap,
    out: &mut BytesMut,
) -> Result<(), &'static str> {
    check_headers(headers)?;
    encoder.begin(out);
    encoder.status(status, out);
    encoder.fields(headers, out);
    Ok(())
}

/// Writes trailers as a block.
///
/// # Errors
/// When they cannot be sent. Then nothing is written.
pub(crate) fn write_trailers(
    encoder: &mut Encoder,
    trailers: &HeaderMap,
    out: &mut BytesMut,
) -> Result<(), &'static str> {
    check_headers(trailers)?;
    encoder.begin(out);
    encoder.fields(trailers, out);
    Ok(())
}

fn is_of_request(pseudo: &Pseudo) -> bool {
    pseudo.method.is_some()
        || pseudo.scheme.is_some()
        || pseudo.authority.is_some()
        || pseudo.path.is_some()
        || pseudo.protocol.is_some()
}

fn check_headers(headers: &HeaderMap) -> Result<(), &'static str> {
    match headers
        .iter()
        .any(|(name, value)| is_connection_specific(name, value))
    {
        true => Err("malformed headers"),
        false => Ok(()),
    }
}

fn parse_length(text: &[u8]) -> Result<u64, &'static str> {
    // As many digits as cannot overflow.
    if text.is_empty() || text.len() > 19 {
        return Err("invalid content-length");
    }
    let mut length = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return Err("invalid content-length");
        }
        length = length * 10 + u64::from(byte - b'0');
    }
    Ok(length)
}
