//! Where a request comes from: `x-forwarded-for`, `x-forwarded-proto`, what of `x-envoy-*` is
//! believed, `x-request-id`, `via`, hop-by-hop headers. The connection manager calls
//! [`prepare`] for every request before filters see it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, header};
use meltemi_ir as ir;
use meltemi_lifecycle::Random;
use meltemi_telemetry::ConnectionInfo;

use super::client_cert::{self, append};
use super::names;
use super::scan::Seen;

/// What preparing a request depends on besides the request.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a ir::HttpConnectionManager,
    pub(crate) info: &'a ConnectionInfo,
    pub(crate) random: &'a Random,
    /// This machine's address, which stands for a client on the loopback interface.
    pub(crate) local_ip: Option<IpAddr>,
    /// See [`client_cert::element`].
    pub(crate) certificate: Option<&'a HeaderValue>,
    /// The request asks for an upgrade that is allowed.
    pub(crate) upgrade: bool,
    /// Headers that only requests from inside may have.
    pub(crate) internal_only: &'a [http::HeaderName],
}

/// Who sent the request, as far as it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The address taken for the client's.
    pub(crate) address: SocketAddr,
    /// Its `x-envoy-*` headers are trusted.
    pub(crate) internal: bool,
    /// It is refused, for want of an address.
    pub(crate) reject: Option<http::StatusCode>,
}

/// Hop-by-hop headers and what only this proxy may say.
const SPECIAL: Seen = Seen::CONNECTION
    .or(Seen::UPGRADE)
    .or(Seen::KEEP_ALIVE)
    .or(Seen::PROXY_CONNECTION)
    .or(Seen::TE)
    .or(Seen::TRANSFER_ENCODING)
    .or(Seen::EXPECT)
    .or(Seen::HTTP2_SETTINGS);

/// Makes the request's headers what filters and the upstream may see.
pub(crate) fn prepare(headers: &mut HeaderMap, seen: Seen, around: &Surroundings<'_>) -> Client {
    let config = around.config;
    let info = around.info;
    if seen.any(SPECIAL) {
        remove_hop_by_hop(headers, seen, around.upgrade);
    }
    let https = info.tls.is_some();
    let mut address = info.remote;
    // Only one address may stand in `x-forwarded-for` for it to make a request internal.
    if seen.any(Seen::X_FORWARDED_FOR) {
        join(headers, &names::X_FORWARDED_FOR);
    }
    let mut sole = config.use_remote_address && !seen.any(Seen::X_FORWARDED_FOR);
    let mut reject = None;
    if config.use_remote_address {
        if config.xff_num_trusted_hops > 0
            && seen.any(Seen::X_FORWARDED_FOR)
            && let Some((ip, _)) = forwarded_address(headers, config.xff_num_trusted_hops - 1)
        {
            address = SocketAddr::new(ip, 0);
        }
        if !config.skip_xff_append {
            append_forwarded_for(headers, seen, around);
        }
        if config.xff_num_trusted_hops == 0 || !seen.any(Seen::X_FORWARDED_PROTO) {
            set_proto(headers, https);
        }
    } else if !config.original_ip.is_empty() {
        let found = detect(headers, info.remote.ip(), &config.original_ip);
        reject = found.reject;
        if let Some((ip, trusted)) = found.address {
            address = SocketAddr::new(ip, 0);
            sole = trusted;
        }
        if found.append {
            append_forwarded_for(headers, seen, around);
        }
        if !seen.any(Seen::X_FORWARDED_PROTO) {
            set_proto(headers, https);
        }
    } else {
        if seen.any(Seen::X_FORWARDED_FOR)
            && let Some((ip, alone)) = forwarded_address(headers, config.xff_num_trusted_hops)
        {
            address = SocketAddr::new(ip, 0);
            sole = alone;
        }
        if !seen.any(Seen::X_FORWARDED_PROTO) {
            set_proto(headers, https);
        }
    }
    if config.append_x_forwarded_port {
        let trusted = !config.use_remote_address || config.xff_num_trusted_hops > 0;
        if !(trusted && headers.contains_key(names::X_FORWARDED_PORT)) {
            headers.insert(names::X_FORWARDED_PORT, info.local.port().into());
        }
    }
    let internal = sole
        && config
            .internal_addresses
            .iter()
            .any(|range| range.contains(address.ip()));
    let edge = config.use_remote_address && !internal;
    if internal {
        headers.insert(names::INTERNAL, names::TRUE);
    } else {
        if seen.any(Seen::ENVOY) {
            distrust(headers, edge);
        }
        for name in around.internal_only {
            headers.remove(name);
        }
    }
    if let Some(via) = &config.via {
        append(headers, &header::VIA, via.as_bytes(), b", ");
    }
    if edge && let Some(value) = ip_value(address.ip()) {
        headers.insert(names::EXTERNAL_ADDRESS, value);
    }
    if config.generate_request_id
        && (!seen.any(Seen::X_REQUEST_ID) || (edge && !config.preserve_external_request_id))
    {
        headers.insert(
            names::X_REQUEST_ID,
            super::request_id::generate(around.random),
        );
    }
    client_cert::apply(
        config.forward_client_cert,
        around.certificate,
        info.tls.as_ref().is_some_and(|tls| tls.peer_presented),
        seen.any(Seen::X_FORWARDED_CLIENT_CERT),
        headers,
    );
    Client {
        address,
        internal,
        reject,
    }
}

