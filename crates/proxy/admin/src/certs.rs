//! `/certs`: certificates and trust anchors in use, context by context.

use std::time::Duration;

use meltemi_tls::{CertificateInfo, CertificatesInUse};
use meltemi_xds::json;
use meltemi_xds::pb::envoy::admin::v3::{
    Certificate, CertificateDetails, Certificates, SubjectAlternateName,
    subject_alternate_name::Name,
};
use prost_types::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json as value;

use crate::AdminState;
use crate::reply::Reply;

const DAY: u64 = 24 * 60 * 60;

pub(crate) fn certs(state: &AdminState) -> Reply {
    let now = state.clock.since_epoch();
    let contexts = state.secrets.certificates_in_use().into_iter();
    let certificates: Vec<_> = contexts
        .map(|context| {
            let CertificatesInUse { shown, trusted } = context;
            let described = |(name, pem): &(Option<String>, Vec<u8>)| {
                details(name.as_deref(), pem, now).into_iter()
            };
            Certificate {
                // The first, as of a bundle Envoy shows one too.
                ca_cert: trusted.iter().flat_map(described).take(1).collect(),
                cert_chain: shown
                    .iter()
                    .flat_map(|one| described(one).take(1))
                    .collect(),
            }
        })
        .collect();
    if certificates.is_empty() {
        return Reply::json(&value!({"certificates": []}));
    }
    Reply::json(&json::to_json(&Certificates { certificates }))
}

/// In how many days the first of all certificates is over, 0 where one is; none without any.
pub(crate) fn first_expiry(state: &AdminState) -> Option<u64> {
    let now = state.clock.since_epoch();
    let all = state.secrets.certificates_in_use().into_iter();
    let all = all.flat_map(|context| {
        let CertificatesInUse { shown, trusted } = context;
        let pems = shown.into_iter().chain(trusted);
        pems.flat_map(|(_, pem)| read(&pem)).collect::<Vec<_>>()
    });
    all.map(|info| days_until(info.not_after, now)).min()
}

/// What the certificates of a PEM text say; those that cannot be read are left out, since the
/// context has refused them already.
fn read(pem: &[u8]) -> Vec<CertificateInfo> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|der| CertificateInfo::read(&der.ok()?))
        .collect()
}

fn details(secret: Option<&str>, pem: &[u8], now: Duration) -> Vec<CertificateDetails> {
    let path = match secret {
        Some(name) => format!("<inline: {name}>"),
        None => "<inline>".to_owned(),
    };
    let details = read(pem).into_iter().map(|info| {
        let dns = info.dns_sans.into_iter().map(Name::Dns);
        let uris = info.uri_sans.into_iter().map(Name::Uri);
        let addresses = info
            .ip_sans
            .iter()
            .map(|it| Name::IpAddress(it.to_string()));
        CertificateDetails {
            path: path.clone(),
            serial_number: info.serial,
            subject_alt_names: dns
                .chain(uris)
                .chain(addresses)
                .map(|name| SubjectAlternateName { name: Some(name) })
                .collect(),
            days_until_expiration: days_until(info.not_after, now),
            valid_from: Some(timestamp(info.not_before)),
            expiration_time: Some(timestamp(info.not_after)),
            ocsp_details: None,
        }
    });
    details.collect()
}

fn days_until(not_after: i64, now: Duration) -> u64 {
    let end = u64::try_from(not_after).unwrap_or(0);
    end.saturating_sub(now.as_secs()) / DAY
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}
