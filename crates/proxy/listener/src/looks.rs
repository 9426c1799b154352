//! What a listener's filters learn of a connection before a chain is chosen.
//!
//! In: a connection. Out: what it speaks, whom its PROXY protocol header names, and the bytes read
//! so far. Called by `connection`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use meltemi_ir::{self as ir, ListenerFilter, Metadata, Value};
use meltemi_lifecycle::WorkerId;
use meltemi_net::{
    HttpVersion, Inspection, ProxyHeader, ProxyVersion, inspect_proxy, reset_when_dropped,
};
use meltemi_telemetry::{ListenerStats, ProxyProtocolStats};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tracing::debug;

use crate::runtime::ListenerRuntime;
use crate::sniff::{Inspectors, Sniffed, sniff};

/// What the filters learned.
#[derive(Default)]
pub(crate) struct Looked {
    /// What it speaks, and the bytes read so far that belong to it.
    pub sniffed: Sniffed,
    /// Source and destination by the PROXY protocol.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// What the rules of the PROXY protocol filter kept.
    pub metadata: Metadata,
    /// The entries of its header that are kept for upstreams; none where there was no header.
    pub proxy_entries: Option<Vec<(u8, Vec<u8>)>>,
    /// Which inspectors looked.
    inspectors: Inspectors,
}

/// Why a connection goes no further.
enum Refusal {
    /// The client closed it.
    Closed,
    /// It could not be read.
    Broken(io::Error),
    /// A filter does not take it.
    Unwanted,
}

/// Reads what the listener's filters ask for, after what another listener's have learned that hands
/// the connection on; none where the connection is to be closed.
pub(crate) async fn look(
    runtime: &ListenerRuntime,
    worker: WorkerId,
    stats: &ListenerStats,
    stream: &mut TcpStream,
    port: u16,
    mut looked: Looked,
) -> Option<Looked> {
    let config = &runtime.config;
    if config.listener_filters.is_empty() {
        return Some(looked);
    }
    let done = run(runtime, worker, stream, port, &mut looked);
    let outcome = match config.listener_filters_timeout {
        None => Some(done.await),
        Some(limit) => tokio::time::timeout(limit, done).await.ok(),
    };
    match outcome {
        Some(Ok(())) => {
            count(runtime, worker, &looked);
            Some(looked)
        }
        Some(Err(Refusal::Closed)) => {
            stats.downstream_listener_filter_remote_close.inc();
            None
        }
        Some(Err(Refusal::Broken(error))) => {
            debug!("listener filter: {error}");
            stats.downstream_listener_filter_error.inc();
            None
        }
        Some(Err(Refusal::Unwanted)) => {
            // Envoy leaves what it looked at unread, which makes the same of its close
            reset_when_dropped(stream);
            None
        }
        None => {
            stats.downstream_pre_cx_timeout.inc();
            config
                .continue_on_listener_filters_timeout
                .then_some(looked)
        }
    }
}

async fn run(
    runtime: &ListenerRuntime,
    worker: WorkerId,
    stream: &mut TcpStream,
    mut port: u16,
    looked: &mut Looked,
) -> Result<(), Refusal> {
    let config = &runtime.config;
    let runs = |filter, port| {
        let disabled = config
            .disabled_filters
            .iter()
            .any(|(one, rule)| *one == filter && rule.matches(port));
        config.listener_filters.contains(&filter) && !disabled
    };
    if let (Some(settings), Some(stats)) = (&config.proxy_protocol, &runtime.looks.proxy_protocol)
        && looked.addresses.is_none()
        && runs(ListenerFilter::ProxyProtocol, port)
    {
        let header = proxy_header(settings, stats.shard(worker), stream, looked).await?;
        if let Some(header) = header {
            looked.addresses = header.addresses;
            let kept = header.entries.iter();
            let kept = kept.filter(|(kind, _)| settings.kept.has(*kind));
            looked.proxy_entries = Some(kept.cloned().collect());
            looked.metadata = metadata(settings, header.entries);
            port = looked.addresses.map_or(port, |(_, local)| local.port());
        }
    }
    looked.inspectors = Inspectors {
        tls: runs(ListenerFilter::TlsInspector, port),
        http: runs(ListenerFilter::HttpInspector, port),
    };
    sniff(stream, looked.inspectors, &mut looked.sniffed)
        .await
        .map_err(Refusal::Broken)?;
    if looked.sniffed.closed {
        return Err(Refusal::Closed);
    }
    Ok(())
}