/// What an extension says of the client.
#[derive(Default)]
struct Found {
    /// Its address, and whether this may make the request internal.
    address: Option<(IpAddr, bool)>,
    reject: Option<http::StatusCode>,
    /// The peer's address goes to `x-forwarded-for`.
    append: bool,
}

/// Asks the ways of finding the client's address, one after the other.
fn detect(headers: &HeaderMap, peer: IpAddr, ways: &[ir::OriginalIp]) -> Found {
    for way in ways {
        match way {
            ir::OriginalIp::ForwardedFor {
                trusted_hops,
                trusted,
                skip_append,
            } => {
                let address = if trusted.is_empty() {
                    forwarded_address(headers, *trusted_hops)
                } else {
                    untrusted_address(headers, peer, trusted)
                };
                if address.is_some() {
                    return Found {
                        address,
                        append: !skip_append,
                        ..Found::default()
                    };
                }
            }
            ir::OriginalIp::Header {
                name,
                trusted,
                reject,
            } => {
                let value = headers.get(name).and_then(|value| value.to_str().ok());
                match value.and_then(|value| value.trim().parse().ok()) {
                    Some(ip) => {
                        return Found {
                            address: Some((ip, *trusted)),
                            ..Found::default()
                        };
                    }
                    None if reject.is_some() => {
                        return Found {
                            reject: *reject,
                            ..Found::default()
                        };
                    }
                    None => {}
                }
            }
        }
    }
    Found::default()
}

/// The last address in `x-forwarded-for` that is no trusted proxy's, where the peer is one.
fn untrusted_address(
    headers: &HeaderMap,
    peer: IpAddr,
    trusted: &[ir::Prefix],
) -> Option<(IpAddr, bool)> {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|range| range.contains(ip));
    if !is_trusted(peer) {
        return None;
    }
    let mut last = None;
    for skip in 0..20 {
        let Some((ip, _)) = forwarded_address(headers, skip) else {
            break;
        };
        last = Some((ip, false));
        if !is_trusted(ip) {
            break;
        }
    }
    last
}

fn set_proto(headers: &mut HeaderMap, https: bool) {
    let proto = if https { names::HTTPS } else { names::HTTP };
    headers.insert(names::X_FORWARDED_PROTO, proto);
}

/// Several headers of one name as one.
fn join(headers: &mut HeaderMap, name: &http::HeaderName) {
    let mut values = headers.get_all(name).iter();
    let (Some(first), Some(second)) = (values.next(), values.next()) else {
        return;
    };
    let mut all = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(values) {
        all.push(b',');
        all.extend_from_slice(value.as_bytes());
    }
    if let Ok(all) = HeaderValue::from_bytes(&all) {
        headers.insert(name, all);
    }
}

