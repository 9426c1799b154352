//! Gateway credentials (SDS).
//!
//! In: a secret's name as a listener or cluster asks for it, `kubernetes://NAME`. Out: the certificate
//! from the Secret of that name in the gateway workload's own namespace, or the roots for the name with
//! `-cacert` at its end; only for gateways, and only if a Gateway that selects the workload, or a rule
//! of one of its clusters, names it. Called through [`crate::secrets`].

use std::collections::BTreeSet;

use meltemi_model::{
    CaSource, CertificateSource, ClientTls, Secret as Written, ServerCertificate, ServerTls,
};
use meltemi_xds::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};

use crate::ProxyRole;
use crate::scope::Scope;
use crate::tls::{ca_name, credential_name};

/// The secrets that the proxy's listeners and clusters ask for.
pub(crate) fn names(scope: &Scope<'_>) -> BTreeSet<String> {
    if scope.node.role != ProxyRole::Router {
        return BTreeSet::new();
    }
    let servers = scope
        .gateways()
        .filter(|it| it.selector.selects(scope.labels))
        .flat_map(|gateway| &gateway.servers);
    let mut names = BTreeSet::new();
    for written in servers.filter_map(|it| it.tls.as_ref()) {
        let Some(tls) = written.termination() else {
            continue;
        };
        let asks = !matches!(written, ServerTls::Simple(_));
        for source in &tls.certificates {
            if let CertificateSource::Secret(name) = source {
                names.insert(credential_name(name));
                if asks {
                    names.insert(credential_name(&ca_name(name)));
                }
            }
        }
        if let Some(CaSource::Secret(name)) = &tls.ca {
            names.insert(credential_name(name));
        }
    }
    for service in scope.services() {
        let Some(rule) = scope.destination_rule(service) else {
            continue;
        };
        let policies = rule.subsets.iter().map(|it| &it.traffic_policy);
        for policy in policies.chain([&rule.traffic_policy]) {
            let ports = policy.ports.iter().map(|it| &it.settings);
            for settings in ports.chain([&policy.settings]) {
                if let Some(ClientTls::Simple(server) | ClientTls::Mutual { server, .. }) =
                    &settings.tls
                    && let Some(name) = &server.credential_name
                {
                    names.insert(credential_name(name));
                    names.insert(credential_name(&ca_name(name)));
                }
            }
        }
    }
    names
}

/// The secret of this name, if the proxy may have it and it exists.
pub(crate) fn build(scope: &Scope<'_>, name: &str) -> Option<Secret> {
    if !names(scope).contains(name) {
        return None;
    }
    let credential = name.strip_prefix("kubernetes://")?;
    let find = |credential: &str| scope.secret(credential);
    let content = match credential.strip_suffix("-cacert") {
        // The roots are in a secret of their own, else beside the certificate.
        Some(base) => roots(find(credential).or_else(|| find(base))?)?,
        None => {
            let secret = find(credential)?;
            certificate(secret).or_else(|| roots(secret))?
        }
    };
    Some(Secret {
        name: name.to_owned(),
        r#type: Some(content),
    })
}

fn certificate(secret: &Written) -> Option<secret::Type> {
    let ServerCertificate {
        chain_pem,
        key_pem,
        ca_pem: _, // ignored: asked for by a name of its own
    } = secret.certificate.as_ref()?;
    Some(secret::Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(inline(chain_pem)),
        private_key: Some(inline(key_pem)),
        ..Default::default()
    }))
}

fn roots(secret: &Written) -> Option<secret::Type> {
    let crl = secret.data.get("ca.crl");
    Some(secret::Type::ValidationContext(
        CertificateValidationContext {
            trusted_ca: Some(inline(secret.ca_pem()?)),
            crl: crl.map(|it| inline(it)),
            ..Default::default()
        },
    ))
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}
