//! What the labels of a call say: a decision over what is known of both ends, the cluster and
//! the route.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use meltemi_ir::{IstioStats, MetricReporter, TrafficDirection, Value};

use crate::{GrpcStatus, PeerInfo, ResponseFlags, StreamRecord, TlsInfo};

/// Label names and values.
#[derive(Debug)]
pub(super) struct Labels(Vec<(&'static str, String)>);

/// Said where nothing is known.
pub(super) const UNKNOWN: &str = "unknown";
/// The canonical revision of a workload that says none.
const LATEST: &str = "latest";
/// Clusters that say where a call went better than any service does.
const SPECIAL_CLUSTERS: [&str; 5] = [
    "BlackHoleCluster",
    "PassthroughCluster",
    "InboundPassthroughCluster",
    "InboundPassthroughClusterIpv4",
    "InboundPassthroughClusterIpv6",
];

/// Which side of a call this proxy is, in the `reporter` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    /// The caller's: `source`.
    Source,
    /// The callee's: `destination`.
    Destination,
    /// A gateway in front of the callee: `waypoint`.
    Gateway,
}

/// All that the labels are made of, borrowed from a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallRef<'a> {
    side: Side,
    own: &'a PeerInfo,
    /// The other end; of a gateway, the caller.
    peer: Option<&'a PeerInfo>,
    /// The callee behind a gateway.
    endpoint: Option<&'a PeerInfo>,
    peer_principal: &'a str,
    own_principal: &'a str,
    service: &'a str,
    service_name: &'a str,
    protocol: &'static str,
    response: Option<(u16, Option<u32>)>,
    flags: ResponseFlags,
}

/// The same, owned. Ends are shared, since many calls have the same.
#[derive(Debug)]
pub(super) struct Call {
    side: Side,
    peer: Option<Arc<PeerInfo>>,
    endpoint: Option<Arc<PeerInfo>>,
    peer_principal: String,
    own_principal: String,
    service: String,
    service_name: String,
    protocol: &'static str,
    response: Option<(u16, Option<u32>)>,
    flags: ResponseFlags,
}

/// A hash of a few short strings, quicker than the standard one. Collisions are told apart by
/// comparison.
#[derive(Debug, Default)]
pub(super) struct ShortHasher(u64);

impl Labels {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl<'a> CallRef<'a> {
    /// An HTTP or gRPC request. `endpoint` stands for the upstream where it did not say itself.
    pub fn http(
        config: &IstioStats,
        own: &'a PeerInfo,
        record: &StreamRecord<'a>,
        endpoint: Option<&'a PeerInfo>,
    ) -> Self {
        let grpc = GrpcStatus::is_call(record);
        let status = GrpcStatus::of(record).map(|status| status.0);
        Self {
            protocol: if grpc { "grpc" } else { "http" },
            response: Some((record.response_code.unwrap_or(0), status)),
            ..Self::tcp(config, own, record, endpoint)
        }
    }

    /// A TCP connection.
    pub fn tcp(
        config: &IstioStats,
        own: &'a PeerInfo,
        record: &StreamRecord<'a>,
        endpoint: Option<&'a PeerInfo>,
    ) -> Self {
        let side = Side::of(config, record.connection.direction);
        let upstream_peer = record.upstream_peer.map(AsRef::as_ref).or(endpoint);
        let downstream_peer = record.downstream_peer.map(AsRef::as_ref);
        let (peer, endpoint, tls) = match side {
            Side::Source => {
                let tls = record.upstream.as_ref().and_then(|upstream| upstream.tls);
                (upstream_peer, None, tls)
            }
            Side::Destination => (downstream_peer, None, record.connection.tls.as_ref()),
            Side::Gateway => (
                downstream_peer,
                upstream_peer,
                record.connection.tls.as_ref(),
            ),
        };
        let (service, service_name) = service(config, record);
        Self {
            side,
            own,
            peer,
            endpoint,
            peer_principal: tls.and_then(peer_uri).unwrap_or_default(),
            own_principal: tls.and_then(own_uri).unwrap_or_default(),
            service,
            service_name,
            protocol: "tcp",
            response: None,
            flags: record.flags,
        }
    }

