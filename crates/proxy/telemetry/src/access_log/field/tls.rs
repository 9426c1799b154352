//! The operators that are about TLS.

use std::time::Duration;

use aws_lc_rs::digest::{self, Algorithm};
use base64::Engine as _;

use super::FieldKind::{Digests, Duration as Time, List, Owned, Text, Words};
use super::{Table, up};
use crate::access_log::certificate;
use crate::{StreamRecord, TlsInfo};

/// Of TLS with the client.
pub(super) const DOWNSTREAM_TLS: Table = &[
    (
        "REQUESTED_SERVER_NAME",
        Text(|r| r.connection.requested_server_name.as_deref()),
    ),
    ("DOWNSTREAM_TLS_VERSION", Text(|r| Some(down(r)?.version))),
    ("DOWNSTREAM_TLS_CIPHER", Text(|r| Some(&down(r)?.cipher))),
    ("DOWNSTREAM_HANDSHAKE_DURATION", Time(handshake)),
    (
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
        Words(|r| r.downstream_transport_failure),
    ),
    (
        "DOWNSTREAM_TLS_SESSION_ID",
        Text(|r| Some(&down(r)?.session_id)),
    ),
    (
        "DOWNSTREAM_PEER_URI_SAN",
        List(|r| Some(&down(r)?.peer_uri_sans)),
    ),
    (
        "DOWNSTREAM_PEER_DNS_SAN",
        List(|r| Some(&down(r)?.peer_dns_sans)),
    ),
    (
        "DOWNSTREAM_PEER_SUBJECT",
        Text(|r| Some(&down(r)?.peer_subject)),
    ),
    (
        "DOWNSTREAM_PEER_ISSUER",
        Text(|r| Some(&down(r)?.peer_issuer)),
    ),
    (
        "DOWNSTREAM_PEER_SERIAL",
        Text(|r| Some(&down(r)?.peer_serial)),
    ),
    (
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        Text(|r| Some(&down(r)?.peer_fingerprint_256)),
    ),
    (
        "DOWNSTREAM_PEER_FINGERPRINT_1",
        Digests(|r| down(r)?.peer_chain.get(..1), SHA_1),
    ),
    (
        "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
        Digests(|r| down(r)?.peer_chain.get(1..2), &digest::SHA256),
    ),
    (
        "DOWNSTREAM_PEER_ISSUER_SERIAL",
        Owned(|r| serials(down(r)?.peer_chain.get(1..2)?)),
    ),
    (
        "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
        Digests(|r| Some(&down(r)?.peer_chain), &digest::SHA256),
    ),
    (
        "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
        Digests(|r| Some(&down(r)?.peer_chain), SHA_1),
    ),
    (
        "DOWNSTREAM_PEER_CHAIN_SERIALS",
        Owned(|r| serials(&down(r)?.peer_chain)),
    ),
    (
        "DOWNSTREAM_PEER_IP_SAN",
        List(|r| Some(&down(r)?.peer_names.ip)),
    ),
    (
        "DOWNSTREAM_PEER_EMAIL_SAN",
        List(|r| Some(&down(r)?.peer_names.email)),
    ),
    (
        "DOWNSTREAM_PEER_OTHERNAME_SAN",
        List(|r| Some(&down(r)?.peer_names.other)),
    ),
    (
        "DOWNSTREAM_LOCAL_IP_SAN",
        List(|r| Some(&down(r)?.local_names.ip)),
    ),
    (
        "DOWNSTREAM_LOCAL_EMAIL_SAN",
        List(|r| Some(&down(r)?.local_names.email)),
    ),
    (
        "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
        List(|r| Some(&down(r)?.local_names.other)),
    ),
    ("DOWNSTREAM_TLS_GROUP", Text(|r| Some(down(r)?.group))),
    ("DOWNSTREAM_PEER_CERT", Owned(|r| url_encoded_pem(down(r)?))),
    (
        "DOWNSTREAM_LOCAL_URI_SAN",
        List(|r| Some(&down(r)?.local_uri_sans)),
    ),
    (
        "DOWNSTREAM_LOCAL_DNS_SAN",
        List(|r| Some(&down(r)?.local_dns_sans)),
    ),
    (
        "DOWNSTREAM_LOCAL_SUBJECT",
        Text(|r| Some(&down(r)?.local_subject)),
    ),
];