/// Removes what concerns this connection alone; an upgrade keeps what it needs.
fn remove_hop_by_hop(headers: &mut HeaderMap, seen: Seen, upgrade: bool) {
    if seen.any(Seen::CONNECTION) && !upgrade {
        remove_nominated(headers);
        headers.remove(header::CONNECTION);
    }
    if seen.any(Seen::UPGRADE) && !upgrade {
        headers.remove(header::UPGRADE);
    }
    if seen.any(Seen::HTTP2_SETTINGS) {
        headers.remove(names::HTTP2_SETTINGS);
    }
    if seen.any(Seen::KEEP_ALIVE) {
        headers.remove(names::KEEP_ALIVE);
    }
    if seen.any(Seen::PROXY_CONNECTION) {
        headers.remove(names::PROXY_CONNECTION);
    }
    if seen.any(Seen::TRANSFER_ENCODING) {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if seen.any(Seen::EXPECT)
        && let Some(value) = headers.get(header::EXPECT)
        && value.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        headers.remove(header::EXPECT);
    }
    if seen.any(Seen::TE) {
        let trailers = headers.get_all(header::TE).iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        });
        if trailers {
            headers.insert(header::TE, names::TRAILERS);
        } else {
            headers.remove(header::TE);
        }
    }
}

/// Removes the headers that `connection` names; never those that frame or address a message.
fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<http::HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| http::HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| {
            let name = name.as_str();
            !matches!(
                name,
                "close"
                    | "keep-alive"
                    | "upgrade"
                    | "te"
                    | "host"
                    | "content-length"
                    | "transfer-encoding"
                    | "trailer"
                    | "x-forwarded-for"
                    | "x-forwarded-proto"
                    | "x-forwarded-host"
                    | "x-forwarded-client-cert"
                    | "x-request-id"
            ) && !name.starts_with("x-envoy-")
        })
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// Removes what only a trusted caller may tell this proxy, and at the edge what only a proxy
/// may have written.
fn distrust(headers: &mut HeaderMap, edge: bool) {
    const STREAM_DURATION: http::HeaderName =
        http::HeaderName::from_static("x-envoy-upstream-stream-duration-ms");
    const COMMANDS: [http::HeaderName; 17] = [
        STREAM_DURATION,
        names::INTERNAL,
        names::RETRY_ON,
        names::RETRY_GRPC_ON,
        names::MAX_RETRIES,
        names::RETRIABLE_STATUS_CODES,
        names::RETRIABLE_HEADER_NAMES,
        names::UPSTREAM_ALT_STAT_NAME,
        names::UPSTREAM_TIMEOUT,
        names::UPSTREAM_PER_TRY_TIMEOUT,
        names::UPSTREAM_TIMEOUT_ALT,
        names::EXPECTED_TIMEOUT,
        names::FORCE_TRACE,
        names::IP_TAGS,
        names::HEDGE,
        names::ORIGINAL_URL,
        names::OVERLOADED,
    ];
    const NOTES: [http::HeaderName; 5] = [
        names::DECORATOR_OPERATION,
        names::DOWNSTREAM_SERVICE_CLUSTER,
        names::DOWNSTREAM_SERVICE_NODE,
        names::ORIGINAL_PATH,
        names::ORIGINAL_HOST,
    ];
    for name in &COMMANDS {
        headers.remove(name);
    }
    if edge {
        for name in &NOTES {
            headers.remove(name);
        }
    }
}

/// The address in `x-forwarded-for` that stands before the last `skip`, and whether it is the
/// only one.
fn forwarded_address(headers: &HeaderMap, skip: u32) -> Option<(IpAddr, bool)> {
    let mut elements = headers
        .get_all(names::X_FORWARDED_FOR)
        .into_iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let element = elements.nth(usize::try_from(skip).ok()?)?;
    let ip = std::str::from_utf8(element.trim_ascii())
        .ok()?
        .parse()
        .ok()?;
    Some((ip, skip == 0 && elements.next().is_none()))
}

fn append_forwarded_for(headers: &mut HeaderMap, seen: Seen, around: &Surroundings<'_>) {
    let peer = around.info.remote.ip();
    let ip = if peer.is_loopback() {
        around.local_ip.unwrap_or(peer)
    } else {
        peer
    };
    let Some(value) = ip_value(ip) else { return };
    if seen.any(Seen::X_FORWARDED_FOR) {
        append(headers, &names::X_FORWARDED_FOR, value.as_bytes(), b",");
    } else {
        headers.insert(names::X_FORWARDED_FOR, value);
    }
}

fn ip_value(ip: IpAddr) -> Option<HeaderValue> {
    use std::io::Write as _;
    let mut text = [0; 64];
    let mut rest = &mut text[..];
    write!(rest, "{}", ip.to_canonical()).ok()?;
    let free = rest.len();
    HeaderValue::from_bytes(&text[..64 - free]).ok()
}
