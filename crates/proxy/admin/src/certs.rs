//! `/certs`: certificates and trust anchors in use.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::Secret;
use meltemi_spiffe::CertificateNames;
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
    let certificates: Vec<_> = secrets(state)
        .into_iter()
        .filter_map(|(name, secret)| {
            let path = format!("<inline: {name}>");
            Some(match &*secret {
                Secret::Certificate(certificate) => Certificate {
                    ca_cert: Vec::new(),
                    cert_chain: details(&path, &certificate.chain_pem, now),
                },
                Secret::Validation(context) => Certificate {
                    ca_cert: details(&path, &context.trusted_ca_pem, now),
                    cert_chain: Vec::new(),
                },
                Secret::TicketKeys(_) => return None,
            })
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
    let all = secrets(state)
        .into_iter()
        .flat_map(|(_, secret)| match &*secret {
            Secret::Certificate(certificate) => names(&certificate.chain_pem),
            Secret::Validation(context) => names(&context.trusted_ca_pem),
            Secret::TicketKeys(_) => Vec::new(),
        });
    all.map(|names| days_until(names.not_after, now)).min()
}

fn secrets(state: &AdminState) -> Vec<(String, Arc<Secret>)> {
    let names = state.secrets.names().into_iter();
    let known = names.filter_map(|name| {
        let secret = state.secrets.get(&name)?;
        Some((name, secret))
    });
    known.collect()
}

/// What the certificates of a PEM text say; those that cannot be read are left out, since the
/// store has refused them already.
fn names(pem: &[u8]) -> Vec<CertificateNames> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|der| CertificateNames::read(&der.ok()?).ok())
        .collect()
}

fn details(path: &str, pem: &[u8], now: Duration) -> Vec<CertificateDetails> {
    let certificates = names(pem).into_iter();
    let details = certificates.map(|names| {
        let uris = names.uris.into_iter().map(Name::Uri);
        let alternatives = uris.chain(names.dns.into_iter().map(Name::Dns));
        CertificateDetails {
            path: path.to_owned(),
            serial_number: names.serial,
            subject_alt_names: alternatives
                .map(|name| SubjectAlternateName { name: Some(name) })
                .collect(),
            days_until_expiration: days_until(names.not_after, now),
            valid_from: Some(timestamp(names.not_before)),
            expiration_time: Some(timestamp(names.not_after)),
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
