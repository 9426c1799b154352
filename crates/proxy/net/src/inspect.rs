//! What a client's first bytes say: TLS or not, HTTP or not. Pure; the listener reads.

use rustls::server::Acceptor;

/// The longest ClientHello that is waited for, in bytes.
const MAX_CLIENT_HELLO: usize = 16 * 1024 + 5;

/// The longest request line that is waited for before the answer is "not HTTP", in bytes.
const MAX_REQUEST_LINE: usize = 8 * 1024;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection<T> {
    /// More bytes are needed.
    More,
    /// It is this.
    Is(T),
    /// It is something else.
    No,
}

/// What a TLS client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name, in lower case.
    pub server_name: Option<String>,
    /// The protocols offered, as the client orders them.
    pub alpn: Vec<Vec<u8>>,
}

/// The HTTP version that the first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 by prior knowledge.
    H2c,
}

/// Looks for a TLS ClientHello at the beginning of `bytes`.
pub fn inspect_tls(bytes: &[u8]) -> Inspection<ClientHello> {
    // A handshake record of any 3.x version.
    for (index, expected) in [0x16u8, 0x03].into_iter().enumerate() {
        match bytes.get(index) {
            None => return Inspection::More,
            Some(byte) if *byte != expected => return Inspection::No,
            Some(_) => {}
        }
    }
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => {
            let hello = accepted.client_hello();
            Inspection::Is(ClientHello {
                server_name: hello.server_name().map(str::to_ascii_lowercase),
                alpn: hello
                    .alpn()
                    .into_iter()
                    .flatten()
                    .map(<[u8]>::to_vec)
                    .collect(),
            })
        }
        Ok(None) if bytes.len() < MAX_CLIENT_HELLO => Inspection::More,
        Ok(None) | Err(_) => Inspection::No,
    }
}

/// Looks for an HTTP request at the beginning of `bytes`.
pub fn inspect_http(bytes: &[u8]) -> Inspection<HttpVersion> {
    if bytes.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(bytes) {
        return Inspection::More;
    }
    if bytes.starts_with(H2_PREFACE) {
        return Inspection::Is(HttpVersion::H2c);
    }
    let line_end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..line_end.unwrap_or(bytes.len())];
    // The method is a token of capitals; anything else ends the hope early.
    let method = line
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    let after = line.get(method);
    let is_method = method > 0 && method <= 32;
    match (after, line_end) {
        (None, None) if method <= 32 => return Inspection::More,
        (Some(b' '), None) if is_method && bytes.len() < MAX_REQUEST_LINE => {
            return Inspection::More;
        }
        (Some(b' '), Some(_)) if is_method => {}
        _ => return Inspection::No,
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.ends_with(b" HTTP/1.1") {
        Inspection::Is(HttpVersion::Http11)
    } else if line.ends_with(b" HTTP/1.0") {
        Inspection::Is(HttpVersion::Http10)
    } else {
        Inspection::No
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;

    fn client_hello(name: &'static str, alpn: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        let mut client =
            rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_client_hello_is_found_at_every_cut() {
        let bytes = client_hello("Catalog.Example", &[b"istio", b"h2"]);
        for cut in 0..bytes.len() {
            assert_eq!(inspect_tls(&bytes[..cut]), Inspection::More, "cut at {cut}");
        }
        let Inspection::Is(hello) = inspect_tls(&bytes) else {
            panic!("no hello found")
        };
        assert_eq!(hello.server_name.as_deref(), Some("catalog.example"));
        assert_eq!(hello.alpn, vec![b"istio".to_vec(), b"h2".to_vec()]);
    }

    #[test]
    fn plain_bytes_are_no_client_hello() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x02\x01",
            b"\x17\x03\x03",
            b"SSH-2.0-x\r\n",
        ] {
            assert_eq!(inspect_tls(bytes), Inspection::No);
        }
        assert_eq!(
            inspect_tls(b"\x16\x03\x01\x00\x05\x99\x99\x99\x99\x99"),
            Inspection::No
        );
    }

    #[test]
    fn http_is_told_from_the_rest() {
        let is = Inspection::Is;
        for (bytes, expected) in [
            (&b""[..], Inspection::More),
            (b"P", Inspection::More),
            (b"PRI * HT", Inspection::More),
            (H2_PREFACE, is(HttpVersion::H2c)),
            (b"GE", Inspection::More),
            (b"GET", Inspection::More),
            (b"GET /a", Inspection::More),
            (b"GET / HTTP/1.1\r\n", is(HttpVersion::Http11)),
            (b"GET / HTTP/1.1\nHost: a\n", is(HttpVersion::Http11)),
            (b"POST /a b HTTP/1.0\r\n", is(HttpVersion::Http10)),
            (b"M-SEARCH * HTTP/1.1\r\n", is(HttpVersion::Http11)),
            (b"GET /\r\n", Inspection::No),
            (b"get / HTTP/1.1\r\n", Inspection::No),
            (b"SSH-2.0-OpenSSH\r\n", Inspection::No),
            (b"\x16\x03\x01", Inspection::No),
            (b"\n", Inspection::No),
            (b" GET / HTTP/1.1\r\n", Inspection::No),
        ] {
            assert_eq!(
                inspect_http(bytes),
                expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert_eq!(inspect_http(&[b'A'; 64]), Inspection::No);
    }
}