/// Of TLS with the upstream.
pub(super) const UPSTREAM_TLS: Table = &[
    ("UPSTREAM_TLS_VERSION", Text(|r| Some(up(r)?.tls?.version))),
    ("UPSTREAM_TLS_CIPHER", Text(|r| Some(&up(r)?.tls?.cipher))),
    (
        "UPSTREAM_TLS_SESSION_ID",
        Text(|r| Some(&up(r)?.tls?.session_id)),
    ),
    (
        "UPSTREAM_PEER_URI_SAN",
        List(|r| Some(&up(r)?.tls?.peer_uri_sans)),
    ),
    (
        "UPSTREAM_PEER_DNS_SAN",
        List(|r| Some(&up(r)?.tls?.peer_dns_sans)),
    ),
    (
        "UPSTREAM_PEER_SUBJECT",
        Text(|r| Some(&up(r)?.tls?.peer_subject)),
    ),
    (
        "UPSTREAM_PEER_ISSUER",
        Text(|r| Some(&up(r)?.tls?.peer_issuer)),
    ),
    (
        "UPSTREAM_LOCAL_URI_SAN",
        List(|r| Some(&up(r)?.tls?.local_uri_sans)),
    ),
    (
        "UPSTREAM_PEER_CERT",
        Owned(|r| url_encoded_pem(up(r)?.tls?)),
    ),
    (
        "UPSTREAM_PEER_IP_SAN",
        List(|r| Some(&up(r)?.tls?.peer_names.ip)),
    ),
    (
        "UPSTREAM_LOCAL_IP_SAN",
        List(|r| Some(&up(r)?.tls?.local_names.ip)),
    ),
    (
        "UPSTREAM_LOCAL_DNS_SAN",
        List(|r| Some(&up(r)?.tls?.local_dns_sans)),
    ),
    ("UPSTREAM_TLS_GROUP", Text(|r| Some(up(r)?.tls?.group))),
    (
        "UPSTREAM_SERVER_NAME",
        Text(|r| up(r)?.tls?.server_name.as_deref()),
    ),
    (
        "UPSTREAM_LOCAL_SUBJECT",
        Text(|r| Some(&up(r)?.tls?.local_subject)),
    ),
];

const SHA_1: &Algorithm = &digest::SHA1_FOR_LEGACY_USE_ONLY;

fn down<'r>(record: &'r StreamRecord<'r>) -> Option<&'r TlsInfo> {
    record.connection.tls.as_ref()
}

/// From the connection's beginning to the end of its handshake.
fn handshake(record: &StreamRecord<'_>) -> Option<Duration> {
    let (_, ended) = record.connection.handshake?;
    Some(ended.saturating_sub(record.connection.accepted))
}

/// The serial numbers of certificates, joined by commas.
fn serials(certificates: &[Vec<u8>]) -> Option<String> {
    let one = |der: &Vec<u8>| certificate::serial(der);
    let all: Vec<_> = certificates.iter().filter_map(one).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// The peer's certificate as PEM in URL encoding, as `x-forwarded-client-cert` has it too.
fn url_encoded_pem(tls: &TlsInfo) -> Option<String> {
    let der = tls.peer_chain.first()?;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    let mut encoded = String::with_capacity(pem.len() * 2);
    for character in pem.chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '~' => encoded.push(character),
            other => encoded.push_str(&format!("%{:02X}", u32::from(other))),
        }
    }
    Some(encoded)
}