/// Reads a PROXY protocol header; none where there is none and need not be.
async fn proxy_header(
    settings: &ir::ProxyProtocol,
    stats: &ProxyProtocolStats,
    stream: &mut TcpStream,
    looked: &mut Looked,
) -> Result<Option<ProxyHeader>, Refusal> {
    let of = |version| match version {
        ProxyVersion::V1 => (&stats.v1, settings.refuse_v1),
        ProxyVersion::V2 => (&stats.v2, settings.refuse_v2),
    };
    let bytes = &mut looked.sniffed.bytes;
    let mut part = [0u8; 512];
    loop {
        match inspect_proxy(bytes) {
            Ok(Inspection::More) => {}
            Ok(Inspection::Is(header)) => {
                let (stats, refused) = of(header.version);
                stats.found.inc();
                if refused {
                    stats.disallowed.inc();
                    return Err(Refusal::Unwanted);
                }
                bytes.drain(..header.length);
                return Ok(Some(header));
            }
            Ok(Inspection::No) if settings.optional => {
                stats.not_found_allowed.inc();
                return Ok(None);
            }
            Ok(Inspection::No) => {
                stats.not_found_disallowed.inc();
                return Err(Refusal::Unwanted);
            }
            Err(malformed) => {
                of(malformed.0).0.error.inc();
                return Err(Refusal::Unwanted);
            }
        }
        match stream.read(&mut part).await {
            Ok(0) => return Err(Refusal::Closed),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) => return Err(Refusal::Broken(error)),
        }
    }
}

/// What the rules keep of a header's entries.
fn metadata(settings: &ir::ProxyProtocol, entries: Vec<(u8, Vec<u8>)>) -> Metadata {
    let mut kept = Metadata(BTreeMap::new());
    for (kind, value) in entries {
        for rule in settings.rules.iter().filter(|rule| rule.kind == kind) {
            let text = String::from_utf8_lossy(&value).into_owned();
            let namespace = kept.0.entry(rule.namespace.clone()).or_default();
            namespace.insert(rule.key.clone(), Value::String(text));
        }
    }
    kept
}

/// Counts what the inspectors found.
fn count(runtime: &ListenerRuntime, worker: WorkerId, looked: &Looked) {
    let Looked {
        sniffed,
        inspectors,
        ..
    } = looked;
    if let Some(stats) = runtime.looks.tls.as_ref().filter(|_| inspectors.tls) {
        let stats = stats.shard(worker);
        match &sniffed.tls {
            None => stats.tls_not_found.inc(),
            Some(hello) => {
                stats.tls_found.inc();
                match hello.server_name {
                    Some(_) => stats.sni_found.inc(),
                    None => stats.sni_not_found.inc(),
                }
                match hello.alpn.is_empty() {
                    false => stats.alpn_found.inc(),
                    true => stats.alpn_not_found.inc(),
                }
            }
        }
    }
    if let Some(stats) = runtime.looks.http.as_ref().filter(|_| inspectors.http) {
        let stats = stats.shard(worker);
        match sniffed.http {
            Some(HttpVersion::Http10) => stats.http10_found.inc(),
            Some(HttpVersion::Http11) => stats.http11_found.inc(),
            Some(HttpVersion::H2c) => stats.http2_found.inc(),
            None if sniffed.tls.is_none() => stats.http_not_found.inc(),
            None => {}
        }
    }
}

/// The protocols that a client offers, or what it was found to speak.
pub(crate) fn application_protocols(sniffed: &Sniffed) -> Vec<String> {
    if let Some(hello) = &sniffed.tls {
        return hello
            .alpn
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
    }
    let found = match sniffed.http {
        None => return Vec::new(),
        Some(HttpVersion::Http10) => "http/1.0",
        Some(HttpVersion::Http11) => "http/1.1",
        Some(HttpVersion::H2c) => "h2c",
    };
    vec![found.to_owned()]
}