    /// The labels, named and with their defaults.
    pub fn labels(&self) -> Labels {
        let mut labels = vec![("reporter", self.side.reporter().to_owned())];
        let peer_namespace = namespace_of(self.peer_principal)
            .or(self.peer.map(|peer| peer.namespace.as_str()))
            .unwrap_or_default();
        let own_end = End {
            peer: Some(self.own),
            namespace: &self.own.namespace,
            principal: self.own_principal,
        };
        let peer_end = End {
            peer: self.peer,
            namespace: peer_namespace,
            principal: self.peer_principal,
        };
        let callee_namespace = match self.side {
            Side::Source => {
                own_end.source(&mut labels);
                peer_end.destination(&mut labels);
                peer_namespace
            }
            Side::Destination => {
                peer_end.source(&mut labels);
                own_end.destination(&mut labels);
                self.own.namespace.as_str()
            }
            Side::Gateway => {
                peer_end.source(&mut labels);
                End {
                    peer: self.endpoint,
                    namespace: self.endpoint.map_or("", |peer| &peer.namespace),
                    principal: "",
                }
                .destination(&mut labels);
                self.own.namespace.as_str()
            }
        };
        let canonical = match self.side {
            Side::Source => "",
            Side::Destination => &self.own.canonical_name,
            Side::Gateway => self.endpoint.map_or("", |peer| &peer.canonical_name),
        };
        let or_canonical = |text: &'a str| if text.is_empty() { canonical } else { text };
        let mut add = |name, value: &str| labels.push((name, or_unknown(value)));
        add("destination_service", or_canonical(self.service));
        add("destination_service_name", or_canonical(self.service_name));
        add("destination_service_namespace", callee_namespace);
        add("request_protocol", self.protocol);
        if let Some((code, grpc)) = self.response {
            labels.push(("response_code", code.to_string()));
            let grpc = grpc.map(|status| status.to_string());
            labels.push(("grpc_response_status", grpc.unwrap_or_default()));
        }
        labels.push(("response_flags", self.flags.short()));
        labels.push(("connection_security_policy", self.security().to_owned()));
        Labels(labels)
    }

    /// Only the callee's side knows whether the connection is mutual TLS.
    fn security(&self) -> &'static str {
        match self.side {
            Side::Source => UNKNOWN,
            _ if !self.peer_principal.is_empty() && !self.own_principal.is_empty() => "mutual_tls",
            _ => "none",
        }
    }

    pub fn owned(&self) -> Call {
        let share = |peer: Option<&PeerInfo>| peer.cloned().map(Arc::new);
        Call {
            side: self.side,
            peer: share(self.peer),
            endpoint: share(self.endpoint),
            peer_principal: self.peer_principal.to_owned(),
            own_principal: self.own_principal.to_owned(),
            service: self.service.to_owned(),
            service_name: self.service_name.to_owned(),
            protocol: self.protocol,
            response: self.response,
            flags: self.flags,
        }
    }
}

impl Hash for CallRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            side,
            own: _, // ignored: a recorder has one
            peer,
            endpoint,
            peer_principal,
            own_principal,
            service,
            service_name,
            protocol,
            response,
            flags,
        } = self;
        (side, response, flags).hash(state);
        (peer.map(described), endpoint.map(described)).hash(state);
        (peer_principal, own_principal).hash(state);
        (service, service_name, protocol).hash(state);
    }
}

impl Call {
    /// Whether a borrowed call is the same; a recorder's own end never changes.
    pub fn is(&self, other: &CallRef<'_>) -> bool {
        self.side == other.side
            && self.flags == other.flags
            && self.response == other.response
            && self.protocol == other.protocol
            && self.service == other.service
            && self.service_name == other.service_name
            && self.peer_principal == other.peer_principal
            && self.own_principal == other.own_principal
            && self.peer.as_deref().map(described) == other.peer.map(described)
            && self.endpoint.as_deref().map(described) == other.endpoint.map(described)
    }
}

