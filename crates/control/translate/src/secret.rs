//! Gateway credentials (SDS).
//!
//! In: a secret's name as a listener asks for it, `kubernetes://NAME`. Out: the certificate from the
//! Secret of that name in the gateway workload's own namespace; only for gateways, and only if a
//! Gateway that selects the workload names it. Called through [`crate::secrets`].

use std::collections::BTreeSet;

use meltemi_model::{CertificateSource, ServerCertificate};
use meltemi_xds::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    Secret, TlsCertificate, secret,
};

use crate::ProxyRole;
use crate::scope::Scope;
use crate::tls::downstream::credential_name;

/// The secrets that the proxy's listeners ask for.
pub(crate) fn names(scope: &Scope<'_>) -> BTreeSet<String> {
    if scope.node.role != ProxyRole::Router {
        return BTreeSet::new();
    }
    scope
        .snapshot
        .gateways()
        .selecting(&scope.labels)
        .flat_map(|gateway| &gateway.servers)
        .filter_map(|server| match &server.tls.as_ref()?.certificate {
            CertificateSource::Secret(name) => Some(credential_name(name)),
            CertificateSource::Files { .. } => None,
        })
        .collect()
}

/// The secret of this name, if the proxy may have it and it exists.
pub(crate) fn build(scope: &Scope<'_>, name: &str) -> Option<Secret> {
    if !names(scope).contains(name) {
        return None;
    }
    let credential = name.strip_prefix("kubernetes://")?;
    let secret = scope
        .snapshot
        .secrets()
        .get(&scope.node.namespace, credential)?;
    let ServerCertificate {
        chain_pem,
        key_pem,
        ca_pem: _, // ignored: mode SIMPLE asks for no client certificate
    } = secret.certificate.as_ref()?;
    Some(Secret {
        name: name.to_owned(),
        r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(chain_pem)),
            private_key: Some(inline(key_pem)),
            ..Default::default()
        })),
    })
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}