impl Side {
    fn of(config: &IstioStats, direction: TrafficDirection) -> Self {
        match (config.reporter, direction) {
            (MetricReporter::ServerGateway, _) => Self::Gateway,
            (MetricReporter::ByDirection, TrafficDirection::Inbound) => Self::Destination,
            (
                MetricReporter::ByDirection,
                TrafficDirection::Outbound | TrafficDirection::Unspecified,
            ) => Self::Source,
        }
    }

    fn reporter(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Gateway => "waypoint",
        }
    }
}

/// What labels say of a peer; instances of a workload differ in none of it.
fn described(peer: &PeerInfo) -> [&str; 7] {
    [
        &peer.workload,
        &peer.namespace,
        &peer.app,
        &peer.version,
        &peer.canonical_name,
        &peer.canonical_revision,
        &peer.cluster,
    ]
}

/// One end of a call.
struct End<'a> {
    peer: Option<&'a PeerInfo>,
    namespace: &'a str,
    principal: &'a str,
}

macro_rules! end_labels {
    ($end:literal) => {
        [
            concat!($end, "_workload"),
            concat!($end, "_workload_namespace"),
            concat!($end, "_principal"),
            concat!($end, "_app"),
            concat!($end, "_version"),
            concat!($end, "_canonical_service"),
            concat!($end, "_cluster"),
            concat!($end, "_canonical_revision"),
        ]
    };
}

impl End<'_> {
    fn source(&self, labels: &mut Vec<(&'static str, String)>) {
        self.add(end_labels!("source"), labels);
    }

    fn destination(&self, labels: &mut Vec<(&'static str, String)>) {
        self.add(end_labels!("destination"), labels);
    }

    fn add(&self, names: [&'static str; 8], labels: &mut Vec<(&'static str, String)>) {
        let of = |get: fn(&PeerInfo) -> &String| self.peer.map_or("", |peer| get(peer));
        let values = [
            of(|peer| &peer.workload),
            self.namespace,
            self.principal,
            of(|peer| &peer.app),
            of(|peer| &peer.version),
            of(|peer| &peer.canonical_name),
            of(|peer| &peer.cluster),
            match of(|peer| &peer.canonical_revision) {
                "" => LATEST,
                revision => revision,
            },
        ];
        labels.extend(names.into_iter().zip(values.map(or_unknown)));
    }
}

fn or_unknown(value: &str) -> String {
    if value.is_empty() { UNKNOWN } else { value }.to_owned()
}

fn peer_uri(tls: &TlsInfo) -> Option<&str> {
    tls.peer_uri_sans.first().map(String::as_str)
}

fn own_uri(tls: &TlsInfo) -> Option<&str> {
    tls.local_uri_sans.first().map(String::as_str)
}

/// The namespace that a SPIFFE name of Istio's form says (`.../ns/NAMESPACE/sa/...`).
fn namespace_of(principal: &str) -> Option<&str> {
    let (_, rest) = principal.split_once("/ns/")?;
    rest.split('/')
        .next()
        .filter(|namespace| !namespace.is_empty())
}

/// The called service's host and name: as the cluster's metadata says, else the authority.
fn service<'a>(config: &IstioStats, record: &StreamRecord<'a>) -> (&'a str, &'a str) {
    let authority = match &record.request {
        Some(request) if !config.disable_host_header_fallback => request.authority,
        _ => "",
    };
    match record.route_name {
        Some("block_all") => return (authority, "BlackHoleCluster"),
        Some("allow_any") => return (authority, "PassthroughCluster"),
        _ => {}
    }
    let Some(upstream) = &record.upstream else {
        return (authority, authority);
    };
    if SPECIAL_CLUSTERS.contains(&upstream.cluster) {
        return (authority, upstream.cluster);
    }
    let services = upstream
        .cluster_metadata
        .and_then(|metadata| metadata.get("istio", "services"));
    let Some(Value::List(services)) = services else {
        return (authority, authority);
    };
    let Some(service) = services.first() else {
        return (authority, authority);
    };
    let host = service
        .get("host")
        .and_then(Value::as_str)
        .unwrap_or(authority);
    let name = service.get("name").and_then(Value::as_str);
    let name = name.unwrap_or_else(|| host.split('.').next().unwrap_or(host));
    (host, name)
}

impl Hasher for ShortHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // Multiplication by a large odd number spreads low bits upwards, rotation brings them back.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
